"""A feed that runs for the time of a test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TypeVar

from edgewhisk.spi import Feed
from edgewhisk.store.documents.document_store import LogDocumentStore

Made = TypeVar("Made", bound=Feed)


@contextlib.asynccontextmanager
async def running(made: Made, *shelves: LogDocumentStore) -> AsyncIterator[Made]:
    """Serve inside the block; what it stands on is closed behind it."""
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for shelf in shelves:
            await shelf.close()
