"""The contracts of `spi.ArtifactStore` and of `spi.DocumentStore`, which are one but for who waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk import spi
from edgewhisk.errors import MalformedContent, StorageError
from edgewhisk.spi import Change
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.store.documents.entity_store import EntityStore
from tests import odd
from tests.contract.suites import Suite, named, play
from tests.fakes.disk import FaultyDisk, MemoryDisk

Document = dict[str, Any]


class Open:
    """A store that is open, whoever waits for its disk."""

    def __init__(self, store: spi.ArtifactStore | spi.DocumentStore) -> None:
        self.read = store.read
        self._store = store

    async def write(self, *changes: Change) -> None:
        if isinstance(self._store, LogDocumentStore):
            await self._store.write(changes)
        else:
            await asyncio.to_thread(self._store.write, changes)


@asynccontextmanager
async def artifacts(folder: Path, disk: FaultyDisk | MemoryDisk) -> AsyncIterator[Open]:
    store = await asyncio.to_thread(EntityStore.open, folder, disk)
    yield Open(store)
    store.close()


@asynccontextmanager
async def shelf(folder: Path, disk: FaultyDisk | MemoryDisk) -> AsyncIterator[Open]:
    store = await asyncio.to_thread(LogDocumentStore.open, folder, disk)
    yield Open(store)
    await store.close()


SUITE = Suite(spi.ArtifactStore, {EntityStore: artifacts})
SHELF = Suite(spi.DocumentStore, {LogDocumentStore: shelf})
MAKE = {**SUITE.implementations, **SHELF.implementations}


@pytest.fixture(params=MAKE, ids=named)
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return MAKE[request.param]


def test_all_changes_of_a_write_are_made_and_survive(make: Callable[..., Any], tmp_path: Path) -> None:
    async def scene() -> None:
        disk = FaultyDisk()
        async with make(tmp_path, disk) as store:
            assert store.read("actions") == {}
            await store.write(Change("actions", "a", {"v": 1}), Change("rules", "r", {"v": 2}))
            await store.write(Change("actions", "a", {"v": 3}), Change("rules", "r", None))
            await store.write(Change("rules", "none", None))
            assert store.read("actions") == {"a": {"v": 3}}
        async with make(tmp_path, disk) as store:
            assert (store.read("actions"), store.read("rules")) == ({"a": {"v": 3}}, {})

    play(scene())


def test_a_write_that_the_disk_refuses_makes_none_of_its_changes(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    async def scene() -> None:
        disk = FaultyDisk()
        async with make(tmp_path, disk) as store:
            await store.write(Change("c", "a", {"v": 1}))
            disk.full = True
            with pytest.raises(StorageError):
                await store.write(Change("c", "a", {"v": 2}), Change("c", "b", {"v": 2}))
            assert store.read("c") == {"a": {"v": 1}}
            disk.full = False
            await store.write(Change("c", "b", {"v": 3}))
            assert store.read("c") == {"a": {"v": 1}, "b": {"v": 3}}
        async with make(tmp_path, disk) as store:
            assert store.read("c") == {"a": {"v": 1}, "b": {"v": 3}}

    play(scene())


def test_a_document_that_the_check_refuses_is_left_out_and_stays(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    def check(key: str, document: Document) -> None:
        if document["v"] == 2:
            raise MalformedContent(f"{key}: no 2")

    async def scene() -> None:
        async with make(tmp_path, FaultyDisk()) as store:
            await store.write(*(Change("c", f"k{n}", {"v": n}) for n in range(4)))
            assert list(store.read("c", check)) == ["k0", "k1", "k3"]
            assert list(store.read("c")) == ["k0", "k1", "k2", "k3"]

    play(scene())


def test_what_is_read_is_the_readers_own(make: Callable[..., Any], tmp_path: Path) -> None:
    async def scene() -> None:
        async with make(tmp_path, FaultyDisk()) as store:
            await store.write(Change("c", "a", {"v": [1]}))
            store.read("c")["a"]["v"].append(2)
            assert store.read("c") == {"a": {"v": [1]}}

    play(scene())


def test_what_is_not_on_disk_is_not_there(make: Callable[..., Any], tmp_path: Path) -> None:
    async def scene() -> None:
        disk = FaultyDisk()
        async with make(tmp_path, disk) as store:
            disk.hold()
            writing = asyncio.ensure_future(store.write(Change("c", "a", {"v": 1})))
            assert await asyncio.to_thread(disk.begun.wait, 20)
            assert await asyncio.to_thread(store.read, "c") == {}  # and nobody waits to be told so
            disk.go.set()
            await writing
            assert store.read("c") == {"a": {"v": 1}}

    play(scene())


KEYS = st.sampled_from(["a", "b/c", "\u00fc", ""])
WRITES = st.lists(st.lists(st.tuples(KEYS, st.none() | odd.objects()), max_size=3), max_size=4)


@pytest.mark.parametrize("made", MAKE, ids=named)
@settings(max_examples=25, deadline=None)
@given(WRITES)
def test_any_documents_come_back(made: type, writes: Sequence[Sequence[tuple[str, Document | None]]]) -> None:
    async def scene(change: Callable[[Open], Awaitable[None]]) -> None:
        async with MAKE[made](Path("/store"), disk) as store:
            await change(store)

    async def fill(store: Open) -> None:
        for write in writes:
            await store.write(*(Change("c", key, document) for key, document in write))
            for key, document in write:
                expected.pop(key, None)
                if document is not None:
                    expected[key] = odd.tidy(document)
            assert store.read("c") == expected

    async def look(store: Open) -> None:
        assert store.read("c") == expected

    disk, expected = MemoryDisk(), dict[str, Document]()
    play(scene(fill))
    play(scene(look))
