"""Alarms under clocks that jump, summer time and restarts; the time is a test's own."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.errors import FeedError, ServiceError, StorageError
from edgewhisk.feed.alarms.feed import LOOK, AlarmsFeed, _next
from edgewhisk.feed.alarms.request import create
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.store.log.disk import Disk
from tests.fakes.clock import HandClock
from tests.fakes.disk import FaultyDisk
from tests.fakes.fire import RecordingFire

T = parse_name("/guest/t", "_")
DAY = 86_400.0
NOTHING: Any = None  # no shelf: `check` keeps nothing


class Life:
    """One life of the feed."""

    def __init__(self, folder: Path, clock: HandClock, disk: Disk | None = None) -> None:
        self.shelf = LogDocumentStore.open(folder, disk)
        self.clock = clock
        self.fire = RecordingFire()
        self.feed = AlarmsFeed(self.fire, clock, self.shelf)

    async def add(self, action: str, **parameters: Any) -> None:
        await self.feed.add(T, f"alarms/{action}", self.feed.check(f"alarms/{action}", parameters))

    async def again(self, action: str, **parameters: Any) -> None:
        """Add what an earlier life stored; its dates may be over by now."""
        await self.feed.add(T, f"alarms/{action}", create(f"alarms/{action}", parameters, None))

    async def pass_(self, seconds: float, step: float = 1.0) -> int:
        """Let time pass; how often the alarm fired meanwhile."""
        before = len(self.fire.events)
        end = self.clock.passed + round(seconds * 1000)
        await self.feed.look()
        while (left := end - self.clock.passed) > 0:
            self.clock.pass_(min(step, left / 1000))
            await self.feed.look()
        return len(self.fire.events) - before

    @property
    def told(self) -> dict[str, Any]:
        return self.feed.describe(T)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scene())  # type: ignore[arg-type]


def test_a_gateway_that_starts_in_1970(tmp_path: Path) -> None:
    async def scene() -> None:
        life = Life(tmp_path, HandClock("1970-01-01T00:00:10"))
        await life.add("alarm", cron="* * * * *")
        assert await life.pass_(300) == 0
        assert life.told["state"] == "waiting for the clock to be set"
        life.clock.turn_to("2026-05-01T12:00:30")  # 56 years of minutes
        assert await life.pass_(60) == 1
        assert (life.told["state"], life.told["clock_jumps"]) == ("running", 1)
        await life.shelf.close()

    play(scene)


def test_intervals_go_on_whatever_the_clock_says(tmp_path: Path) -> None:
    async def scene() -> None:
        life = Life(tmp_path, HandClock("1970-01-01T00:00:10"))
        await life.add("interval", seconds=10)
        assert 3 <= await life.pass_(30) <= 4
        for wall in ("2026-05-01T12:00:30", "2001-01-01T00:00:00", "2026-05-01T12:00:31"):
            life.clock.turn_to(wall)
            assert await life.pass_(30) == 3
        await life.shelf.close()

    play(scene)


@pytest.mark.parametrize(("missed", "expected"), [("skip", 0), ("once", 1)])
def test_times_that_went_by(tmp_path: Path, missed: str, expected: int) -> None:
    async def scene() -> None:
        life = Life(tmp_path, HandClock("2026-05-01T11:59:00"))
        await life.add("alarm", cron="0 * * * *", missed=missed)
        assert await life.pass_(90) == 1
        await life.shelf.close()
        later = Life(tmp_path, life.clock)  # off for three days
        later.clock.turn(3 * DAY)
        await later.add("alarm", cron="0 * * * *", missed=missed)
        assert await later.pass_(10) == expected
        assert await later.pass_(3600, 10) == 1
        later.clock.turn(5 * 3600)  # set forward by five hours
        assert await later.pass_(10) == expected
        if missed == "skip":
            assert later.told["missed"] == 1
        assert await later.pass_(3600, 10) == 1
        await later.shelf.close()

    play(scene)


def test_a_clock_that_is_set_back_neither_hangs_nor_storms(tmp_path: Path) -> None:
    async def scene() -> None:
        life = Life(tmp_path, HandClock("2026-05-01T12:00:30"))
        await life.add("alarm", cron="*/5 * * * *")
        assert await life.pass_(300) == 1
        life.clock.turn_to("2025-06-01T12:00:30")
        assert await life.pass_(300) == 1
        await life.shelf.close()

    play(scene)


def test_how_often_is_counted_over_restarts(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = HandClock("2026-05-01T12:00:30")
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
        clock = HandClock("2026-05-01T12:00:00")
        life = Life(tmp_path, clock)
        await life.add("once", date="2026-05-01T13:00:00Z")
        assert await life.pass_(60) == 0
        await life.shelf.close()
        clock.turn(2 * DAY)
        for expected in (1, 0):
            life = Life(tmp_path, clock)
            await life.again("once", date="2026-05-01T13:00:00Z")
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
        clock = HandClock(begin)
        clock.turn(-(offset * 3600 + 1))
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
    life = Life(folder, HandClock("2026-05-01T12:00:00"))
    await life.add("alarm", cron=cron, missed=missed)
    for by, passing in jumps:
        now = life.clock.now() / 1000
        life.clock.turn(min(max(0.0, now + by), 4e9) - now)
        # At most once a second, once for what was missed, and once on the edge.
        assert await life.pass_(passing, 1.0) <= passing + 3
    life.clock.turn_to("2054-05-01T02:59:00")
    assert await life.pass_(450) >= 1
    await life.shelf.close()


def test_before_the_clock_is_set_nothing_spins(tmp_path: Path) -> None:
    async def scene() -> None:
        life = Life(tmp_path, HandClock("1970-01-01T00:00:10"))
        wishes: dict[str, dict[str, Any]] = {
            "alarm": {"cron": "* * * * * *"},
            "once": {"date": 1000},
            "interval": {"seconds": 5, "startDate": "1970-01-01T00:00:00"},
        }
        for name, wish in wishes.items():
            checked = life.feed.check(f"alarms/{name}", wish)
            await life.feed.add(parse_name(f"/guest/{name}", "_"), f"alarms/{name}", checked)
        for _ in range(20):
            assert await life.feed.look() == LOOK  # not every millisecond
            life.clock.pass_(1)
        assert life.fire.events == []
        assert {life.feed.describe(trigger)["next"] for trigger in life.feed._alarms} == {None}
        life.clock.turn_to("2026-05-01T12:00:30.5")
        assert await life.pass_(4.9) == 5 + 1 + 1
        await life.shelf.close()

    play(scene)


@pytest.mark.parametrize("cron", ["0 0 1 1 *", "* * * * *"])
def test_what_was_not_missed_is_not_made_up_for_when_the_clock_is_set(tmp_path: Path, cron: str) -> None:
    async def scene() -> None:
        life = Life(tmp_path, HandClock("2026-01-01T00:00:30"))
        await life.add("alarm", cron=cron, missed="once")
        await life.pass_(1)
        await life.shelf.close()
        clock = HandClock("1970-01-01T00:00:10")
        life = Life(tmp_path, clock)
        await life.add("alarm", cron=cron, missed="once")
        assert await life.pass_(100) == 0
        clock.turn_to("2026-01-01T00:00:40")  # nothing was due in these ten seconds
        assert await life.pass_(5) == 0
        await life.shelf.close()

    play(scene)


def test_what_fell_due_while_off_is_made_up_for_even_if_it_never_ran(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = HandClock("2026-05-01T12:00:30")
        for expected in (0, 1, 0):
            life = Life(tmp_path, clock)
            await life.add("alarm", cron="0 13 * * *", missed="once")
            assert await life.pass_(60) == expected
            await life.shelf.close()
            clock.turn(2 * 3600)

    play(scene)


def test_a_small_step_over_a_time_does_not_skip_it(tmp_path: Path) -> None:
    async def scene() -> None:
        life = Life(tmp_path, HandClock("2026-05-01T02:59:58"))
        await life.add("alarm", cron="0 3 * * *")
        assert await life.pass_(1) == 0
        life.clock.turn(6)  # NTP
        assert await life.pass_(10) == 1
        assert life.told["missed"] == 0
        await life.shelf.close()

    play(scene)


@pytest.mark.parametrize(("cron", "again"), [("0 3 * * *", 0), ("*/10 * * * *", 1)])
def test_a_daily_run_is_not_repeated_where_the_clock_is_set_back_a_little(
    tmp_path: Path, cron: str, again: int
) -> None:
    async def scene() -> None:
        life = Life(tmp_path, HandClock("2026-05-01T02:59:00"))
        await life.add("alarm", cron=cron)
        assert await life.pass_(62) == 1
        life.clock.turn(-5)  # NTP
        assert await life.pass_(60) == again
        life.clock.turn_to("2025-05-02T02:59:00")  # a year: the clock was wrong
        assert await life.pass_(62) == 1
        await life.shelf.close()

    play(scene)


def test_a_clock_that_was_years_ahead_does_not_silence_an_alarm_after_a_restart(tmp_path: Path) -> None:
    async def scene() -> None:
        life = Life(tmp_path, HandClock("2036-05-01T12:00:30"))
        await life.add("alarm", cron="* * * * *", missed="once", maxTriggers=50)
        assert await life.pass_(60) == 1
        await life.shelf.close()
        life = Life(tmp_path, HandClock("2026-05-01T12:00:30"))
        await life.add("alarm", cron="* * * * *", missed="once", maxTriggers=50)
        assert await life.pass_(120) == 2
        await life.shelf.close()

    play(scene)


@pytest.mark.parametrize("ahead", ["2082-05-01T12:00:00", "2031-05-01T12:00:00"])
@pytest.mark.parametrize(
    ("action", "parameters", "fired"),
    [
        ("alarm", {"cron": "0 * * * *", "stopDate": "2030-05-01T20:00:00Z"}, 5),
        ("interval", {"minutes": 60, "stopDate": "2030-05-01T20:00:00Z"}, 5),
        ("once", {"date": "2050-05-01T13:00:00Z"}, 0),
    ],
)
def test_a_clock_that_is_decades_ahead_for_a_while_ends_no_alarm(
    tmp_path: Path, ahead: str, action: str, parameters: dict[str, Any], fired: int
) -> None:
    async def scene() -> None:
        life = Life(tmp_path, HandClock("2026-05-01T12:00:30"))
        await life.add(action, **parameters)
        life.clock.turn_to(ahead)
        assert await life.pass_(60) <= 1
        life.clock.turn_to("2026-05-01T12:02:00")
        before = len(life.fire.events)
        await life.pass_(5 * 3600, 10)
        assert len(life.fire.events) - before == fired
        assert life.told["state"] == "running"
        assert life.told["next"] is not None
        await life.shelf.close()

    play(scene)


def test_an_interval_keeps_to_its_dates_whatever_the_clock_does(tmp_path: Path) -> None:
    dates = {"startDate": "2026-05-01T12:10:00Z", "stopDate": "2026-05-01T12:20:00Z"}

    async def scene() -> None:
        life = Life(tmp_path, HandClock("1970-01-01T00:00:10"))
        await life.add("interval", minutes=5, **dates)
        assert await life.pass_(600) == 0  # it names a time, and nobody knows the time
        life.clock.turn_to("2026-05-01T12:00:00")
        assert await life.pass_(595) == 0
        life.clock.turn(-60)
        assert await life.pass_(60) == 0
        assert await life.pass_(3600, 5) == 3  # at 12:10, 12:15 and 12:20
        assert life.told["state"] == "finished"
        await life.shelf.close()
        for wall, expected in (("2026-05-01T12:20:01", 0), ("2027-05-01T12:00:00", 0)):
            life = Life(tmp_path, HandClock(wall))  # behind its end, started again
            life.feed._alarms.clear()
            await life.feed.add(T, "alarms/interval", {"seconds": 300, "trigger_payload": {}, **dates})
            assert await life.pass_(900) == expected
            await life.shelf.close()
        life = Life(tmp_path, HandClock("2026-05-01T12:12:00"))
        await life.again("interval", minutes=5, **dates)
        life.clock.turn_to("2026-05-01T12:30:00")  # over its end
        assert await life.pass_(900) == 0
        await life.shelf.close()

    play(scene)


def test_an_interval_without_dates_goes_by_no_clock(tmp_path: Path) -> None:
    async def scene() -> None:
        life = Life(tmp_path, HandClock("1970-01-01T00:00:10"))
        await life.add("interval", minutes=1)
        assert await life.pass_(179) == 3
        for wall in ("2026-05-01T12:00:31", "2001-01-01T00:00:00", "2026-05-01T12:00:31"):
            life.clock.turn_to(wall)
            assert await life.pass_(60) == 1
        await life.shelf.close()

    play(scene)


def test_an_alarm_runs_though_the_disk_does_not_keep_its_count_at_the_start(tmp_path: Path) -> None:
    async def scene() -> None:
        disk = FaultyDisk()
        life = Life(tmp_path, HandClock("2026-05-01T12:00:30"), disk)
        disk.full = True
        await life.add("alarm", cron="* * * * *", maxTriggers=3)
        assert "the disk is full" in life.told["last_error"]
        disk.full = False
        assert await life.pass_(60) == 1
        assert life.told["last_error"] == ""
        assert life.shelf.read("alarms")[T.key]["fired"] == 1
        await life.shelf.close()

    play(scene)


def test_what_the_disk_refuses_is_fired_when_it_takes_it(tmp_path: Path) -> None:
    async def scene() -> None:
        life = Life(tmp_path, HandClock("2026-05-01T12:59:58"))
        await life.add("once", date="2026-05-01T13:00:00Z")
        life.fire.refuse()
        await life.pass_(10)
        assert "full" in life.told["last_error"]
        life.fire.refuse(on=False)
        life.fire.calls.clear()
        assert await life.pass_(5) == 1
        assert await life.pass_(60) == 0
        assert life.told["last_error"] == ""
        await life.shelf.close()

    play(scene)


def test_a_full_queue_holds_alarms_back_without_a_storm(tmp_path: Path) -> None:
    async def scene() -> None:
        life = Life(tmp_path, HandClock("2026-05-01T12:00:00.5"))
        await life.add("alarm", cron="* * * * * *")
        life.fire.fill()
        assert await life.pass_(3600, 2) == 0
        life.fire.make_room()
        assert life.fire.resumed == 1  # asked once, not at every look
        assert await life.pass_(10) <= 11
        assert life.told["missed"] == 1
        await life.shelf.close()

    play(scene)


def test_a_pause_forgets_neither_counts_nor_what_was_fired(tmp_path: Path) -> None:
    async def scene() -> None:
        life = Life(tmp_path, HandClock("2026-05-01T12:00:00"))
        await life.add("once", date="2026-05-01T12:00:05Z")
        assert await life.pass_(10) == 1
        await life.feed.remove(T, keep=True)
        await life.again("once", date="2026-05-01T12:00:05Z")
        assert await life.pass_(10) == 0
        await life.feed.remove(T)
        assert life.shelf.read("alarms") == {}
        await life.shelf.close()

    play(scene)


ZONES = {  # two changes each: across midnight, by half an hour, ordinary, and a day that never was
    "Europe/Berlin": 2026,
    "America/Sao_Paulo": 2018,
    "Australia/Lord_Howe": 2026,
    "America/Havana": 2026,
    "Africa/Cairo": 2026,
    "Pacific/Apia": 2011,
}


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", ["0 0 * * *", "15 0 * * *", "30 1 * * *", "30 2 * * *", "30 23 * * *"])
def test_a_daily_alarm_is_fired_once_each_day_of_the_year(zone: str, cron: str) -> None:
    """Of apscheduler's own zones, midnight is lost on the day after summer time begins."""
    following = _next("alarms/alarm", {"cron": cron, "timezone": zone})
    at, days = datetime(ZONES[zone], 1, 2, tzinfo=UTC), Counter[date]()
    while (found := following(at)) is not None and found.year == ZONES[zone]:
        days[found.astimezone(ZoneInfo(zone)).date()] += 1
        assert found >= at
        at = found + timedelta(seconds=1)
    day, end = date(ZONES[zone], 1, 3), date(ZONES[zone], 12, 30)
    while day < end:
        assert days[day] == 1, day
        day += timedelta(days=1)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "America/Havana"])
def test_every_minute_is_every_minute_through_both_changes(zone: str) -> None:
    following = _next("alarms/alarm", {"cron": "*/15 * * * *", "timezone": zone})
    at, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    while (found := following(at)) is not None and found < end:
        assert found == at
        at = found + timedelta(minutes=15)
    assert at == end


def _days(least: int, most: int) -> Any:
    """A list of days as a field of a cron line, and the days."""
    days = st.lists(st.integers(least, most), min_size=1, max_size=3)
    return days.map(lambda found: (",".join(map(str, found)), set(found)))


ANY_DAY = st.sampled_from([("*", None), ("1-31", None), ("*/1", None)])
ANY_WEEKDAY = st.sampled_from([("*", None), ("0-6", None), ("sun-sat", None), ("1-7", None)])


@given(_days(1, 31) | ANY_DAY, _days(0, 6) | ANY_WEEKDAY)
def test_day_of_month_or_of_week_is_enough_where_both_are_restricted(days: Any, week: Any) -> None:
    """crontab(5); cron 1.8.2, which OpenWhisk's alarms use."""
    (day, wanted), (weekday, weekdays) = days, week
    following = _next("alarms/alarm", {"cron": f"0 12 {day} * {weekday}", "timezone": "Europe/Berlin"})
    at, end, found = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC), []
    while (due := following(at)) is not None and due < end:
        found.append(due.astimezone(ZoneInfo("Europe/Berlin")).date())
        at = due + timedelta(seconds=1)
    expected, one = [], date(2026, 1, 1)
    while one < date(2026, 3, 1):
        fits = [one.day in wanted] if wanted else []
        fits += [one.isoweekday() % 7 in weekdays] if weekdays else []
        if any(fits) or not fits:
            expected.append(one)
        one += timedelta(days=1)
    assert found == expected


@given(
    st.lists(
        st.text("0123456789*/-,", max_size=6) | st.sampled_from(["*", "0", "sun", "1-5", "*/5"]),
        min_size=4,
        max_size=7,
    ),
    st.sampled_from([*ZONES, "nowhere", "UTC"]),
)
def test_any_cron_line_is_taken_or_refused_with_a_reason(fields: list[str], zone: str) -> None:
    wish = {"cron": " ".join(fields), "timezone": zone}
    feed = AlarmsFeed(RecordingFire(), HandClock("2026-05-01T12:00:00"), NOTHING)
    with contextlib.suppress(FeedError):
        assert feed.check("alarms/alarm", wish)["timezone"] == zone


@pytest.mark.parametrize(
    ("action", "wish", "text"),
    [
        ("alarm", {"cron": "0 0 30 2 *"}, "never fall due"),
        ("alarm", {"cron": "0 0 * * *", "stopDate": "2026-05-01T13:00:00Z"}, "not until after the stop date"),
        ("alarm", {"cron": "0 0 * * *", "stopDate": "2020-01-01"}, "must be in the future"),
        ("interval", {"minutes": 1, "stopDate": "2020-01-01"}, "must be in the future"),
        (
            "interval",
            {"minutes": 9, "startDate": "2027-01-01T00:00:01Z", "stopDate": 1798761600000},
            "be greater",
        ),
        ("once", {"date": "9999-12-31T23:59:59-05:00"}, "date must be a date"),
        ("once", {"date": "0001-01-01T00:00:00+05:00"}, "date must be a date"),
        ("once", {"date": "soon"}, "date must be a date"),
    ],
)
def test_what_can_never_be_is_refused(action: str, wish: dict[str, Any], text: str) -> None:
    feed = AlarmsFeed(RecordingFire(), HandClock("2026-05-01T12:00:00"), NOTHING)
    with pytest.raises(ServiceError) as caught:
        feed.check(f"alarms/{action}", wish)
    assert text in caught.value.advice


def test_an_interval_begins_after_half_a_minute_and_keeps_its_rhythm_over_a_restart(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = HandClock("2026-05-01T12:00:11")
        life = Life(tmp_path, clock)
        checked = life.feed.check("alarms/interval", {"minutes": 10})
        await life.feed.add(T, "alarms/interval", checked)
        assert [await life.pass_(29), await life.pass_(2), await life.pass_(597)] == [0, 1, 0]
        await life.shelf.close()
        life = Life(tmp_path, clock)
        await life.feed.add(T, "alarms/interval", checked)
        assert [await life.pass_(1), await life.pass_(2), await life.pass_(597)] == [0, 1, 0]
        await life.shelf.close()
        life = Life(tmp_path, HandClock("2025-01-01T00:00:00"))  # what was told as its start is years ahead
        await life.feed.add(T, "alarms/interval", checked)
        assert await life.pass_(600, 10) == 1
        await life.shelf.close()

    play(scene)


def test_an_alarm_that_was_not_deleted_before_the_power_went_is_deleted_later(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = HandClock("2026-05-01T12:00:00")
        stored = {"date": "2026-05-01T12:00:05Z", "deleteAfterFire": "rules"}
        life = Life(tmp_path, clock)
        gone: list[tuple[str, bool]] = []

        async def refuse(trigger: FullyQualifiedName, rules: bool) -> None:
            raise StorageError("the disk is full")

        async def retire(trigger: FullyQualifiedName, rules: bool) -> None:
            gone.append((str(trigger), rules))

        life.feed.retire = refuse
        await life.add("once", **stored)
        assert await life.pass_(10) == 1
        assert "full" in life.told["last_error"]
        await life.shelf.close()
        life = Life(tmp_path, clock)
        life.feed.retire = retire
        await life.again("once", **stored)
        assert (await life.pass_(10), gone) == (0, [("/guest/t", True)])
        await life.shelf.close()

    play(scene)


def test_missed_has_two_choices(tmp_path: Path) -> None:
    async def scene() -> None:
        life = Life(tmp_path, HandClock("2026-05-01T12:00:00"))
        with pytest.raises(FeedError, match="missed must be skip or once"):
            await life.add("alarm", cron="* * * * *", missed="all")

    play(scene)


def test_a_trigger_that_is_full_holds_back_no_other_alarm(tmp_path: Path) -> None:
    async def scene() -> None:
        life = Life(tmp_path, HandClock("2026-05-01T12:00:00.5"))
        other = parse_name("/guest/other", "_")
        await life.add("alarm", cron="* * * * * *")
        every_second = life.feed.check("alarms/alarm", {"cron": "* * * * * *"})
        await life.feed.add(other, "alarms/alarm", every_second)
        life.fire.fill(T)
        await life.pass_(10)
        fired = [one.trigger for one in life.fire.events]
        assert set(fired) == {other}
        assert len(fired) >= 9
        life.fire.make_room()
        await life.pass_(2)
        assert T in [one.trigger for one in life.fire.events]
        await life.shelf.close()

    play(scene)


@pytest.mark.parametrize(
    ("seconds", "fired", "missed"),
    [(30, 1, 0), (90, 0, 1)],  # late is better than never, up to a minute
)
def test_while_the_queue_is_full_alarms_wait_and_then_count_as_missed(
    tmp_path: Path, seconds: int, fired: int, missed: int
) -> None:
    async def scene() -> None:
        life = Life(tmp_path, HandClock("2026-05-01T12:59:50"))
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
        life = Life(tmp_path, HandClock("2026-05-01T12:00:30"))
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
