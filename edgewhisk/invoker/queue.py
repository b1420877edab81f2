"""What waits to be run, in fair order. Pure.

Messages wait in lanes: one for each action, the trigger that started it, and whose activation it is.
Three choices find the next batch: of the priorities the one that is furthest behind its share (16, 4
and 1 in 21, so that low ones never starve), of its namespaces the one whose turn it is, of its lanes
likewise. So a flood in one lane, or in a hundred lanes of one namespace, delays the others by one batch.

A lane that a trigger feeds is run one batch at a time, so readings keep their order, unless its owner
asks for more at once; other lanes may be run by several workers at once, but never by all of them:
calls that hang must leave room for the others. So must all of a namespace, and all of low priority.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Generic, NamedTuple

from edgewhisk.entity.delivery import Priority
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.invoker.job import Job, LaneKey, Taken, Waiter, lane_of, places
from edgewhisk.room import Room

MOST: Final = 8  # batches of a lane that are run at once
HELD: Final = 4  # the part of the bound that may wait behind open circuit breakers is one in so many
_STRIDE: Final = {Priority.HIGH: 1, Priority.NORMAL: 4, Priority.LOW: 16}


class Workers(NamedTuple):
    """How many batches may be run at once."""

    most: int = 16  # shared evenly by the namespaces that want some
    of_namespace: int = 14  # while it is the only one
    of_low: int = 8  # priority
    spare: int = 16  # more than `most`, one for each namespace that has none


class _Rank:
    """The lanes of one priority that may be taken, by namespace; each at most once."""

    def __init__(self, priority: Priority) -> None:
        self.priority = priority
        self.behind = 0  # what it was given, in strides: the least is next
        self.running = 0
        self.turns: OrderedDict[str, deque[_Lane[Any]]] = OrderedDict()


class _Lane(Generic[Waiter]):
    """One lane, as long as it has jobs or runs."""

    __slots__ = ("held", "jobs", "key", "offered", "parked", "places", "rank", "running")

    def __init__(self, key: LaneKey, rank: _Rank) -> None:
        self.key = key
        self.rank = rank
        self.jobs: deque[Job[Waiter]] = deque()
        self.places = 0  # that its jobs take
        self.running = 0  # batches that workers hold
        self.offered = False  # whether it is in the rank's turns
        self.parked = False  # it cannot be run yet
        self.held = False  # it is behind an open circuit breaker


class Queue(Generic[Waiter]):
    """Lanes with a common bound."""

    def __init__(
        self,
        bound: int,
        size: Callable[[FullyQualifiedName], int],
        most: Callable[[LaneKey], int] = lambda lane: 1 if lane.ordered else MOST,
        priority: Callable[[LaneKey], Priority] = lambda _: Priority.NORMAL,
        workers: Workers = Workers(),  # noqa: B008 - a value
    ) -> None:
        """`full` from `bound` places on; `size` says how many of an action make a batch.

        `most` says how many batches of a lane may be run at once, `priority` how urgent it is.
        """
        self.most_held = max(1, bound // HELD)  # places
        self._bound = bound
        self._size = size
        self._most = most
        self._priority = priority
        self._workers = workers
        self._lanes: dict[LaneKey, _Lane[Waiter]] = {}
        self._ranks = tuple(map(_Rank, Priority))
        self._stride = 0  # how far the rank was that came last
        self._running_of: Counter[str] = Counter()  # batches of a namespace that workers hold
        self._running = 0  # of all
        self._parked: set[_Lane[Waiter]] = set()
        self._held: set[_Lane[Waiter]] = set()
        self._suspected = False  # whether a suspect is being run
        self._waiting = 0
        self.held = 0  # jobs behind open circuit breakers; they take nobody's room
        self._places_held = 0
        self.room = Room()  # what each trigger's jobs take; without those behind open circuit breakers

    def __len__(self) -> int:
        """Jobs waiting."""
        return self._waiting

    @property
    def full(self) -> bool:
        """Whether sources should hold back."""
        return self.room.taken >= self._bound

    def crowded(self, namespace: str) -> bool:
        """Whether a namespace has its part of the room, so that its callers are refused.

        Half of it while there is room for others; when there is none, as much as each would get.
        """
        if self.room.taken + self._places_held < self._bound // 2:
            return False
        waiting = Counter[str]()
        for lane in self._lanes.values():
            waiting[lane.key.namespace] += lane.places
        wanting = sum(count > 0 for count in waiting.values())
        share = self._bound // (1 + wanting) if self.full else self._bound // 2
        return waiting[namespace] >= max(1, share)

    @property
    def oldest(self) -> float | None:
        """Since when the next job that may be taken waits; None if there is none."""
        found = self._choose()
        return None if found is None else found.jobs[0].since

    @property
    def parked(self) -> int:
        """Jobs that cannot be run now."""
        return sum(len(lane.jobs) for lane in self._parked | self._held)

    def put(self, job: Job[Waiter], *, suspect: bool = False) -> None:
        """Add a job at the end of its lane."""
        lane = self._lane(lane_of(job.message, suspect=suspect))
        lane.jobs.append(job)
        self._count(lane, 1, places([job.message]))
        if len(lane.jobs) == 1:
            self._offer(lane)

    def take(self) -> Taken[Waiter] | None:
        """The next batch, or None. An ordered lane is held until `release`."""
        lane = self._choose()
        if lane is None:
            return None
        self._withdraw(lane)
        rank, key, jobs = lane.rank, lane.key, lane.jobs
        self._stride = rank.behind
        rank.behind += _STRIDE[rank.priority]
        self._runs(lane, 1)
        count = 1 if key.suspect else min(len(jobs), self._size(key.action))
        taken = Taken(key, tuple([jobs.popleft() for _ in range(count)]))
        self._count(lane, -count, -taken.places)
        self._suspected = self._suspected or key.suspect
        self._offer(lane)
        return taken

    def claim(self, key: LaneKey) -> Sequence[Job[Waiter]] | None:
        """Take all jobs of a lane; None while a batch of it is being run, or if it must wait."""
        lane = self._lanes.get(key)
        if lane is None:
            return ()
        if lane.running or lane.parked or lane.held or any(job.stays for job in lane.jobs):
            return None
        self._withdraw(lane)
        self._count(lane, -len(lane.jobs), -lane.places)
        del self._lanes[key]
        return lane.jobs

    def release(self, key: LaneKey) -> None:
        """A batch of this lane has been run."""
        lane = self._lanes[key]
        self._runs(lane, -1)
        if key.suspect:
            self._suspected = False
        self._offer(lane)
        self._tidy(lane)

    def lend(self, key: LaneKey) -> None:
        """A batch of this lane waits for the run of another, and needs no worker meanwhile.

        An ordered lane is held all the same: what comes next must not overtake it.
        """
        lane = self._lanes[key]
        self._runs(lane, -1)
        if key.ordered:
            lane.running += 1
        else:
            self._offer(lane)

    def take_back(self, key: LaneKey) -> None:
        """It goes on. Its lane is there still, or again: others may have been run and forgotten."""
        lane = self._lane(key)
        if key.ordered:
            lane.running -= 1
        self._runs(lane, 1)

    def park(self, taken: Taken[Waiter]) -> None:
        """Put jobs back in front of their lane; it is not taken again until `unpark`."""
        lane = self._put_back(taken)
        lane.parked = True
        self._parked.add(lane)

    def unpark(self) -> None:
        """Every parked lane may be taken again."""
        parked, self._parked = self._parked, set()
        for lane in parked:
            lane.parked = False
            self._offer(lane)

    def hold(self, taken: Taken[Waiter]) -> None:
        """Put jobs back in front of their lane; it is not taken again until `free`."""
        lane = self._put_back(taken)
        if not lane.held:
            self._move(lane, 1)
            lane.held = True
            self._held.add(lane)

    def free(self, actions: Collection[FullyQualifiedName]) -> None:
        """Lanes of these actions that were held may be taken again."""
        for lane in [one for one in self._held if one.key.action in actions]:
            self._held.discard(lane)
            lane.held = False
            self._move(lane, -1)
            self._offer(lane)
            self._tidy(lane)

    @property
    def holding(self) -> frozenset[LaneKey]:
        """Lanes that are held."""
        return frozenset([lane.key for lane in self._held]) if self._held else frozenset()

    def spill(self) -> list[Job[Waiter]]:
        """Take out what is held beyond its part of the room, the newest of the longest lanes."""
        spilt: list[Job[Waiter]] = []
        while self._places_held > self.most_held:
            lane = max(self._held, key=lambda lane: lane.places)
            spilt.append(lane.jobs.pop())
            self._count(lane, -1, -places([spilt[-1].message]))
        return spilt

    def describe(self) -> dict[str, int]:
        """Jobs waiting, by namespace."""
        waiting: Counter[str] = Counter()
        for lane in self._lanes.values():
            if lane.jobs:
                waiting[lane.key.namespace] += len(lane.jobs)
        return dict(waiting)

    def _lane(self, key: LaneKey) -> _Lane[Waiter]:
        lane = self._lanes.get(key)
        if lane is None:
            self._lanes[key] = lane = _Lane(key, self._ranks[self._priority(key)])
        return lane

    def _runs(self, lane: _Lane[Waiter], more: int) -> None:
        """So many batches more of a lane are run, or less."""
        namespace = lane.key.namespace
        lane.running += more
        lane.rank.running += more
        self._running += more
        self._running_of[namespace] += more
        if not self._running_of[namespace]:
            del self._running_of[namespace]

    def _may_run(self, namespace: str) -> bool:
        """Whether a namespace gets one more worker: the first always, others as far as its share goes."""
        running, workers = self._running_of[namespace], self._workers
        if not running:
            return self._running < workers.most + workers.spare
        wanting = {name for rank in self._ranks for name in rank.turns}.union(self._running_of)
        share = max(1, min(workers.of_namespace, workers.most // len(wanting)))
        return self._running < workers.most and running < share

    def _count(self, lane: _Lane[Waiter], jobs: int, room: int) -> None:
        """A lane has so many jobs more, or less, and they take so many places."""
        self._waiting += jobs
        lane.places += room
        if lane.held:
            self.held += jobs
            self._places_held += room
        else:
            self.room.add(lane.key.trigger, room)

    def _move(self, lane: _Lane[Waiter], sign: int) -> None:
        """What a lane has goes behind a circuit breaker, or comes back (-1)."""
        self.held += sign * len(lane.jobs)
        self._places_held += sign * lane.places
        self.room.add(lane.key.trigger, -sign * lane.places)

    def _put_back(self, taken: Taken[Waiter]) -> _Lane[Waiter]:
        lane = self._lanes[taken.lane]  # it is being run
        lane.jobs.extendleft(reversed(taken.jobs))
        self._count(lane, len(taken.jobs), taken.places)
        if lane.offered:
            self._withdraw(lane)
        return lane

    def _tidy(self, lane: _Lane[Waiter]) -> None:
        """Forget a lane that has nothing any more."""
        if not (lane.jobs or lane.running or lane.held):
            self._lanes.pop(lane.key, None)

    def _offer(self, lane: _Lane[Waiter]) -> None:
        """Let a lane be taken from, if it has jobs and may be run now."""
        if lane.offered or not lane.jobs or lane.parked or lane.held:
            return
        if lane.running and lane.running >= self._most(lane.key):
            return
        rank, namespace = lane.rank, lane.key.namespace
        if not rank.turns:  # nothing is owed for the time when it wanted nothing
            rank.behind = max(rank.behind, self._stride)
        turns = rank.turns.get(namespace)
        if turns is None:
            rank.turns[namespace] = deque([lane])
        else:
            turns.append(lane)
        lane.offered = True

    def _withdraw(self, lane: _Lane[Waiter]) -> None:
        """The lane, and its namespace if that has more, go to the end of their turns."""
        lane.offered = False
        turns = lane.rank.turns
        lanes = turns[lane.key.namespace]
        if len(lanes) == 1:
            del turns[lane.key.namespace]
        else:
            lanes.remove(lane)
            turns.move_to_end(lane.key.namespace)

    def _choose(self) -> _Lane[Waiter] | None:
        """The lane whose turn it is."""
        ranks = [rank for rank in self._ranks if rank.turns]
        if len(ranks) > 1:
            ranks.sort(key=lambda rank: rank.behind)
        for rank in ranks:
            if rank.priority is Priority.LOW and rank.running >= self._workers.of_low:
                continue
            for namespace, lanes in rank.turns.items():
                if not self._may_run(namespace):
                    continue
                for lane in lanes:
                    if not (self._suspected and lane.key.suspect):
                        return lane
        return None
