"""Runs messages of one action, alone or composed of others, and writes their records.

A composition is run by the worker that took it, part by part; those of one batch go abreast, so their
parts share calls into the sandbox as single actions do.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from edgewhisk import jsontext
from edgewhisk.busy import busy
from edgewhisk.entity.action import Action
from edgewhisk.entity.activation import Record, unrunnable_record
from edgewhisk.entity.arguments import NOT_ALLOWED, Bound, overrides
from edgewhisk.entity.message import ActivationMessage, Outcome, Ran, Smooth, Status, outcomes_of
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.entity.sheaf import Sheaf
from edgewhisk.entity.timing import Timing
from edgewhisk.errors import StorageError
from edgewhisk.invoker.composition import Composition, Finished, Machine, Step
from edgewhisk.invoker.contexts import Contexts
from edgewhisk.invoker.flight import Flight, Leg, inside_messages
from edgewhisk.invoker.leisure import Leisure
from edgewhisk.invoker.pace import BRIEF, Pace
from edgewhisk.invoker.tally import Route, Tally
from edgewhisk.invoker.templates import Templates
from edgewhisk.invoker.way import Way, Ways
from edgewhisk.recent import Recent
from edgewhisk.spi import ActivationStore, Clock, Sandbox

_log = logging.getLogger(__name__)

_ACTIONS: Final = 10_000  # that stay quick: one for each device is how people build
_PARTS: Final = 32 << 20  # bytes of the parts of compositions that are remembered
GONE: Final = "The requested resource does not exist."
WELL: Final = Smooth((b"{}",), 0, 0)  # a run that went well, for who watches that
_NOT_ALLOWED: Final = jsontext.dumps({"error": NOT_ALLOWED})
TIMED_OUT: Final = "The action exceeded its time limits of {} milliseconds."
BROKEN: Final = "The gateway failed to run the action; its log says why."

# Runs an action of the gateway itself for a namespace; the future may be done on return.
Native = Callable[[Bound, str, Sequence[bytes]], "asyncio.Future[Ran]"]


class Closing(Exception):
    """The gateway stops; what a worker waited for will not come."""


class Runner:
    """Thread-safe."""

    def __init__(
        self,
        sandbox: Sandbox,
        store: ActivationStore,
        clock: Clock,
        composition: Composition,
        native: Native,
        key_of: Callable[[str], str],
    ) -> None:
        """Made on the event loop, where `native` runs the gateway's own actions.

        `key_of` gives the key of a namespace.
        """
        self.watch: Callable[[Bound, Ran], None] = lambda _bound, _ran: None
        self.lent: Callable[[], AbstractContextManager[None]] = nullcontext  # around what a worker waits for
        self.alert: Callable[[], bool] = lambda: False  # whether it must be told of what went well, too
        self.tally = Tally()
        self.pace = Pace()
        self._leisure = Leisure()
        self._sandbox = sandbox
        self._store = store
        self._clock = clock
        self._composition = composition
        self._native = native
        self.contexts = Contexts(clock, key_of)
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._templates = Templates(sandbox)
        self._loaded: dict[FullyQualifiedName, tuple[str, str, int]] = {}  # revision a worker last ran
        self._parts = Recent[tuple[FullyQualifiedName, str, str], tuple[Bound, tuple[Bound, ...] | None]](
            _ACTIONS, _PARTS
        )
        self.way = Ways(self._templates.of).of  # what flights like one that has ended have in common
        self._compiled = threading.Condition()
        self._closing = False

    def ready(self, bound: Bound, namespace: str) -> bool:
        """Whether an action and all its parts that are known can run now: no engine is being compiled."""
        return all(self._ready(part) for part in self._composition.actions(bound, namespace))

    def _ready(self, bound: Bound) -> bool:
        return bound.native or self._sandbox.ready(bound.action.exec.kind)

    def runtime_ready(self) -> None:
        """An engine was compiled: steps of conductors that wait for it may go on."""
        with self._compiled:
            self._compiled.notify_all()

    def close(self) -> None:
        """Wait for no engine any more."""
        with self._compiled:
            self._closing = True
            self._compiled.notify_all()

    def run(self, bound: Bound, messages: Sequence[ActivationMessage]) -> list[Record]:
        """One record for each message, in order; not stored yet, those of parts are. Blocks."""
        self.tally.went(Route.WORKER, len(messages))
        parts = self.parts(bound, messages[0].namespace)
        if parts is None:
            return self._compose(bound, messages)
        flight = self.flight(bound, parts, messages)
        while (leg := flight.leg) is not None:
            flight.land(self._run_leg(leg, messages[0].namespace))
            if bound.composed:
                self._store.record(self._of_leg(flight, *flight.flown[-1]), _unwatched, urgent=False)
        return self._wholes(flight) if bound.composed else self._of_leg(flight, *flight.flown[0])

    def parts(self, bound: Bound, namespace: str) -> tuple[Bound, ...] | None:
        """The single actions that a run takes; see `Composition.parts`.

        Remembered as long as `bound` is the same object: when any entity changes, a new one is made.
        """
        if not bound.composed:
            return (bound,)
        key = (bound.action.name, bound.binding, namespace)
        known, parts = self._parts.get(key) or (None, None)
        if known is not bound:
            parts = self._composition.parts(bound, namespace)
            self._parts.keep(key, (bound, parts), sum(one.weight for one in (bound, *(parts or ()))))
        return parts

    def brief(self, bound: Bound) -> bool:
        """Whether the event loop runs it sooner than it could hand it over, and it may be begun twice.

        Only what a worker has run before: code that is new may take long to load.
        """
        action = bound.action
        return (
            bound.pure
            and not bound.composed
            and self._loaded.get(action.name) == action.revision
            and (self.pace.brief(action.name) or self._has_leisure_for(action))
            and self._ready(bound)
        )

    def _has_leisure_for(self, action: Action) -> bool:
        return self.pace.quick(action.name) and self._leisure.has(self._clock.monotonic())

    def flight(self, bound: Bound, parts: Sequence[Bound], messages: Sequence[ActivationMessage]) -> Flight:
        """Begin an action (its only part) or a sequence."""
        return Flight(bound, parts, messages, self._clock.activation_ids, self._clock.now)

    def attempt(self, leg: Leg, namespace: str) -> Ran:
        """Run a `brief` action, giving up at the first message that takes longer than `HURRY`.

        What came of the messages before that one; the others are as if they had not begun.
        """
        hurried = self.contexts.hurried(leg.bound.action)
        doubtful = self.pace.doubts(leg.bound.action.name)
        clock = busy if doubtful else self._clock.monotonic
        started = clock()
        ran = self._sandbox.run(hurried, self.contexts.calls(leg, namespace), hasty=True)
        count, took = len(leg.ids) if isinstance(ran, Smooth) else len(ran), clock() - started
        late = not isinstance(ran, Smooth) and ran[-1].timed_out
        self.ran(leg.bound.action.name, count, took, by_clock=not (doubtful or late))
        if took > BRIEF * count:
            self._leisure.spend(self._clock.monotonic(), took)
        if isinstance(ran, Smooth) or not late or hurried is leg.bound.action:
            return ran
        return ran[:-1]

    def ran(self, action: FullyQualifiedName, count: int, seconds: float, *, by_clock: bool = False) -> None:
        """Remember how long runs of an action took."""
        with self._lock:
            self.pace.ran(action, count, seconds, by_clock=by_clock)

    def hurry(self, flight: Flight) -> bool:
        """Take a flight of `brief` actions to its end, or to its last leg if that is the gateway's own.

        False if it failed, or a leg took longer than `HURRY`.
        """
        count = len(flight.messages)
        try:
            while (leg := flight.leg) is not None and not leg.bound.native:
                if not flight.land(self.attempt(leg, flight.messages[0].namespace)):
                    self.tally.went(Route.SLOW, count)
                    return False
        except Exception:  # noqa: BLE001 - supervisor: the worker that takes it over records what is wrong
            _log.exception("%s failed on the event loop", flight.bound.action.name)
            self.tally.went(Route.FAILED, count)
            if flight.leg is not None:  # not here again before a worker has run it
                self._loaded.pop(flight.leg.bound.action.name, None)
            return False
        self.tally.went(Route.INLINE, len(flight.messages))
        return True

    def native(self, leg: Leg, namespace: str) -> asyncio.Future[Ran]:
        """Run an action of the gateway itself; on the event loop. May be done on return."""
        return self._native(leg.bound, namespace, leg.payloads)

    def records(self, flight: Flight) -> list[Record]:
        """The records of a flight that has ended."""
        found = [record for leg, ran in flight.flown for record in self._of_leg(flight, leg, ran)]
        return found + self._wholes(flight) if flight.composed else found

    def failed(self, messages: Sequence[ActivationMessage]) -> list[Record]:
        """The records of runs that the gateway itself broke."""
        now, timing = self._clock.now(), self._clock.timing
        self.tally.unrun(Status.WHISK_ERROR, len(messages))
        return [unrunnable_record(message, Status.WHISK_ERROR, BROKEN, now, timing) for message in messages]

    def gone(self, messages: Sequence[ActivationMessage]) -> list[Record]:
        """The records of messages whose action does not exist any more."""
        now, timing = self._clock.now(), self._clock.timing
        self.tally.unrun(Status.APPLICATION_ERROR, len(messages))
        return [
            unrunnable_record(message, Status.APPLICATION_ERROR, GONE, now, timing) for message in messages
        ]

    def sheaf(self, way: Way, flights: Sequence[Flight], timing: Timing) -> Sheaf | None:
        """The records of smooth flights that took a way; None if they have to be written one by one.

        `timing` is how the clock stood when they ended.
        """
        found = way.sheaf(flights, timing)
        if found is not None:
            self._count_all(way, flights)
        return found

    def _count_all(self, way: Way, flights: Sequence[Flight]) -> None:
        """Count the runs of flights that all went well."""
        took, spans, total = self._clock.timing.took, Counter[int](), 0
        for flight in flights:
            count = len(flight.messages)
            total += count
            for _, ran in flight.flown:
                if isinstance(ran, Smooth):
                    spans[took(ran.start, ran.end)] += count
            if flight.composed:
                spans[took(flight.begun, flight.ended)] += count
        if self.alert():
            for bound in way.bounds:
                self.watch(bound, WELL)
        self.tally.smooth(way.names, total, spans)

    def _run_leg(self, leg: Leg, namespace: str) -> Ran:
        """Run a part for some messages, on a worker."""
        kept = [not overrides(leg.bound.final, payload) for payload in leg.payloads]
        if not all(kept):
            return self._without(leg, namespace, kept)
        action = leg.bound.action
        self._wait_for_engine(leg.bound)
        if leg.bound.native:
            return self._run_native(leg, namespace)
        started = busy()
        ran = self._sandbox.run(action, self.contexts.calls(leg, namespace))
        self.ran(action.name, len(leg.ids), busy() - started - _loading(ran))
        with self._lock:
            if len(self._loaded) >= _ACTIONS:
                self._loaded.clear()
            self._loaded[action.name] = action.revision
        return ran

    def _without(self, leg: Leg, namespace: str, kept: Sequence[bool]) -> list[Outcome]:
        """Run a part for those messages that leave its final parameters alone; an error for the others.

        Whoever waits for an answer is refused before; this is for events, and for results of other parts.
        """
        rest = leg.only(kept)
        now = self._clock.now()
        ran = iter(outcomes_of(self._run_leg(rest, namespace)) if rest.ids else ())
        refused = Outcome(Status.APPLICATION_ERROR, _NOT_ALLOWED, (), now, now)
        return [next(ran) if one else refused for one in kept]

    def _wait_for_engine(self, bound: Bound) -> None:
        """Wait until a step that a conductor named can run; raises `Closing`."""
        if self._ready(bound):
            return
        with self.lent(), self._compiled:
            self._compiled.wait_for(lambda: self._closing or self._ready(bound))
            if self._closing:
                raise Closing

    def _run_native(self, leg: Leg, namespace: str) -> Ran:
        """Have the event loop run an action of the gateway itself, within that action's time."""

        async def waited() -> Ran:
            return await self.native(leg, namespace)

        running = asyncio.run_coroutine_threadsafe(waited(), self._loop)
        try:
            return running.result(leg.bound.action.limits.timeout / 1000)
        except TimeoutError:
            running.cancel()
            return self.expired(leg)

    def expired(self, leg: Leg) -> Ran:
        """What comes of runs of the gateway's own action that took longer than it may."""
        limit, now = leg.bound.action.limits.timeout, self._clock.now()
        result = jsontext.dumps({"error": TIMED_OUT.format(limit)})
        return [Outcome(Status.DEVELOPER_ERROR, result, (), now - limit, now, timed_out=True)] * len(leg.ids)

    def _compose(self, bound: Bound, messages: Sequence[ActivationMessage]) -> list[Record]:
        machines = [self._composition.start(bound, message) for message in messages]
        ends: dict[int, Finished] = {}
        steps: dict[int, Step] = {}
        answers: dict[int, Outcome | None] = dict.fromkeys(range(len(machines)))
        while answers:
            for at, answer in answers.items():
                said = self._advance(machines[at], answer)
                if isinstance(said, Finished):
                    ends[at] = said
                else:
                    steps[at] = said
            answers = self._step(steps)
            steps = {}
        self._count(bound, [end.outcome for end in ends.values()])
        return [ends[at].record for at in range(len(machines))]

    def _advance(self, machine: Machine, answer: Outcome | None) -> Step | Finished:
        """Up to the machine's next step, storing the records it yields on the way."""
        try:
            said = machine.send(answer)
            while isinstance(said, Record):
                self._store.record([said], _unwatched, urgent=False)
                said = machine.send(None)
        except StopIteration as end:
            finished: Finished = end.value
            return finished
        return said

    def _step(self, steps: dict[int, Step]) -> dict[int, Outcome | None]:
        """Run one step of each machine; equal actions in one batch."""
        groups: dict[tuple[object, ...], list[int]] = {}
        for at, step in steps.items():
            groups.setdefault((step.bound.action.revision, step.bound.binding), []).append(at)
        answers: dict[int, Outcome | None] = {}
        for places in groups.values():
            messages = [steps[at].message for at in places]
            bound = steps[places[0]].bound
            flight = self.flight(bound, (bound,), messages)
            while (leg := flight.leg) is not None:
                flight.land(self._run_leg(leg, messages[0].namespace))
                self._store.record(self._of_leg(flight, *flight.flown[-1]), _unwatched, urgent=False)
            answers.update(zip(places, outcomes_of(flight.flown[-1][1]), strict=True))
        return answers

    def _of_leg(self, flight: Flight, leg: Leg, ran: Ran) -> list[Record]:
        """The records of one action's runs."""
        self._count(leg.bound, ran)
        outcomes = outcomes_of(ran)
        messages = inside_messages(flight, leg, [outcome.start for outcome in outcomes])
        template, timing = self._templates.of(leg.bound, messages[0]), self._clock.timing
        return [
            template.record(message, outcome, timing)
            for message, outcome in zip(messages, outcomes, strict=True)
        ]

    def _wholes(self, flight: Flight) -> list[Record]:
        """The records of sequences that ended."""
        timing, bound = self._clock.timing, flight.bound
        ends = flight.ends(timing)
        self._count(bound, [end.outcome for end in ends])
        return [
            self._templates.of(bound, message, end.memory).whole(
                message, end.outcome, end.duration, end.parts, timing
            )
            for message, end in zip(flight.messages, ends, strict=True)
        ]

    def _count(self, bound: Bound, ran: Ran) -> None:
        self.watch(bound, ran)
        self.tally.ran(bound.action.name.key, ran, self._clock.timing)


def _loading(ran: Ran) -> float:
    """Seconds that it took to load the action first, rounded up: the next run does not."""
    init = 0 if isinstance(ran, Smooth) else ran[0].init_ms
    return (init + 1) / 1000 if init else 0.0


def _unwatched(_error: StorageError | None) -> None:
    """A part's record is on disk, or refused: then the whole's is refused too, and that is told."""
