"""The alarms feeds: the only door to apscheduler.

Jobs live in memory; the controller keeps the feeds' definitions and adds them again at start. A run
that was missed (the gateway was busy, the clock jumped) is made up for once if it is less than
`GRACE` late, and counted as missed otherwise: a clock that jumps by years makes no storm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

import orjson
from apscheduler.events import EVENT_JOB_MISSED
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from edgewhisk.entity.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import FeedError
from edgewhisk.feed import schedule
from edgewhisk.spi import Clock, FeedAction, Fire

GRACE: Final = 60  # seconds that a run may be late
_PAYLOAD: Final = {"trigger_payload": "parameters of the event"}
_SPAN: Final = {
    "startDate": "not before this date",
    "stopDate": "not after this date",
    "maxTriggers": "stop after so many, counted since the feed was added or the gateway started",
}


@dataclass(slots=True)
class Alarm:
    """One trigger that is fired by the clock."""

    payload: bytes
    most: int | None
    fired: int = 0
    missed: int = 0


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

    def __init__(self, fire: Fire, clock: Clock) -> None:
        """Nothing is due before `run`."""
        self._fire = fire
        self._clock = clock
        self._alarms: dict[FullyQualifiedName, Alarm] = {}
        self._scheduler = AsyncIOScheduler(
            timezone="UTC", job_defaults={"coalesce": True, "misfire_grace_time": GRACE, "max_instances": 1}
        )
        self._scheduler.add_listener(self._missed, EVENT_JOB_MISSED)

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
        """See `spi.Feed`."""
        await self.remove(trigger)
        text = orjson.dumps(parameters["trigger_payload"])
        self._alarms[trigger] = Alarm(text, parameters.get("maxTriggers"))
        self._scheduler.add_job(self._due, _trigger(action, parameters), [trigger], id=trigger.key)

    async def remove(self, trigger: FullyQualifiedName) -> None:
        """See `spi.Feed`."""
        if self._alarms.pop(trigger, None) is not None and self._scheduler.get_job(trigger.key):
            self._scheduler.remove_job(trigger.key)

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """See `spi.Feed`."""
        alarm = self._alarms.get(trigger)
        if alarm is None:
            return {}
        job = self._scheduler.get_job(trigger.key)
        due = getattr(job, "next_run_time", None)
        return {
            "state": "running" if job else "finished",
            "next": due.isoformat() if due else None,
            "fired": alarm.fired,
            "missed": alarm.missed,
        }

    async def run(self) -> None:
        """See `spi.Feed`."""
        if self._scheduler.running:
            self._scheduler.resume()
        else:
            self._scheduler.start()
        try:
            await asyncio.Event().wait()
        finally:
            self._scheduler.pause()

    async def _due(self, trigger: FullyQualifiedName) -> None:
        alarm = self._alarms.get(trigger)
        if alarm is None:
            return
        alarm.fired += 1
        if alarm.most is not None and alarm.fired >= alarm.most and self._scheduler.get_job(trigger.key):
            self._scheduler.remove_job(trigger.key)
        await self._fire([TriggerEvent(trigger, alarm.payload, self._clock.now(), durable=True)])

    def _missed(self, event: Any) -> None:
        for trigger, alarm in self._alarms.items():
            if trigger.key == event.job_id:
                alarm.missed += 1


def _trigger(action: str, parameters: Mapping[str, Any]) -> Any:
    """apscheduler's trigger; raises `FeedError` for a cron field that it does not take."""
    start, stop = (
        datetime.fromisoformat(parameters[key]) if key in parameters else None
        for key in ("startDate", "stopDate")
    )
    if action == "alarms/interval":
        return IntervalTrigger(seconds=parameters["seconds"], start_date=start, end_date=stop, timezone="UTC")
    if action == "alarms/once":
        return DateTrigger(datetime.fromisoformat(parameters["date"]))
    line = schedule.cron_line(parameters["cron"])._asdict()
    try:
        return CronTrigger(
            **line, start_date=start, end_date=stop, timezone=schedule.zone(parameters["timezone"])
        )
    except ValueError as error:
        raise FeedError(f"cron {parameters['cron']!r}: {error}") from error
