"""Plain sequences, for many messages side by side. Pure.

A sequence of single actions takes the same steps for every message, so one course serves a whole
batch: each step is one list of calls. A machine for each message (`composition`) costs 25 us of it;
sensors that feed a sequence pay that for each reading.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from edgewhisk.entity.arguments import Bound
from edgewhisk.entity.message import ActivationMessage, Outcome, Status
from edgewhisk.entity.timing import Timing


class Stage(NamedTuple):
    """One action of the sequence, to be run for all messages that got so far."""

    bound: Bound
    messages: Sequence[ActivationMessage]


class Ended(NamedTuple):
    """How the sequence ended for one message."""

    outcome: Outcome  # of its last part, between start and end of the whole
    duration: int  # ms, sum of its parts
    memory: int  # MB, greatest of its parts
    parts: Sequence[str]  # their activation ids


Course = Generator[Stage, Sequence[Outcome], list[Ended]]


def abreast(
    parts: Sequence[Bound],
    messages: Sequence[ActivationMessage],
    new_ids: Callable[[int], Sequence[str]],
    now: Callable[[], int],
    timing: Callable[[], Timing],
) -> Course:
    """Yield the stages of a sequence of `parts` (at least one), be sent their outcomes in order.

    A message whose part does not succeed ends with that part's outcome.
    """
    start = now()
    payloads = [message.payload for message in messages]
    ids: list[list[str]] = [[] for _ in messages]
    durations = [0] * len(messages)
    last: dict[int, Outcome] = {}
    memories = [0]
    going = list(range(len(messages)))
    for part in parts:
        begun = now()
        inside = [
            inside_of(messages[at], part, payloads[at], fresh, begun)
            for at, fresh in zip(going, new_ids(len(going)), strict=True)
        ]
        outcomes = yield Stage(part, inside)
        memories.append(max(part.action.limits.memory, memories[-1]))
        spans = timing().spans(outcomes)
        for at, message, outcome, took in zip(going, inside, outcomes, spans, strict=True):
            ids[at].append(message.activation_id)
            durations[at] += took
            payloads[at] = outcome.result
            last[at] = outcome
        going = [at for at in going if last[at].status is Status.SUCCESS]
        if not going:
            break
    end = now()
    return [
        Ended(
            Outcome(found.status, found.result, (), start, end, found.init_ms, found.timed_out),
            durations[at],
            memories[len(ids[at])],
            ids[at],
        )
        for at, found in sorted(last.items())
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
