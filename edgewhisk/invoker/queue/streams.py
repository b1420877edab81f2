"""The streams of the queue, and their turns. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import NamedTuple

from edgewhisk.entity.annotations.delivery import Priority
from edgewhisk.invoker.batch import PendingBatch, Stream
from edgewhisk.invoker.lifecycle import Route


class Workers(NamedTuple):
    """How many batches may be run at once."""

    most: int = 16  # shared evenly by the namespaces that want some
    of_namespace: int = 14  # while it is the only one
    of_low: int = 8  # priority
    spare: int = 16  # more than `most`, one for each namespace that has none


class Rank:
    """The streams of one priority and route that may be taken, by namespace; each at most once."""

    def __init__(self, route: Route, priority: Priority) -> None:
        self.route = route
        self.priority = priority
        self.behind = 0  # what it was given, in strides: the least is next
        self.running = 0
        self.turns: OrderedDict[str, deque[WaitingStream]] = OrderedDict()


class WaitingStream:
    """One stream, as long as it has entries or runs."""

    __slots__ = (
        "entries",
        "held",
        "key",
        "messages",
        "natives",
        "offered",
        "parked",
        "places",
        "priority",
        "route",
        "running",
        "unsaved",
    )

    def __init__(self, key: Stream, priority: Priority) -> None:
        self.key = key
        self.priority = priority
        self.route = Route.WORKER
        self.entries: deque[PendingBatch] = deque()
        self.messages = 0  # in its entries
        self.places = 0  # that they take
        self.running = 0  # batches that workers hold
        self.natives = 0  # batches that ran on the event loop and wait for their native step
        self.offered: Rank | None = None  # the rank in whose turns it is
        self.unsaved = False  # whether the events of an entry may not be journalled yet
        self.parked = False  # it cannot be run yet
        self.held = False  # it is behind an open circuit breaker


class Taken(NamedTuple):
    """Entries of one stream to be run now, in order."""

    stream: Stream
    entries: Sequence[PendingBatch]
