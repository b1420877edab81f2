"""The HTTP feed: devices that POST their readings with a token of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from edgewhisk import jsontext
from edgewhisk.entity.invocation.facts import beside
from edgewhisk.entity.invocation.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import BadRequest, NotFound, Throttled
from edgewhisk.feed.heard import Moment, heard, this_moment
from edgewhisk.feed.parameters import asked
from edgewhisk.feed.payload import LEVELS
from edgewhisk.spi import Clock, FeedAction, Fire, Resource

MAX_READINGS: Final = 1000  # readings in one request


class HttpFeed:
    """`spi.Feed` over POST requests; the API hands them over."""

    actions: ClassVar[Sequence[FeedAction]] = (
        FeedAction("http", "post", "Fires the trigger with what devices POST to its URL.", {}),
    )

    def __init__(self, fire: Fire, clock: Clock) -> None:
        """Nothing is taken before a trigger is added."""
        self._fire = fire
        self._clock = clock
        self._taken: dict[FullyQualifiedName, int] = {}
        self._refused: dict[FullyQualifiedName, int] = {}
        self._since: dict[FullyQualifiedName, Moment] = {}
        self._last: dict[FullyQualifiedName, Moment] = {}
        self._mended: dict[FullyQualifiedName, int] = {}  # odd parts of what was taken

    def check(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `spi.Feed`."""
        del action
        with asked(parameters, ()):
            return {}

    def required_grants(self, action: str, parameters: Mapping[str, Any]) -> Sequence[Resource]:
        """See `spi.Feed`."""
        del action, parameters
        return ()

    async def add(self, trigger: FullyQualifiedName, action: str, parameters: Mapping[str, Any]) -> None:
        """See `spi.Feed`."""
        del action, parameters
        self._taken.setdefault(trigger, 0)
        self._since.setdefault(trigger, self._now())

    async def remove(self, trigger: FullyQualifiedName, *, keep: bool = False) -> None:
        """See `spi.Feed`. It is never anywhere."""
        del keep
        self._taken.pop(trigger, None)
        self._refused.pop(trigger, None)
        self._since.pop(trigger, None)
        self._last.pop(trigger, None)
        self._mended.pop(trigger, None)

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """See `spi.Feed`."""
        if trigger not in self._taken:
            return {}
        path = f"/api/v1/devices/{trigger.namespace}/{trigger.local}"
        refused = self._refused.get(trigger, 0)
        now = self._clock.monotonic()
        mended = {"mended": odd} if (odd := self._mended.get(trigger, 0)) else {}
        return {
            "state": "running",
            "path": path,
            "delivered": self._taken[trigger],
            "garbage": refused,
            "bad": refused,
            **mended,
            **heard(self._last.get(trigger), self._since[trigger], now),
        }

    async def run(self) -> None:
        """See `spi.Feed`."""
        await asyncio.Event().wait()

    async def post(self, trigger: FullyQualifiedName, device: str, body: bytes) -> int:
        """Fire the trigger with a JSON object, or each of an array; how many. On disk on return.

        Raises `NotFound`, `BadRequest`, `Throttled` while the queue is full, `StorageError`.
        """
        if trigger not in self._taken:
            raise NotFound(f"trigger {trigger} takes no readings over HTTP")
        if self._fire.full([trigger]):
            raise Throttled("The gateway's queue is full; send it again in a while.")
        try:
            readings, mended = _readings(body)
        except BadRequest:
            self._refused[trigger] = self._refused.get(trigger, 0) + 1
            raise
        now = self._clock.now()
        # A device may say when it measured, but not that it is another one.
        told = [jsontext.dumps(beside({"device": device}, {"taken_at": now, **one})) for one in readings]
        events = [TriggerEvent(trigger, text, now, durable=True) for text in told]
        await self._fire(events)
        if trigger in self._taken:  # else it was removed meanwhile
            self._taken[trigger] += len(events)
            self._last[trigger] = self._now()
            self._mended[trigger] = self._mended.get(trigger, 0) + mended
        return len(events)

    def _now(self) -> Moment:
        return this_moment(self._clock)


def _readings(body: bytes) -> tuple[list[dict[str, Any]], int]:
    """The readings in a body, and how many odd parts of it something else stands for now."""
    try:
        found, _, mended = jsontext.parse_odd(body, LEVELS)
    except jsontext.NotJson as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    readings = found if isinstance(found, list) else [found]
    if not all(isinstance(one, dict) for one in readings):
        raise BadRequest("the body must be a JSON object, or an array of objects")
    if len(readings) > MAX_READINGS:
        raise BadRequest(f"at most {MAX_READINGS} readings go into one request, not {len(readings)}")
    return readings, mended
