"""The alarms feeds: the only door to apscheduler.

The controller keeps the feeds' definitions; how often an alarm fired is kept beside them where it
matters (`maxTriggers`, `once`, missed times that are made up for). Until the clock has been set (a
gateway without a battery starts in 1970), intervals go on and everything that names a time waits.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, Final

from edgewhisk import jsontext
from edgewhisk.entity.invocation.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import FeedError, ServiceError, StorageError, shown
from edgewhisk.feed.alarms import alarm as alarms
from edgewhisk.feed.alarms import request, schedule
from edgewhisk.feed.alarms.alarm import Alarm, Missed, tells
from edgewhisk.feed.heard import heard, this_moment
from edgewhisk.spi import Change, Clock, DocumentStore, FeedAction, Fire, Resource

_log = logging.getLogger(__name__)

COLLECTION: Final = "alarms"
LOOK: Final = 2.0  # seconds between looks at the clock: it may have been set
_YEARS: Final = "1970-2199"  # else apscheduler looks for 30 February until the year 9999
JUMP: Final = 2.0  # seconds by which wall and monotonic clock may drift apart between two looks
_PAYLOAD: Final = {"trigger_payload": "parameters of the event; what is no object becomes its payload"}
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
                "strict": "taken and shown: this gateway fires on the second",
                "limitCronFields": "true: six fields are refused, unless the seconds are 0",
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
        FeedAction(
            "alarms",
            "once",
            "Fires the trigger once.",
            {
                "date": "when",
                "deleteAfterFire": "true: the trigger goes when it has fired; rules: its rules, too",
                **_PAYLOAD,
            },
        ),
    )

    def __init__(self, fire: Fire, clock: Clock, documents: DocumentStore) -> None:
        """Nothing is due before `run`."""
        self._fire = fire
        self._clock = clock
        self._documents = documents
        self._alarms: dict[FullyQualifiedName, Alarm] = {}
        self._asked: dict[FullyQualifiedName, list[Any]] = {}
        self._owed: dict[FullyQualifiedName, TriggerEvent] = {}  # the disk refused them
        self._unkept: set[FullyQualifiedName] = set()  # fired, and that is not on disk yet
        self._spent: set[FullyQualifiedName] = set()  # fired for good, and their triggers are to go
        self._held: set[FullyQualifiedName] = set()  # wait for room in the queue
        self.retire: Callable[[FullyQualifiedName, bool], Awaitable[None]] = _keep
        self._offset = self._drift()  # at the last look
        self._changed = asyncio.Event()
        self.jumps = 0
        self.waits = 0  # looks at which alarms were due and the queue was full
        self.last_error = ""

    def check(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `spi.Feed`."""
        return self._judged(action, request.create(action, parameters, self._known()))

    def change(self, action: str, before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """See `controller.feed_service`."""
        return self._judged(action, request.change(action, before, given, self._known()))

    def warnings(self, action: str, given: Mapping[str, Any], *, changing: bool) -> list[str]:
        """See `controller.feed_service`."""
        return request.warnings(action, given, changing=changing)

    def told(
        self,
        trigger: FullyQualifiedName,
        action: str,
        parameters: Mapping[str, Any],
        status: Mapping[str, Any],
    ) -> dict[str, Any]:
        """See `controller.feed_service`."""
        place = {"name": str(trigger.name), "namespace": trigger.namespace}
        return {
            "config": {**place, **request.config(action, parameters)},
            "status": {**status, **request.status(action, parameters, status.get("state"))},
        }

    def _known(self) -> int | None:
        """The time in milliseconds since 1970, None while nobody knows it."""
        now = self._clock.now()
        return now if tells(now / 1000) else None

    def _judged(self, action: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """`parameters` and when they were given; raises `ServiceError` if it would never fall due."""
        now = self._clock.now()
        try:
            first = _next(action, parameters)(datetime.fromtimestamp(now / 1000, UTC))
        except FeedError as error:
            raise request.unreadable(parameters, str(error)) from error
        except KeyError as error:
            damaged = "what is stored of it is damaged"
            raise ServiceError(damaged, hint=f"{error} is missing; send CREATE again") from error
        if first is None:
            raise request.never(parameters)
        return {**parameters, "dateChanged": now}

    def required_grants(self, action: str, parameters: Mapping[str, Any]) -> Sequence[Resource]:
        """See `spi.Feed`."""
        del action, parameters
        return ()

    async def add(self, trigger: FullyQualifiedName, action: str, parameters: Mapping[str, Any]) -> None:
        """See `spi.Feed`. Counts go on when the same alarm is added again, at a start."""
        made = Alarm(
            jsontext.kept(parameters["trigger_payload"]),
            _next(action, parameters),
            float(parameters["seconds"]) if action == request.INTERVAL else 0.0,
            parameters.get("maxTriggers"),
            Missed(parameters.get("missed", "skip")),
            action == request.ONCE,
            "startDate" in parameters or "stopDate" in parameters,
            _daily(parameters),
        )
        asked = [action, {key: value for key, value in parameters.items() if key not in request.WHEN}]
        known = self._documents.read(COLLECTION, _check).get(trigger.key)
        if known is not None and known["asked"] == asked:
            alarms.restore(made, known)
        self._spent.discard(trigger)
        if made.fired and _deletes(parameters):
            self._spent.add(trigger)
        self._alarms[trigger], self._asked[trigger] = made, asked
        made.since = this_moment(self._clock)
        made.begin(self._clock.now() / 1000, self._clock.monotonic())
        if made.keeps:
            try:
                await self._documents.write([self._kept(trigger)])
            except StorageError as error:  # at a start, from a disk that takes nothing: it runs all the same
                self._unkept.add(trigger)
                self.last_error = str(error)
        self._changed.set()

    async def remove(self, trigger: FullyQualifiedName, *, keep: bool = False) -> None:
        """See `spi.Feed`."""
        self._alarms.pop(trigger, None)
        self._asked.pop(trigger, None)
        self._owed.pop(trigger, None)
        self._unkept.discard(trigger)
        self._spent.discard(trigger)
        if not keep and trigger.key in self._documents.read(COLLECTION):
            await self._documents.write([Change(COLLECTION, trigger.key, None)])

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """See `spi.Feed`."""
        alarm = self._alarms.get(trigger)
        if alarm is None:
            return {}
        wall = self._clock.now() / 1000
        waiting = alarm.due == math.inf or (not tells(wall) and not alarm.period)
        due = None if waiting else alarm.due
        if due is not None and alarm.period:
            due = wall + due - self._clock.monotonic()
        state = "finished" if due is None else "running"
        return {
            "state": "waiting for the clock to be set" if waiting else state,
            "next": datetime.fromtimestamp(due, UTC).isoformat() if due is not None else None,
            "fired": alarm.fired,
            "missed": alarm.missed,
            "bad": 0,  # a clock tells nothing wrong
            **heard(alarm.latest, alarm.since, self._clock.monotonic()),
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
                alarm.jumped(by, wall, monotonic)
        ripe = [
            one for one, alarm in self._alarms.items() if one in self._owed or alarm.ripe(wall, monotonic)
        ]
        # They stay due; what is late by more than `GRACE` then is missed.
        held = {trigger for trigger in ripe if self._fire.full([trigger])}
        if held:
            self.waits += 1
            self._wait_for_room(held)
        events = {trigger: event for trigger, event in self._owed.items() if trigger not in held}
        self._owed = {trigger: event for trigger, event in self._owed.items() if trigger in held}
        for trigger, alarm in self._alarms.items():
            if trigger not in held and alarm.turn(wall, monotonic):
                alarm.missed += trigger in events  # one run is owed at most
                events[trigger] = TriggerEvent(trigger, alarm.payload, int(wall * 1000), durable=True)
        await self._accept(events)
        await self._retire_spent()
        waits = [
            alarm.due - (monotonic if alarm.period else wall)
            for trigger, alarm in self._alarms.items()
            if alarm.due is not None and trigger not in held
        ]
        return min(LOOK, max(0.001, min(waits))) if waits else LOOK if self._alarms else None

    def _drift(self) -> float:
        """Wall clock minus monotonic clock: changes when the clock is set."""
        return self._clock.now() / 1000 - self._clock.monotonic()

    def _wait_for_room(self, held: Collection[FullyQualifiedName]) -> None:
        for trigger in set(held) - self._held:
            self._held.add(trigger)
            self._fire.on_room(partial(self._room, trigger), [trigger])

    def _room(self, trigger: FullyQualifiedName) -> None:
        self._held.discard(trigger)
        self._changed.set()

    async def _accept(self, events: dict[FullyQualifiedName, TriggerEvent]) -> None:
        """Fire, then keep how often; what the disk refuses is tried again at the next look."""
        try:
            if events:
                await self._fire(list(events.values()))
                fired = {trigger for trigger in events if trigger in self._alarms}
                self._unkept |= fired
                self._spent |= {one for one in fired if _deletes(self._asked[one][1])}
                events = {}
            kept = [trigger for trigger in self._unkept if self._alarms[trigger].keeps]
            if kept:
                await self._documents.write([self._kept(trigger) for trigger in kept])
            self._unkept.clear()
            self.last_error = ""
        except StorageError as error:
            self._owed |= {trigger: event for trigger, event in events.items() if trigger in self._alarms}
            self.last_error = str(error)
            _log.error("scheduled events could not be stored: %s", error)

    async def _retire_spent(self) -> None:
        """Delete triggers that have done their work; at the next look again what the disk refuses."""
        for trigger in self._spent - self._unkept:
            try:
                await self.retire(trigger, self._asked[trigger][1]["deleteAfterFire"] == "rules")
                self._spent.discard(trigger)
            except StorageError as error:
                self.last_error = str(error)

    def _kept(self, trigger: FullyQualifiedName) -> Change:
        asked = {"asked": self._asked[trigger]}
        return Change(COLLECTION, trigger.key, {**asked, **alarms.document(self._alarms[trigger])})


def _next(action: str, parameters: Mapping[str, Any]) -> alarms.Next:
    """What tells the first time at or after another; raises `FeedError` for a cron field that is none."""
    start, stop = (
        schedule.moment(key, parameters[key]) if key in parameters else None
        for key in ("startDate", "stopDate")
    )
    if action == request.ONCE:
        date = schedule.moment("date", parameters["date"])
        return lambda _after: date
    # Loaded with the first alarm: 2 MB and 25 ms.
    from apscheduler.triggers.cron import CronTrigger
    from apscheduler.triggers.interval import IntervalTrigger

    if action == request.INTERVAL:
        # In the rhythm of its first event; that itself may be years ahead, by a clock that was wrong.
        begin = start or datetime.fromtimestamp(
            parameters.get("start", 0) / 1000 % parameters["seconds"], UTC
        )
        every = IntervalTrigger(
            seconds=parameters["seconds"], start_date=begin, end_date=stop, timezone="UTC"
        )
        return partial(every.get_next_fire_time, None)
    lines = schedule.alternatives(schedule.cron_line(parameters["cron"]))
    try:
        crons = [CronTrigger(**line._asdict(), year=_YEARS, timezone="UTC") for line in lines]
    except ValueError as error:
        raise FeedError(f"cron {shown(parameters['cron'])}: {error}") from error
    daily = _daily(parameters)

    def local(at: datetime) -> datetime | None:
        return min(filter(None, (cron.get_next_fire_time(None, at) for cron in crons)), default=None)

    zone = schedule.zone(parameters["timezone"] or "UTC")

    def following(after: datetime) -> datetime | None:
        found = schedule.following(local, zone, max(after, start) if start else after, daily=daily)
        return None if found is None or (stop is not None and found > stop) else found

    return following


def _daily(parameters: Mapping[str, Any]) -> bool:
    """Whether a cron line names hours."""
    return "cron" in parameters and "*" not in schedule.cron_line(parameters["cron"]).hour


def _deletes(parameters: Mapping[str, Any]) -> bool:
    """Whether its trigger goes when it has fired."""
    return parameters.get("deleteAfterFire") in ("true", "rules")


async def _keep(trigger: FullyQualifiedName, rules: bool) -> None:
    """Nothing is deleted before somebody says how."""
    del trigger, rules


def _check(_key: str, document: Mapping[str, Any]) -> None:
    tuple(document[name] for name in ("asked", "fired", "missed", "last"))
