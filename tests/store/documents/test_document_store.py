"""The event loop does not wait for the disk that a document store is being written to."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from edgewhisk.base.threads import apart
from edgewhisk.spi import Change
from edgewhisk.store.documents.document_store import LogDocumentStore
from tests.fakes.disk import FaultyDisk


def test_a_shelf_is_read_while_it_is_being_written(tmp_path: Path) -> None:
    async def scene() -> None:
        disk = FaultyDisk()
        shelf = LogDocumentStore.open(tmp_path, disk)
        await shelf.write([Change("c", "one", {"v": 1})])
        disk.hold()
        writing = shelf.write([Change("c", "two", {"v": 2})])
        await asyncio.to_thread(disk.begun.wait, 20)
        found: list[object] = []
        reader = threading.Thread(target=lambda: found.append(shelf.read("c")))
        reader.start()
        await asyncio.to_thread(reader.join, 20)
        assert found == [{"one": {"v": 1}}]  # what is not on disk is not there yet
        assert not writing.done()
        disk.go.set()
        await writing
        assert shelf.read("c") == {"one": {"v": 1}, "two": {"v": 2}}
        await shelf.close()

    asyncio.run(scene())


def test_what_hangs_in_threads_of_others_does_not_keep_a_shelf_waiting(tmp_path: Path) -> None:
    async def scene() -> None:
        shelf, go = LogDocumentStore.open(tmp_path), threading.Event()
        hanging = [asyncio.create_task(asyncio.to_thread(go.wait, 20)) for _ in range(64)]
        wedged = [asyncio.create_task(apart("wedged", go.wait, 20)) for _ in range(8)]
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            await shelf.write([Change("c", "one", {"v": 1})])
        assert not go.is_set()
        assert not any(one.done() for one in (*hanging, *wedged))
        go.set()
        assert all(await asyncio.gather(*hanging, *wedged))
        await shelf.close()

    asyncio.run(scene())
