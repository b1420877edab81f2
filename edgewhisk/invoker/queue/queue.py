"""What waits to be run, in fair order. Pure; the event loop alone has it, so nothing guards it.

Messages wait in streams: one for each action, the trigger that started it, and whose activation it is.
Three choices find the next batch of a route: of the priorities the one that is furthest behind its share
(16, 4 and 1 in 21, so that low ones never starve), of its namespaces the one whose turn it is, of its
streams likewise. So a flood in one stream, or in a hundred streams of one namespace, delays the others by
one batch.

A stream that a trigger feeds is run one batch at a time, so readings keep their order, unless its owner
asks for more at once; other streams may be run by several workers at once, but never by all of them:
calls that hang must leave room for the others. So must all of a namespace, and all of low priority.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from edgewhisk.base.room import Room
from edgewhisk.entity.annotations.delivery import Priority
from edgewhisk.entity.invocation.message import ActivationMessage
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.invoker.batch import PendingBatch, Stream, split
from edgewhisk.invoker.lifecycle import Route
from edgewhisk.invoker.queue.streams import Rank, Taken, WaitingStream, Workers

MOST: Final = 8  # batches of a stream that are run at once
HELD: Final = 4  # the part of the bound that may wait behind open circuit breakers is one in so many
_STRIDE: Final = {Priority.HIGH: 1, Priority.NORMAL: 4, Priority.LOW: 16}


class Queue:
    """Streams with a common bound."""

    def __init__(
        self,
        bound: int,
        most: Callable[[Stream], int] = lambda stream: 1 if stream.ordered else MOST,
        priority: Callable[[Stream], Priority] = lambda _: Priority.NORMAL,
        workers: Workers = Workers(),  # noqa: B008 - a value
    ) -> None:
        """`full` from `bound` places on.

        `most` says how many batches of a stream may be run at once, `priority` how urgent it is.
        """
        self.most_held = max(1, bound // HELD)  # places
        self._bound = bound
        self._most = most
        self._priority = priority
        self._workers = workers
        self._streams: dict[Stream, WaitingStream] = {}
        self._ranks: Mapping[Route, Sequence[Rank]] = {
            route: tuple([Rank(route, priority) for priority in Priority]) for route in Route
        }
        self.on_offer = dict.fromkeys(Route, 0)  # streams that may be taken
        self._stride = dict.fromkeys(Route, 0)  # how far the rank was that came last
        self._running_of: Counter[str] = Counter()  # batches of a namespace that workers hold
        self._running = 0  # of all
        self._parked: set[WaitingStream] = set()
        self._held: set[WaitingStream] = set()
        self._suspected = False  # whether a suspect is being run
        self._messages = 0
        self.held = 0  # messages behind open circuit breakers; they take nobody's room
        self._places_held = 0
        self.room = Room()  # what each trigger's messages take; without those behind open circuit breakers

    def __len__(self) -> int:
        """Messages waiting."""
        return self._messages

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
        for one in self._streams.values():
            waiting[one.key.namespace] += one.places
        wanting = sum(count > 0 for count in waiting.values())
        share = self._bound // (1 + wanting) if self.full else self._bound // 2
        return waiting[namespace] >= max(1, share)

    @property
    def oldest(self) -> float | None:
        """Since when the next entry waits that a worker may take; None if there is none."""
        found = self._choose(Route.WORKER)
        return None if found is None else found.entries[0].since

    @property
    def parked(self) -> int:
        """Messages that cannot be run now."""
        return sum(one.messages for one in self._parked | self._held)

    def put(self, stream: Stream, entry: PendingBatch, route: Route) -> None:
        """Add an entry at the end of its stream, which goes that route if none of it is on offer yet."""
        one = self._of(stream)
        one.entries.append(entry)
        one.unsaved = one.unsaved or entry.barrier is not None
        self._count(one, len(entry.messages), entry.places)
        if one.offered is None:
            one.route = route
            self._offer(one)

    def put_back(self, taken: Taken, route: Route) -> None:
        """Put entries in front of their stream, which goes that route from now on."""
        one = self._of(taken.stream)
        one.entries.extendleft(reversed(taken.entries))
        for entry in taken.entries:
            one.unsaved = one.unsaved or entry.barrier is not None
            self._count(one, len(entry.messages), entry.places)
        self._withdraw(one)
        one.route = route
        self._offer(one)

    def goes_inline(self, stream: Stream) -> bool:
        """Whether the event loop runs what comes next in a stream, as far as what is before it says."""
        one = self._streams.get(stream)
        if one is None:
            return True
        if one.parked or one.held or (one.running and one.running >= self._most(stream)):
            return False
        return not one.entries or self._route(one) is Route.INLINE

    def waits_for_worker(self, stream: Stream) -> bool:
        """Whether workers get what is next in a stream, and nothing is awaited that must stand before it."""
        one = self._streams.get(stream)
        return one is not None and not one.natives and bool(one.entries) and self._route(one) is Route.WORKER

    def next(self, route: Route) -> tuple[Stream, PendingBatch] | None:
        """The stream whose turn it is, and its first entry; None if there is none."""
        one = self._choose(route)
        return None if one is None else (one.key, one.entries[0])

    def take(self, stream: Stream, count: int) -> Taken:
        """Take up to `count` messages of the stream that `next` gave.

        On the way of workers an ordered stream is held until `release`.
        """
        one = self._streams[stream]
        rank = one.offered
        assert rank is not None
        self._withdraw(one)
        self._stride[one.route] = rank.behind
        rank.behind += _STRIDE[rank.priority]
        if self._route(one) is Route.WORKER:
            self._runs(one, 1)
            if stream.suspect:
                self._suspected, count = True, 1
        taken = Taken(stream, self._first(one, count))
        self._offer(one)
        if not one.entries:
            self._tidy(one)
        return taken

    def reroute(self, stream: Stream, route: Route) -> None:
        """A stream that waits goes another way."""
        one = self._streams[stream]
        self._withdraw(one)
        one.route = route
        self._offer(one)

    def save(self, stream: Stream, entry: Callable[[PendingBatch], PendingBatch]) -> None:
        """Have the entries of a stream journalled that wait and are not yet."""
        one = self._streams.get(stream)
        if one is not None and one.unsaved:
            one.unsaved = False
            one.entries = deque(map(entry, one.entries))

    def release(self, stream: Stream) -> None:
        """A worker's batch of this stream has been run."""
        one = self._streams[stream]
        self._runs(one, -1)
        if stream.suspect:
            self._suspected = False
        self._offer(one)
        self._tidy(one)

    def lend(self, stream: Stream) -> None:
        """A batch of this stream waits for something else, and needs no worker meanwhile.

        An ordered stream is held all the same: what comes next must not overtake it.
        """
        one = self._streams[stream]
        self._runs(one, -1)
        if stream.ordered:
            one.running += 1
        else:
            self._offer(one)

    def take_back(self, stream: Stream) -> None:
        """It goes on. Its stream is there still, or again: others may have been run and forgotten."""
        one = self._of(stream)
        if stream.ordered:
            one.running -= 1
        self._runs(one, 1)

    def native(self, stream: Stream, more: int) -> None:
        """So many batches more, or less, of a stream wait for a native step: workers get nothing of it."""
        one = self._of(stream)
        one.natives += more
        if one.entries:
            self._withdraw(one)
            self._offer(one)
        elif not one.natives:
            self._tidy(one)

    def has_natives(self, stream: Stream) -> bool:
        """Whether batches of a stream wait for their native step."""
        one = self._streams.get(stream)
        return one is not None and one.natives > 0

    def park(self, stream: Stream) -> None:
        """A stream is not taken from again until `unpark`."""
        one = self._streams[stream]
        self._withdraw(one)
        one.parked = True
        self._parked.add(one)

    def unpark(self) -> None:
        """Every parked stream may be taken again."""
        parked, self._parked = self._parked, set()
        for one in parked:
            one.parked = False
            self._offer(one)

    def hold(self, stream: Stream) -> None:
        """What waits in a stream is not taken again until `free`."""
        one = self._streams[stream]
        self._withdraw(one)
        if not one.held:
            self._move(one, 1)
            one.held = True
            self._held.add(one)

    def free(self, actions: Collection[FullyQualifiedName]) -> None:
        """Streams of these actions that were held may be taken again."""
        for one in [one for one in self._held if one.key.action in actions]:
            self._held.discard(one)
            one.held = False
            self._move(one, -1)
            self._offer(one)
            self._tidy(one)

    @property
    def holding(self) -> frozenset[Stream]:
        """Streams that are held."""
        return frozenset([one.key for one in self._held]) if self._held else frozenset()

    def spill(self) -> list[ActivationMessage]:
        """Take out what is held beyond its part of the room, the newest of the longest streams."""
        spilt: list[ActivationMessage] = []
        while self._places_held > self.most_held:
            one = max(self._held, key=lambda one: one.places)
            entry = one.entries.pop()
            if (left := len(entry.messages) - 1) > 0:
                kept, entry = entry.split(left)
                one.entries.append(kept)
            spilt += entry.messages
            self._count(one, -1, -entry.places)
        return spilt

    def describe(self) -> dict[str, int]:
        """Messages waiting, by namespace."""
        waiting: Counter[str] = Counter()
        for one in self._streams.values():
            if one.messages:
                waiting[one.key.namespace] += one.messages
        return dict(waiting)

    def _of(self, key: Stream) -> WaitingStream:
        one = self._streams.get(key)
        if one is None:
            self._streams[key] = one = WaitingStream(key, self._priority(key))
        return one

    def _first(self, one: WaitingStream, count: int) -> list[PendingBatch]:
        """Take messages out that may be in one batch: a worker's stay apart from others."""
        entries = one.entries
        found = [entries.popleft()]
        size = len(found[0].messages)
        while size < count and entries and entries[0].stays == found[0].stays:
            found.append(entries.popleft())
            size += len(found[-1].messages)
        if size > count:
            found, rest = split(found, count)
            entries.extendleft(reversed(rest))
            size = count
        self._count(one, -size, -sum([entry.places for entry in found]))
        return found

    def _runs(self, one: WaitingStream, more: int) -> None:
        """So many batches more of a stream are run by workers, or less."""
        namespace = one.key.namespace
        one.running += more
        self._ranks[Route.WORKER][one.priority].running += more
        self._running += more
        self._running_of[namespace] += more
        if not self._running_of[namespace]:
            del self._running_of[namespace]

    def _may_run(self, namespace: str) -> bool:
        """Whether a namespace gets one more worker: the first always, others as far as its share goes."""
        running, workers = self._running_of[namespace], self._workers
        if not running:
            return self._running < workers.most + workers.spare
        turns = {name for rank in self._ranks[Route.WORKER] for name in rank.turns}
        share = max(1, min(workers.of_namespace, workers.most // len(turns.union(self._running_of))))
        return self._running < workers.most and running < share

    def _count(self, one: WaitingStream, messages: int, room: int) -> None:
        """A stream has so many messages more, or less, and they take so many places."""
        self._messages += messages
        one.messages += messages
        one.places += room
        if one.held:
            self.held += messages
            self._places_held += room
        else:
            self.room.add(one.key.trigger, room)

    def _move(self, one: WaitingStream, sign: int) -> None:
        """What a stream has goes behind a circuit breaker, or comes back (-1)."""
        self.held += sign * one.messages
        self._places_held += sign * one.places
        self.room.add(one.key.trigger, -sign * one.places)

    def _tidy(self, one: WaitingStream) -> None:
        """Forget a stream that has nothing any more."""
        if not (one.entries or one.running or one.natives or one.held):
            self._streams.pop(one.key, None)

    def _route(self, one: WaitingStream) -> Route:
        return Route.WORKER if one.entries[0].stays else one.route

    def _offer(self, one: WaitingStream) -> None:
        """Let a stream be taken from, if it has entries and may be run now."""
        if one.offered is not None or not one.entries or one.parked or one.held:
            return
        if one.running and one.running >= self._most(one.key):
            return
        route, namespace = self._route(one), one.key.namespace
        if route is Route.WORKER and one.natives:
            return
        rank = self._ranks[route][one.priority]
        if not rank.turns:  # nothing is owed for the time when it wanted nothing
            rank.behind = max(rank.behind, self._stride[route])
        turns = rank.turns.get(namespace)
        if turns is None:
            rank.turns[namespace] = deque([one])
        else:
            turns.append(one)
        one.offered = rank
        self.on_offer[route] += 1

    def _withdraw(self, one: WaitingStream) -> None:
        """The stream, and its namespace if that has more, go to the end of their turns."""
        if one.offered is None:
            return
        self.on_offer[one.offered.route] -= 1
        turns, one.offered = one.offered.turns, None
        streams = turns[one.key.namespace]
        if len(streams) == 1:
            del turns[one.key.namespace]
        else:
            streams.remove(one)
            turns.move_to_end(one.key.namespace)

    def _choose(self, route: Route) -> WaitingStream | None:
        """The stream whose turn it is."""
        if not self.on_offer[route]:
            return None
        ranks = [rank for rank in self._ranks[route] if rank.turns]
        if len(ranks) > 1:
            ranks.sort(key=lambda rank: rank.behind)
        if route is Route.INLINE:
            return next(iter(ranks[0].turns.values()))[0]
        for rank in ranks:
            if rank.priority is Priority.LOW and rank.running >= self._workers.of_low:
                continue
            for namespace, streams in rank.turns.items():
                if not self._may_run(namespace):
                    continue
                for one in streams:
                    if not (self._suspected and one.key.suspect):
                        return one
        return None
