"""From the configuration to the loop that keeps the cloud up to date."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import CloudConfig
from edgewhisk.controller.auth.subjects import read_key
from edgewhisk.gateway.clock_watcher import ClockWatcher
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.sync.client import OpenWhiskCloud
from edgewhisk.sync.sync import Sync


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
    key = partial(read_key, settings.auth_file)
    cloud = OpenWhiskCloud(settings.url, settings.namespace, key, settings.ingest)
    stack.push_async_callback(cloud.close)
    sync = Sync(
        log,
        cloud,
        clock,
        interval=settings.interval,
        longest_pause=settings.longest_pause,
        settled=clock_watcher.settled,
    )
    clock_watcher.was_set.append(sync.retry_now)
    loop = asyncio.get_running_loop()

    def wake() -> None:
        loop.call_soon_threadsafe(sync.wake)

    log.on_commit = wake
    return sync
