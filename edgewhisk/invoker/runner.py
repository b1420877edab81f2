"""Runs messages of one action, alone or composed of others, and writes their records.

Called on worker threads. A composition is run by the worker that took it, part by part; machines of
one batch go abreast, so their parts share calls into the sandbox as single actions do.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from edgewhisk.entity.action import Action
from edgewhisk.entity.activation import Record, RecordTemplate
from edgewhisk.entity.arguments import Bound, over
from edgewhisk.entity.exec import NATIVE
from edgewhisk.entity.message import ActivationMessage, Outcome, Status
from edgewhisk.errors import StorageError
from edgewhisk.histogram import Histogram
from edgewhisk.invoker.composition import Composition, Finished, Machine, Step
from edgewhisk.spi import ActivationStore, Call, Clock, Sandbox

_TEMPLATES: Final = 1024
_ACTIONS: Final = 1000
OTHERS: Final = "others"  # counted together once too many actions have been seen
ENGINE: Final = "edgewhisk"  # what runs native actions

Native = Callable[[Bound, Sequence[ActivationMessage]], list[Outcome]]


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
        """`native` runs the gateway's own actions; `key_of` gives the key of a namespace."""
        self.api_host = ""  # what actions get as __OW_API_HOST
        self.outcomes: Counter[Status] = Counter()
        self.by_action: Counter[tuple[str, Status]] = Counter()  # "guest/pkg/a", at most `_ACTIONS` of them
        self.durations = Histogram()  # of single actions
        self._sandbox = sandbox
        self._store = store
        self._clock = clock
        self._composition = composition
        self._native = native
        self._key_of = key_of
        self._lock = threading.Lock()
        self._templates: OrderedDict[tuple[object, ...], RecordTemplate] = OrderedDict()
        self._quick: dict[tuple[str, str, int], Action] = {}
        self._compiled = threading.Condition()

    def ready(self, bound: Bound) -> bool:
        """Whether the action can run now; its engine may still be compiled."""
        kind = bound.action.exec.kind
        return bound.sequence is not None or kind == NATIVE or self._sandbox.ready(kind)

    def runtime_ready(self) -> None:
        """An engine was compiled: parts that wait for it may go on."""
        with self._compiled:
            self._compiled.notify_all()

    def run(self, bound: Bound, messages: Sequence[ActivationMessage]) -> list[Record]:
        """One record for each message, in order; not stored yet, those of parts are."""
        if bound.composed:
            return self._compose(bound, messages)
        return self._atoms(bound, messages)[1]

    def attempt(
        self, bound: Bound, messages: Sequence[ActivationMessage], milliseconds: int
    ) -> list[Record | None]:
        """Run a `pure` action, giving up on what takes longer: None, and as if it had never begun."""
        hurried = self._hurried(bound.action, milliseconds)
        outcomes = self._sandbox.run(hurried, [self._call(bound, message) for message in messages])
        template = self._template(bound, messages[0])
        records: list[Record | None] = []
        for message, outcome in zip(messages, outcomes, strict=True):
            late = outcome.timed_out and hurried.limits != bound.action.limits
            records.append(None if late else template.record(message, outcome))
        self._count(
            bound, [outcome for outcome, record in zip(outcomes, records, strict=True) if record is not None]
        )
        return records

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
            bound = steps[places[0]].bound
            with self._compiled:
                self._compiled.wait_for(lambda bound=bound: self.ready(bound))  # type: ignore[misc]
            outcomes, records = self._atoms(bound, [steps[at].message for at in places])
            self._store.record(records, _unwatched, urgent=False)
            answers.update(zip(places, outcomes, strict=True))
        return answers

    def _atoms(
        self, bound: Bound, messages: Sequence[ActivationMessage]
    ) -> tuple[Sequence[Outcome], list[Record]]:
        if bound.action.exec.kind == NATIVE:
            outcomes = self._native(bound, messages)
        else:
            outcomes = self._sandbox.run(bound.action, [self._call(bound, message) for message in messages])
        template = self._template(bound, messages[0])
        records = [
            template.record(message, outcome) for message, outcome in zip(messages, outcomes, strict=True)
        ]
        self._count(bound, outcomes)
        return outcomes, records

    def _call(self, bound: Bound, message: ActivationMessage) -> Call:
        action = bound.action
        context = {
            "activation_id": message.activation_id,
            "action_name": str(action.name),
            "action_version": str(action.version),
            "namespace": message.namespace,
            "deadline": str(self._clock.now() + action.limits.timeout),
            "transaction_id": message.activation_id,
            "api_host": self.api_host,
        }
        if bound.keyed:
            context["api_key"] = self._key_of(message.namespace)
        return Call(over(bound.text, message.payload), context)

    def _template(self, bound: Bound, message: ActivationMessage) -> RecordTemplate:
        key = (
            bound.action.revision,
            message.namespace,
            message.subject,
            message.trigger,
            message.binding,
            bool(message.cause),
        )
        with self._lock:
            template = self._templates.get(key)
            if template is None:
                kind = bound.action.exec.kind
                engine = ENGINE if kind == NATIVE else self._sandbox.engine(kind)
                self._templates[key] = template = RecordTemplate(bound.action, message, engine)
                if len(self._templates) > _TEMPLATES:
                    self._templates.popitem(last=False)
        return template

    def _count(self, bound: Bound, outcomes: Sequence[Outcome]) -> None:
        name = bound.action.name.key
        with self._lock:
            for outcome in outcomes:
                self.outcomes[outcome.status] += 1
                key = (name, outcome.status)
                if key not in self.by_action and len(self.by_action) >= _ACTIONS:
                    key = (OTHERS, outcome.status)
                self.by_action[key] += 1
                self.durations.observe((outcome.end - outcome.start) / 1000)


def _unwatched(_error: StorageError | None) -> None:
    """A part's record is on disk, or refused: then the whole's is refused too, and that is told."""
