"""Sequences and conductors as stepping machines. Pure.

A machine yields what is to be run next, a `Part`, and is sent its outcome; it yields the records of
compositions inside it as they end. A `CompositionBatch` drives those of a batch abreast: in each round
the parts that run the same action make one step, so they share calls into the sandbox.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.activation import Record, RecordTemplate
from edgewhisk.entity.invocation.arguments import EMPTY, ResolvedAction
from edgewhisk.entity.invocation.message import ActivationMessage, BatchResult, Outcome, Status, outcomes_of
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.errors import EdgeWhiskError, Forbidden
from edgewhisk.invoker.batch import PendingBatch, Step, StepBatch, Stream, inside_of

MISSING: Final = "Sequence component does not exist."
SEQUENCE_TOO_LONG: Final = "Too many actions in the sequence."
COMPOSITION_TOO_LONG: Final = "Too many actions in the composition."


class Part(NamedTuple):
    """An action that is no composition, to be run."""

    bound: ResolvedAction
    message: ActivationMessage


class Finished(NamedTuple):
    """How a composition ended."""

    record: Record
    outcome: Outcome  # of its last part, between start and end of the whole
    duration: int  # ms, sum of its parts
    memory: int  # MB, greatest of its parts


Machine = Generator[Part | Record, Outcome | None, Finished]
Resolve = Callable[[FullyQualifiedName, str], ResolvedAction | None]


@dataclass(slots=True)
class _Account:
    """What is shared by a composition and those inside it."""

    parts: int = 0
    conductors: int = 0


@dataclass(slots=True)
class _Tally:
    """What one composition sums up."""

    start: int
    ids: list[str] = field(default_factory=list)
    duration: int = 0
    memory: int = 0


@dataclass(frozen=True, slots=True)
class Composition:
    """Makes machines.

    `resolve` finds an action for a namespace: None if it does not exist, raises `Forbidden` if the
    namespace may not run it.
    """

    resolve: Resolve
    new_id: Callable[[], str]
    now: Callable[[], int]
    timing: Callable[[], ClockOffset]
    longest: int  # parts of a composition

    def start(self, bound: ResolvedAction, message: ActivationMessage) -> Machine:
        """The machine of a sequence or conductor."""
        return self._compose(bound, message, _Account())

    def parts(self, bound: ResolvedAction, namespace: str) -> tuple[ResolvedAction, ...] | None:
        """The parts of a sequence that consists of single actions only, which one plain `StepBatch` can run.

        None for conductors, for sequences of sequences, and where a part is missing or forbidden.
        """
        names = bound.sequence
        if not names or len(names) > self.longest:
            return None
        found: list[ResolvedAction] = []
        for name in names:
            part = self._found(name, namespace)
            if part is None or part.composed:
                return None
            found.append(part)
        return tuple(found)

    def actions(self, bound: ResolvedAction, namespace: str) -> Iterator[ResolvedAction]:
        """The actions that are no sequences in one, also in those inside it; or the action itself.

        What a conductor will name is not known. Missing and forbidden ones are left out.
        """
        seen: set[FullyQualifiedName] = set()
        left = [bound]
        while left:
            one = left.pop()
            if one.sequence is None:
                yield one
            elif one.action.name not in seen:
                seen.add(one.action.name)
                left += [part for name in one.sequence if (part := self._found(name, namespace)) is not None]

    def _found(self, name: FullyQualifiedName, namespace: str) -> ResolvedAction | None:
        try:
            return self.resolve(name, namespace)
        except Forbidden:
            return None

    def _compose(self, bound: ResolvedAction, message: ActivationMessage, account: _Account) -> Machine:
        tally = _Tally(self.now())
        run = self._sequence if bound.sequence is not None else self._conductor
        last = yield from run(bound, message, account, tally)
        sized = last.sized and bound.sequence is not None
        outcome = last._replace(start=tally.start, end=self.now(), logs=(), sized=sized)
        template = RecordTemplate.of_composite(bound.action, message, tally.memory)
        record = template.whole(message, outcome, tally.duration, tally.ids, self.timing())
        return Finished(record, outcome, tally.duration, tally.memory)

    def _sequence(
        self, bound: ResolvedAction, message: ActivationMessage, account: _Account, tally: _Tally
    ) -> Generator[Part | Record, Outcome | None, Outcome]:
        payload = message.payload
        outcome = self._error(MISSING)
        for name in bound.sequence or ():
            if account.parts >= self.longest:
                return self._error(SEQUENCE_TOO_LONG)
            try:
                part = self.resolve(name, message.namespace)
            except Forbidden as error:
                return self._error(error.message)
            if part is None:
                return self._error(MISSING)
            outcome = yield from self._part(part, payload, message, account, tally)
            if outcome.status is not Status.SUCCESS:
                break
            payload = outcome.result
        return outcome

    def _part(
        self, part: ResolvedAction, payload: bytes, whole: ActivationMessage, account: _Account, tally: _Tally
    ) -> Generator[Part | Record, Outcome | None, Outcome]:
        """Run one part of `whole`, itself a composition or not."""
        message = self._inside(whole, part, payload)
        tally.ids.append(message.activation_id)
        if part.composed:
            found = yield from self._compose(part, message, account)
            yield found.record
            tally.duration += found.duration
            tally.memory = max(tally.memory, found.memory)
            return found.outcome
        account.parts += 1
        return (yield from self._atom(part, message, tally))

    def _atom(
        self, part: ResolvedAction, message: ActivationMessage, tally: _Tally
    ) -> Generator[Part | Record, Outcome | None, Outcome]:
        outcome = yield Part(part, message)
        if outcome is None:
            raise AssertionError("a part must be answered with its outcome")
        tally.duration += self.timing().took(outcome.start, outcome.end)
        tally.memory = max(tally.memory, part.action.limits.memory)
        return outcome

    def _conductor(
        self, bound: ResolvedAction, message: ActivationMessage, account: _Account, tally: _Tally
    ) -> Generator[Part | Record, Outcome | None, Outcome]:
        payload = message.payload
        while True:
            if account.conductors > 2 * self.longest:
                return self._error(COMPOSITION_TOO_LONG)
            account.conductors += 1
            own = self._inside(message, bound, payload)
            tally.ids.append(own.activation_id)
            outcome = yield from self._atom(bound, own, tally)
            said = jsontext.loads(outcome.result)
            if not isinstance(said, dict) or "action" not in said or outcome.status is not Status.SUCCESS:
                return _ended(outcome, said)
            state = _boxed(said["state"], "state") if "state" in said else {}
            part, problem = self._next(said["action"], message.namespace, account)
            if part is None:
                result: Mapping[str, Any] = {"error": problem}
            else:
                given = _boxed(said["params"], "value") if "params" in said else {}
                step = yield from self._part(part, jsontext.dumps(given), message, account, tally)
                result = _boxed(jsontext.loads(step.result), "value")
            payload = jsontext.dumps({**result, **state}) if result or state else EMPTY

    def _next(self, action: object, namespace: str, account: _Account) -> tuple[ResolvedAction | None, str]:
        """The action that a conductor names, or what to tell it."""
        try:
            if not isinstance(action, str):
                raise TypeError
            name = parse_name(action if action.startswith("/") else f"/_/{action}", namespace)
        except (EdgeWhiskError, TypeError):
            shown = jsontext.dumps(action).decode()
            return None, f"Failed to parse action name from json value {shown} during composition."
        if account.parts >= self.longest:
            return None, COMPOSITION_TOO_LONG
        try:
            part = self.resolve(name, namespace)
        except Forbidden:
            return None, f"Failed entitlement check for action with name '{name.key}' during composition."
        if part is None:
            return None, f"Failed to resolve action with name '{name.key}' during composition."
        return part, ""

    def _inside(self, whole: ActivationMessage, part: ResolvedAction, payload: bytes) -> ActivationMessage:
        return inside_of(whole, part, payload, self.new_id(), self.now())

    def _error(self, text: str) -> Outcome:
        now = self.now()
        return Outcome(Status.APPLICATION_ERROR, jsontext.dumps({"error": text}), (), now, now, sized=False)


class CompositionBatch(StepBatch):
    """A batch of a conductor, or of a sequence that is not made of single actions."""

    __slots__ = ("_answers", "_machines", "_waiting", "finished")

    def __init__(
        self,
        stream: Stream,
        entries: Sequence[PendingBatch],
        bound: ResolvedAction,
        composition: Composition,
        now: Callable[[], int],
    ) -> None:
        """Go to the first step."""
        super().__init__(stream, entries, bound, (), lambda _: (), now)
        self.uniform = False
        self.finished: dict[int, Finished] = {}  # by position of the message
        self._machines = [composition.start(bound, message) for message in self.messages]
        self._answers: dict[int, Outcome | None] = dict.fromkeys(range(len(self._machines)))
        self._waiting: list[Step] = []  # of this round
        self._round()

    def complete(self, ran: BatchResult) -> bool:
        """`step` was run; on to the next one of this round, or to the next round."""
        if self.step is None:
            return False
        self.completed.append((self.step, ran))
        self._answers.update(zip(self.step.places, outcomes_of(ran), strict=True))
        if self._waiting:
            self.step = self._waiting.pop(0)
        else:
            self._round()
        return True

    def _round(self) -> None:
        """Take each machine to its next part."""
        answers, self._answers = self._answers, {}
        groups: dict[tuple[object, ...], list[tuple[int, Part]]] = {}
        for at, answer in answers.items():
            said = self._send(self._machines[at], answer)
            if isinstance(said, Finished):
                self.finished[at] = said
            else:
                key = (said.bound.action.revision, said.bound.binding)
                groups.setdefault(key, []).append((at, said))
        for group in groups.values():
            places, parts = zip(*group, strict=True)
            messages = [part.message for part in parts]
            ids, payloads = [one.activation_id for one in messages], [one.payload for one in messages]
            self._waiting.append(Step(parts[0].bound, places, ids, payloads, messages))
        self.step = self._waiting.pop(0) if self._waiting else None

    def _send(self, machine: Machine, answer: Outcome | None) -> Part | Finished:
        """Up to the machine's next part; keeps the records it yields on the way."""
        try:
            said = machine.send(answer)
            while isinstance(said, Record):
                self.completed.append(said)
                said = machine.send(None)
        except StopIteration as end:
            finished: Finished = end.value
            return finished
        return said


def _boxed(value: Any, key: str) -> dict[str, Any]:
    return value if isinstance(value, dict) else {key: value}


def _ended(outcome: Outcome, said: object) -> Outcome:
    """The response of a composition whose conductor named no further action."""
    if isinstance(said, dict) and "params" in said:
        return outcome._replace(result=jsontext.dumps(_boxed(said["params"], "value")))
    return outcome
