"""Stands between the feeds and the controller: shapes the events of the triggers that ask for it.

A reading that is held for a window, a batch or the end of an interval is in memory; if its source
waits for it to be on disk (MQTT QoS 1), it is put on the shelf before, and taken up again after a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from edgewhisk.entity.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.feed.shaping import Shape, Wish, read
from edgewhisk.spi import Change, Clock, Fire, Shelf

COLLECTION: Final = "held"
_TICK: Final = 1.0  # seconds at most until held readings are looked at again


class ShapedFire:
    """`spi.Fire` and `spi.Shaping` in front of another `Fire`."""

    def __init__(self, fire: Fire, clock: Clock, shelf: Shelf) -> None:
        """Events of triggers without a shape pass as they are."""
        self._fire = fire
        self._clock = clock
        self._shelf = shelf
        self._shapes: dict[FullyQualifiedName, Shape] = {}
        self._timers: dict[FullyQualifiedName, asyncio.TimerHandle] = {}
        self._kept = dict(sorted(shelf.read(COLLECTION).items()))  # of earlier lives
        self._last = max((int(key.rpartition("|")[2]) for key in self._kept), default=0)

    def check(self, shape: object) -> None:
        """See `spi.Shaping`."""
        read(shape)

    def shape(self, trigger: FullyQualifiedName, shape: object) -> None:
        """See `spi.Shaping`."""
        wish = read(shape) if shape is not None else None
        before = self._shapes.get(trigger)
        if before is not None and before.wish != wish:
            del self._shapes[trigger]
            self._let(trigger, before, before.due(self._clock.monotonic(), everything=True))
            before = None
        if before is None and wish is not None and wish != Wish():
            self._shapes[trigger] = Shape(wish)
            self._take_up(trigger)

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """See `spi.Shaping`."""
        shape = self._shapes.get(trigger)
        if shape is None:
            return {}
        return {"offered": shape.offered, "let_through": shape.let_through, "held": shape.holding}

    def __call__(self, events: Sequence[TriggerEvent]) -> asyncio.Future[None]:
        """See `spi.Fire`."""
        if not self._shapes or not any(event.trigger in self._shapes for event in events):
            return self._fire(events)
        passing: list[TriggerEvent] = []
        kept: list[Change] = []
        done: list[Change] = []
        for event in events:
            shape = self._shapes.get(event.trigger)
            if shape is None:
                passing.append(event)
                continue
            token = self._token(event) if event.durable else ""
            before = shape.holding
            let = shape.offer(event.payload, self._clock.monotonic(), token)
            passing += (event._replace(payload=payload) for payload in let)
            if token and shape.holding > before:
                kept.append(Change(COLLECTION, token, {"payload": event.payload.decode(), "at": event.at}))
            done += _gone(shape)
            self._plan(event.trigger, shape)
        accepted = self._fire(passing)
        self._forget(accepted, done)
        if not kept:
            return accepted
        return asyncio.ensure_future(_both(accepted, self._shelf.write(kept)))

    def full(self) -> bool:
        """See `spi.Fire`."""
        return self._fire.full()

    def on_room(self, resume: Callable[[], None]) -> None:
        """See `spi.Fire`."""
        self._fire.on_room(resume)

    def _token(self, event: TriggerEvent) -> str:
        self._last += 1
        return f"{event.trigger.key}|{self._last:016d}"

    def _take_up(self, trigger: FullyQualifiedName) -> None:
        """Hold again what an earlier life held."""
        mine = [key for key in self._kept if key.rpartition("|")[0] == trigger.key]
        shape = self._shapes[trigger]
        for key in mine:
            payload = self._kept.pop(key)["payload"].encode()
            self._let(trigger, shape, shape.offer(payload, self._clock.monotonic(), key))
        self._plan(trigger, shape)

    def _plan(self, trigger: FullyQualifiedName, shape: Shape) -> None:
        """Look again when something is due."""
        if trigger in self._timers or not shape.holding:
            return
        due = shape.next_due()
        if due is not None:
            wait = min(_TICK, max(0.0, due - self._clock.monotonic()))
            loop = asyncio.get_running_loop()
            self._timers[trigger] = loop.call_later(wait, self._look, trigger, shape)

    def _look(self, trigger: FullyQualifiedName, shape: Shape) -> None:
        self._timers.pop(trigger, None)
        if self._shapes.get(trigger) is shape:
            self._let(trigger, shape, shape.due(self._clock.monotonic()))
            self._plan(trigger, shape)

    def _let(self, trigger: FullyQualifiedName, shape: Shape, payloads: Sequence[bytes]) -> None:
        """Fire what was held."""
        if payloads:
            now = self._clock.now()
            accepted = self._fire([TriggerEvent(trigger, payload, now, durable=True) for payload in payloads])
            self._forget(accepted, _gone(shape))

    def _forget(self, accepted: asyncio.Future[None], done: Sequence[Change]) -> None:
        """Take readings off the shelf once the event that carries them is on disk."""

        def settled(future: asyncio.Future[None]) -> None:
            if not future.cancelled() and future.exception() is None:
                self._shelf.write(done)

        if done:
            accepted.add_done_callback(settled)


def _gone(shape: Shape) -> list[Change]:
    released, shape.released = shape.released, []
    return [Change(COLLECTION, token, None) for token in released]


async def _both(first: asyncio.Future[None], second: asyncio.Future[None]) -> None:
    await asyncio.gather(first, second)
