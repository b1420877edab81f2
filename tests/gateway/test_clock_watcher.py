"""What the gateway knows of its clock, over restarts and reboots."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.clock.age import CONFIRMED, PLAUSIBLE, Age
from edgewhisk.clock.history import COLLECTION, MAX_BOOTS
from edgewhisk.config.schema import BufferConfig, LaneConfig
from edgewhisk.entity.activation import stamp
from edgewhisk.entity.annotations.lane import NORMAL
from edgewhisk.gateway import clock_watcher as module
from edgewhisk.gateway.clock_watcher import ClockWatcher
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.store.log import log as log_module
from tests.fakes.clock import HandClock, ms
from tests.fakes.disk import FaultyDisk
from tests.store.activations.test_activations import commit, record


async def life(folder: Path, clock: HandClock, *sets: str) -> ClockWatcher:
    """One life, in which the clock is set."""
    shelf = LogDocumentStore.open(folder)
    keeper = ClockWatcher(clock, shelf)
    await keeper.look()
    for wall in sets:
        clock.pass_(10)
        clock.set(wall)
        await keeper.look()
    await shelf.close()
    return keeper


def test_it_is_told_who_waits_and_remembered(tmp_path: Path) -> None:
    async def scene() -> None:
        shelf, clock, told = LogDocumentStore.open(tmp_path), HandClock("1970-01-01T00:00:20"), []
        keeper = ClockWatcher(clock, shelf)
        keeper.was_set.append(lambda: told.append(clock.now()))
        await keeper.look()
        assert keeper.describe() == {
            "now": "1970-01-01T00:00:20.000000000Z",
            "sureness": "unset",
            "boots": 1,
            "never_set": 0,
            "steps": 0,
            "last_error": "",
        }
        assert "never set" in keeper.problem()
        told.clear()
        await keeper.look()
        assert told == []
        clock.set("2026-05-01T12:00:00")
        await keeper.look()
        assert told == [ms("2026-05-01T12:00:00")]
        assert keeper.describe()["sureness"] == "set"
        assert keeper.problem() == ""
        clock.vouched = True
        await keeper.look()
        assert keeper.sureness == "kept"
        assert shelf.read(COLLECTION)["b0000001"]["until"] == 20_000
        await shelf.close()

    asyncio.run(scene())


# -- what expires ---------------------------------------------------------------------------------

HOUR = 3_600_000  # ms


class Kept:
    """A store of records that expire after a day, on a machine whose clock a test sets."""

    def __init__(self, folder: Path, clock: HandClock) -> None:
        self.clock = clock
        self.shelf = LogDocumentStore.open(folder / "shelf")
        self.keeper = ClockWatcher(clock, self.shelf)
        settings = BufferConfig(min_free_bytes=0, commit_window=0)
        self.store = ActivationLog.open(
            folder / "buffer",
            settings,
            clock,
            lanes={NORMAL: LaneConfig(ttl=86_400)},
            history=self.keeper.history,
            earliest=self.keeper.earliest,
        )

    async def expired(self, hours: float = 0) -> int:
        """How many are gone when so many hours have passed."""
        for _ in range(max(1, round(hours))):
            self.clock.pass_(3600 if hours else 0)
            await self.keeper.look()
        await asyncio.to_thread(self.store.tend)
        return self.store.stats().expired

    async def record(self) -> None:
        """One more, of now."""
        now = self.clock.now()
        made = record(now)
        stamped = orjson.loads(made.text)
        stamped["annotations"].append(stamp(now, self.clock.timing))
        await asyncio.to_thread(commit, self.store, made._replace(text=orjson.dumps(stamped)))

    async def close(self) -> None:
        self.store.close()
        await self.shelf.close()


@pytest.mark.parametrize("vouched", [False, True])
@pytest.mark.parametrize("wall", ["2082-05-01T12:00:00", "2031-01-01T00:00:00", "2026-06-10T12:00:00"])
def test_nothing_expires_by_a_clock_that_is_ahead_for_a_while(
    tmp_path: Path, wall: str, vouched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "SEGMENT", 100)  # a record each

    async def scene() -> None:
        clock = HandClock("2026-05-01T12:00:00")
        clock.vouched = vouched
        kept = Kept(tmp_path, clock)
        await kept.keeper.look()
        await kept.record()
        clock.set(wall)
        assert await kept.expired() == 0
        if "2031" in wall:
            assert "nothing expires by it" in kept.keeper.problem()
        await kept.record()
        for boot in ("b0000001", "b0000002", "b0000003"):  # the gateway starts again, then the machine, twice
            await kept.close()
            clock = HandClock(wall, boot=boot, up=clock.passed + 1000 if boot == "b0000001" else 5000)
            clock.vouched = vouched
            kept = Kept(tmp_path, clock)
            assert await kept.expired(2) == 0
            await kept.record()
        clock.set("2026-05-01T20:00:00")
        assert await kept.expired() == 0
        assert kept.keeper.problem() == ""
        await kept.record()
        assert await kept.expired(30) > 0  # as it should, whatever times stand in what is old
        await kept.close()

    asyncio.run(scene())


def test_a_clock_that_was_set_far_ahead_is_believed_after_a_day(tmp_path: Path) -> None:
    async def scene() -> None:
        kept = Kept(tmp_path, HandClock("2026-05-01T12:00:00"))
        await kept.keeper.look()
        await kept.record()
        kept.clock.set("2026-08-01T12:00:00")  # it was off for months, say
        assert await kept.expired(20) == 0
        assert await kept.expired(6) == 1
        await kept.close()

    asyncio.run(scene())


def test_a_gateway_without_a_battery_lets_expire_what_is_old(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = HandClock("1970-01-01T00:00:20")
        kept = Kept(tmp_path, clock)
        assert await kept.expired(30) == 0  # nobody knows the time
        clock.set("2026-05-01T12:00:00")
        await kept.keeper.look()
        await kept.record()
        assert await kept.expired(23) == 0
        assert await kept.expired(2) == 1
        await kept.close()

    asyncio.run(scene())


@given(st.lists(st.tuples(st.integers(0, 30 * HOUR), st.integers(0, 2 * 10**15)), max_size=30))
def test_no_clock_makes_more_time_pass_than_has(steps: list[tuple[int, int]]) -> None:
    """But an hour a step, unless it has stood for a day."""
    begin, up = ms("2026-05-01T12:00:00"), 0
    age = Age({"at": begin, "boot": "b", "up": 0})
    for count, (passed, said) in enumerate(steps, 1):
        up += min(passed, HOUR)
        age.look("b", up, said)
        assert age.now(up) <= begin + up + count * PLAUSIBLE or up >= CONFIRMED
        assert age.now(up) > 0


def test_boots_are_known_in_order_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewhisk.clock.history.MAX_BOOTS", 3)
    assert MAX_BOOTS == 1024
    for n in range(5):
        asyncio.run(life(tmp_path, HandClock("1970-01-01T00:00:20", boot=f"{9 - n:08x}")))
    shelf = LogDocumentStore.open(tmp_path)
    assert sorted(shelf.read(COLLECTION)) == [f"{9 - n:08x}" for n in (4, 3, 2)]
    keeper = asyncio.run(life(tmp_path, HandClock("2026-05-01T12:00:00", boot="00000001")))
    assert keeper.describe()["never_set"] == 2


@pytest.mark.parametrize(
    ("wall", "keeper", "waits"),
    [
        ("1970-01-01T00:00:20", False, True),
        ("2026-05-01T12:00:00", True, True),  # a time service runs: it may be about to set it
        ("2026-05-01T12:00:00", False, False),
    ],
)
def test_the_cloud_waits_for_a_clock_that_is_about_to_be_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wall: str, keeper: bool, waits: bool
) -> None:
    monkeypatch.setattr(module, "LOOK", 0.01)

    async def scene() -> None:
        clock = HandClock(wall)
        clock.keeper = keeper
        made = await life(tmp_path, clock)
        async with asyncio.timeout(20):
            waiting = asyncio.create_task(made.settled())
            await asyncio.sleep(0.05)
            assert waiting.done() is not waits
            if waits:
                clock.set("2026-05-01T13:00:00")
                clock.look()
                made.history.see(clock.timing, clock.up(), kept=True)
            await waiting
            monkeypatch.setattr(module, "MAX_CLOUD_WAIT", 0.03)
            clock.set(wall)
            await ClockWatcher(clock, LogDocumentStore.open(tmp_path / "other")).settled()  # not for ever

    asyncio.run(scene())


def test_a_disk_that_refuses_stops_nothing_and_is_tried_again(tmp_path: Path) -> None:
    async def scene() -> None:
        disk, clock = FaultyDisk(), HandClock("1970-01-01T00:00:20")
        shelf = LogDocumentStore.open(tmp_path, disk)
        keeper = ClockWatcher(clock, shelf)
        disk.full = True
        await keeper.look()
        clock.set("2026-05-01T12:00:00")
        await keeper.look()
        assert keeper.sureness == "set"
        assert "the disk is full" in keeper.describe()["last_error"]
        disk.full = False
        await keeper.look()
        assert keeper.describe()["last_error"] == ""
        assert shelf.read(COLLECTION)["b0000001"]["sureness"] == "set"
        await shelf.close()

    asyncio.run(scene())
