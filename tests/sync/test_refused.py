"""A record that the cloud always refuses, over real HTTP: it alone stays here, counted; all others go on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.clock.system import SystemClock
from edgewhisk.spi import Query, SyncBatch
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.store.export import export
from edgewhisk.sync import doubt as doubts
from edgewhisk.sync import sync as module
from edgewhisk.sync.doubt import Doubt
from edgewhisk.sync.sync import Sync
from edgewhisk.sync.uplink import UplinkState
from tests.store.activations.test_activations import commit, open_store, record
from tests.sync.cloud import HttpCloud, whole

Refuses = Callable[[list[int], int], bytes | None]  # numbers in a batch, size of its body -> the answer


class Picky(HttpCloud):
    """A real ingest behind a door that refuses some batches; `seen` are the numbers in each."""

    def __init__(self, store: ActivationLog, refuses: Refuses) -> None:
        super().__init__(store, self._look)
        self.refuses = refuses
        self.seen: list[list[int]] = []

    def _look(self, body: bytes) -> bytes | None:
        self.seen.append([one["start"] for one in orjson.loads(body)["records"]])
        return self.refuses(self.seen[-1], len(body))


@contextlib.asynccontextmanager
async def syncing(edge: ActivationLog, cloud: Picky) -> AsyncIterator[Sync]:
    async with cloud.door() as door:
        sync = Sync(edge, door, SystemClock(), interval=0)
        task = asyncio.create_task(sync.run())
        try:
            yield sync
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(met: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not met():  # noqa: ASYNC110 - a real loop
            await asyncio.sleep(0.002)


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAUSE", (0.01, 0.01))
        patch.setattr(module, "PAUSE_LONG", 0.0)
        patch.setattr(doubts, "LONG", 0.02)
        yield


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[ActivationLog, ActivationLog]]:
    edge, far = open_store(tmp_path / "edge"), open_store(tmp_path / "cloud")
    yield edge, far
    edge.close()
    far.close()


def starts(store: ActivationLog) -> list[int]:
    """The records that `record` made, in order."""
    return [one["start"] for one in store.list(Query("guest", "a", limit=1000))][::-1]


REFUSALS = {
    "400": whole(b'{"error": "no"}', status=b"400 Bad Request"),
    "409": whole(b"", status=b"409 Conflict"),
    "413": whole(b"", status=b"413 Content Too Large"),
    "422": whole(b"{}", status=b"422 Unprocessable"),
    "500": whole(b"oops", status=b"500 Internal Server Error"),
    "502": whole(b'{"error": "the action raised"}', status=b"502 Bad Gateway"),
    "200 with an error": whole(b'{"error": "column too narrow"}'),
}


@pytest.mark.parametrize(
    ("why", "bad"), [*((why, {7}) for why in REFUSALS), ("422", {1}), ("400", {6, 7}), ("502", {1, 2, 3, 9})]
)
def test_one_that_is_always_refused_stays_here_alone(
    why: str, bad: set[int], stores: tuple[ActivationLog, ActivationLog]
) -> None:
    edge, far = stores
    commit(edge, *(record(n) for n in range(1, 13)))
    cloud = Picky(far, lambda found, _: REFUSALS[why] if bad & set(found) else None)

    async def play() -> None:
        async with syncing(edge, cloud) as sync:
            await until(lambda: not edge.stats().unsynced and sync.state is UplinkState.IDLE)
            assert sync.describe()["last_refused"] == f"{max(bad):032x}"
            assert sync.describe()["in_doubt"] == []

    asyncio.run(play())
    assert starts(far) == [n for n in range(1, 13) if n not in bad]
    for n in bad:
        assert cloud.seen.count([n]) >= doubts.TIMES
        assert edge.get(f"{n:032x}") is not None
    assert starts(edge) == list(range(1, 13))
    assert edge.stats().refused == edge.stats().lanes["normal"]["refused"] == len(bad)
    told = [one for one in edge.list(Query("guest", limit=100)) if one["name"] == "loss"]
    assert sum(one["response"]["result"]["count"] for one in told) >= 1
    assert all(one["response"]["result"]["reason"] == "refused" for one in told)


def test_one_that_is_larger_than_the_cloud_takes_stays_here_alone(
    stores: tuple[ActivationLog, ActivationLog],
) -> None:
    edge, far = stores
    commit(edge, *(record(n, size=20_000 if n == 4 else 10) for n in range(1, 9)))
    cloud = Picky(far, lambda _, size: REFUSALS["413"] if size > 10_000 else None)

    async def play() -> None:
        async with syncing(edge, cloud):
            await until(lambda: not edge.stats().unsynced)

    asyncio.run(play())
    assert starts(far) == [1, 2, 3, 5, 6, 7, 8]
    assert edge.stats().refused == 1


def test_the_last_one_waits_for_others_and_does_not_hold_up_another_lane(
    stores: tuple[ActivationLog, ActivationLog],
) -> None:
    edge, far = stores
    commit(edge, record(1))
    cloud = Picky(far, lambda found, _: REFUSALS["400"] if 1 in found else None)

    async def play() -> None:
        async with syncing(edge, cloud) as sync:
            await until(lambda: sync.describe()["in_doubt"])
            assert edge.stats().refused == 0
            await asyncio.to_thread(commit, edge, record(2)._replace(lane="telemetry"))
            sync.wake()
            await until(lambda: not edge.stats().unsynced)

    asyncio.run(play())
    assert starts(far) == [2]
    assert edge.stats().refused == edge.stats().lanes["normal"]["refused"] == 1


@pytest.mark.parametrize("status", [b"400 X", b"401 X", b"404 X", b"413 X", b"500 X"])
@pytest.mark.parametrize("answers", [True, False])
def test_a_cloud_that_refuses_all_gets_all_once_it_is_mended(
    status: bytes, answers: bool, stores: tuple[ActivationLog, ActivationLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubts, "MAX_DOUBTFUL", 3)
    edge, far = stores
    commit(edge, *(record(n) for n in range(1, 9)))
    told: set[str] = set()
    person = mended = False

    def refuses(found: list[int], _size: int) -> bytes | None:
        nonlocal mended
        mended |= person and not found  # not between two records, of which one would tell against the other
        return None if mended or (answers and not found) else whole(b"", status=status)

    cloud = Picky(far, refuses)

    async def play() -> None:
        nonlocal person
        async with syncing(edge, cloud) as sync:

            def seen() -> bool:
                told.add(sync.last_error)
                return len(cloud.seen) > 80

            await until(seen)
            assert any(f"answered {status.decode()[:3]}" in error for error in told)
            assert edge.stats().refused == 0
            assert edge.stats().unsynced == 8
            person = True
            await until(lambda: not edge.stats().unsynced)

    asyncio.run(play())
    assert starts(far) == list(range(1, 9))
    assert edge.stats().refused == 0


_LIFE = """
import asyncio, sys
from pathlib import Path
from edgewhisk.clock.system import SystemClock
from edgewhisk.sync import doubt, sync as module
from tests.store.activations.test_activations import open_store
from tests.sync.cloud import openwhisk
module.PAUSE, module.PAUSE_LONG, doubt.LONG = (0.01, 0.01), 0.0, 0.02

async def main():
    edge = open_store(Path(sys.argv[1]))
    door = openwhisk(sys.argv[2], "i/i")
    await module.Sync(edge, door, SystemClock(), interval=0).run()
asyncio.run(main())
"""


def test_killed_at_any_moment_each_other_one_arrives_and_the_refused_is_counted(tmp_path: Path) -> None:
    """Lives that end by kill -9 after ever more requests, until one has nothing left to send."""
    edge, far = open_store(tmp_path / "edge"), open_store(tmp_path / "cloud")
    commit(edge, *(record(n) for n in range(1, 7)))
    edge.close()
    cloud = Picky(far, lambda found, _: REFUSALS["422"] if 3 in found else None)

    async def life(url: str, requests: int) -> None:
        before = len(cloud.seen)
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", _LIFE, tmp_path / "edge", url)
        try:
            await until(lambda: len(cloud.seen) >= before + requests or starts(far)[-1:] == [6])
        finally:
            os.kill(child.pid, signal.SIGKILL)
            await child.wait()

    async def play() -> None:
        async with cloud.serving() as url:
            for requests in (3, 8, 12, 1000):  # the answer to the last may never be heard
                await life(url, requests)
        again = open_store(tmp_path / "edge")
        async with syncing(again, cloud):
            await until(lambda: not again.stats().unsynced)
        again.close()

    asyncio.run(play())
    assert starts(far) == [1, 2, 4, 5, 6]
    far.close()
    again = open_store(tmp_path / "edge")  # also after a clean end
    assert again.stats().refused == 1
    assert again.get(f"{3:032x}") is not None
    again.close()
    lines = [orjson.loads(one.line) for one in export(tmp_path / "edge") if one.line]
    told = {one["number"]: one["synced"] for one in lines if one["lane"] == "normal"}
    assert told == {1: True, 2: True, 3: False, 4: True, 5: True, 6: True}


@given(st.lists(st.tuples(st.integers(1, 3), st.floats(0, 300)), max_size=60))
def test_none_is_in_doubt_before_it_was_refused_often_and_for_long(tries: list[tuple[int, float]]) -> None:
    doubt, now = Doubt(), 0.0
    run: list[tuple[int, float]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doubts, "LONG", 600.0)
        for number, later in tries:
            now += later
            run = [*(run if run and run[-1][0] == number else []), (number, now)]
            if doubt.refused(SyncBatch(number, (b"{}",), 0, "e"), now):
                assert len(run) >= doubts.TIMES
                assert now - run[0][1] >= 600
                doubt.settle()
                run = []
