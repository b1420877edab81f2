"""Writes down what came of batches: uniform ones of the same stream together, as one columnar block.

A commit costs a flash card a page at least, and a block of one reading is ten times as long as its
reading; so a batch waits a little for others. Its results have left already, and who delivered its
events is told when they are on disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.activation import Record
from edgewhisk.entity.records.record_block import RecordBlock
from edgewhisk.errors import StorageError
from edgewhisk.invoker.batch import Batch, StepBatch
from edgewhisk.invoker.lifecycle import BatchEvent
from edgewhisk.invoker.record.durability import on_loop
from edgewhisk.invoker.record.records import Records
from edgewhisk.invoker.record.templates import BatchTemplate
from edgewhisk.spi import ActivationStore, Clock

_log = logging.getLogger(__name__)

IDLE_WINDOWS: Final = 5  # times the window that events wait whose source does not
BUSY: Final = 4  # events that ended in the last window, and more: then it is worth to wait for twice as long
# Of the window, once half of what a broker sends ahead waits. With all of it the broker stood still until the
# window was over, and 1,000 readings/s at QoS 1 took 20 ms each; at once costs half as many bytes again at
# full load, and a sixth more CPU.
SOON: Final = 0.25
MOST: Final = 512  # events that wait, at most
LARGE: Final = 256 << 10  # bytes of results that wait, at most; and of a block, which is read as a whole

Wrote = Callable[[Sequence[Batch], Sequence[Record], StorageError | None], None]  # on the loop
Told = Callable[[StorageError | None], None]


class RecordWriter:
    """The only one that stores records. Called on the event loop."""

    def __init__(
        self,
        records: Records,
        store: ActivationStore,
        clock: Clock,
        window: float,
        enough: Callable[[], int],
        wrote: Wrote,
    ) -> None:
        """`window`: seconds that batches wait for others; `wrote` is told of the disk, or its refusal.

        `enough` says how many events whose source waits need wait for `SOON` only.
        """
        self._records = records
        self._store = store
        self._clock = clock
        self._window = window
        self._enough = enough
        self._half = 1  # what it said when the first of those that wait came
        self._wrote = wrote
        self._loop = asyncio.get_running_loop()
        self._ended: dict[BatchTemplate, list[StepBatch]] = {}
        self._timing = ClockOffset()  # how the clock stood when they ended
        self._count = self._awaited = 0  # events that ended, and those whose source waits
        self._bytes = 0  # of their results
        self._since = 0  # ms since the epoch when the first whose source waits began
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None

    def add(self, batch: StepBatch, *, alone: bool, urgent: bool) -> None:
        """Write down a batch that has ended; a uniform one may wait for others unless `alone` or `urgent`."""
        try:
            template = None if alone or not batch.uniform or batch.told else self._records.template(batch)
        except Exception:  # noqa: BLE001 - supervisor: events outlive a fault in our own code
            _log.exception("a run of %s could not be written down", batch.bound.action.name)
            self.fail(batch)
            return
        if template is None:
            self.flush()
            self._write([batch], self._made([batch]), None, urgent=urgent)
        else:
            self._gather(template, batch, urgent=urgent)

    def fail(self, batch: Batch) -> None:
        """Write down that the gateway itself broke a batch, behind the parts that were run."""
        self.flush()
        self._write([batch], self._records.failed(batch.messages), None, urgent=True)

    def gone(self, batch: Batch) -> None:
        """Write down that the action of a batch does not exist any more."""
        self.flush()
        self._write([batch], self._records.gone(batch.messages), None, urgent=batch.awaited)

    def parts(self, batch: StepBatch) -> None:
        """Write down the steps of a composition that were run; the whole follows, and tells if it cannot."""
        records = self._records.parts(batch)
        if records:
            self.single(records, _unwatched, urgent=False)

    def single(self, records: Sequence[Record], told: Told, *, urgent: bool) -> None:
        """Write down records behind those of what has ended; `told` is called on the loop."""
        self.flush()
        self._store_all(records, told, urgent)

    def stored(self, records: Sequence[Record]) -> asyncio.Future[None]:
        """Write down records as `single` does; done when they are on disk, fails with `StorageError`."""
        stored: asyncio.Future[None] = self._loop.create_future()

        def told(error: StorageError | None) -> None:
            if stored.done():
                return
            if error is None:
                stored.set_result(None)
            else:
                stored.set_exception(error)

        self.single(records, told, urgent=True)
        return stored

    def flush(self) -> None:
        """Write down what has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._ended:
            return
        ended, self._ended = self._ended, {}
        small, self._busy = self._bytes < LARGE, self._awaited >= BUSY
        self._count = self._awaited = self._bytes = 0
        left = len(ended)
        for template, batches in ended.items():
            left -= 1
            block = self._block(template, batches) if small else None
            records = self._made(batches) if block is None else []
            self._write(batches, records, block, urgent=not left)

    def _gather(self, template: BatchTemplate, batch: StepBatch, *, urgent: bool) -> None:
        timing = self._clock.timing
        if timing is not self._timing:
            self.flush()
            self._timing = timing
        self._ended.setdefault(template, []).append(batch)
        before = self._awaited
        if not before and batch.unsaved:
            self._since, self._half = batch.begun, self._enough()
        self._count += len(batch.messages)
        self._awaited += batch.unsaved
        self._bytes += batch.size
        if urgent or self._count >= MOST or self._bytes >= LARGE:
            self.flush()
        elif self._timer is None:
            self._plan()
        elif (self._awaited and not before) or before < self._half <= self._awaited:
            # A broker may send nothing more before it is told.
            self._timer.cancel()
            self._plan()

    def _plan(self) -> None:
        """Look again when those that wait have waited long enough; since they began, for their source."""
        if self._awaited >= self._half:
            times = SOON
        else:
            times = IDLE_WINDOWS if not self._awaited else 2 if self._busy else 1
        passed = (self._clock.now() - self._since) / 1000 if self._awaited else 0.0
        rest = self._window * times - max(0.0, passed)  # the clock may have been set back in between
        self._timer = self._loop.call_later(max(0.0, rest), self.flush)

    def _block(self, template: BatchTemplate, batches: Sequence[StepBatch]) -> RecordBlock | None:
        try:
            return self._records.block(template, batches, self._timing)
        except Exception:  # noqa: BLE001 - supervisor: one by one those that can be are written down
            _log.exception("runs of %s could not be written down together", template.bound.action.name)
            return None

    def _made(self, batches: Sequence[StepBatch]) -> list[Record]:
        """A record for each run of batches."""
        try:
            return [record for batch in batches for record in self._records.of(batch)]
        except Exception:  # noqa: BLE001 - supervisor: events outlive a fault in our own code
            _log.exception("runs of %s could not be written down", batches[0].bound.action.name)
            return self._records.failed([one for batch in batches for one in batch.messages])

    def _write(
        self, batches: Sequence[Batch], records: Sequence[Record], block: RecordBlock | None, *, urgent: bool
    ) -> None:
        """Store the records of batches of one stream; not `urgent`: more follow, or nobody waits."""
        origins = [
            message.origin
            for batch in batches
            for entry in batch.entries
            if entry.barrier is not None
            for message in entry.messages
            if message.durable and message.origin
        ]
        for batch in batches:
            batch.advance(BatchEvent.WRITTEN)
        self._store_all(records, partial(self._wrote, batches, records), urgent, origins, block)

    def _store_all(
        self,
        records: Sequence[Record],
        told: Told,
        urgent: bool,
        origins: Sequence[str] = (),
        block: RecordBlock | None = None,
    ) -> None:
        done = on_loop(self._loop, told)
        self._store.record(records, done, urgent=urgent, origins=origins, block=block)


def _unwatched(_error: StorageError | None) -> None:
    """A part's record is on disk, or refused: then the whole's is refused too, and that is told."""
