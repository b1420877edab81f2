"""The alarms feeds: the only door to apscheduler.

The controller keeps the feeds' definitions; how often an alarm fired is kept beside them where it
matters (`maxTriggers`, `once`, missed times that are made up for). Until the clock has been set (a
gateway without a battery starts in 1970), intervals go on and everything that names a time waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Final

import orjson
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from edgewhisk.entity.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import FeedError, StorageError
from edgewhisk.feed import alarm as alarms
from edgewhisk.feed import schedule
from edgewhisk.feed.alarm import KNOWN, Alarm, Missed
from edgewhisk.spi import Change, Clock, FeedAction, Fire, Shelf

_log = logging.getLogger(__name__)

COLLECTION: Final = "alarms"
LOOK: Final = 2.0  # seconds between looks at the clock: it may have been set
FULL: Final = 0.25  # seconds until a full queue is asked again
JUMP: Final = 2.0  # seconds by which wall and monotonic clock may drift apart between two looks
_PAYLOAD: Final = {"trigger_payload": "parameters of the event"}
_SPAN: Final = {
    "startDate": "not before this date",
    "stopDate": "not after this date",
    "maxTriggers": "stop after so many, counted over restarts",
}
_MISSED: Final = {
    "missed": "skip (default) times that went by while the gateway was off, or fire once for all"
}


class AlarmsFeed:
    """`spi.Feed` over the clock."""

    actions: ClassVar[Sequence[FeedAction]] = (
        FeedAction(
            "alarms",
            "alarm",
            "Fires the trigger as a cron line says.",
            {
                "cron": "five fields, or six with seconds first",
                "timezone": "default UTC",
                **_PAYLOAD,
                **_SPAN,
                **_MISSED,
            },
        ),
        FeedAction(
            "alarms",
            "interval",
            "Fires the trigger again and again.",
            {"minutes": "between two events", "seconds": "instead of minutes", **_PAYLOAD, **_SPAN},
        ),
        FeedAction("alarms", "once", "Fires the trigger once.", {"date": "when", **_PAYLOAD}),
    )

    def __init__(self, fire: Fire, clock: Clock, shelf: Shelf) -> None:
        """Nothing is due before `run`."""
        self._fire = fire
        self._clock = clock
        self._shelf = shelf
        self._alarms: dict[FullyQualifiedName, Alarm] = {}
        self._offset = self._drift()  # at the last look
        self._changed = asyncio.Event()
        self.jumps = 0
        self.waits = 0  # looks at which alarms were due and the queue was full
        self.last_error = ""

    def check(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `spi.Feed`."""
        # `seconds` is how minutes are stored: an UPDATE brings both, the caller's minutes win.
        given = dict(parameters)
        if "minutes" in given:
            given.pop("seconds", None)
        checked = schedule.check(action, given)
        _trigger(action, checked)
        return checked

    async def add(self, trigger: FullyQualifiedName, action: str, parameters: Mapping[str, Any]) -> None:
        """See `spi.Feed`. Counts go on when the same alarm is added again, at a start."""
        calendar = _trigger(action, parameters)
        made = Alarm(
            orjson.dumps(parameters["trigger_payload"]),
            partial(_next, calendar, once_a_day=_has_hour(parameters.get("cron", ""))),
            float(parameters["seconds"]) if action == "alarms/interval" else 0.0,
            parameters.get("maxTriggers"),
            Missed(parameters.get("missed", "skip")),
            action == "alarms/once",
        )
        known = self._shelf.read(COLLECTION).get(trigger.key)
        if known is not None and known["asked"] == [action, dict(parameters)]:
            alarms.restore(made, known)
        self._alarms[trigger] = made
        made.begin(self._clock.now() / 1000, self._clock.monotonic())
        if made.keeps:
            asked = {"asked": [action, dict(parameters)]}
            await self._shelf.write([Change(COLLECTION, trigger.key, {**asked, **alarms.document(made)})])
        self._changed.set()

    async def remove(self, trigger: FullyQualifiedName) -> None:
        """See `spi.Feed`."""
        if self._alarms.pop(trigger, None) is not None and trigger.key in self._shelf.read(COLLECTION):
            await self._shelf.write([Change(COLLECTION, trigger.key, None)])

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """See `spi.Feed`."""
        alarm = self._alarms.get(trigger)
        if alarm is None:
            return {}
        wall = self._clock.now() / 1000
        waiting = not alarm.period and wall < KNOWN
        due = alarm.due
        if due is not None and alarm.period:
            due = wall + due - self._clock.monotonic()
        return {
            "state": "finished"
            if due is None
            else "waiting for the clock to be set"
            if waiting
            else "running",
            "next": datetime.fromtimestamp(due, UTC).isoformat() if due is not None else None,
            "fired": alarm.fired,
            "missed": alarm.missed,
            "clock_jumps": self.jumps,
            "queue_full": self.waits,
            "last_error": self.last_error,
        }

    async def run(self) -> None:
        """See `spi.Feed`."""
        while True:
            pause = await self.look()
            self._changed.clear()
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def look(self) -> float | None:
        """Fire what is due; the seconds until it is worth looking again, None if there are no alarms."""
        wall, monotonic = self._clock.now() / 1000, self._clock.monotonic()
        before, self._offset = self._offset, self._drift()
        by = self._offset - before
        if abs(by) > JUMP:
            self.jumps += 1
            _log.warning("the clock was set by %+.0f s", by)
            for alarm in self._alarms.values():
                alarm.jumped(by, wall)
        if self._fire.full() and any(alarm.ripe(wall, monotonic) for alarm in self._alarms.values()):
            self.waits += 1  # they stay due; what is late by more than `GRACE` then counts as missed
            return FULL
        events: list[TriggerEvent] = []
        kept: list[Change] = []
        for trigger, alarm in self._alarms.items():
            if alarm.turn(wall, monotonic):
                events.append(TriggerEvent(trigger, alarm.payload, int(wall * 1000), durable=True))
                if alarm.keeps:
                    asked = self._shelf.read(COLLECTION)[trigger.key]["asked"]
                    kept.append(Change(COLLECTION, trigger.key, {"asked": asked, **alarms.document(alarm)}))
        await self._accept(events, kept)
        waits = [
            alarm.due - (monotonic if alarm.period else wall)
            for alarm in self._alarms.values()
            if alarm.due is not None
        ]
        return min(LOOK, max(0.001, min(waits))) if waits else LOOK if self._alarms else None

    def _drift(self) -> float:
        """Wall clock minus monotonic clock: changes when the clock is set."""
        return self._clock.now() / 1000 - self._clock.monotonic()

    async def _accept(self, events: Sequence[TriggerEvent], kept: Sequence[Change]) -> None:
        if not events:
            return
        try:
            await self._fire(events)
            if kept:
                await self._shelf.write(kept)
        except StorageError as error:
            self.last_error = str(error)
            _log.error("%d scheduled events could not be stored: %s", len(events), error)


def _next(calendar: Any, after: datetime, *, once_a_day: bool) -> datetime | None:
    """The first time at or after; where summer time ends, 02:30 is once a day, not twice."""
    found: datetime | None = calendar.get_next_fire_time(None, after)
    while found is not None and found.fold and once_a_day:
        found = calendar.get_next_fire_time(None, found.astimezone(UTC) + timedelta(seconds=1))
    return found


def _has_hour(cron: str) -> bool:
    """Whether a cron line names hours: what runs every hour also runs in the repeated one."""
    return bool(cron) and "*" not in schedule.cron_line(cron).hour


def _trigger(action: str, parameters: Mapping[str, Any]) -> Any:
    """apscheduler's trigger; raises `FeedError` for a cron field that it does not take."""
    start, stop = (
        datetime.fromisoformat(parameters[key]) if key in parameters else None
        for key in ("startDate", "stopDate")
    )
    if action == "alarms/interval":
        begin = start or datetime.fromtimestamp(0, UTC)
        return IntervalTrigger(seconds=parameters["seconds"], start_date=begin, end_date=stop, timezone="UTC")
    if action == "alarms/once":
        return DateTrigger(datetime.fromisoformat(parameters["date"]))
    line = schedule.cron_line(parameters["cron"])._asdict()
    try:
        return CronTrigger(
            **line, start_date=start, end_date=stop, timezone=schedule.zone(parameters["timezone"])
        )
    except ValueError as error:
        raise FeedError(f"cron {parameters['cron']!r}: {error}") from error
