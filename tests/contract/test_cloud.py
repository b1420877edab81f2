"""The contract of `spi.Cloud`: over real HTTP, and the fake that tests of the sync use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from edgewhisk.errors import CloudError
from edgewhisk.spi import Cloud, Query, SyncBatch
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.sync.client import CloudClient
from tests.contract.suites import Suite, named, play
from tests.fakes.cloud import AnswerLost, FaultyCloud, in_turn
from tests.store.activations.test_activations import open_store, record
from tests.sync.cloud import LOST, HttpCloud, whole

DEVICE, EPOCH = "d" * 32, "e" * 32
NOW, GONE = "it cannot now", "the answer is lost"  # faults of a request


@asynccontextmanager
async def http(store: ActivationLog, faults: Sequence[str]) -> AsyncIterator[Cloud]:
    replies = {NOW: whole(b"{}", status=b"503 Service Unavailable"), GONE: LOST, "": None}
    left = list(faults)
    async with HttpCloud(store, lambda _: replies[left.pop(0)] if left else None).door() as door:
        yield door


@asynccontextmanager
async def fake(store: ActivationLog, faults: Sequence[str]) -> AsyncIterator[Cloud]:
    errors = {NOW: CloudError(NOW), GONE: AnswerLost(GONE), "": None}
    yield FaultyCloud(store, in_turn([errors[fault] for fault in faults]))


SUITE = Suite(Cloud, {CloudClient: http, FaultyCloud: fake})
Make = Callable[[ActivationLog, Sequence[str]], AbstractAsyncContextManager[Cloud]]


@pytest.fixture(params=SUITE.classes, ids=named)
def make(request: pytest.FixtureRequest) -> Make:
    found: Make = SUITE.implementations[request.param]
    return found


def batch(first: int, last: int, after: int | None = None) -> SyncBatch:
    texts = tuple(record(number).text for number in range(first, last + 1))
    return SyncBatch(first, texts, first - 1 if after is None else after)


def started(store: ActivationLog) -> list[int]:
    return [one["start"] for one in store.list(Query("guest", limit=100))][::-1]


def test_it_says_up_to_where_it_has_all(make: Make, tmp_path: Path) -> None:
    async def scene() -> None:
        async with make(store, []) as cloud:
            assert await cloud.send(DEVICE, EPOCH, SyncBatch(1, (), 0)) == 0  # only asked
            assert await cloud.send(DEVICE, EPOCH, batch(1, 3)) == 3
            assert await cloud.send(DEVICE, EPOCH, SyncBatch(4, (), 3)) == 3
            assert await cloud.send(DEVICE, EPOCH, batch(2, 5)) == 5  # two are there already
            assert await cloud.send(DEVICE, "f" * 32, SyncBatch(1, (), 0)) == 0  # numbers are an epoch's own
            assert await cloud.send("c" * 32, EPOCH, SyncBatch(1, (), 0)) == 0

    store = open_store(tmp_path)
    play(scene())
    assert started(store) == [1, 2, 3, 4, 5]
    store.close()


def test_a_gap_is_not_taken_unless_it_is_told(make: Make, tmp_path: Path) -> None:
    async def scene() -> None:
        async with make(store, []) as cloud:
            assert await cloud.send(DEVICE, EPOCH, batch(1, 1)) == 1
            assert await cloud.send(DEVICE, EPOCH, batch(5, 6)) == 1
            assert await cloud.send(DEVICE, EPOCH, batch(5, 6, after=1)) == 6

    store = open_store(tmp_path)
    play(scene())
    assert started(store) == [1, 5, 6]
    store.close()


@pytest.mark.parametrize(("fault", "arrived"), [(NOW, 0), (GONE, 2)])
def test_nothing_is_known_after_an_error_but_it_can_be_asked(
    make: Make, tmp_path: Path, fault: str, arrived: int
) -> None:
    async def scene() -> None:
        async with make(store, [fault, "", fault]) as cloud:
            with pytest.raises(CloudError):
                await cloud.send(DEVICE, EPOCH, batch(1, 2))
            assert await cloud.send(DEVICE, EPOCH, SyncBatch(1, (), 0)) == arrived
            with pytest.raises(CloudError):
                await cloud.send(DEVICE, EPOCH, SyncBatch(1, (), 0))
            assert await cloud.send(DEVICE, EPOCH, batch(1, 2)) == 2

    store = open_store(tmp_path)
    play(scene())
    assert started(store) == [1, 2]
    store.close()
