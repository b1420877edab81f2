"""Runs messages of one action, alone or composed of others, and writes their records.

A composition is run by the worker that took it, part by part; those of one batch go abreast, so their
parts share calls into the sandbox as single actions do.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from edgewhisk.entity.action import Action
from edgewhisk.entity.activation import Record, RecordTemplate, unrunnable_record
from edgewhisk.entity.arguments import Bound, over
from edgewhisk.entity.message import ActivationMessage, Outcome, Status
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import StorageError
from edgewhisk.histogram import Histogram
from edgewhisk.invoker.abreast import Course, Ended, abreast
from edgewhisk.invoker.composition import Composition, Finished, Machine, Step
from edgewhisk.invoker.pace import Pace
from edgewhisk.spi import ActivationStore, Call, Clock, Sandbox

_TEMPLATES: Final = 1024
_ACTIONS: Final = 1000
OTHERS: Final = "others"  # counted together once too many actions have been seen
ENGINE: Final = "edgewhisk"  # what runs native actions
GONE: Final = "The requested resource does not exist."
BROKEN: Final = "The gateway failed to run the action; its log says why."

Native = Callable[[Bound, Sequence[ActivationMessage]], Awaitable[list[Outcome]]]


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
        self.watch: Callable[[Bound, Sequence[Outcome]], None] = lambda _bound, _outcomes: None
        self.api_host = ""  # what actions get as __OW_API_HOST
        self.outcomes: Counter[Status] = Counter()
        self.by_action: Counter[tuple[str, Status]] = Counter()  # "guest/pkg/a", at most `_ACTIONS` of them
        self.durations = Histogram()  # of single actions
        self.pace = Pace()
        self._sandbox = sandbox
        self._store = store
        self._clock = clock
        self._composition = composition
        self._native = native
        self._key_of = key_of
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._templates: OrderedDict[tuple[object, ...], RecordTemplate] = OrderedDict()
        self._quick: dict[tuple[str, str, int], Action] = {}
        self._loaded: dict[FullyQualifiedName, tuple[str, str, int]] = {}  # revision a worker last ran
        self._compiled = threading.Condition()

    def ready(self, bound: Bound) -> bool:
        """Whether the action can run now; its engine may still be compiled."""
        return bound.sequence is not None or bound.native or self._sandbox.ready(bound.action.exec.kind)

    def runtime_ready(self) -> None:
        """An engine was compiled: parts that wait for it may go on."""
        with self._compiled:
            self._compiled.notify_all()

    def run(self, bound: Bound, messages: Sequence[ActivationMessage]) -> list[Record]:
        """One record for each message, in order; not stored yet, those of parts are. Blocks."""
        if not bound.composed:
            return self._atoms(bound, messages)[1]
        parts = self.parts(bound, messages[0].namespace)
        return self._compose(bound, messages) if parts is None else self._abreast(bound, parts, messages)

    def parts(self, bound: Bound, namespace: str) -> tuple[Bound, ...] | None:
        """See `Composition.parts`."""
        return self._composition.parts(bound, namespace)

    def brief(self, bound: Bound) -> bool:
        """Whether a run takes no longer than to hand it over, and may be begun twice.

        Only what a worker has run before: code that is new may take long to load.
        """
        action = bound.action
        return (
            bound.pure
            and not bound.composed
            and self._loaded.get(action.name) == action.revision
            and self.pace.brief(action.name)
            and self.ready(bound)
        )

    def attempt(
        self, bound: Bound, messages: Sequence[ActivationMessage], milliseconds: int
    ) -> tuple[list[Outcome], list[Record]]:
        """Run a `brief` action, giving up at the first message that takes longer than that.

        Outcomes and records of the messages before that one; the others are as if they had not begun.
        """
        hurried = self._hurried(bound.action, milliseconds)
        started = self._clock.monotonic()
        outcomes = self._sandbox.run(hurried, self._calls(bound, messages), hasty=True)
        self.pace.ran(bound.action.name, len(outcomes), self._clock.monotonic() - started)
        if hurried is not bound.action and outcomes[-1].timed_out:
            outcomes.pop()
        return outcomes, self._records(bound, messages[: len(outcomes)], outcomes)

    async def native(
        self, bound: Bound, messages: Sequence[ActivationMessage]
    ) -> tuple[list[Outcome], list[Record]]:
        """Run an action of the gateway itself; on the event loop."""
        outcomes = await self._native(bound, messages)
        return outcomes, self._records(bound, messages, outcomes)

    def course(self, parts: Sequence[Bound], messages: Sequence[ActivationMessage]) -> Course:
        """Begin a sequence of `parts`."""
        return abreast(
            parts, messages, self._clock.activation_ids, self._clock.now, lambda: self._clock.timing
        )

    def wholes(
        self, bound: Bound, messages: Sequence[ActivationMessage], ends: Sequence[Ended]
    ) -> list[Record]:
        """The records of sequences that ended."""
        self._count(bound, [end.outcome for end in ends])
        timing = self._clock.timing
        return [
            self._template(bound, message, end.memory).whole(
                message, end.outcome, end.duration, end.parts, timing
            )
            for message, end in zip(messages, ends, strict=True)
        ]

    def failed(self, messages: Sequence[ActivationMessage]) -> list[Record]:
        """The records of runs that the gateway itself broke."""
        now, timing = self._clock.now(), self._clock.timing
        with self._lock:
            self.outcomes[Status.WHISK_ERROR] += len(messages)
        return [unrunnable_record(message, Status.WHISK_ERROR, BROKEN, now, timing) for message in messages]

    def gone(self, messages: Sequence[ActivationMessage]) -> list[Record]:
        """The records of messages whose action does not exist any more."""
        now, timing = self._clock.now(), self._clock.timing
        with self._lock:
            self.outcomes[Status.APPLICATION_ERROR] += len(messages)
        return [
            unrunnable_record(message, Status.APPLICATION_ERROR, GONE, now, timing) for message in messages
        ]

    def _abreast(
        self, bound: Bound, parts: Sequence[Bound], messages: Sequence[ActivationMessage]
    ) -> list[Record]:
        course = self.course(parts, messages)
        stage = next(course)
        while True:
            outcomes = self._stage(stage.bound, stage.messages)
            try:
                stage = course.send(outcomes)
            except StopIteration as end:
                return self.wholes(bound, messages, end.value)

    def _stage(self, bound: Bound, messages: Sequence[ActivationMessage]) -> list[Outcome]:
        """Run a part for some messages and store the records."""
        with self._compiled:
            self._compiled.wait_for(lambda: self.ready(bound))
        outcomes, records = self._atoms(bound, messages)
        self._store.record(records, _unwatched, urgent=False)
        return outcomes

    def _hurried(self, action: Action, milliseconds: int) -> Action:
        """`action` with less time; itself if it has no more anyway."""
        found = self._quick.get(action.revision)
        if found is None:
            if len(self._quick) >= _TEMPLATES:
                self._quick.clear()
            limits = replace(action.limits, timeout=min(milliseconds, action.limits.timeout))
            found = action if limits == action.limits else replace(action, limits=limits)
            self._quick[action.revision] = found
        return found

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
            outcomes = self._stage(steps[places[0]].bound, [steps[at].message for at in places])
            answers.update(zip(places, outcomes, strict=True))
        return answers

    def _atoms(
        self, bound: Bound, messages: Sequence[ActivationMessage]
    ) -> tuple[list[Outcome], list[Record]]:
        action = bound.action
        if bound.native:
            running = asyncio.run_coroutine_threadsafe(self.native(bound, messages), self._loop)
            return running.result()
        started = self._clock.monotonic()
        outcomes = self._sandbox.run(action, self._calls(bound, messages))
        self.pace.ran(action.name, len(outcomes), self._clock.monotonic() - started)
        with self._lock:
            if len(self._loaded) >= _ACTIONS:
                self._loaded.clear()
            self._loaded[action.name] = action.revision
        return outcomes, self._records(bound, messages, outcomes)

    def _records(
        self, bound: Bound, messages: Sequence[ActivationMessage], outcomes: Sequence[Outcome]
    ) -> list[Record]:
        self._count(bound, outcomes)
        if not outcomes:
            return []
        template, timing = self._template(bound, messages[0]), self._clock.timing
        return [
            template.record(message, outcome, timing)
            for message, outcome in zip(messages, outcomes, strict=True)
        ]

    def _calls(self, bound: Bound, messages: Sequence[ActivationMessage]) -> list[Call]:
        action = bound.action
        fixed = {
            "action_name": str(action.name),
            "action_version": str(action.version),
            "deadline": str(self._clock.now() + action.limits.timeout),
            "api_host": self.api_host,
        }
        calls = []
        for message in messages:
            own = message.activation_id
            context = {"activation_id": own, "transaction_id": own, "namespace": message.namespace, **fixed}
            if bound.keyed:
                context["api_key"] = self._key_of(message.namespace)
            calls.append(Call(over(bound.text, message.payload), context))
        return calls

    def _template(self, bound: Bound, message: ActivationMessage, memory: int = 0) -> RecordTemplate:
        """The template for a message's record; `memory` of a sequence (MB)."""
        key = (
            bound.action.revision,
            message.namespace,
            message.subject,
            message.trigger,
            message.binding,
            bool(message.cause),
            memory,
        )
        with self._lock:
            template = self._templates.get(key)
            if template is None:
                self._templates[key] = template = self._make_template(bound, message, memory)
                if len(self._templates) > _TEMPLATES:
                    self._templates.popitem(last=False)
        return template

    def _make_template(self, bound: Bound, message: ActivationMessage, memory: int) -> RecordTemplate:
        if memory:
            return RecordTemplate.of_composite(bound.action, message, memory)
        engine = ENGINE if bound.native else self._sandbox.engine(bound.action.exec.kind)
        return RecordTemplate.of_action(bound.action, message, engine)

    def _count(self, bound: Bound, outcomes: Sequence[Outcome]) -> None:
        self.watch(bound, outcomes)
        name, timing = bound.action.name.key, self._clock.timing
        with self._lock:
            for status, count in Counter(outcome.status for outcome in outcomes).items():
                self.outcomes[status] += count
                key = (name, status)
                if key not in self.by_action and len(self.by_action) >= _ACTIONS:
                    key = (OTHERS, status)
                self.by_action[key] += count
            for took, count in Counter(timing.spans(outcomes)).items():
                self.durations.observe(took / 1000, count)


def _unwatched(_error: StorageError | None) -> None:
    """A part's record is on disk, or refused: then the whole's is refused too, and that is told."""
