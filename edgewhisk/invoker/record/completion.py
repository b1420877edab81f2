"""From the end of a batch to the disk, and to those who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from edgewhisk.entity.activation import Record, rfc3339
from edgewhisk.entity.invocation.arguments import ResolvedAction
from edgewhisk.errors import StorageError
from edgewhisk.invoker.batch import Batch, StepBatch
from edgewhisk.invoker.blocking import BlockingCalls, deliver
from edgewhisk.invoker.lifecycle import BatchEvent
from edgewhisk.invoker.queue.backpressure import Backpressure
from edgewhisk.invoker.record.durability import Durability
from edgewhisk.invoker.record.recorder import RecordWriter
from edgewhisk.invoker.record.records import Records
from edgewhisk.spi import ActivationStore, Clock


class Completion:
    """Called on the event loop."""

    def __init__(
        self,
        records: Records,
        store: ActivationStore,
        clock: Clock,
        backpressure: Backpressure,
        calls: BlockingCalls,
        keeps: Callable[[ResolvedAction], bool],
        window: float,
        enough: Callable[[], int],
        dispatch: Callable[[], None],
    ) -> None:
        """`keeps` says whether a successful call of an action of the gateway itself is recorded.

        `window`: seconds that records nobody waits for may wait for others. `enough` says how
        many events whose source waits are written soon. `dispatch` runs more.
        """
        self._records = records
        self._clock = clock
        self._backpressure = backpressure
        self._calls = calls
        self._keeps = keeps
        self.writer = RecordWriter(records, store, clock, window, enough, self._wrote)
        self.durability = Durability(store, self.writer.flush, dispatch)
        # activation id -> what is called when it is over, and what does so if that takes long
        self._watched: dict[str, tuple[Callable[[], None], asyncio.TimerHandle]] = {}
        self._changed = asyncio.Event()  # set whenever a batch has ended, or is on disk
        self.under_way = 0  # batches that were begun and are not on disk
        self.unrecorded = 0  # runs whose record the disk refused
        self.last_refusal = ""

    def record(self, batch: StepBatch) -> None:
        """Write down a batch that is done."""
        self.durability.end(batch)
        awaited = batch.awaited
        if awaited and batch.inline and not batch.native:
            self._calls.writes()
        if batch.broken:
            self.writer.fail(batch)
        elif awaited and batch.native and batch.uniform and not self._keeps(batch.bound):
            batch.advance(BatchEvent.KEPT_OUT)
            self._finish(batch, self._records.of(batch), None)
        else:
            alone = awaited or batch.again or batch.bound.once
            self.writer.add(batch, alone=alone, urgent=awaited or self.durability.pressing)
        self._changed.set()

    def refused(self, count: int, error: StorageError) -> None:
        """Count runs whose record the disk refused."""
        self.unrecorded += count
        self.last_refusal = f"{error} (last at {rfc3339(self._clock.now())[:19]}Z)"

    async def drain(self, seconds: float, idle: Callable[[], bool]) -> bool:
        """Wait until all that was begun is on disk, and `idle`; false if it took longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while not idle():
                    self.writer.flush()
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _wrote(self, batches: Sequence[Batch], records: Sequence[Record], error: StorageError | None) -> None:
        """The records of batches are on disk, or refused."""
        self.durability.recorded(batches, error)
        if error is not None:
            self.refused(sum([len(batch.messages) for batch in batches]), error)
        for batch in batches:
            batch.advance(BatchEvent.DURABLE if error is None else BatchEvent.REFUSED)
            self._finish(batch, records, error)
        self._backpressure.make_room()

    def watch(self, activation_id: str, over: Callable[[], None], seconds: float) -> None:
        """Call `over` once: when a run is on record, or refused, at the latest after `seconds`."""
        timer = asyncio.get_running_loop().call_later(seconds, self._over, activation_id)
        self._watched[activation_id] = over, timer

    def _over(self, activation_id: str) -> None:
        if found := self._watched.pop(activation_id, None):
            over, timer = found
            timer.cancel()
            over()

    def _finish(self, batch: Batch, records: Sequence[Record], error: StorageError | None) -> None:
        if batch.inline:
            self._backpressure.under_way.add(batch.stream.trigger, -batch.places)
        if batch.awaited:
            if batch.inline and not batch.native:
                self._calls.wrote()
            # What the gateway itself did is done, whether it is recorded or not.
            deliver(batch.waiters, records[-len(batch.messages) :], None if batch.native else error)
        if self._watched:
            for message in batch.messages:
                self._over(message.activation_id)
        self.under_way -= 1
        self._changed.set()
