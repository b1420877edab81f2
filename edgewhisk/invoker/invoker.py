"""The invoker as others see it: runs messages, and records what came of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgewhisk.base.threads import apart
from edgewhisk.entity.activation import Record
from edgewhisk.entity.annotations.delivery import Priority
from edgewhisk.entity.invocation.arguments import ResolvedAction
from edgewhisk.entity.invocation.message import ActivationMessage, Status
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.invoker.batch import PendingBatch, Stream, by_stream, places, stream_of
from edgewhisk.invoker.blocking import BlockingCalls, Call
from edgewhisk.invoker.composition import Composition
from edgewhisk.invoker.dispatcher import Dispatcher
from edgewhisk.invoker.execution.executor import Executor
from edgewhisk.invoker.execution.natives import Perform
from edgewhisk.invoker.execution.policy import RoutePolicy
from edgewhisk.invoker.failure.failure_policy import FailurePolicy
from edgewhisk.invoker.metrics import RunMetrics
from edgewhisk.invoker.plan import Plans
from edgewhisk.invoker.queue.backpressure import Backpressure
from edgewhisk.invoker.queue.parking import Parking
from edgewhisk.invoker.queue.queue import MOST, Queue
from edgewhisk.invoker.queue.streams import Workers
from edgewhisk.invoker.record.completion import Completion
from edgewhisk.invoker.record.durability import DurabilityBarrier
from edgewhisk.invoker.record.records import Records
from edgewhisk.invoker.record.recovery import Recovery
from edgewhisk.spi import ActivationStore, Lookup, Starts
from edgewhisk.store.dead_letters import DeadLetters


class Invoker:
    """Public methods are called on the event loop, unless they say otherwise."""

    def __init__(
        self,
        executor: Executor,
        store: ActivationStore,
        lookup: Lookup,
        composition: Composition,
        perform: Perform,
        limits: Limits,
        failures: FailurePolicy,
        dead: DeadLetters,
        *,
        keeps: Callable[[ResolvedAction], bool] = lambda _: True,
        parallel: Callable[[str], int] = lambda _: 1,
        priority: Callable[[FullyQualifiedName, str, str], Priority] = lambda *_: Priority.NORMAL,
        window: float = 0.02,
        ahead: Callable[[], int] = lambda: 20,
        workers: int = 16,
    ) -> None:
        """`perform` runs the gateway's own actions; `keeps`: whether a good call of one is recorded.

        `parallel` says how many batches of a trigger's events may be run at once, `priority` how urgent the
        events are that start an action, through a binding, by a trigger.

        `window`: seconds that records nobody waits for may wait for company; `ahead` says how many events a
        source sends before it waits to be told that the first is on disk. Once half of them wait they are
        written after a part of the window.
        `workers` threads at most; an idle one costs nothing but its stack's address space."""
        clock = executor.clock
        self._clock = clock
        self._lookup = lookup
        self._parallel = parallel
        self._loop = asyncio.get_running_loop()
        self._failures = failures
        self._queue = Queue(
            limits.max_queue,
            self._most,
            lambda stream: priority(stream.action, stream.binding, stream.trigger),
            Workers(workers, max(1, workers - 2), max(1, workers // 2)),
        )
        self._backpressure = Backpressure(self._queue, limits.max_queue)
        self.full = self._backpressure.full
        self.on_room = self._backpressure.on_room
        self.crowded = self._queue.crowded
        self.metrics = RunMetrics()
        self._dispatcher: Dispatcher
        self._calls = BlockingCalls(lambda calls: self._dispatcher.call(calls))
        records = Records(executor.sandbox, clock, self.metrics, failures.learn, failures.alert)
        dispatch = lambda: self._dispatcher.dispatch()  # noqa: E731 - made below
        plans = Plans(lookup, composition, clock)
        self._keep = (plans, records, executor.contexts)
        enough = lambda: max(1, ahead() // 2)  # noqa: E731
        self._completion = Completion(
            records, store, clock, self._backpressure, self._calls, keeps, window, enough, dispatch
        )
        self._recovery = Recovery(dead, records, self._completion.writer, lookup)
        self._parking = Parking(self._queue, failures, self._recovery, lookup, dispatch)
        self._dispatcher = Dispatcher(
            executor,
            RoutePolicy(executor.sandbox, clock),
            plans,
            store,
            failures,
            self._queue,
            self._parking,
            self._backpressure,
            self._completion,
            self.metrics,
            perform,
        )
        self.lent = self._dispatcher.pool.lent  # what a worker is inside that waits for another run

    def forget(self, name: str) -> None:
        """The action "guest/pkg/a" was deleted: what was made for its runs goes. From any thread."""
        for one in self._keep:
            one.forget(name)

    def submit(self, messages: Sequence[ActivationMessage], *, urgent: bool) -> asyncio.Future[None]:
        """Run `messages`; the future is done when the durable ones are on disk.

        Running does not wait for the disk. Not `urgent`: the source can wait for company, so that an
        event and its record share one fdatasync.
        """
        barrier, now = DurabilityBarrier(self._loop, messages), self._clock.monotonic()
        for stream, events in by_stream(messages).items() if messages else ():
            self._dispatcher.put(stream, PendingBatch(events, now, places(events), barrier), urgent=urgent)
        self._dispatcher.dispatch()
        return barrier.future

    def run(self, message: ActivationMessage) -> asyncio.Future[Record]:
        """Run one message whose record somebody waits for; done when the record is on disk."""
        call = Call(message, self._loop.create_future())
        if self._dispatcher.admission.gathers(stream_of(message)):
            self._calls.add(call)
        else:
            self._dispatcher.call([call])
        return call.waiter

    def watch(self, activation_id: str, over: Callable[[], None], seconds: float) -> None:
        """Call `over` once: when a run that nobody waits for is on record, at the latest after `seconds`."""
        self._completion.watch(activation_id, over, seconds)

    def record(self, record: Record) -> asyncio.Future[None]:
        """Store the record of what was not run here; done when it is on disk, fails with `StorageError`."""
        return self._completion.writer.stored([record])

    async def resume(self, messages: Sequence[ActivationMessage], starts: Mapping[str, Starts]) -> None:
        """Run what an earlier life accepted and did not finish; it is on disk already."""
        for message, alone in await self._recovery.sort(messages, starts):
            entry = PendingBatch([message], self._clock.monotonic(), places([message]), again=True)
            self._dispatcher.put(stream_of(message, suspect=alone), entry)
        self._dispatcher.dispatch()

    def runtime_ready(self) -> None:
        """An engine was compiled: what waits for one may be tried. Called from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._dispatcher.unpark)

    async def drain(self, seconds: float) -> bool:
        """Wait until everything queued has been run and recorded; false if it took longer than `seconds`."""
        return await self._completion.drain(seconds, self._idle)

    async def close(self) -> None:
        """Stop the workers after the batches they hold; what is queued stays unfinished."""
        await self._parking.close()
        self._dispatcher.close()
        await apart("join", self._dispatcher.pool.join)
        self._completion.writer.flush()

    def describe(self) -> dict[str, Any]:
        """Counters for `status`."""
        outcomes = self.metrics.outcomes
        return {
            "queued": len(self._queue),
            "held": self._queue.held,
            "parked": self._queue.parked - self._queue.held + self._parking.messages,
            "held_back": len(self._backpressure),
            "running": self._completion.under_way - len(self._parking.batches),
            "namespaces": self._queue.describe(),
            "workers": len(self._dispatcher.pool),
            **self._failures.describe(),
            **self._recovery.counts,
            **self.metrics.routes,
            "outcomes": {status.value: outcomes[status] for status in Status},
            "unrecorded": self._completion.unrecorded,
            "last_refusal": self._completion.last_refusal,
        }

    def _idle(self) -> bool:
        """Whether nothing is left but what waits for an engine or a circuit breaker."""
        return (
            not self._calls
            and len(self._queue) == self._queue.parked
            and self._completion.under_way == len(self._parking.batches)
        )

    def _most(self, stream: Stream) -> int:
        """How many batches of a stream may be run at once: fewer, if the action's limit says so."""
        if stream.ordered:
            return self._parallel(stream.trigger)
        bound = self._lookup(stream.action, stream.binding)
        instances = bound.action.limits.instances if bound else None
        return MOST if instances is None else max(1, min(MOST, instances))
