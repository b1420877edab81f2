"""From the configuration to the loop that keeps the cloud up to date."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from pathlib import Path

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import CloudConfig
from edgewhisk.gateway.clock_watcher import ClockWatcher
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.sync import key_file
from edgewhisk.sync.client import CloudClient, CloudRoute
from edgewhisk.sync.dialects import dialect
from edgewhisk.sync.sync import Sync


def client(settings: CloudConfig) -> CloudClient:
    """What speaks to the configured cloud."""
    spoken = dialect(settings.kind, settings.url)
    read = partial(key_file.read, settings.auth_file or Path(), spoken.schemes)
    return CloudClient(
        spoken,
        settings.url,
        read,
        namespace="" if settings.namespace == "_" else settings.namespace,
        ingest=settings.ingest,
        route=CloudRoute(settings.ca_file, settings.client_cert, settings.proxy),
    )


def uplink(
    settings: CloudConfig,
    log: ActivationLog,
    clock_watcher: ClockWatcher,
    clock: SystemClock,
    stack: contextlib.AsyncExitStack,
) -> Sync | None:
    """What sends the records of `log`, woken by each commit; None without a cloud. `stack` closes it."""
    if not settings.url or settings.auth_file is None:
        return None
    cloud = client(settings)
    stack.push_async_callback(cloud.close)
    sync = Sync(
        log,
        cloud,
        clock,
        interval=60 / settings.rate if settings.rate else settings.interval,
        longest_pause=settings.longest_pause,
        settled=clock_watcher.settled,
        key_ends=lambda: cloud.credential.until if cloud.credential else None,
    )
    clock_watcher.was_set.append(sync.retry_now)
    loop = asyncio.get_running_loop()

    def wake() -> None:
        loop.call_soon_threadsafe(sync.wake)

    log.on_commit = wake
    return sync
