"""What waits to be run, in fair order. Pure.

Messages wait in lanes: one for each action and the trigger that started it. Lanes take turns, so a
flood in one delays the others by one batch at most. A lane that a trigger feeds is run one batch at
a time, so readings keep their order, unless its owner asks for more at once; other lanes may be run
by several workers at once, but never by all of them: calls that hang must leave room for the other
actions.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from edgewhisk.entity.message import ActivationMessage
from edgewhisk.entity.names import FullyQualifiedName

Waiter = TypeVar("Waiter")


MOST: Final = 8  # batches of a lane that are run at once


class LaneKey(NamedTuple):
    """What messages of one lane have in common."""

    action: FullyQualifiedName
    binding: str
    trigger: str
    namespace: str  # whose activations they are

    @property
    def ordered(self) -> bool:
        """Whether its messages come from a trigger: in order, unless its owner asks for more at once."""
        return bool(self.trigger)


def lane_of(message: ActivationMessage) -> LaneKey:
    """The lane that a message waits in."""
    return LaneKey(message.action, message.binding, message.trigger, message.namespace)


class Job(NamedTuple, Generic[Waiter]):
    """A message, and who waits for its record."""

    message: ActivationMessage
    waiter: Waiter | None
    since: float  # monotonic seconds when it was queued


class Taken(NamedTuple, Generic[Waiter]):
    """Jobs of one lane to be run now, in order."""

    lane: LaneKey
    jobs: tuple[Job[Waiter], ...]


class Queue(Generic[Waiter]):
    """Lanes with a common bound."""

    def __init__(
        self,
        bound: int,
        size: Callable[[FullyQualifiedName], int],
        most: Callable[[LaneKey], int] = lambda lane: 1 if lane.ordered else MOST,
    ) -> None:
        """`full` from `bound` jobs on; `size` says how many of an action make a batch.

        `most` says how many batches of a lane may be run at once.
        """
        self._most = most
        self._bound = bound
        self._size = size
        self._lanes: dict[LaneKey, deque[Job[Waiter]]] = {}
        self._ready: deque[LaneKey] = deque()  # lanes with jobs that may be taken, each once
        self._running: Counter[LaneKey] = Counter()  # batches of a lane that workers hold
        self._parked: set[LaneKey] = set()  # lanes that cannot be run yet
        self._waiting = 0

    def __len__(self) -> int:
        """Jobs waiting."""
        return self._waiting

    @property
    def full(self) -> bool:
        """Whether sources should hold back."""
        return self._waiting >= self._bound

    @property
    def roomy(self) -> bool:
        """Whether sources that were held back may go on: half empty, so that they do not flutter."""
        return self._waiting <= self._bound // 2

    @property
    def oldest(self) -> float | None:
        """Since when the next job that may be taken waits; None if there is none."""
        return self._lanes[self._ready[0]][0].since if self._ready else None

    def claim(self, key: LaneKey) -> Sequence[Job[Waiter]] | None:
        """Take all jobs of a lane; None while a batch of it is being run."""
        if key in self._running or key in self._parked:
            return None
        jobs = self._lanes.pop(key, None)
        if jobs is None:
            return ()
        self._ready.remove(key)
        self._waiting -= len(jobs)
        return jobs

    def put(self, job: Job[Waiter]) -> None:
        """Add a job at the end of its lane."""
        key = lane_of(job.message)
        lane = self._lanes.get(key)
        if lane is None:
            self._lanes[key] = lane = deque()
        lane.append(job)
        self._waiting += 1
        if len(lane) == 1:
            self._offer(key)

    def take(self) -> Taken[Waiter] | None:
        """The next batch, or None. An ordered lane is held until `release`."""
        if not self._ready:
            return None
        key = self._ready.popleft()
        lane = self._lanes[key]
        count = min(len(lane), self._size(key.action))
        jobs = tuple(lane.popleft() for _ in range(count))
        self._waiting -= count
        if not lane:
            del self._lanes[key]
        self._running[key] += 1
        self._offer(key)
        return Taken(key, jobs)

    def release(self, key: LaneKey) -> None:
        """A batch of this lane has been run."""
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]
        self._offer(key)

    def park(self, taken: Taken[Waiter]) -> None:
        """Put jobs back in front of their lane; it is not taken again until `unpark`."""
        key = taken.lane
        self._lanes.setdefault(key, deque()).extendleft(reversed(taken.jobs))
        self._waiting += len(taken.jobs)
        self._parked.add(key)
        if key in self._ready:
            self._ready.remove(key)

    def unpark(self) -> None:
        """Every lane may be taken again."""
        parked, self._parked = self._parked, set()
        for key in parked:
            self._offer(key)

    @property
    def parked(self) -> int:
        """Jobs that cannot be run yet."""
        return sum(len(self._lanes[key]) for key in self._parked if key in self._lanes)

    def _offer(self, key: LaneKey) -> None:
        """Let a lane be taken from, if it has jobs and may be run now."""
        may = key in self._lanes and key not in self._parked and self._running[key] < self._most(key)
        if may and key not in self._ready:
            self._ready.append(key)
