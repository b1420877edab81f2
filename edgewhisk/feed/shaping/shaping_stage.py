"""Stands between the feeds and the controller: shapes the events of the triggers that ask for it.

A reading that is held for a window, a batch or the end of an interval is in memory; if its source
waits for it to be on disk (MQTT QoS 1), it is put in the document store before, and taken up again after a
crash.
It leaves the shelf when the event that carries it is on disk; an event that the disk refused is fired again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from edgewhisk.entity.invocation.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.feed.shaping.spec import Shape, ShapingSpec, read
from edgewhisk.spi import Change, Clock, DocumentStore, Fire

COLLECTION: Final = "held"
_TICK: Final = 1.0  # seconds at most until held readings are looked at again
# readings on their way to the document store; beyond, sources of shaped triggers are held back
BACKLOG: Final = 1000
OWED: Final = 1000  # events that the disk refused, to be fired again; beyond, the oldest go
Held = dict[str, Shape]  # token -> where the reading is held


class Let(NamedTuple):
    """Events of a shape, and the tokens of readings that are held no more when they are on disk."""

    events: Sequence[TriggerEvent]
    done: Sequence[str]


class ShapingStage:
    """`spi.Fire` and `spi.Shaping` in front of another `Fire`."""

    def __init__(self, fire: Fire, clock: Clock, documents: DocumentStore) -> None:
        """Events of triggers without a shape pass as they are."""
        self._fire = fire
        self._clock = clock
        self._documents = documents
        self._shapes: dict[FullyQualifiedName, Shape] = {}
        self._timers: dict[FullyQualifiedName, asyncio.TimerHandle] = {}
        self._writing = 0  # readings on their way to the document store
        self._waiting: list[Callable[[], None]] = []  # sources that wait for them
        self._owed: deque[Let] = deque()
        self._retry: asyncio.TimerHandle | None = None
        self.dropped = 0  # events that were owed for too long
        self._kept = dict(sorted(documents.read(COLLECTION, _check).items()))  # of earlier lives
        self._last = max((int(key.rpartition("|")[2]) for key in self._kept), default=0)

    def check(self, shape: object) -> None:
        """See `spi.Shaping`."""
        read(shape)

    def shape(self, trigger: FullyQualifiedName, shape: object) -> None:
        """See `spi.Shaping`."""
        spec = read(shape) if shape is not None else None
        before = self._shapes.get(trigger)
        if before is not None and before.spec != spec:
            del self._shapes[trigger]
            if timer := self._timers.pop(trigger, None):
                timer.cancel()
            self._let(trigger, before, before.due(self._clock.monotonic(), everything=True))
            before = None
        if before is None and spec is not None and spec != ShapingSpec():
            self._shapes[trigger] = Shape(spec)
            self._take_up(trigger)

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """See `spi.Shaping`."""
        shape = self._shapes.get(trigger)
        if shape is None:
            return {}
        counts = {"offered": shape.offered, "let_through": shape.let_through, "held": shape.holding}
        return {**counts, **({"dropped": self.dropped} if self.dropped else {})}

    def origins(self) -> list[str]:
        """Of readings that earlier lives held: their source may bring them again."""
        return [document["origin"] for document in self._kept.values() if document.get("origin")]

    def __call__(self, events: Sequence[TriggerEvent]) -> asyncio.Future[None]:
        """See `spi.Fire`."""
        if not self._shapes or not any(event.trigger in self._shapes for event in events):
            return self._fire(events)
        self._again()
        passing: list[TriggerEvent] = []
        kept: list[Change] = []
        held: Held = {}
        let: list[Let] = []
        for event in events:
            shape = self._shapes.get(event.trigger)
            if shape is None:
                passing.append(event)
                continue
            token = self._token(event) if event.durable else ""
            payloads = shape.offer(event.payload, self._clock.monotonic(), token)
            taken, done = shape.moved()
            durable = event.durable or bool(done)
            fired = [event._replace(payload=payload, durable=durable) for payload in payloads]
            passing += fired
            if done:
                let.append(Let(fired, done))
            if taken:
                held[token] = shape
                document = {"payload": event.payload.decode(), "at": event.at, "origin": event.origin}
                kept.append(Change(COLLECTION, token, document))
            self._plan(event.trigger, shape)
        accepted = self._fire(passing)
        stored = self._keep(kept) if kept else None
        for one in let:
            self._settle(accepted, one)
        if stored is None:
            return accepted
        both = asyncio.ensure_future(_both(accepted, stored))
        both.add_done_callback(partial(self._undo, held))
        return both

    def full(self, triggers: Iterable[FullyQualifiedName]) -> bool:
        """See `spi.Fire`."""
        if self._writing < BACKLOG:
            return self._fire.full(triggers)
        asked = tuple(triggers)
        return any(trigger in self._shapes for trigger in asked) or self._fire.full(asked)

    def on_room(self, resume: Callable[[], None], triggers: Iterable[FullyQualifiedName]) -> None:
        """See `spi.Fire`."""
        asked = tuple(triggers)
        if self._writing >= BACKLOG and any(trigger in self._shapes for trigger in asked):
            self._waiting.append(resume)
        else:
            self._fire.on_room(resume, asked)

    def _token(self, event: TriggerEvent) -> str:
        self._last += 1
        return f"{event.trigger.key}|{self._last:016d}"

    def _keep(self, kept: Sequence[Change]) -> asyncio.Future[None]:
        """Put readings in the document store."""
        self._writing += len(kept)
        stored = self._documents.write(kept)

        def settled(_: asyncio.Future[None]) -> None:
            self._writing -= len(kept)
            if self._writing < BACKLOG:
                waiting, self._waiting = self._waiting, []
                for resume in waiting:
                    resume()

        stored.add_done_callback(settled)
        return stored

    def _undo(self, held: Held, done: asyncio.Future[None]) -> None:
        """The disk refused something: the source will bring these readings again."""
        if not done.cancelled() and done.exception() is None:
            return
        for shape in set(held.values()):
            shape.drop(held)
        self._forget(list(held))

    def _take_up(self, trigger: FullyQualifiedName) -> None:
        """Hold again what an earlier life held."""
        mine = [key for key in self._kept if key.rpartition("|")[0] == trigger.key]
        shape = self._shapes[trigger]
        for key in mine:
            payload = self._kept.pop(key)["payload"].encode()
            self._let(trigger, shape, shape.offer(payload, self._clock.monotonic(), key, again=True))
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
        _, done = shape.moved()
        now = self._clock.now()
        fired = [TriggerEvent(trigger, payload, now, durable=True) for payload in payloads]
        if fired or done:
            self._again()
            self._settle(self._fire(fired), Let(fired, done))

    def _settle(self, accepted: asyncio.Future[None], let: Let) -> None:
        """Take readings off the document store once the events that carry them are on disk."""

        def settled(future: asyncio.Future[None]) -> None:
            if future.cancelled() or future.exception() is None:
                self._forget(let.done)
                return
            self._owed.append(let)
            if len(self._owed) > OWED:  # what is in the document store is taken up again by the next life
                self.dropped += len(self._owed.popleft().events)
            if self._retry is None:
                self._retry = asyncio.get_running_loop().call_later(_TICK, self._again)

        accepted.add_done_callback(settled)

    def _again(self) -> None:
        """Fire what the disk refused, before anything that is newer."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        owed, self._owed = self._owed, deque()
        for let in owed:
            self._settle(self._fire(let.events), let)

    def _forget(self, tokens: Sequence[str]) -> None:
        if tokens:
            gone = self._documents.write([Change(COLLECTION, token, None) for token in tokens])
            gone.add_done_callback(_seen)  # what stays is taken up again by the next life


def _seen(done: asyncio.Future[None]) -> None:
    if not done.cancelled():
        done.exception()


async def _both(first: asyncio.Future[None], second: asyncio.Future[None]) -> None:
    await asyncio.gather(first, second)


def _check(key: str, document: Mapping[str, Any]) -> None:
    int(key.rpartition("|")[2]), document["payload"].encode(), hash(document.get("origin"))
