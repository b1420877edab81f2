"""What becomes of readings before they fire a trigger: filters, windows, batches. Pure.

One `Shape` for each trigger; it keeps what the last reading of each source was, for at most
`SOURCES` of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from edgewhisk import jsontext
from edgewhisk.config.table import is_number
from edgewhisk.errors import FeedError, shown
from edgewhisk.feed.parameters import SHAPE, asked

SOURCES: Final = 10_000  # remembered; the one that was silent for longest goes first
_BATCH: Final = 10_000  # readings of one event at most
HELD: Final = 100_000  # readings that may be held in all; beyond, the oldest source's are let through early
ROOM: Final = 16 << 20  # bytes of them
_DAY: Final = 86_400.0  # seconds
_VALUES: Final = ("mean", "min", "max", "last", "count", "sum")
_SOURCE: Final = ("topic", "port", "unit")  # what tells sources apart, if `by` does not say
_OURS: Final = frozenset({"taken_at", "suspect", "errors"})  # no measured values
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ShapingSpec:
    """What a feed's `shape` asks for."""

    by: tuple[str, ...] = ()
    deadband: tuple[tuple[str, float], ...] = ()
    changes: bool = False
    every: int = 1
    least: float = 0.0  # seconds between two events at least
    most: float = 0.0  # seconds without an event at most, as long as there are readings
    count: int = 0  # readings of a window or a batch
    seconds: float = 0.0
    values: tuple[str, ...] = ()  # of a window; none: a batch


def read(shape: object) -> ShapingSpec:
    """The wish in a `shape` parameter; raises `FeedError` naming everything that is wrong."""
    if not isinstance(shape, dict | None):
        raise FeedError('shape must be an object, for example {"minInterval": 10}')
    with asked(shape or {}, path=SHAPE) as top:
        deadband = top.mapping("deadband")
        for key, value in deadband.items():
            if not is_number(value) or value <= 0:
                top.fault(f"deadband.{key}", f"must be a number above 0, not {shown(value)}")
        window, batch = top.table("window"), top.table("batch")
        if window.given and batch.given:
            top.fault("batch", "and window exclude each other")
        kept = window if window.given else batch
        count = kept.whole("count", _BATCH, 1, _BATCH) if kept.given else 0
        seconds = kept.number("seconds", 60.0, 0.01, _DAY) if kept.given else 0.0
        values = (window.texts("values") or _VALUES[:3]) if window.given else ()
        for value in values:
            if value not in _VALUES:
                window.fault("values", f"must be some of {', '.join(_VALUES)}, not {shown(value)}")
        spec = ShapingSpec(
            top.texts("by"),
            tuple(deadband.items()),
            top.flag("onlyChanges"),
            top.whole("every", 1, 1, 1_000_000),
            top.number("minInterval", 0.0, 0, _DAY),
            top.number("maxInterval", 0.0, 0, _DAY),
            count,
            seconds,
            tuple(values),
        )
        for table in (window, batch, top):
            table.rest()
        return spec


@dataclass(slots=True)
class _Source:
    """What is known of one source."""

    seen: int = 0
    fired: Document | None = None  # the last one that was let through
    fired_at: float = -1e18
    waiting: Document | None = None  # held back by `least`
    collected: list[Document] = field(default_factory=list)
    begun: float = 0.0
    tokens: list[str] = field(default_factory=list)  # of the readings that are held, in their order
    sizes: list[int] = field(default_factory=list)  # and their bytes


class Shape:
    """The shaping of one trigger. `now` is monotonic seconds.

    Who must know when a held reading is done with gives it a token; `moved` tells which are held now, and
    which are not any more: their event was let through, or a newer reading has replaced them.
    """

    def __init__(self, spec: ShapingSpec) -> None:
        """Nothing was seen yet."""
        self.spec = spec
        self._sources: OrderedDict[tuple[Any, ...], _Source] = OrderedDict()
        self.offered = self.let_through = self.holding = self.bytes = 0
        self._taken: dict[str, None] = {}
        self._released: list[str] = []

    def offer(self, payload: bytes, now: float, token: str = "", *, again: bool = False) -> list[bytes]:
        """Events to fire now that a reading came; none, and `holding` risen, if it is held.

        `again`: it was held in an earlier life, so it is wanted.
        """
        document = jsontext.loads(payload)
        self.offered += 1
        events: list[bytes] = []
        source = self._find(document, now, events)
        source.seen += 1
        if not again and not self._wanted(source, document, now):
            return events
        if self.spec.seconds:
            source.begun = source.begun if source.collected else now
            source.collected.append(document)
            self._hold(source, token, len(payload), kept=again)
            source.fired = document
            full = len(source.collected) >= self.spec.count
            ready = full or now - source.begun >= self.spec.seconds
        else:
            self._release(source)  # the newer one stands for it
            source.waiting = document
            self._hold(source, token, len(payload), kept=again)
            ready = now - source.fired_at >= self.spec.least
        if ready:
            events += self._fire(source, now)
        while self.holding > HELD or self.bytes > ROOM:
            events += self._fire(next(one for one in self._sources.values() if one.tokens), now)
        return events

    def moved(self) -> tuple[list[str], list[str]]:
        """Tokens that are held since the last call, and those of before that are not any more."""
        taken, self._taken = self._taken, {}
        released, self._released = self._released, []
        return list(taken), released

    def drop(self, tokens: Collection[str]) -> None:
        """Forget readings that are held: their source brings them again."""
        for source in self._sources.values():
            for at in reversed(range(len(source.tokens))):
                if source.tokens[at] in tokens:
                    self.holding -= 1
                    self.bytes -= source.sizes[at]
                    del source.tokens[at], source.sizes[at]
                    if source.collected:
                        del source.collected[at]
                    else:
                        source.waiting = None

    def due(self, now: float, *, everything: bool = False) -> list[bytes]:
        """Events whose time has come without a new reading, or of all that is held."""
        events: list[bytes] = []
        for source in self._sources.values():
            if source.collected:
                ready = now - source.begun >= self.spec.seconds
            else:
                ready = source.waiting is not None and now - source.fired_at >= self.spec.least
            if ready or (everything and source.tokens):
                events += self._fire(source, now)
        return events

    def next_due(self) -> float | None:
        """When `due` has something next."""
        times = [
            one.begun + self.spec.seconds if one.collected else one.fired_at + self.spec.least
            for one in self._sources.values()
            if one.tokens
        ]
        return min(times, default=None)

    def _hold(self, source: _Source, token: str, size: int, *, kept: bool) -> None:
        """`kept`: it is in the document store already."""
        source.tokens.append(token)
        source.sizes.append(size)
        self.holding += 1
        self.bytes += size
        if token and not kept:
            self._taken[token] = None

    def _release(self, source: _Source) -> None:
        self.holding -= len(source.tokens)
        self.bytes -= sum(source.sizes)
        for token in source.tokens:
            if token in self._taken:
                del self._taken[token]
            elif token:
                self._released.append(token)
        source.tokens, source.sizes = [], []

    def _fire(self, source: _Source, now: float) -> list[bytes]:
        """Let through what a source holds."""
        if source.collected:
            event = self._whole(source)
        elif source.waiting is not None:
            event, source.fired, source.waiting = source.waiting, source.waiting, None
        else:
            return []
        source.fired_at = now
        self.let_through += 1
        self._release(source)
        return [jsontext.dumps(event)]

    def _find(self, document: Document, now: float, events: list[bytes]) -> _Source:
        key = tuple(
            document.get(name) if _plain(document.get(name)) else None for name in self.spec.by or _SOURCE
        )
        source = self._sources.get(key)
        if source is None:
            if len(self._sources) >= SOURCES:
                events += self._forget(now)
            source = self._sources[key] = _Source()
        else:
            self._sources.move_to_end(key)
        return source

    def _forget(self, now: float) -> list[bytes]:
        """Make room for a source: the one that was silent for longest goes, best one that holds nothing."""
        oldest = next(iter(self._sources))
        key = next((key for key, one in self._sources.items() if not one.tokens), oldest)
        return self._fire(self._sources.pop(key), now)

    def _wanted(self, source: _Source, document: Document, now: float) -> bool:
        """Whether a reading says something new."""
        spec = self.spec
        if (source.seen - 1) % spec.every:
            return False
        if source.fired is None or not (spec.deadband or spec.changes):
            return True
        if spec.most and now - source.fired_at >= spec.most:
            return True
        before = source.waiting or source.fired
        if spec.changes and _measured(before) != _measured(document):
            return True
        return any(_moved(before.get(point), document.get(point), band) for point, band in spec.deadband)

    def _whole(self, source: _Source) -> Document:
        """The event of what was collected."""
        collected, source.collected = source.collected, []
        if not self.spec.values:
            return {"readings": collected}
        last = collected[-1]
        whole: Document = {key: value for key, value in last.items() if not is_number(value)}
        for point in dict.fromkeys(key for one in collected for key in one if key not in _OURS):
            numbers = [one[point] for one in collected if is_number(one.get(point))]
            if numbers:
                whole[point] = {name: _FOLDS[name](numbers) for name in self.spec.values}
        whole["window"] = {
            "count": len(collected),
            "from": collected[0].get("taken_at"),
            "to": last.get("taken_at"),
        }
        return whole


_FOLDS: Final[Mapping[str, Callable[[Sequence[float]], float]]] = {
    "mean": lambda numbers: float(f"{sum(numbers) / len(numbers):.12g}"),
    "min": min,
    "max": max,
    "last": lambda numbers: numbers[-1],
    "count": len,
    "sum": lambda numbers: float(f"{sum(numbers):.12g}"),
}


def _measured(document: Document) -> Document:
    return {key: value for key, value in document.items() if key != "taken_at"}


def _moved(before: Any, now: Any, band: float) -> bool:
    if not (is_number(before) and is_number(now)):
        return bool(before != now)
    return bool(abs(now - before) >= band)


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float)
