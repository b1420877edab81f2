"""Small things that must survive: dead letters, how far a feed is, commands not yet delivered.

Writes that are asked for while one is under way share the next fdatasync.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgewhisk.base.threads import apart
from edgewhisk.errors import StorageError
from edgewhisk.spi import Change, Check
from edgewhisk.store.documents.entity_store import EntityStore
from edgewhisk.store.log.disk import Disk


class LogDocumentStore:
    """`spi.DocumentStore` on a directory."""

    def __init__(self, store: EntityStore) -> None:
        """Use `open`."""
        self.incidents = store.incidents
        self._store = store
        self._waiting: list[tuple[Sequence[Change], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, directory: Path, disk: Disk | None = None) -> LogDocumentStore:
        """Recover what is there, or begin anew; raises `StorageError`. Blocks."""
        return cls(EntityStore.open(directory, disk))

    def read(self, collection: str, check: Check | None = None) -> dict[str, dict[str, Any]]:
        """See `spi.DocumentStore`."""
        return self._store.read(collection, check)

    def write(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        """See `spi.DocumentStore`."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((changes, done))
        if self._writing is None or self._writing.done():
            self._writing = loop.create_task(self._write())
        return done

    async def close(self) -> None:
        """Write what waits, then close."""
        if self._writing is not None:
            await self._writing
        self._store.close()

    async def _write(self) -> None:
        while self._waiting:
            taken, self._waiting = self._waiting, []
            error: StorageError | None = None
            try:
                await apart("shelf", self._store.write, [change for group, _ in taken for change in group])
            except StorageError as refusal:
                error = refusal
            for _, done in taken:
                if done.cancelled():
                    continue
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)
