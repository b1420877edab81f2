"""The broker with its sockets and a store on a real disk."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from edgewhisk.broker.server import BrokerServer
from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import EmbeddedConfig
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.store.log.disk import Disk


@asynccontextmanager
async def serving(
    folder: Path,
    bounds: EmbeddedConfig | None = None,
    *,
    tls: ssl.SSLContext | None = None,
    disk: Disk | None = None,
) -> AsyncIterator[tuple[int, BrokerServer]]:
    """A broker on a free port of 127.0.0.1: the port, and the broker."""
    store = LogDocumentStore.open(folder / "broker", disk)
    try:
        server = BrokerServer(bounds or EmbeddedConfig(), store, SystemClock())
        port = await server.listen("127.0.0.1", 0, tls)
        try:
            yield port, server
        finally:
            await server.stop()
    finally:
        await store.close()
