"""What waits in the queue: messages, each in its lane. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from edgewhisk.entity.message import ActivationMessage
from edgewhisk.entity.names import FullyQualifiedName

Waiter = TypeVar("Waiter")

PLACE: Final = 4096  # bytes of a payload that take a place more of the room: 40 MB for 10,000 places


class LaneKey(NamedTuple):
    """What messages of one lane have in common."""

    action: FullyQualifiedName
    binding: str
    trigger: str
    namespace: str
    suspect: bool = False  # the gateway died in its run before: one batch of one at a time, of all such

    @property
    def ordered(self) -> bool:
        """Whether its messages come from a trigger: in order, unless its owner asks for more at once."""
        return bool(self.trigger)


class Job(NamedTuple, Generic[Waiter]):
    """A message, and who waits for its record."""

    message: ActivationMessage
    waiter: Waiter | None
    since: float  # monotonic seconds when it was queued
    again: bool = False  # an earlier life accepted it, and may have begun it
    pinned: bool = False  # the event loop could not run it: a worker does, whatever comes of it

    @property
    def stays(self) -> bool:
        """Whether the event loop must not take it over."""
        return self.again or self.pinned


class Taken(NamedTuple, Generic[Waiter]):
    """Jobs of one lane to be run now, in order."""

    lane: LaneKey
    jobs: tuple[Job[Waiter], ...]

    @property
    def stays(self) -> bool:
        """Whether the event loop must not take it over."""
        return any(job.stays for job in self.jobs)

    @property
    def places(self) -> int:
        """How much of the room they take."""
        return places([job.message for job in self.jobs])


def places(messages: Iterable[ActivationMessage]) -> int:
    """How much of the room messages take, which is bounded in bytes, too."""
    return sum([1 + len(message.payload) // PLACE for message in messages])


def by_lane(messages: Sequence[ActivationMessage]) -> Mapping[LaneKey, Sequence[ActivationMessage]]:
    """Messages by their lanes; those of one trigger come in a row and share the objects that tell."""
    if len(messages) == 1:
        return {lane_of(messages[0]): messages}
    lanes: dict[LaneKey, list[ActivationMessage]] = {}
    last: ActivationMessage | None = None
    for message in messages:
        if (
            last is None
            or message.action is not last.action
            or message.trigger is not last.trigger
            or message.binding is not last.binding
        ):
            last, events = message, lanes.setdefault(lane_of(message), [])
        events.append(message)
    return lanes


def lane_of(message: ActivationMessage, *, suspect: bool = False) -> LaneKey:
    """The lane that a message waits in."""
    return LaneKey(message.action, message.binding, message.trigger, message.namespace, suspect)
