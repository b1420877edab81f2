"""Runs queued messages on worker threads, brief ones on the event loop, and records what came of them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from edgewhisk.entity.activation import Record, rfc3339
from edgewhisk.entity.arguments import Bound
from edgewhisk.entity.delivery import Priority
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.message import ActivationMessage, Status
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import StorageError
from edgewhisk.invoker.acceptance import Acceptance
from edgewhisk.invoker.brief import Brief, Course, Hands, Offered
from edgewhisk.invoker.calls import Asked, Waiter, deliver
from edgewhisk.invoker.guard import Guard
from edgewhisk.invoker.held import Held
from edgewhisk.invoker.job import Job, LaneKey, Taken, by_lane
from edgewhisk.invoker.queue import MOST, Queue, Workers
from edgewhisk.invoker.runner import Closing, Runner
from edgewhisk.invoker.workers import WorkerPool
from edgewhisk.room import full, roomy, scarce
from edgewhisk.spi import ActivationStore, Clock, Lookup, Starts
from edgewhisk.threads import apart

_log = logging.getLogger(__name__)


class HeldBack(NamedTuple):
    """A source that waits for room."""

    resume: Callable[[], None]
    triggers: Sequence[str]


class Invoker:
    """Queue, workers and records. Public methods are called on the event loop."""

    def __init__(
        self,
        runner: Runner,
        store: ActivationStore,
        lookup: Lookup,
        limits: Limits,
        clock: Clock,
        guard: Guard,
        *,
        parallel: Callable[[str], int] = lambda _: 1,
        priority: Callable[[FullyQualifiedName, str, str], Priority] = lambda *_: Priority.NORMAL,
        window: float = 0.02,
        workers: int = 16,
    ) -> None:
        """`parallel` says how many batches of a trigger's events may be run at once.

        `priority` says how urgent the events are that start an action, through a binding, by a trigger.

        `window`: seconds that records nobody waits for may wait for company.
        `workers` threads at most; an idle one costs nothing but its stack's address space."""
        self._runner = runner
        self._store = store
        self._lookup = lookup
        self._clock = clock
        self._parallel = parallel
        self._loop = asyncio.get_running_loop()
        self._bound = limits.max_queue
        self._guard = guard
        self._queue: Queue[Waiter] = Queue(
            self._bound,
            runner.pace.size,
            self._most,
            lambda lane: priority(lane.action, lane.binding, lane.trigger),
            limit := Workers(workers, max(1, workers - 2), max(1, workers // 2)),
        )
        self._lock = threading.Lock()  # guards the queue
        self._pool = WorkerPool(
            self._queue, self._lock, clock, limit.most + limit.spare, self._serve, self._make_room
        )
        self._held = Held(self._queue, self._lock, guard, lookup, self._pool.wake_one)
        self.lent = self._pool.lent  # what a worker is inside that waits for another run
        runner.watch, runner.alert, runner.lent = guard.learn, guard.alert, self.lent
        hands = Hands(
            lambda message, waiter: self._put([message], waiter),
            self._take_back,
            self._busy,
            self._landed,
            self.refused,
            guard.may_hurry,
        )
        self._brief = Brief(runner, store, clock, hands, window)
        self._held_back: list[HeldBack] = []
        self.unrecorded = 0  # runs whose record the disk refused
        self.last_refusal = ""

    # -- on the event loop -----------------------------------------------------------------------

    def submit(self, messages: Sequence[ActivationMessage], *, urgent: bool) -> asyncio.Future[None]:
        """Run `messages`; the future is done when the durable ones are on disk.

        Running does not wait for the disk. Not `urgent`: the source can wait for company, so that an
        event and its record share one fdatasync.
        """
        accepted = Acceptance(self._loop)
        if urgent:
            self._accept(messages, accepted, urgent=True)
        else:
            for lane, events in by_lane(messages).items():
                course = self._may_offer(lane)
                if course is not None:
                    accepted.pending += 1
                    self._brief.offer(Offered(lane, course.bound, events, accepted), course.steps)
                else:
                    self._accept(events, accepted, urgent=False)
        accepted.settle()
        return accepted.future

    def _accept(self, messages: Sequence[ActivationMessage], accepted: Acceptance, *, urgent: bool) -> None:
        """Journal messages and queue them."""
        self._brief.journal(messages, accepted, urgent=urgent)
        if messages:
            self._put(messages, None)

    def _take_back(self, events: Offered, tried: int) -> None:
        """Give events to the workers that turned out not to be brief; so many were tried, and stay there."""
        if events.accepted is not None:
            self._brief.journal(events.messages, events.accepted, urgent=False)
        for messages, pinned in ((events.messages[:tried], True), (events.messages[tried:], False)):
            if messages:
                self._put(messages, None, pinned=pinned)
        if events.accepted is not None:
            events.accepted.settle()

    def _take_over(self, taken: Taken[Waiter], course: Course) -> None:
        """Run what a worker found to be brief, and what waits behind it."""
        with self._lock:
            self._queue.release(taken.lane)
            behind = self._queue.claim(taken.lane) or ()
            self._make_room()
            self._pool.wake_one()  # the worker that held the lane may be asleep; what is pinned stays in it
        messages = [job.message for job in (*taken.jobs, *behind)]
        self._brief.offer(Offered(taken.lane, course.bound, messages, None), course.steps)

    async def resume(self, messages: Sequence[ActivationMessage], starts: Mapping[str, Starts]) -> None:
        """Run what an earlier life accepted and did not finish; it is on disk already."""
        for message, alone in await self._guard.resume(messages, starts, self._lookup):
            self._put([message], None, again=True, suspect=alone)

    def run(self, message: ActivationMessage) -> asyncio.Future[Record]:
        """Run one message whose record somebody waits for; done when the record is on disk."""
        waiter: Waiter = self._loop.create_future()
        bound = self._lookup(*_address(message))
        if bound is not None and self._runner.brief(bound):
            self._brief.calls.run(Asked(bound, message, waiter))
        else:
            self._put([message], waiter)
        return waiter

    def full(self, triggers: Iterable[FullyQualifiedName]) -> bool:
        """Whether the source of these triggers must hold back: one of them has its part of the room."""
        taken = self._taken
        return scarce(taken, self._bound) and any(
            full(self._waiting_of(str(trigger)), taken, self._bound) for trigger in triggers
        )

    def crowded(self, namespace: str) -> bool:
        """Whether callers of a namespace must be refused; feeds go by `full`."""
        with self._lock:
            return self._queue.crowded(namespace)

    def on_room(self, resume: Callable[[], None], triggers: Iterable[FullyQualifiedName]) -> None:
        """Call `resume` once, on the event loop, when all of these triggers have room again."""
        with self._lock:
            self._held_back.append(HeldBack(resume, tuple(map(str, triggers))))
            self._make_room()

    def runtime_ready(self) -> None:
        """An engine was compiled: what waits for one may be tried. Called from any thread."""
        self._runner.runtime_ready()
        with self._lock:
            self._queue.unpark()
            self._pool.wake_one()

    async def drain(self, seconds: float) -> bool:
        """Wait until everything queued has been run; false if it took longer than `seconds`."""
        end = self._clock.monotonic() + seconds
        while (left := end - self._clock.monotonic()) > 0 and await self._brief.drain(left):
            left = max(0.0, end - self._clock.monotonic())
            idle = await apart("drain", self._pool.wait_idle, left)
            if not idle or not self._brief.room.taken:  # a worker may have handed something over
                return idle
        return False

    async def close(self) -> None:
        """Stop the workers after the batches they hold; what is queued stays unfinished."""
        await self._held.close()
        self._pool.close()
        self._runner.close()
        await apart("join", self._pool.join)

    def describe(self) -> dict[str, Any]:
        """Counters for `status`."""
        with self._lock:
            waiting = {
                "queued": len(self._queue),
                "held": self._queue.held,
                "parked": self._queue.parked - self._queue.held,
                "held_back": len(self._held_back),
                "namespaces": self._queue.describe(),
                "workers": len(self._pool),
            }
        return {
            **waiting,
            **self._guard.describe(),
            **self._runner.tally.routes,
            "outcomes": {status.value: self._runner.tally.outcomes[status] for status in Status},
            "unrecorded": self.unrecorded,
            "last_refusal": self.last_refusal,
        }

    def _landed(self) -> None:
        with self._lock:
            self._make_room()

    def refused(self, count: int, error: StorageError) -> None:
        """Count runs whose record the disk refused. Called from any thread."""
        self.unrecorded += count
        self.last_refusal = f"{error} (last at {rfc3339(self._clock.now())[:19]}Z)"

    def _most(self, lane: LaneKey) -> int:
        """How many batches of a lane may be run at once: fewer, if the action's limit says so."""
        if lane.ordered:
            return self._parallel(lane.trigger)
        bound = self._lookup(lane.action, lane.binding)
        instances = bound.action.limits.instances if bound else None
        return MOST if instances is None else max(1, min(MOST, instances))

    def _busy(self) -> bool:
        with self._lock:
            return self._pool.awake > 0 or len(self._queue) > 0 or self._pool.closing

    def _put(
        self,
        messages: Sequence[ActivationMessage],
        waiter: Waiter | None,
        *,
        again: bool = False,
        pinned: bool = False,
        suspect: bool = False,
    ) -> None:
        self._brief.landings.flush()  # what workers write stands behind what the loop has run
        now = self._clock.monotonic()
        with self._lock:
            for message in messages:
                self._queue.put(Job(message, waiter, now, again, pinned), suspect=suspect)
            self._pool.wake_one()
            overtaxed = self._pool.awake > 0
        self._held.spill()
        if overtaxed:
            self._pool.relieve_later()

    def _on_loop(self, callback: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *arguments)

    # -- on a worker thread ----------------------------------------------------------------------

    def _serve(self, taken: Taken[Waiter]) -> bool:
        """Run a batch, or give it to the event loop; whether its place in the queue is free then."""
        running: Taken[Waiter] | None = taken
        try:
            course = None if taken.stays else self._brief_course(taken.lane)
            if course is not None:
                self._on_loop(self._take_over, taken, course)
                return False
            bound = self._lookup(*_address(taken.jobs[0].message))
            running = self._allowed(bound, taken)
            if running is not None:
                self._record(running, self._run(bound, running))
        except Closing:
            return True  # what was journalled is run by the next life
        except Exception:  # noqa: BLE001 - supervisor: a worker outlives a fault in our own code
            _log.exception("a batch of %s failed", taken.lane.action)
            self._guard.give_back(taken.lane.action)
            self._fail(running or taken)
        return True

    def _may_offer(self, lane: LaneKey) -> Course | None:
        """How the event loop is to run the events of a lane; None if a worker is.

        What the loop holds of a lane comes first, and what is queued; so order is kept whoever runs it.
        """
        if self._brief.holds(lane):
            bound = self._lookup(lane.action, lane.binding)
            return None if bound is None else Course(bound, None)
        course = self._brief_course(lane)
        if course is None:
            return None
        with self._lock:
            jobs = None if self._pool.closing else self._queue.claim(lane)
        if jobs is None:
            return None
        if jobs:
            self._brief.offer(Offered(lane, course.bound, [job.message for job in jobs], None), course.steps)
        return course

    def _brief_course(self, lane: LaneKey) -> Course | None:
        """How the event loop runs events of a lane, if it does so sooner than it could hand them over."""
        try:
            bound = self._lookup(lane.action, lane.binding) if lane.ordered else None
            return self._brief.course(bound, lane.namespace) if bound is not None else None
        except Exception:  # noqa: BLE001 - supervisor: the worker that runs it instead records what is wrong
            _log.exception("%s cannot be planned", lane.action)
            return None

    def _allowed(self, bound: Bound | None, taken: Taken[Waiter]) -> Taken[Waiter] | None:
        """What may be run now of a batch, or nothing; the rest waits."""
        if bound is None:
            return taken
        if not self._runner.ready(bound, taken.lane.namespace):
            with self._lock:  # the engine may have become ready meanwhile; nobody would unpark it then
                if not self._runner.ready(bound, taken.lane.namespace):
                    self._queue.park(taken)
                    return None
        return self._held.allowed(bound, taken)

    def _run(self, bound: Bound | None, taken: Taken[Waiter]) -> Sequence[Record]:
        messages = [job.message for job in taken.jobs]
        if bound is None:
            return self._runner.gone(messages)
        self._guard.mark(bound, messages, again=taken.jobs[0].again)  # those of old come first
        started = self._clock.monotonic()
        records = self._runner.run(bound, messages)
        if bound.composed or bound.native:  # the runner knows the pace of others
            self._runner.ran(taken.lane.action, len(records), self._clock.monotonic() - started)
        return records

    def _record(self, taken: Taken[Waiter], records: Sequence[Record]) -> None:
        waited = [(job.waiter, record) for job, record in zip(taken.jobs, records, strict=True) if job.waiter]

        def done(error: StorageError | None) -> None:
            if error is not None:
                self.refused(len(records), error)
            if waited:
                self._on_loop(deliver, waited, error)

        self._store.record(records, done, urgent=bool(waited))

    def _fail(self, taken: Taken[Waiter]) -> None:
        """Record that the gateway itself failed; nobody waits for ever."""
        self._record(taken, self._runner.failed([job.message for job in taken.jobs]))

    def _make_room(self) -> None:
        """Let held-back sources go on whose triggers have room. The lock is held."""
        if not self._held_back:
            return
        taken, waiting = self._taken, self._held_back
        self._held_back = []
        for one in waiting:
            if all(roomy(self._waiting_of(trigger), taken, self._bound) for trigger in one.triggers):
                self._on_loop(one.resume)
            else:
                self._held_back.append(one)

    @property
    def _taken(self) -> int:
        """Events that wait or are under way, of all triggers."""
        return self._queue.room.taken + self._brief.room.taken

    def _waiting_of(self, trigger: str) -> int:
        return self._queue.room.of(trigger) + self._brief.room.of(trigger)


def _address(message: ActivationMessage) -> tuple[FullyQualifiedName, str]:
    return message.action, message.binding
