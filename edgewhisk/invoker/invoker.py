"""Runs queued messages on worker threads and records what came of them.

Wasm releases the interpreter lock, but half of the work of a small action is Python's; so one
worker does all the work as long as it keeps up, which also makes batches, and the others are woken
only when something has waited for `RELIEF`: behind a slow action nobody waits longer than that.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from edgewhisk.entity.activation import Record, unrunnable_record
from edgewhisk.entity.arguments import Bound
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.message import ActivationMessage, Status
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import StorageError
from edgewhisk.invoker.pace import Pace
from edgewhisk.invoker.queue import MOST, Job, LaneKey, Queue, Taken
from edgewhisk.invoker.runner import Runner
from edgewhisk.spi import ActivationStore, Clock, Lookup

_log = logging.getLogger(__name__)

Waiter = asyncio.Future[Record]
RELIEF: Final = 0.005  # seconds that a job may wait before another worker is woken
HURRY: Final = 10  # ms that runs on the event loop may take together
_LOADED: Final = 1024
GONE: Final = "The requested resource does not exist."


class Invoker:
    """Queue, workers and records. Public methods are called on the event loop."""

    def __init__(
        self,
        runner: Runner,
        store: ActivationStore,
        lookup: Lookup,
        limits: Limits,
        clock: Clock,
        *,
        parallel: Callable[[str], int] = lambda _: 1,
        workers: int = 16,
    ) -> None:
        """`parallel` says how many batches of a trigger's events may be run at once.

        `workers` threads at most; an idle one costs nothing but its stack's address space."""
        self._runner = runner
        self._store = store
        self._lookup = lookup
        self._clock = clock
        self._parallel = parallel
        self._workers = workers
        self._loop = asyncio.get_running_loop()
        self._pace = Pace()
        self._queue: Queue[Waiter] = Queue(limits.max_queue, self._pace.size, self._most)
        self._lock = threading.Lock()  # guards the queue and the counts below
        self._work_waits = threading.Condition(self._lock)
        self._all_done = threading.Condition(self._lock)
        self._threads: list[threading.Thread] = []
        self._awake = 0
        self._closing = False
        self._relief: asyncio.TimerHandle | None = None
        self._loaded: dict[FullyQualifiedName, tuple[str, str, int]] = {}  # revision a worker last ran
        self._brief: list[Job[Waiter]] = []
        self._writing = 0  # turns of brief jobs whose records are on their way to the disk
        self._held_back: list[Callable[[], None]] = []
        self.outcomes = runner.outcomes
        self.unrecorded = 0  # runs whose record the disk refused
        self.last_refusal = ""

    # -- on the event loop -----------------------------------------------------------------------

    def submit(self, messages: Sequence[ActivationMessage], *, urgent: bool) -> asyncio.Future[None]:
        """Run `messages`; the future is done when the durable ones are on disk.

        Running does not wait for the disk. Not `urgent`: the source can wait for company, so that an
        event and its record share one fdatasync.
        """
        accepted: asyncio.Future[None] = self._loop.create_future()
        durable = [message for message in messages if message.durable]
        if durable:
            self._store.accept(durable, lambda error: self._settle(accepted, error), urgent=urgent)
        else:
            accepted.set_result(None)
        self._put(messages, None)
        return accepted

    def resume(self, messages: Sequence[ActivationMessage]) -> None:
        """Run what an earlier life accepted and did not finish; it is on disk already."""
        self._put(messages, None)

    def run(self, message: ActivationMessage) -> asyncio.Future[Record]:
        """Run one message whose record somebody waits for; done when the record is on disk."""
        waiter: Waiter = self._loop.create_future()
        if self._pace.brief(message.action):
            if not self._brief and not self._writing:
                self._loop.call_soon(self._run_brief)
            self._brief.append(Job(message, waiter, self._clock.monotonic()))
        else:
            self._put([message], waiter)
        return waiter

    def full(self) -> bool:
        """Whether sources must hold back."""
        return self._queue.full

    def on_room(self, resume: Callable[[], None]) -> None:
        """Call `resume` once, on the event loop, when there is room again."""
        with self._lock:
            if not self._queue.roomy:
                self._held_back.append(resume)
                return
        self._loop.call_soon(resume)

    def runtime_ready(self) -> None:
        """An engine was compiled: what waits for one may be tried. Called from any thread."""
        self._runner.runtime_ready()
        with self._lock:
            self._queue.unpark()
            self._wake_one()

    async def drain(self, seconds: float) -> bool:
        """Wait until everything queued has been run; false if it took longer than `seconds`."""
        return await asyncio.to_thread(self._wait_idle, seconds)

    async def close(self) -> None:
        """Stop the workers after the batches they hold; what is queued stays unfinished."""
        if self._relief is not None:
            self._relief.cancel()
        with self._lock:
            self._closing = True
            self._work_waits.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def describe(self) -> dict[str, Any]:
        """Counters for `status`."""
        return {
            "queued": len(self._queue),
            "workers": len(self._threads),
            "outcomes": {status.value: self.outcomes[status] for status in Status},
            "unrecorded": self.unrecorded,
            "last_refusal": self.last_refusal,
        }

    def _run_brief(self) -> None:
        """Run what arrived in this turn of the loop right here, if that is quicker than to hand it over.

        A hand-over costs 100 us, a brief action 20. Only while no worker is at it: the sandboxes are
        free then, and readings are not held up. An action that takes longer than it used to is given
        up after `HURRY` and run by a worker from the beginning.

        While the records of the last turn are being written, what arrives waits: it could not be on
        disk before the next write anyway, and goes along with it in one.
        """
        if self._writing:
            return
        jobs, self._brief = self._brief, []
        groups: dict[tuple[object, ...], list[Job[Waiter]]] = {}
        for job in jobs:
            groups.setdefault((job.message.action, job.message.binding, job.message.subject), []).append(job)
        for group in groups.values():
            bound = self._lookup(*_address(group[0].message))
            with self._lock:
                busy = self._awake > 0 or len(self._queue) > 0 or self._closing
            if bound is not None and not busy and self._may_run_here(bound):
                self._run_here(bound, group)
            else:
                self._queue_jobs(group)

    def _may_run_here(self, bound: Bound) -> bool:
        """Only what a worker has run before: code that is new may take long to load."""
        known = self._loaded.get(bound.action.name) == bound.action.revision
        return known and bound.pure and not bound.conductor and self._runner.ready(bound)

    def _run_here(self, bound: Bound, jobs: Sequence[Job[Waiter]]) -> None:
        started = self._clock.monotonic()
        try:
            records = self._runner.attempt(bound, [job.message for job in jobs], HURRY)
        except Exception:  # noqa: BLE001 - supervisor: the worker that takes it over tells what is wrong
            self._queue_jobs(jobs)
            return
        self._pace.ran(bound.action.name, len(jobs), self._clock.monotonic() - started)
        done = [(job, record) for job, record in zip(jobs, records, strict=True) if record is not None]
        if done:
            self._writing += 1
            waited = [(job.waiter, record) for job, record in done if job.waiter]
            self._store.record(
                [record for _, record in done],
                lambda error: self._on_loop(self._written, waited, error),
                urgent=True,
            )
        self._queue_jobs([job for job, record in zip(jobs, records, strict=True) if record is None])

    def _written(self, waited: Sequence[tuple[Waiter, Record]], error: StorageError | None) -> None:
        """The records of a turn are on disk, or refused."""
        self._writing -= 1
        if error is not None:
            self._refuse(len(waited), error)
        _deliver(waited, error)
        if self._brief and not self._writing:
            self._loop.call_soon(self._run_brief)

    def _refuse(self, count: int, error: StorageError) -> None:
        self.unrecorded += count
        self.last_refusal = str(error)

    def _most(self, lane: LaneKey) -> int:
        """How many batches of a lane may be run at once: fewer, if the action's limit says so."""
        if lane.ordered:
            return self._parallel(lane.trigger)
        bound = self._lookup(lane.action, lane.binding)
        instances = bound.action.limits.instances if bound else None
        return MOST if instances is None else max(1, min(MOST, instances))

    def _queue_jobs(self, jobs: Sequence[Job[Waiter]]) -> None:
        for job in jobs:
            self._put([job.message], job.waiter)

    def _put(self, messages: Sequence[ActivationMessage], waiter: Waiter | None) -> None:
        now = self._clock.monotonic()
        with self._lock:
            for message in messages:
                self._queue.put(Job(message, waiter, now))
            self._wake_one()
            overtaxed = self._awake > 0
        if overtaxed and self._relief is None:
            self._relief = self._loop.call_later(RELIEF, self._relieve)

    def _wake_one(self) -> None:
        """Make sure that somebody works, if there is work. The lock is held."""
        if self._awake:
            return
        if self._threads:
            self._work_waits.notify()
        else:
            self._hire()

    def _hire(self) -> None:
        thread = threading.Thread(target=self._serve, name=f"worker-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        self._awake += 1
        thread.start()

    def _relieve(self) -> None:
        """Wake or hire one more worker if a job waits too long; look again while one waits."""
        self._relief = None
        with self._lock:
            oldest = self._queue.oldest
            if oldest is None or self._closing:
                return
            if self._clock.monotonic() - oldest >= RELIEF:
                if self._awake < len(self._threads):
                    self._work_waits.notify()
                elif len(self._threads) < self._workers:
                    self._hire()
        self._relief = self._loop.call_later(RELIEF, self._relieve)

    def _settle(self, accepted: asyncio.Future[None], error: StorageError | None) -> None:
        """Called from the commit thread."""
        self._on_loop(_resolve, accepted, error)

    def _on_loop(self, callback: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *arguments)

    # -- on a worker thread ----------------------------------------------------------------------

    def _serve(self) -> None:
        while (taken := self._next()) is not None:
            try:
                self._work(taken)
            except Exception:  # noqa: BLE001 - supervisor: a worker outlives a fault in our own code
                _log.exception("a batch of %s failed", taken.lane.action)
                self._fail(taken)
            with self._lock:
                self._queue.release(taken.lane)

    def _next(self) -> Taken[Waiter] | None:
        with self._lock:
            while not self._closing:
                taken = self._queue.take()
                if taken is not None:
                    self._make_room()
                    return taken
                self._awake -= 1
                if not self._awake:
                    self._all_done.notify_all()
                self._work_waits.wait()
                self._awake += 1
            return None

    def _work(self, taken: Taken[Waiter]) -> None:
        first = taken.jobs[0].message
        bound = self._lookup(*_address(first))
        if bound is None:
            now = self._clock.now()
            records = [
                unrunnable_record(job.message, Status.APPLICATION_ERROR, GONE, now) for job in taken.jobs
            ]
            self.outcomes[Status.APPLICATION_ERROR] += len(records)
        elif not self._runner.ready(bound):
            with self._lock:
                self._queue.park(taken)
            return
        else:
            started = self._clock.monotonic()
            records = self._runner.run(bound, [job.message for job in taken.jobs])
            self._pace.ran(taken.lane.action, len(records), self._clock.monotonic() - started)
            self._remember(bound)
        self._record(taken, records)

    def _remember(self, bound: Bound) -> None:
        with self._lock:
            if len(self._loaded) >= _LOADED:
                self._loaded.clear()
            self._loaded[bound.action.name] = bound.action.revision

    def _record(self, taken: Taken[Waiter], records: Sequence[Record]) -> None:
        waited = [(job.waiter, record) for job, record in zip(taken.jobs, records, strict=True) if job.waiter]

        def done(error: StorageError | None) -> None:
            if error is not None:
                self._refuse(len(records), error)
            if waited:
                self._on_loop(_deliver, waited, error)

        self._store.record(records, done, urgent=bool(waited))

    def _fail(self, taken: Taken[Waiter]) -> None:
        """Record that the gateway itself failed; nobody waits for ever."""
        now = self._clock.now()
        error = "The gateway failed to run the action; its log says why."
        self.outcomes[Status.WHISK_ERROR] += len(taken.jobs)
        self._record(
            taken, [unrunnable_record(job.message, Status.WHISK_ERROR, error, now) for job in taken.jobs]
        )

    def _make_room(self) -> None:
        """Let held-back sources go on. The lock is held."""
        if self._held_back and self._queue.roomy:
            for resume in self._held_back:
                self._on_loop(resume)
            self._held_back.clear()

    def _wait_idle(self, seconds: float) -> bool:
        with self._lock:
            return self._all_done.wait_for(
                lambda: len(self._queue) == self._queue.parked and not self._awake, seconds
            )


def _address(message: ActivationMessage) -> tuple[FullyQualifiedName, str]:
    return message.action, message.binding


def _resolve(future: asyncio.Future[None], error: StorageError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _deliver(waited: Sequence[tuple[Waiter, Record]], error: StorageError | None) -> None:
    for waiter, record in waited:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(record)
        else:
            waiter.set_exception(error)
