"""Alarms under clocks that jump, summer time and restarts; the time is a test's own."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk.buffer.shelf import Shelf
from edgewhisk.clock import SystemClock
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import FeedError
from edgewhisk.feed.cron import AlarmsFeed
from tests.fakes.fire import RecordingFire

T = parse_name("/guest/t", "_")
DAY = 86_400.0


class Hands(SystemClock):
    """A clock whose hands a test moves."""

    def __init__(self, wall: str) -> None:
        self.wall = datetime.fromisoformat(wall).replace(tzinfo=UTC).timestamp()
        self.passed = 1000.0

    def now(self) -> int:
        return round(self.wall * 1000)

    def monotonic(self) -> float:
        return self.passed

    def set(self, wall: str) -> None:
        """NTP, or a person, sets the wall clock."""
        self.wall = datetime.fromisoformat(wall).replace(tzinfo=UTC).timestamp()


class Life:
    """One life of the feed."""

    def __init__(self, folder: Path, clock: Hands) -> None:
        self.shelf = Shelf.open(folder)
        self.clock = clock
        self.fire = RecordingFire()
        self.feed = AlarmsFeed(self.fire, clock, self.shelf)

    async def add(self, action: str, **parameters: Any) -> None:
        await self.feed.add(T, f"alarms/{action}", self.feed.check(f"alarms/{action}", parameters))

    async def pass_(self, seconds: float, step: float = 1.0) -> int:
        """Let time pass; how often the alarm fired meanwhile."""
        before = len(self.fire.events)
        end = self.clock.passed + seconds
        await self.feed.look()
        while self.clock.passed < end:
            move = min(step, end - self.clock.passed)
            self.clock.passed += move
            self.clock.wall += move
            await self.feed.look()
        return len(self.fire.events) - before

    @property
    def told(self) -> dict[str, Any]:
        return self.feed.describe(T)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scene())  # type: ignore[arg-type]


def test_a_gateway_that_starts_in_1970(tmp_path: Path) -> None:
    async def scene() -> None:
        life = Life(tmp_path, Hands("1970-01-01T00:00:10"))
        await life.add("alarm", cron="* * * * *")
        assert await life.pass_(300) == 0
        assert life.told["state"] == "waiting for the clock to be set"
        life.clock.set("2026-05-01T12:00:30")  # 56 years of minutes
        assert await life.pass_(60) == 1
        assert (life.told["state"], life.told["clock_jumps"]) == ("running", 1)
        await life.shelf.close()

    play(scene)


def test_intervals_go_on_whatever_the_clock_says(tmp_path: Path) -> None:
    async def scene() -> None:
        life = Life(tmp_path, Hands("1970-01-01T00:00:10"))
        await life.add("interval", seconds=10)
        assert 3 <= await life.pass_(30) <= 4
        for wall in ("2026-05-01T12:00:30", "2001-01-01T00:00:00", "2026-05-01T12:00:31"):
            life.clock.set(wall)
            assert await life.pass_(30) == 3
        await life.shelf.close()

    play(scene)


@pytest.mark.parametrize(("missed", "expected"), [("skip", 0), ("once", 1)])
def test_times_that_went_by(tmp_path: Path, missed: str, expected: int) -> None:
    async def scene() -> None:
        life = Life(tmp_path, Hands("2026-05-01T11:59:00"))
        await life.add("alarm", cron="0 * * * *", missed=missed)
        assert await life.pass_(90) == 1
        await life.shelf.close()
        later = Life(tmp_path, life.clock)  # off for three days
        later.clock.wall += 3 * DAY
        await later.add("alarm", cron="0 * * * *", missed=missed)
        assert await later.pass_(10) == expected
        assert await later.pass_(3600, 10) == 1
        later.clock.wall += 5 * 3600  # set forward by five hours
        assert await later.pass_(10) == expected
        if missed == "skip":
            assert later.told["missed"] == 1
        assert await later.pass_(3600, 10) == 1
        await later.shelf.close()

    play(scene)


def test_a_clock_that_is_set_back_neither_hangs_nor_storms(tmp_path: Path) -> None:
    async def scene() -> None:
        life = Life(tmp_path, Hands("2026-05-01T12:00:30"))
        await life.add("alarm", cron="*/5 * * * *")
        assert await life.pass_(300) == 1
        life.clock.set("2025-06-01T12:00:30")
        assert await life.pass_(300) == 1
        await life.shelf.close()

    play(scene)


def test_how_often_is_counted_over_restarts(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = Hands("2026-05-01T12:00:30")
        for expected in (2, 1, 0):
            life = Life(tmp_path, clock)
            await life.add("alarm", cron="* * * * *", maxTriggers=3)
            assert await life.pass_(120) == expected
            await life.shelf.close()
        assert life.told["state"] == "finished"
        life = Life(tmp_path, clock)
        await life.add("alarm", cron="* * * * *", maxTriggers=4)  # another alarm: counts anew
        assert await life.pass_(120) == 2
        await life.shelf.close()

    play(scene)


def test_once_is_once_and_late_rather_than_never(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = Hands("2026-05-01T12:00:00")
        life = Life(tmp_path, clock)
        await life.add("once", date="2026-05-01T13:00:00Z")
        assert await life.pass_(60) == 0
        await life.shelf.close()
        clock.wall += 2 * DAY
        for expected in (1, 0):
            life = Life(tmp_path, clock)
            await life.add("once", date="2026-05-01T13:00:00Z")
            assert await life.pass_(60) == expected
            await life.shelf.close()

    play(scene)


@pytest.mark.parametrize(
    ("begin", "cron", "fires"),
    [
        # Berlin has no 02:30 on 29 March 2026, and two of them on 25 October.
        ("2026-03-29T00:00:00", "30 2 * * *", 1),
        ("2026-10-25T00:00:00", "30 2 * * *", 1),
        ("2026-03-29T00:00:00", "0 * * * *", 23),
        ("2026-10-25T00:00:00", "0 * * * *", 25),
    ],
)
def test_summer_time(tmp_path: Path, begin: str, cron: str, fires: int) -> None:
    """Of a whole local day."""

    async def scene() -> None:
        offset = 1 if begin.startswith("2026-03") else 2
        clock = Hands(begin)
        clock.wall -= offset * 3600 + 1
        life = Life(tmp_path, clock)
        await life.add("alarm", cron=cron, timezone="Europe/Berlin")
        hours = 23 if offset == 1 else 25
        assert await life.pass_(hours * 3600, 20) == fires
        await life.shelf.close()

    play(scene)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-4e9, 4e9), st.floats(0, 400)), max_size=8),
    st.sampled_from(["skip", "once"]),
    st.sampled_from(["* * * * * *", "*/7 * * * *", "0 3 * * *"]),
)
def test_no_clock_makes_a_storm_or_a_hang(jumps: list[tuple[float, float]], missed: str, cron: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(survive(Path(folder), jumps, missed, cron))


async def survive(folder: Path, jumps: list[tuple[float, float]], missed: str, cron: str) -> None:
    life = Life(folder, Hands("2026-05-01T12:00:00"))
    await life.add("alarm", cron=cron, missed=missed)
    for by, passing in jumps:
        life.clock.wall = min(max(0.0, life.clock.wall + by), 4e9)
        # At most once a second, once for what was missed, and once on the edge.
        assert await life.pass_(passing, 1.0) <= passing + 3
    life.clock.set("2026-05-01T02:59:00")
    assert await life.pass_(450) >= 1
    await life.shelf.close()


def test_missed_has_two_choices(tmp_path: Path) -> None:
    async def scene() -> None:
        life = Life(tmp_path, Hands("2026-05-01T12:00:00"))
        with pytest.raises(FeedError, match="missed must be skip or once"):
            await life.add("alarm", cron="* * * * *", missed="all")

    play(scene)


@pytest.mark.parametrize(
    ("seconds", "fired", "missed"),
    [(30, 1, 0), (90, 0, 1)],  # late is better than never, up to a minute
)
def test_while_the_queue_is_full_alarms_wait_and_then_count_as_missed(
    tmp_path: Path, seconds: int, fired: int, missed: int
) -> None:
    async def scene() -> None:
        life = Life(tmp_path, Hands("2026-05-01T12:59:50"))
        await life.add("alarm", cron="0 13 * * *")
        life.fire.fill()
        assert await life.pass_(10 + seconds) == 0
        assert life.told["queue_full"] > 0
        life.fire.make_room()
        assert await life.pass_(1) == fired
        assert life.told["missed"] == missed
        await life.shelf.close()

    play(scene)


def test_intervals_that_went_by_while_the_queue_was_full_are_counted(tmp_path: Path) -> None:
    async def scene() -> None:
        life = Life(tmp_path, Hands("2026-05-01T12:00:30"))
        await life.add("interval", seconds=10)
        assert await life.pass_(15) >= 1
        life.fire.fill()
        await life.pass_(40)
        life.fire.make_room()
        await life.pass_(1)
        assert life.told["fired"] + life.told["missed"] == 6
        assert life.told["missed"] == 3
        await life.shelf.close()

    play(scene)
