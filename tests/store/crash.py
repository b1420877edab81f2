"""Cut the power at every instant, and ask the store what it promised.

Plays a random history on a disk in memory, then recovers from each state that a cut could have left
and compares with what was acknowledged until then. `python -m tests.bench.power_cuts` plays many.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence, Set
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import orjson
import pytest

from edgewhisk.clock.offset import ClockOffset
from edgewhisk.config.schema import BufferConfig, LaneConfig
from edgewhisk.entity.annotations.lane import ERRORS, LANES, NORMAL, TELEMETRY
from edgewhisk.entity.invocation.message import ActivationMessage
from edgewhisk.entity.names import parse_name
from edgewhisk.entity.records.record_block import expand, with_origins
from edgewhisk.spi import Change, Clock
from edgewhisk.store.activations.log_state import ABSORBED, event_frame
from edgewhisk.store.activations.loss import EVICTED
from edgewhisk.store.activations.partitions import Partitions
from edgewhisk.store.activations.routes import MARKS, RECORDS, SHEAVES
from edgewhisk.store.documents import entity_store as artifacts_module
from edgewhisk.store.documents.entity_store import EntityStore
from edgewhisk.store.log import log as log_module
from edgewhisk.store.log.frames import Frame
from tests.fakes.clock import TickingClock
from tests.fakes.disk import Cuts, Image, MemoryDisk
from tests.store.record_blocks import record_block

HOME = Path("/store")
SENDER = "d" * 32 + ":" + "e" * 32
SEGMENT = 1024  # bytes: less than most record blocks have
_ACTION = parse_name("/guest/a", "_")


@contextlib.contextmanager
def small() -> Iterator[None]:
    """Segments of a few records, blocks to match."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_module, "SEGMENT", SEGMENT)
        patch.setattr(log_module, "BLOCK", 256)
        patch.setattr(log_module, "FEW", 3)
        patch.setattr(artifacts_module, "SPARE", 2 * SEGMENT)
        yield


@dataclass
class Step:
    """What one call to the store promised when it returned, and what it may have done before."""

    begun: int  # operations on the disk
    ended: int
    records: dict[str, tuple[str, int]] = field(default_factory=dict)  # id -> lane, number
    texts: dict[str, bytes] = field(default_factory=dict)
    events: set[str] = field(default_factory=set)
    finished: set[str] = field(default_factory=set)
    confirmed: dict[str, int] = field(default_factory=dict)
    absorbed: tuple[int, set[str]] | None = None
    dropped: set[str] = field(default_factory=set)


class Failure(AssertionError):
    """The store broke a promise."""


def text_of(number: int, size: int = 0) -> tuple[str, bytes]:
    """An activation id and a record."""
    found = f"{number * 2654435761 % (1 << 128):032x}"
    text = (
        b'{"namespace":"guest","name":"a","activationId":"%b","start":%d,"response":{"result":{"n":"%b"}},'
        b'"annotations":[{"key":"path","value":"guest/a"}]}'
    )
    return found, text % (found.encode(), 1_700_000_000_000 + number, b"x" * size)


def open_records(disk: MemoryDisk, clock: Clock) -> Partitions:
    """A store that is always short of space."""
    lanes = {
        TELEMETRY: LaneConfig(max_bytes=3 * SEGMENT, ttl=900),
        ERRORS: LaneConfig(max_bytes=3 * SEGMENT, full="reject"),
    }
    records = Partitions(
        disk, HOME, BufferConfig(max_bytes=9 * SEGMENT, min_free_bytes=0), clock, lanes=lanes
    )
    records.recover()
    return records


class History:
    """A random life of a store: the first, or one after a cut."""

    def __init__(
        self, random: Random, disk: MemoryDisk, store: Partitions, *, lives: int = 0, foreign: int = 0
    ) -> None:
        """Of an open `store`, after so many `lives`, which had so many records from another gateway."""
        self.random = random
        self.disk = disk
        self.steps: list[Step] = []
        self.store = store
        self.open = sorted(store.normal.log_state.events)
        self._number = lives * 10**6 + 1
        self._present = present(store)
        self._foreign = foreign

    def live(self, steps: int) -> None:
        """So many calls."""
        for _ in range(steps):
            self.step()
        if self.random.random() < 0.5:
            self.store.close()

    def step(self) -> None:
        """One call."""
        step = Step(len(self.disk.trace), 0)
        frames = self._frames(step)
        if frames:
            self.store.write(frames)
        else:
            self.store.tend()
        step.ended = len(self.disk.trace)
        now = present(self.store)
        step.records = {
            key: (lane, number) for key, (lane, number, _) in now.items() if key not in self._present
        }
        for key, (_, _, text) in now.items():
            step.texts.setdefault(key, text)
        step.dropped = {key for key in [*self._present, *step.texts] if key not in now}
        self._present = now
        self.steps.append(step)

    def _frames(self, step: Step) -> list[Frame]:
        random = self.random
        chance = random.random()
        if chance < 0.04:
            return []
        if chance < 0.14:
            return self._confirm(step)
        if chance < 0.22:
            return self._absorb(step)
        frames: list[Frame] = []
        for _ in range(random.choice((1, 1, 1, 2, 5))):
            if random.random() < 0.3:
                found, _ = self._next()
                message = ActivationMessage(
                    found, _ACTION, "guest", "guest", b"{}", 5, "/guest/t", "", f"mqtt:{found}", durable=True
                )
                frames.append(event_frame(message, ClockOffset()))
                step.events.add(found)
                self.open.append(found)
                continue
            if random.random() < 0.3:
                frames.append(self._sheaf(step))
                continue
            found, text = self._next()
            if self.open and random.random() < 0.5:
                opened = self.open.pop(random.randrange(len(self.open)))
                found, text = opened, text.replace(found.encode(), opened.encode())
                step.finished.add(opened)
            lane = random.choice((NORMAL, NORMAL, NORMAL, TELEMETRY, TELEMETRY, ERRORS))
            frames.append(Frame(RECORDS[lane], 0, text))
            step.texts[found] = text
        return frames

    def _sheaf(self, step: Step) -> Frame:
        """Several records in a line; some are of open events."""
        count, lane = self.random.randint(1, 4), self.random.choice((NORMAL, NORMAL, TELEMETRY))
        ids = [self._next()[0] for _ in range(2 * count)]
        for at in range(count, 2 * count):
            if self.open and self.random.random() < 0.5:
                ids[at] = self.open.pop(self.random.randrange(len(self.open)))
                step.finished.add(ids[at])
        made = record_block(ids[:count], ids[count:], 1_700_000_000_000 + self._number, lane)
        step.texts.update(zip(ids, expand(made.text), strict=True))
        text = with_origins(made.text, [f"mqtt:{ids[0]}"]) if self.random.random() < 0.5 else made.text
        return Frame(SHEAVES[lane], 0, text, about=made.gist)

    def _confirm(self, step: Step) -> list[Frame]:
        lane = self.random.choice(LANES)
        log_state = self.store.lanes[lane].log_state
        upto = self.random.randint(log_state.confirmed, log_state.last)
        step.confirmed[lane] = upto
        return [Frame(MARKS[lane], upto, b"")]

    def _absorb(self, step: Step) -> list[Frame]:
        frames = []
        for _ in range(self.random.randint(1, 4)):
            found, text = self._next()
            frames.append(Frame(RECORDS[NORMAL], 0, text))
            step.texts[found] = text
            self._foreign += 1
        step.absorbed = self._foreign, set(step.texts)
        return [*frames, Frame(ABSORBED, self._foreign, SENDER.encode())]

    def _next(self) -> tuple[str, bytes]:
        self._number += 1
        return text_of(self._number, self.random.randint(0, 90))


def present(store: Partitions) -> dict[str, tuple[str, int, bytes]]:
    """All records: id -> lane, number, text; raises `Failure` for one that is there twice."""
    found: dict[str, tuple[str, int, bytes]] = {}
    for name, lane in store.lanes.items():
        for number, text in lane.catalog.after(0, lane.log.segments):
            key = orjson.loads(text)["activationId"]
            if key in found:
                raise Failure(f"{key} is there twice: {found[key]}, {name} {number}")
            found[key] = name, number, text
        if lane.catalog.damaged:
            raise Failure("a record is damaged")
    return found


@dataclass
class Promise:
    """What must and what may be there."""

    must: dict[str, tuple[str, int]]
    may: dict[str, bytes]
    gone: set[str]  # dropped and acknowledged
    dropping: set[str]
    events: set[str]
    may_events: set[str]
    finished: set[str]
    confirmed: dict[str, int]
    may_confirm: dict[str, int]
    absorbed: list[tuple[int, set[str]]]

    @classmethod
    def nothing(cls) -> Promise:
        """Of a store that is new."""
        return cls({}, {}, set(), set(), set(), set(), set(), {}, {}, [])

    def copy(self) -> Promise:
        """Another that may be changed."""
        return Promise(*(copy(getattr(self, name)) for name in self.__dataclass_fields__))

    def kept(self, store: Partitions, found: Mapping[str, tuple[str, int, bytes]]) -> Promise:
        """What a later life owes: what this one, just opened after a cut, has `found`; no more, no less."""
        log_state = store.normal.log_state
        events, have = set(log_state.events), log_state.absorbed.get(SENDER, 0)
        confirmed = {name: lane.log_state.confirmed for name, lane in store.lanes.items()}
        return Promise(
            {key: (lane, number) for key, (lane, number, _) in found.items()},
            {key: text for key, (_, _, text) in found.items()},
            self.gone,
            self.dropping,
            events,
            events,
            self.finished,
            confirmed,
            confirmed,
            [one for one in self.absorbed if one[0] <= have],
        )


def promise(steps: list[Step], count: int, before: Promise) -> Promise:
    """After `count` operations of a life that began with what was promised `before`."""
    it = before.copy()
    finishing: set[str] = set()
    for step in steps:
        if step.begun >= count and step.ended > count:
            break
        it.may.update(step.texts)
        it.may_events |= step.events
        it.dropping |= step.dropped
        finishing |= step.finished
        it.may_confirm.update(step.confirmed)
        if step.absorbed:
            it.absorbed.append(step.absorbed)
        if step.ended <= count:
            it.must.update(step.records)
            it.events |= step.events
            it.finished |= step.finished
            it.gone |= step.dropped
            it.confirmed.update(step.confirmed)
    for key in it.dropping:
        it.must.pop(key, None)
    it.events -= finishing
    return it


def check(store: Partitions, it: Promise) -> dict[str, tuple[str, int, bytes]]:
    """Raise `Failure` unless `store` has what it promised, and nothing else."""
    lost = [
        damage for lane in store.lanes.values() for one in lane.unlooked(100) if (damage := lane.look(one))
    ]
    if bad := [*store.damage(), *lost, *(line for lane in store.lanes.values() for line in lane.incidents)]:
        raise Failure(f"false alarm: {bad}")
    if any(lane.corrupt for lane in store.lanes.values()):
        raise Failure("torn taken for damaged")
    found = present(store)
    for key, where in it.must.items():
        if found.get(key, ("", 0))[:2] != where:
            raise Failure(f"lost: {key} {where}, found {found.get(key)}")
    for key, (_, _, text) in found.items():
        if it.may.get(key) != text:
            raise Failure(f"ghost: {text!r}")
        if key in it.gone:
            raise Failure(f"risen: {key}")
    check_marks(store, it, found.keys())
    return found


def check_marks(store: Partitions, it: Promise, found: Set[str]) -> None:
    """Likewise of what is not a record."""
    unfinished = set(store.normal.log_state.events)
    if not it.events <= unfinished:
        raise Failure(f"events lost: {it.events - unfinished}")
    if not unfinished <= it.may_events - it.finished:
        raise Failure(f"events risen: {unfinished - (it.may_events - it.finished)}")
    for name, lane in store.lanes.items():
        least, most = it.confirmed.get(name, 0), it.may_confirm.get(name, 0)
        if not least <= lane.log_state.confirmed <= max(least, most):
            raise Failure(f"{name} confirmed {lane.log_state.confirmed}, not {least} to {most}")
    # What comes again from one of them is taken for known.
    known = {origin.removeprefix("mqtt:") for origin in store.normal.log_state.origins}
    if never := known - found - unfinished - it.dropping:
        raise Failure(f"origins of what never happened: {never}")
    if not it.events <= known:
        raise Failure(f"origins lost: {it.events - known}")
    have = store.normal.log_state.absorbed.get(SENDER, 0)
    for upto, ids in it.absorbed:
        if upto <= have and not ids <= found | it.dropping:
            raise Failure(f"absorbed up to {have}, but {ids - found} is missing")


def evicted(store: Partitions) -> int:
    """Records of `normal` that went, as is told."""
    return store.normal.log_state.lost.get((NORMAL, EVICTED), 0)


def survive(image: Image, it: Promise, random: Random, cuts: Sequence[float], lives: int = 1) -> int:
    """Recover from `image`, check, live on; `cuts`: how probably power is cut again, and once more, ...

    Returns how many states were seen.
    """
    disk = MemoryDisk(image)
    store = open_records(disk, TickingClock())
    found = check(store, it)
    if not cuts or random.random() >= cuts[0]:
        if random.random() < 0.3:
            write_on(store, it)
        return 1
    owed = it.kept(store, found)
    life = History(random, disk, store, lives=lives, foreign=store.normal.log_state.absorbed.get(SENDER, 0))
    life.live(random.randint(0, 3))
    seen, known = 1, (-1, owed)
    for count, again in Cuts(disk).states(random, every=random.choice((31, 97)), shuffled=1):
        if count != known[0]:
            known = count, promise(life.steps, count, owed)
        seen += survive(again, known[1], random, cuts[1:], lives + 1)
    return seen


def write_on(store: Partitions, it: Promise) -> None:
    """What is written after a cut is there, under a number of its own."""
    key, text = text_of(10**9)
    number, lost = store.normal.log_state.last + 1, evicted(store)
    store.write([Frame(RECORDS[NORMAL], 0, text)])
    now = present(store)
    if key not in now:  # one that is larger than its segment's share may give way at once
        if store.normal.oldest <= number or evicted(store) == lost:
            raise Failure("what is written after a cut is neither there nor told as a loss")
    elif any(now[key][0] == where[0] and now[key][1] <= where[1] for where in it.must.values()):
        raise Failure("a number was given twice")


CUTS: Final = (0.01, 0.01)  # how many of the states are followed to a second cut, and of those to a third


def play(seed: int, steps: int, *, every: int = 1, cuts: Sequence[float] = CUTS, **mutant: bool) -> int:
    """All states of one history; how many there were. Raises `Failure` with what it takes to repeat it."""
    random = Random(seed)
    with small():
        disk = MemoryDisk()
        history = History(random, disk, open_records(disk, TickingClock()))
        history.live(steps)
        seen, known = 0, (-1, Promise.nothing())
        for count, image in Cuts(disk, **mutant).states(random, every=every):
            if count != known[0]:
                known = count, promise(history.steps, count, Promise.nothing())
            try:
                seen += survive(image, known[1], random, cuts)
            except Exception as error:
                raise Failure(
                    f"history {seed} of {steps} steps, after {count} operations: {error}"
                ) from error
        return seen


# -- entities ----------------------------------------------------------------------------------------


Documents = dict[str, dict[str, Any]]


def play_entities(seed: int, steps: int, *, every: int = 1, **mutant: bool) -> int:
    """All states of a history of entities: each change is made whole or not at all."""
    random = Random(seed)
    with small():
        disk = MemoryDisk()
        store = EntityStore.open(HOME, disk)
        states: list[tuple[int, int, dict[str, Documents]]] = [(0, 0, {"actions": {}, "rules": {}})]
        for number in range(steps):
            changes = [
                Change(
                    random.choice(("actions", "rules")),
                    f"guest/{random.randint(1, 6)}",
                    None if random.random() < 0.3 else {"n": number, "code": "x" * random.randint(0, 300)},
                )
                for _ in range(random.choice((1, 1, 2, 4)))
            ]
            begun = len(disk.trace)
            store.write(changes)
            states.append((begun, len(disk.trace), read_all(store)))
        seen = 0
        for count, image in Cuts(disk, **mutant).states(random, every=every):
            allowed = [
                content
                for at, (begun, _, content) in enumerate(states)
                if begun <= count and (at + 1 == len(states) or states[at + 1][1] > count)
            ]
            again = EntityStore.open(HOME, MemoryDisk(image))
            found = read_all(again)
            if found not in allowed or again.incidents:
                raise Failure(f"entities, history {seed}, after {count}: {again.incidents} {found}")
            again.write([Change("rules", "guest/new", {"n": -1})])
            seen += 1
        return seen


def read_all(store: EntityStore) -> dict[str, Documents]:
    return {name: store.read(name) for name in ("actions", "rules")}
