"""A feed that runs for the time of a test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TypeVar

from edgewhisk.spi import Feed
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.transport.mqtt.brokers import MqttBrokers
from edgewhisk.transport.serial.ports import SerialPorts

Made = TypeVar("Made", bound=Feed)


@contextlib.asynccontextmanager
async def running(made: Made, *under: LogDocumentStore | MqttBrokers | SerialPorts) -> AsyncIterator[Made]:
    """Serve inside the block; what it stands on is run with it or closed behind it."""
    runs = [made.run, *(one.run for one in under if not isinstance(one, LogDocumentStore))]
    tasks = [asyncio.create_task(run()) for run in runs]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in under:
            if isinstance(one, LogDocumentStore):
                await one.close()
