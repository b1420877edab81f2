"""Takes messages through the queue to their runs: plan, batch, route, run. See the folder's README."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from edgewhisk.errors import StorageError
from edgewhisk.invoker.batch import Batch, PendingBatch, StepBatch, Stream, places, stream_of
from edgewhisk.invoker.blocking import Call
from edgewhisk.invoker.execution.executor import Executor, Inline, InlineExecutor
from edgewhisk.invoker.execution.natives import NativeSteps, Perform
from edgewhisk.invoker.execution.policy import INLINE_TIMEOUT_MS, RoutePolicy
from edgewhisk.invoker.execution.workers import WorkerPool
from edgewhisk.invoker.failure.failure_policy import GO, FailurePolicy
from edgewhisk.invoker.lifecycle import BatchEvent, Route
from edgewhisk.invoker.metrics import RunMetrics, RunRoute
from edgewhisk.invoker.plan import ExecutionPlan, Plans
from edgewhisk.invoker.queue.admission import Admission
from edgewhisk.invoker.queue.backpressure import Backpressure
from edgewhisk.invoker.queue.parking import Parking
from edgewhisk.invoker.queue.queue import Queue
from edgewhisk.invoker.queue.streams import Taken
from edgewhisk.invoker.record.completion import Completion
from edgewhisk.invoker.record.durability import on_loop
from edgewhisk.spi import ActivationStore

_log = logging.getLogger(__name__)

RELIEF: Final = 0.005  # seconds that something may wait before another worker is given work
_FELL_BACK: Final = {
    Inline.SLOW: (BatchEvent.TIMED_OUT, RunRoute.SLOW),
    Inline.FAILED: (BatchEvent.RAISED, RunRoute.FAILED),
}


class Dispatcher:
    """Owns every batch that no worker has. Called on the event loop."""

    def __init__(
        self,
        executor: Executor,
        policy: RoutePolicy,
        plans: Plans,
        store: ActivationStore,
        failures: FailurePolicy,
        queue: Queue,
        parking: Parking,
        backpressure: Backpressure,
        completion: Completion,
        metrics: RunMetrics,
        perform: Perform,
    ) -> None:
        """`perform` runs actions of the gateway itself."""
        self._plans = plans
        self._policy = policy
        self._store = store
        self._failures = failures
        self._queue = queue
        self._parking = parking
        self._backpressure = backpressure
        self._completion = completion
        self._durability = completion.durability
        self._metrics = metrics
        self._clock = executor.clock
        self._loop = asyncio.get_running_loop()
        self._inline = InlineExecutor(executor, policy)
        self._natives = NativeSteps(
            perform,
            executor,
            queue,
            self._durability,
            self._performed,
            self._break,
            completion.record,
            self._freed,
        )
        self.pool = WorkerPool(executor.run, self._back, self._lend)
        self.admission = Admission(plans, policy, failures, queue, self.pool)
        self._marking = 0  # batches whose beginning is being journalled
        self._wanted = 1  # workers that are given work: more while something waits for long
        self._relief: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None  # goes on when the loop has done other things
        self._dispatching = self._again = False
        self._closing = False

    # -- into the queue --------------------------------------------------------------------------

    def put(self, stream: Stream, entry: PendingBatch, *, urgent: bool = False) -> None:
        """Add an entry to its stream, for `dispatch`. `urgent`: it is journalled whatever its route."""
        plan = self.admission.plan(stream)
        inline = plan is not None and not entry.stays and self.admission.events(plan, stream)
        self._put(stream, entry, plan if inline else None, urgent=urgent)

    def _put(
        self, stream: Stream, entry: PendingBatch, plan: ExecutionPlan | None, *, urgent: bool = False
    ) -> None:
        """With the `plan` if it may be run on the event loop; at once, if nothing waits for that."""
        if urgent or not (plan or self._queue.has_natives(stream)):
            self._queue.save(stream, self._durability.journal)  # what waits before it comes first
            entry = self._durability.journal(entry, urgent=urgent)
        if plan is not None and self._is_free(plan, len(entry.messages)):
            self._dispatching = True
            try:
                self._run_batch(plan, Taken(stream, [entry]))
            finally:
                self._dispatching = False
            return
        self._queue.put(stream, entry, Route.INLINE if plan else Route.WORKER)
        self._parking.spill()

    def _is_free(self, plan: ExecutionPlan, count: int) -> bool:
        """Whether a batch of so many messages may be run here now, without a turn in the queue."""
        return (
            not self._dispatching
            and not self._closing
            and self._soon is None
            and not self._queue.on_offer[Route.INLINE]
            and count <= self._durability.room
            and (count == 1 or count <= self._policy.size(plan, Route.INLINE))
        )

    def call(self, calls: Sequence[Call]) -> None:
        """Run messages whose records somebody waits for; those of one stream together."""
        streams: dict[Stream, list[Call]] = {}
        for one in calls:
            streams.setdefault(stream_of(one.message), []).append(one)
        now = self._clock.monotonic()
        for stream, found in streams.items():
            messages, plan = [one.message for one in found], self.admission.plan(stream)
            entry = PendingBatch(messages, now, places(messages), waiters=[one.waiter for one in found])
            self._put(stream, entry, plan if self.admission.calls(plan) else None)
        self.dispatch()

    def _freed(self, stream: Stream) -> None:
        """A native step of a stream is over, or late."""
        self._save(stream)
        self.dispatch()

    def _save(self, stream: Stream) -> None:
        """Journal what waits for a worker, unless something is awaited that must stand before it."""
        if self._queue.waits_for_worker(stream):
            self._queue.save(stream, self._durability.journal)

    # -- out of the queue ------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Run what can be run now."""
        self._again = True
        if self._dispatching or self._closing:
            return
        self._dispatching = True
        try:
            while self._again:  # native steps may have put more into the queue
                self._again = False
                if self._queue.on_offer[Route.INLINE]:
                    self._run_inline()
                if self._queue.on_offer[Route.WORKER] or self._wanted > 1:
                    self._start_workers()
        finally:
            self._dispatching = False
        self._backpressure.make_room()

    def unpark(self) -> None:
        """An engine was compiled: what waits for one may be tried."""
        self._queue.unpark()
        parked, self._parking.batches = self._parking.batches, []
        for batch in parked:
            self._queue.take_back(batch.stream)
            batch.advance(BatchEvent.UNBLOCKED)
            batch.advance(BatchEvent.TO_WORKER)
            self._go_on(batch)
        self.dispatch()

    def close(self) -> None:
        """Begin nothing more: what is queued stays unfinished."""
        self._closing = True
        for timer in filter(None, (self._relief, self._soon)):
            timer.cancel()
        self.pool.close()

    def _run_inline(self) -> None:
        """Run batches here as far as time and the disk allow."""
        if self._soon is not None:  # this turn of the loop has had its time
            return
        end = 0.0
        while (found := self._queue.next(Route.INLINE)) is not None:
            room = self._durability.room
            if room <= 0:  # goes on when something is on disk
                return
            now = self._clock.monotonic()
            if not end:
                end = now + INLINE_TIMEOUT_MS / 1000
            elif now > end:
                self._soon = self._loop.call_soon(self._continue)
                return
            stream, entry = found
            plan = self.admission.plan(stream)
            if plan is None or not (entry.waiters or self.admission.waiting(plan, stream)):
                self._queue.reroute(stream, Route.WORKER)
                self._save(stream)
                continue
            count = min(self._policy.size(plan, Route.INLINE), room)
            self._run_batch(plan, self._queue.take(stream, count))

    def _continue(self) -> None:
        self._soon = None
        self.dispatch()

    def _run_batch(self, plan: ExecutionPlan, taken: Taken) -> None:
        """Run a batch here, to its end or to a native step; what fails is left to the workers."""
        try:
            batch = self._plans.batch(plan, taken.stream, taken.entries)
        except Exception:  # noqa: BLE001 - supervisor: `_begin` records what is wrong
            _log.exception("%s cannot be run on the event loop", taken.stream.action)
            self._pin(taken.stream, taken.entries, [])
            return
        batch.inline = True
        batch.advance(BatchEvent.TO_INLINE)
        count = len(batch.messages)
        how = self._inline.run(batch)
        if how is not Inline.RAN:
            batch.advance(_FELL_BACK[how][0])
            self._metrics.went(_FELL_BACK[how][1], count)
            self._pin(taken.stream, taken.entries, [])
            return
        if len(batch.messages) < count:
            (slow, *behind) = batch.leave()
            head, rest = slow.split(1)
            self._metrics.went(RunRoute.SLOW, 1)
            self._pin(taken.stream, [head], [rest, *behind] if rest.messages else behind)
        self._metrics.went(RunRoute.INLINE, len(batch.messages))
        self._completion.under_way += 1
        self._durability.begin(batch)
        self._backpressure.under_way.add(taken.stream.trigger, batch.places)
        self._go_on(batch)

    def _pin(self, stream: Stream, failed: Sequence[PendingBatch], behind: Sequence[PendingBatch]) -> None:
        """Put entries back in front of their stream; those that `failed` here never run here again."""
        pinned = [one._replace(pinned=True) for one in failed]
        self._queue.put_back(Taken(stream, [*pinned, *behind]), Route.INLINE)
        self._save(stream)

    # -- workers ---------------------------------------------------------------------------------

    @property
    def busy(self) -> int:
        """How many workers are at work, or about to be."""
        return self.pool.busy + self._marking

    def _start_workers(self) -> None:
        """Give batches to workers."""
        while self.busy < self._wanted:
            if (found := self._queue.next(Route.WORKER)) is None:
                self._wanted = max(1, self.busy)
                return
            self._start(*found)
        if self._relief is None and self._queue.next(Route.WORKER) is not None:
            self._relief = self._loop.call_later(RELIEF, self._relieve)

    def _relieve(self) -> None:
        """Give one more worker something if it has waited too long; look again while something waits."""
        self._relief = None
        oldest = self._queue.oldest
        if oldest is not None and self._clock.monotonic() - oldest >= RELIEF:
            self._wanted = self.busy + 1
        self.dispatch()

    def _start(self, stream: Stream, entry: PendingBatch) -> None:
        """Give a worker a batch of a stream, or leave it to the event loop, or park it."""
        try:
            plan = self._plans.of(stream)
        except Exception:  # noqa: BLE001 - supervisor: events outlive a fault in our own code
            _log.exception("%s cannot be planned", stream.action)
            self._give_up(self._queue.take(stream, len(entry.messages)), gone=False)
            return
        if plan is None:
            self._give_up(self._queue.take(stream, len(entry.messages)), gone=True)
        elif not entry.stays and self.admission.waiting(plan, stream):
            self._queue.reroute(stream, Route.INLINE)
            self._again = True
        elif not self._policy.ready(plan.kinds):
            self._queue.park(stream)
        else:
            go = self._failures.ask(plan.bound) if stream.ordered else GO
            if go.pause:
                self._parking.hold(stream)
                return
            taken = self._queue.take(stream, 1 if go.alone else self._policy.size(plan, Route.WORKER))
            if go.alone:
                self._parking.hold(stream)
            self._begin(plan, taken)

    def _give_up(self, taken: Taken, *, gone: bool) -> None:
        """Record that messages are not run: their action is `gone`, or the gateway itself failed."""
        batch = Batch(taken.stream, taken.entries)
        batch.advance(BatchEvent.FINISHED)
        self._completion.under_way += 1
        self._durability.save(batch)
        self._queue.release(taken.stream)
        if gone:
            self._completion.writer.gone(batch)
        else:
            self._failures.give_back(taken.stream.action)
            self._completion.writer.fail(batch)

    def _begin(self, plan: ExecutionPlan, taken: Taken) -> None:
        """Give a worker a batch, as soon as what must be in the journal before is there."""
        try:
            batch = self._plans.batch(plan, taken.stream, taken.entries)
        except Exception:  # noqa: BLE001 - supervisor: events outlive a fault in our own code
            _log.exception("a batch of %s failed", taken.stream.action)
            self._give_up(taken, gone=False)
            return
        self._completion.under_way += 1
        self._metrics.went(RunRoute.WORKER, len(batch.messages))
        batch.advance(BatchEvent.TO_WORKER)
        batch.began = self._clock.monotonic()
        self._durability.save(batch)
        if marked := batch.marked:
            self._marking += 1
            self._store.begin(marked, on_loop(self._loop, self._marked, batch))
        else:
            self._go_on(batch)

    def _marked(self, batch: StepBatch, error: StorageError | None) -> None:
        """The journal says that runs begin, or cannot: without that `once` actions are not begun at all."""
        self._marking -= 1
        if batch.bound.once and error is not None:
            _log.error("a batch of %s is not begun: %s", batch.bound.action.name, error)
            self._break(batch)
        else:
            self._go_on(batch)
        self.dispatch()

    def _back(self, batch: StepBatch, error: Exception | None) -> None:
        """A worker has run a step of a batch."""
        if error is None:
            if batch.last is not None:
                self._policy.ran(batch.last.bound, len(batch.last.ids), batch.seconds)
            self._performed(batch)
        else:
            self._break(batch)
        self.dispatch()

    def _lend(self, batch: StepBatch, begins: bool) -> None:
        """The worker of a batch waits for another action, or goes on."""
        if begins:
            self._queue.lend(batch.stream)
            self.dispatch()
        else:
            self._queue.take_back(batch.stream)

    # -- batches ---------------------------------------------------------------------------------

    def _performed(self, batch: StepBatch) -> None:
        """A step was run; on to the next one."""
        if batch.composed and not batch.inline:
            try:
                self._completion.writer.parts(batch)
            except Exception:  # noqa: BLE001 - supervisor: events outlive a fault in our own code
                _log.exception("parts of %s could not be written down", batch.bound.action.name)
                self._break(batch)
                return
        self._go_on(batch)

    def _go_on(self, batch: StepBatch) -> None:
        """Take a batch to its next step, or to its end."""
        step = batch.step
        if step is None:
            batch.advance(BatchEvent.FINISHED)
            self._ended(batch)
        elif self._closing:
            return  # what was journalled is run by the next life
        elif step.bound.native:
            self._natives.run(batch, step)
        elif self._policy.ready([step.bound.action.exec.kind]):
            batch.advance(BatchEvent.TO_WORKER)
            self.pool.start(batch)
        else:
            batch.advance(BatchEvent.BLOCKED)
            self._queue.lend(batch.stream)
            self._parking.batches.append(batch)

    def _break(self, batch: StepBatch) -> None:
        """The gateway itself failed to run a batch."""
        batch.broken = True
        batch.advance(BatchEvent.RAISED)
        self._failures.give_back(batch.bound.action.name)
        self._ended(batch)

    def _ended(self, batch: StepBatch) -> None:
        if not batch.inline:
            self._queue.release(batch.stream)
            if batch.composed and not batch.broken:  # the policy knows the pace of others
                took = self._clock.monotonic() - batch.began
                self._policy.estimator.ran(batch.bound.action.name, len(batch.messages), took)
        self._natives.ended(batch)
