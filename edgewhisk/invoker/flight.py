"""Messages of one lane on their way through an action, or side by side through a plain sequence. Pure.

A sequence of single actions takes the same steps for every message, so one flight serves a whole
batch: each leg is columns of ids and payloads, no object for each call. A machine for each message
(`composition`) costs 25 us of it; sensors that feed a sequence pay that for each reading.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from typing import NamedTuple

from edgewhisk.entity.arguments import Bound
from edgewhisk.entity.message import ActivationMessage, Outcome, Ran, Smooth, Status, outcomes_of
from edgewhisk.entity.timing import Timing


class Leg(NamedTuple):
    """One action, to be run for all messages that got so far."""

    bound: Bound
    places: Sequence[int]  # of the messages
    ids: Sequence[str]  # of the activations to be
    payloads: Sequence[bytes]

    def only(self, kept: Sequence[bool]) -> Leg:
        """The same for some of the messages."""
        picked = (list(compress(column, kept)) for column in (self.places, self.ids, self.payloads))
        return Leg(self.bound, *picked)  # type: ignore[arg-type]


class Ended(NamedTuple):
    """How a sequence ended for one message."""

    outcome: Outcome  # of its last part, between start and end of the whole
    duration: int  # ms, sum of its parts
    memory: int  # MB, greatest of its parts
    parts: Sequence[str]  # their activation ids


class Flight:
    """A batch. Run `leg` and `land` what came of it, until there is none any more."""

    __slots__ = (
        "_ids",
        "_now",
        "_parts",
        "begun",
        "bound",
        "composed",
        "ended",
        "flown",
        "leg",
        "messages",
        "size",
        "smooth",
    )

    def __init__(
        self,
        bound: Bound,
        parts: Sequence[Bound],
        messages: Sequence[ActivationMessage],
        new_ids: Callable[[int], Sequence[str]],
        now: Callable[[], int],
    ) -> None:
        """`parts` of a sequence; of a single action only that itself."""
        self.bound = bound
        self.messages = messages
        self.flown: list[tuple[Leg, Ran]] = []
        self.smooth = True  # whether all runs so far succeeded and printed nothing
        self.size = 0  # bytes of all results so far of a smooth one
        self.begun = self.ended = now()
        self._parts = parts
        self._now = now
        self._ids: Sequence[str]  # of all activations inside
        # Else the action itself is its only part; a conductor is that, too, when its code is run.
        self.composed = parts[0] is not bound
        if self.composed:
            self._ids = new_ids(len(parts) * len(messages))
        else:
            self._ids = [message.activation_id for message in messages]
        self.leg = self._next(range(len(messages)), [message.payload for message in messages])

    def land(self, ran: Ran) -> bool:
        """`leg` was run; on to the next one, if there is one.

        A message whose part does not succeed ends with that part's outcome. Fewer outcomes than messages:
        those without are not part of the flight any more. False if that cannot be: a sequence would have
        to be taken back.
        """
        leg = self.leg
        if leg is None:
            return False
        if isinstance(ran, Smooth):
            self.size += sum(map(len, ran.results))
        else:
            self.smooth = False
            if len(ran) < len(leg.ids):
                if self.composed or not ran:
                    return False
                run = slice(len(ran))
                self.messages = self.messages[run]
                leg = Leg(leg.bound, leg.places[run], leg.ids[run], leg.payloads[run])
        self.flown.append((leg, ran))
        self.leg = None
        if self.composed:
            self.leg = self._next(*_going(leg, ran))
            if self.leg is None:
                self.ended = self._now()
        return True

    def ends(self, timing: Timing) -> list[Ended]:
        """How a sequence ended for each message."""
        count = len(self.messages)
        ids: list[list[str]] = [[] for _ in range(count)]
        durations, memories, last = [0] * count, [0] * count, {}
        for leg, ran in self.flown:
            outcomes = outcomes_of(ran)
            spans = timing.spans(outcomes)
            for at, own, outcome, took in zip(leg.places, leg.ids, outcomes, spans, strict=True):
                ids[at].append(own)
                durations[at] += took
                memories[at] = max(memories[at], leg.bound.action.limits.memory)
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

    def _next(self, places: Sequence[int], payloads: Sequence[bytes]) -> Leg | None:
        number, count = len(self.flown), len(places)
        if number >= len(self._parts) or not count:
            return None
        first = number * len(self.messages)
        return Leg(self._parts[number], places, self._ids[first : first + count], payloads)


def inside_messages(flight: Flight, leg: Leg, starts: Sequence[int]) -> Sequence[ActivationMessage]:
    """A message for each run of a leg, which began at `starts` (ms); of a single action those that it got."""
    if not flight.composed:
        return flight.messages
    return [
        inside_of(flight.messages[at], leg.bound, payload, own, start)
        for at, own, payload, start in zip(leg.places, leg.ids, leg.payloads, starts, strict=True)
    ]


def inside_of(
    whole: ActivationMessage, part: Bound, payload: bytes, activation_id: str, now: int
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


def _going(leg: Leg, ran: Ran) -> tuple[Sequence[int], Sequence[bytes]]:
    """The places of the messages that go on, and what their next action gets."""
    if isinstance(ran, Smooth):
        return leg.places, ran.results
    good = [(at, one.result) for at, one in zip(leg.places, ran, strict=True) if one.status is Status.SUCCESS]
    return [at for at, _ in good], [result for _, result in good]
