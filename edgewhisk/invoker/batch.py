"""Events that are run together: pending in a stream of the queue, then as a batch in steps. Pure.

A sequence of single actions takes the same steps for every message, so one batch serves all of them:
each step is columns of ids and payloads, no object for each call. A state machine for each message
(`composition`) costs 25 us of it; sensors that feed a sequence would pay that for each reading.

A batch belongs to one thread at a time: the event loop hands it to a worker, which gives it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol

from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.activation import Record
from edgewhisk.entity.invocation.arguments import ResolvedAction, without
from edgewhisk.entity.invocation.message import (
    ActivationMessage,
    BatchResult,
    Outcome,
    Status,
    UniformResult,
    outcomes_of,
)
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import StorageError
from edgewhisk.invoker.lifecycle import TRANSITIONS, BatchEvent, BatchState, after

# Read by `map`: a list comprehension costs a call of its own in Python 3.11.
_PLACES, _WAITERS, _AGAIN = attrgetter("places"), attrgetter("waiters"), attrgetter("again")
PLACE: Final = 4096  # bytes of a payload that take a place more of the room: 40 MB for 10,000 places


class Stream(NamedTuple):
    """What the messages of one stream of runs have in common."""

    action: FullyQualifiedName
    binding: str
    trigger: str
    namespace: str
    suspect: bool = False  # the gateway died in its run before: one batch of one at a time, of all such

    @property
    def ordered(self) -> bool:
        """Whether its messages come from a trigger: in order, unless its owner asks for more at once."""
        return bool(self.trigger)


class Barrier(Protocol):
    """Who waits for events to be on disk."""

    def settle(self, count: int, error: StorageError | None = None) -> None:
        """So many more of the events are on disk, or refused."""
        ...


class PendingBatch(NamedTuple):
    """Consecutive messages of one stream, and who waits for them."""

    messages: Sequence[ActivationMessage]
    since: float  # monotonic seconds when they were queued
    places: int  # of the room
    barrier: Barrier | None = None  # None: the durable ones are journalled, or are about to be
    waiters: Sequence[Any] = ()  # asyncio futures of the records, one for each message; none for events
    again: bool = False  # an earlier life accepted them, and may have begun them
    pinned: bool = False  # the event loop failed to run them: a worker does, whatever comes of it

    @property
    def stays(self) -> bool:
        """Whether the event loop must not run them."""
        return self.again or self.pinned

    @property
    def unsaved(self) -> list[ActivationMessage]:
        """The durable messages that are neither journalled nor recorded."""
        return [] if self.barrier is None else [one for one in self.messages if one.durable]

    def split(self, count: int) -> tuple[PendingBatch, PendingBatch]:
        """Returns the first `count` messages, and the rest."""
        head, rest = self.messages[:count], self.messages[count:]
        own = places(head)
        return (
            self._replace(messages=head, places=own, waiters=self.waiters[:count]),
            self._replace(messages=rest, places=self.places - own, waiters=self.waiters[count:]),
        )


class Step(NamedTuple):
    """One action, to be run for all messages that got so far."""

    bound: ResolvedAction
    places: Sequence[int]  # of the messages
    ids: Sequence[str]  # of the activations to be
    payloads: Sequence[bytes]
    messages: Sequence[ActivationMessage] = ()  # to be run, where a composition made them

    def only(self, kept: Sequence[bool]) -> Step:
        """Returns the same for some of the messages."""
        columns = (list(compress(column, kept)) for column in (self.places, self.ids, self.payloads))
        return Step(self.bound, *columns)  # type: ignore[arg-type]


class Ended(NamedTuple):
    """How a sequence ended for one message."""

    outcome: Outcome  # of its last part, between start and end of the whole
    duration: int  # ms, sum of its parts
    memory: int  # MB, greatest of its parts
    parts: Sequence[str]  # their activation ids


class Batch:
    """Entries of one stream that were taken out of the queue together."""

    __slots__ = ("awaited", "entries", "inline", "messages", "native", "places", "state", "stream", "unsaved")

    def __init__(self, stream: Stream, entries: Sequence[PendingBatch]) -> None:
        """It is in the queue still."""
        self.state = BatchState.QUEUED
        self.inline = False  # whether the event loop runs its sandboxed steps
        self.native = False  # whether the gateway itself performs the action
        self.stream = stream
        self.entries = entries
        self.messages = messages_of(entries)
        self.places = sum(map(_PLACES, entries))
        self.awaited = any(map(_WAITERS, entries))  # whether somebody waits
        self.unsaved = 0  # durable events that are neither journalled nor recorded

    def advance(self, event: BatchEvent) -> None:
        """Go on in the table of `lifecycle`; raises `LifecycleError`."""
        self.state = TRANSITIONS.get((self.state, event)) or after(self.state, event)

    @property
    def namespace(self) -> str:
        """Whose activations these are."""
        return self.stream.namespace

    @property
    def again(self) -> bool:
        """Whether an earlier life accepted some."""
        return any(map(_AGAIN, self.entries))

    @property
    def waiters(self) -> list[Any]:
        """The futures of the records that somebody waits for; None for each of the others."""
        found: list[Any] = []
        for entry in self.entries:
            found += entry.waiters or [None] * len(entry.messages)
        return found

    def leave(self) -> list[PendingBatch]:
        """Gives up what is behind the messages: those that are not run after all."""
        head, rest = split(self.entries, len(self.messages))
        self.entries = head
        self.places = sum(map(_PLACES, head))
        return rest


class StepBatch(Batch):
    """A batch that can be run: run `step` and `complete` it, until there is none any more."""

    __slots__ = (
        "_ids",
        "_now",
        "_parts",
        "began",
        "begun",
        "bound",
        "broken",
        "completed",
        "composed",
        "ended",
        "last",
        "late",
        "seconds",
        "size",
        "step",
        "told",
        "uniform",
    )

    def __init__(
        self,
        stream: Stream,
        entries: Sequence[PendingBatch],
        bound: ResolvedAction,
        parts: Sequence[ResolvedAction],
        new_ids: Callable[[int], Sequence[str]],
        now: Callable[[], int],
    ) -> None:
        """`parts` of a sequence; of a single action only that itself."""
        super().__init__(stream, entries)
        self.bound = bound
        self.native = bound.native
        self.broken = False  # whether the gateway itself failed to run it
        self.late = False  # whether its native step took so long that its events were journalled
        self.completed: list[tuple[Step, BatchResult] | Record] = []  # what is to be recorded, in order
        self.told = 0  # of those, the ones that are recorded already
        self.uniform = True  # whether all runs so far succeeded and printed nothing
        self.size = 0  # bytes of all results so far of a uniform one
        self.last: Step | None = None  # that a worker ran
        self.seconds = 0.0  # that it took
        self.began = 0.0  # monotonic seconds, on a worker
        self.begun = self.ended = now()
        self._parts = parts
        self._now = now
        self._ids: Sequence[str]  # of all activations inside
        # Else the action itself is its only part; a conductor is that, too, when its code is run.
        self.composed = not parts or parts[0] is not bound
        if self.composed:
            self._ids = new_ids(len(parts) * len(self.messages))
        else:
            self._ids = [message.activation_id for message in self.messages]
        payloads = [message.payload for message in self.messages]
        self.step: Step | None = self._next(range(len(self.messages)), payloads)

    @property
    def marked(self) -> list[str]:
        """Activation ids whose runs are journalled before they begin: a later life must know of them."""
        if not (self.bound.once or self.again):
            return []
        return [message.activation_id for message in self.messages if message.durable]

    def complete(self, ran: BatchResult) -> bool:
        """`step` was run; on to the next one, if there is one.

        A message whose part does not succeed ends with that part's outcome. Fewer outcomes than messages:
        those without are not part of the batch any more. False if that cannot be: a sequence would have
        to be taken back.
        """
        step = self.step
        if step is None:
            return False
        if isinstance(ran, UniformResult):
            self.size += sum(map(len, ran.results))
        else:
            self.uniform = False
            if len(ran) < len(step.ids):
                if self.composed or not ran:
                    return False
                run = slice(len(ran))
                self.messages = self.messages[run]
                step = Step(step.bound, step.places[run], step.ids[run], step.payloads[run])
        self.completed.append((step, ran))
        self.step = None
        if self.composed:
            self.step = self._next(*_going(step, ran))
            if self.step is None:
                self.ended = self._now()
        return True

    def ends(self, timing: ClockOffset) -> list[Ended]:
        """Returns how a sequence ended for each message."""
        count = len(self.messages)
        ids: list[list[str]] = [[] for _ in range(count)]
        durations, memories, last = [0] * count, [0] * count, {}
        for step, ran in self.steps():
            outcomes = outcomes_of(ran)
            spans = timing.spans(outcomes)
            for at, own, outcome, took in zip(step.places, step.ids, outcomes, spans, strict=True):
                ids[at].append(own)
                durations[at] += took
                memories[at] = max(memories[at], step.bound.action.limits.memory)
                last[at] = outcome
        return [
            Ended(
                Outcome(
                    found.status, found.result, (), self.begun, self.ended, found.init_ms, found.timed_out
                ),
                durations[at],
                memories[at],
                ids[at],
            )
            for at, found in sorted(last.items())
        ]

    def steps(self) -> list[tuple[Step, BatchResult]]:
        """Returns the steps that were run, and what they gave."""
        return [one for one in self.completed if not isinstance(one, Record)]

    def _next(self, places: Sequence[int], payloads: Sequence[bytes]) -> Step | None:
        number, count = len(self.completed), len(places)
        if number >= len(self._parts) or not count:
            return None
        first, final = number * len(self.messages), self._parts[number].final
        if number and final:
            payloads = [without(final, payload) for payload in payloads]
        return Step(self._parts[number], places, self._ids[first : first + count], payloads)


def split(entries: Sequence[PendingBatch], count: int) -> tuple[list[PendingBatch], list[PendingBatch]]:
    """Returns the entries with the first `count` messages, and the rest."""
    head: list[PendingBatch] = []
    for at, entry in enumerate(entries):
        size = len(entry.messages)
        if count < size:
            if not count:
                return head, list(entries[at:])
            own, rest = entry.split(count)
            return [*head, own], [rest, *entries[at + 1 :]]
        head.append(entry)
        count -= size
    return head, []


def messages_of(entries: Sequence[PendingBatch]) -> Sequence[ActivationMessage]:
    """Returns the messages of all entries, in order."""
    if len(entries) == 1:
        return entries[0].messages
    return [message for entry in entries for message in entry.messages]


def inside_messages(batch: StepBatch, step: Step, starts: Sequence[int]) -> Sequence[ActivationMessage]:
    """A message for each run of a step, which began at `starts` (ms); a single action has its own."""
    if step.messages:
        return step.messages
    if not batch.composed:
        return batch.messages
    return [
        inside_of(batch.messages[at], step.bound, payload, own, start)
        for at, own, payload, start in zip(step.places, step.ids, step.payloads, starts, strict=True)
    ]


def inside_of(
    whole: ActivationMessage, part: ResolvedAction, payload: bytes, activation_id: str, now: int
) -> ActivationMessage:
    """The message that runs one part of `whole`."""
    return ActivationMessage(
        activation_id,
        part.action.name,
        whole.namespace,
        whole.subject,
        payload,
        now,
        whole.trigger,
        part.binding,
        cause=whole.activation_id,
    )


def places(messages: Iterable[ActivationMessage]) -> int:
    """How much of the room messages take, which is bounded in bytes, too."""
    return sum([1 + len(message.payload) // PLACE for message in messages])


def by_stream(messages: Sequence[ActivationMessage]) -> Mapping[Stream, Sequence[ActivationMessage]]:
    """Messages by their streams; those of one trigger come in a row and share the objects that tell."""
    if len(messages) == 1:
        return {stream_of(messages[0]): messages}
    streams: dict[Stream, list[ActivationMessage]] = {}
    last: ActivationMessage | None = None
    for message in messages:
        if (
            last is None
            or message.action is not last.action
            or message.trigger is not last.trigger
            or message.binding is not last.binding
        ):
            last, events = message, streams.setdefault(stream_of(message), [])
        events.append(message)
    return streams


def stream_of(message: ActivationMessage, *, suspect: bool = False) -> Stream:
    """The stream that a message waits in."""
    return Stream(message.action, message.binding, message.trigger, message.namespace, suspect)


def _going(step: Step, ran: BatchResult) -> tuple[Sequence[int], Sequence[bytes]]:
    """The places of the messages that go on, and what their next action gets."""
    if isinstance(ran, UniformResult):
        return step.places, ran.results
    good = [
        (at, one.result) for at, one in zip(step.places, ran, strict=True) if one.status is Status.SUCCESS
    ]
    return [at for at, _ in good], [result for _, result in good]
