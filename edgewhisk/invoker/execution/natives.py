"""Steps that the gateway itself performs: waited for on the event loop, without a thread.

A batch that ran on the loop leaves its stream free while its last step is native: the next one may be run
and begin its own. Their records keep the order of the batches, but for one whose step takes longer than
`JOURNAL_AFTER`: its events are journalled, which is their place on the disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from edgewhisk.entity.invocation.arguments import ResolvedAction
from edgewhisk.entity.invocation.message import BatchResult
from edgewhisk.invoker.batch import Step, StepBatch, Stream
from edgewhisk.invoker.execution.executor import Executor
from edgewhisk.invoker.lifecycle import BatchEvent, BatchState
from edgewhisk.invoker.queue.queue import Queue
from edgewhisk.invoker.record.durability import JOURNAL_AFTER, Durability

_log = logging.getLogger(__name__)

# Performs an action of the gateway itself for a namespace; the future may be done on return.
Perform = Callable[[ResolvedAction, str, Sequence[bytes]], "asyncio.Future[BatchResult]"]


class NativeSteps:
    """Called on the event loop."""

    def __init__(
        self,
        perform: Perform,
        executor: Executor,
        queue: Queue,
        durability: Durability,
        performed: Callable[[StepBatch], None],
        broken: Callable[[StepBatch], None],
        record: Callable[[StepBatch], None],
        freed: Callable[[Stream], None],
    ) -> None:
        """`performed` goes on with a batch, `broken` gives it up, `record` writes it down.

        `freed` is told when something need not be awaited any more before what comes next in its stream.
        """
        self._perform = perform
        self._executor = executor
        self._queue = queue
        self._durability = durability
        self._performed = performed
        self._broken = broken
        self._record = record
        self._freed = freed
        self._loop = asyncio.get_running_loop()
        self._lines: dict[Stream, deque[StepBatch]] = {}  # in order; the first one waits for its step

    def run(self, batch: StepBatch, step: Step) -> None:
        """Perform the step that a batch is at."""
        batch.advance(BatchEvent.PENDING)
        try:
            running = self._perform(step.bound, batch.namespace, step.payloads)
        except Exception:  # noqa: BLE001 - supervisor: events outlive a fault in our own code
            _log.exception("%s failed", step.bound.action.name)
            self._broken(batch)
            return
        if running.done():
            self._finish(batch, step, running)
            return
        if not batch.inline:
            self._queue.lend(batch.stream)
        elif batch.stream.ordered:
            self._lines.setdefault(batch.stream, deque()).append(batch)
            self._queue.native(batch.stream, 1)
        seconds = step.bound.action.limits.timeout / 1000
        timer = self._loop.call_later(JOURNAL_AFTER, self._late, batch, running, seconds - JOURNAL_AFTER)
        running.add_done_callback(partial(self._wake, batch, step, timer))

    def ended(self, batch: StepBatch) -> None:
        """A batch is done: record it, and what waited for it, unless it must wait for one before it."""
        line = self._lines.get(batch.stream) if self._lines else None
        if line is None or batch.late or not batch.inline:
            self._record(batch)
            return
        if batch not in line:
            line.append(batch)
        self._record_ended(batch.stream, line)

    def _record_ended(self, stream: Stream, line: deque[StepBatch]) -> None:
        while line and line[0].state is BatchState.DONE:
            self._record(line.popleft())
        if not line:
            del self._lines[stream]

    def _wake(
        self, batch: StepBatch, step: Step, timer: asyncio.TimerHandle, running: asyncio.Future[BatchResult]
    ) -> None:
        timer.cancel()
        punctual = batch in self._lines.get(batch.stream, ())
        if not batch.inline:
            self._queue.take_back(batch.stream)
        self._finish(batch, step, running)
        if punctual:
            self._queue.native(batch.stream, -1)
        self._freed(batch.stream)

    def _finish(self, batch: StepBatch, step: Step, running: asyncio.Future[BatchResult]) -> None:
        try:
            batch.complete(self._executor.expired(step) if running.cancelled() else running.result())
        except Exception:  # noqa: BLE001 - supervisor: events outlive a fault in our own code
            _log.exception("%s failed", step.bound.action.name)
            self._broken(batch)
        else:
            self._performed(batch)

    def _late(self, batch: StepBatch, running: asyncio.Future[BatchResult], left: float) -> None:
        """A step takes its time, of which so many seconds are left: the events are journalled meanwhile."""
        batch.advance(BatchEvent.LATE)
        batch.late = True
        limit = self._loop.call_later(max(0.0, left), running.cancel)
        running.add_done_callback(lambda _: limit.cancel())
        self._durability.save(batch)
        line = self._lines.get(batch.stream)
        if line is not None and batch in line:
            line.remove(batch)
            self._record_ended(batch.stream, line)
            self._queue.native(batch.stream, -1)
            self._freed(batch.stream)
