"""When events are on disk, and the one rule about journalling.

An event that the event loop runs at once shares one write with its record: the record is its journal
entry. Every other durable event is journalled before it is run: it waits for a worker, or its native step
takes longer than `JOURNAL_AFTER`, or its source is a caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Final

from edgewhisk.entity.invocation.message import ActivationMessage
from edgewhisk.errors import StorageError
from edgewhisk.invoker.batch import Barrier, Batch, PendingBatch
from edgewhisk.spi import ActivationStore, Committed

_DURABLE = attrgetter("durable")
JOURNAL_AFTER: Final = 0.05  # seconds after which events are journalled whose native step is still under way
# Events that ran or are being written, and are not on disk. A source that sends the next reading for each
# result would else fill its broker's queue, which drops what is over 1,000 messages: seen with 5,000.
MAX_UNPERSISTED: Final = 256


class DurabilityBarrier:
    """Tells a source when all events that it submitted together, and that must be on disk, are."""

    def __init__(self, loop: asyncio.AbstractEventLoop, messages: Sequence[ActivationMessage]) -> None:
        """The future is done at once if none must."""
        self.future: asyncio.Future[None] = loop.create_future()
        self._pending = sum(map(_DURABLE, messages))
        self._error: StorageError | None = None
        if not self._pending:
            self.future.set_result(None)

    def settle(self, count: int, error: StorageError | None = None) -> None:
        """So many more of the events are on disk, or refused."""
        self._pending -= count
        self._error = self._error or error
        if self._pending or self.future.done():
            return
        if self._error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(self._error)


class Durability:
    """Counts what is not on disk yet, and journals. Called on the event loop."""

    def __init__(self, store: ActivationStore, before: Callable[[], None], after: Callable[[], None]) -> None:
        """`before` anything is journalled what ran is written: its source may send it again, and then later.

        `after` something is on disk more may be run.
        """
        self._store = store
        self._before = before
        self._after = after
        self._loop = asyncio.get_running_loop()
        self.unpersisted = 0  # events that ran, or are being journalled, and are not on disk
        self.running = 0  # of those, the ones whose batch has not ended yet

    @property
    def room(self) -> int:
        """How many more events may be run that are not on disk."""
        return MAX_UNPERSISTED - self.unpersisted

    @property
    def pressing(self) -> bool:
        """Whether what has ended is to be written at once: nothing more is run before that."""
        return not self.running and self.unpersisted >= MAX_UNPERSISTED

    def journal(self, entry: PendingBatch, *, urgent: bool = False, counted: bool = False) -> PendingBatch:
        """Journal the events of an entry that are not safe yet; returns the entry as it is to be kept.

        Not `urgent`: they may wait for company, unless so many wait that nothing more is run.
        `counted`: they are among the `unpersisted` already.
        """
        unsaved = entry.unsaved
        if unsaved:
            self._before()
            if not counted:
                self.unpersisted += len(unsaved)
                urgent = urgent or self.unpersisted >= MAX_UNPERSISTED
            told = on_loop(self._loop, self.settle, [(entry.barrier, len(unsaved))])
            self._store.accept(unsaved, told, urgent=urgent)
        return entry if entry.barrier is None else entry._replace(barrier=None)

    def begin(self, batch: Batch) -> None:
        """A batch was run before its events are on disk."""
        batch.unsaved = 0
        for entry in batch.entries:
            if entry.barrier is not None:
                batch.unsaved += sum(map(_DURABLE, entry.messages))
        self.unpersisted += batch.unsaved
        self.running += batch.unsaved

    def end(self, batch: Batch) -> None:
        """A batch that was begun is about to be recorded."""
        if batch.inline:
            self.running -= batch.unsaved

    def save(self, batch: Batch) -> None:
        """Journal the events of a batch that are not safe yet."""
        self.end(batch)
        batch.entries = [self.journal(one, counted=batch.inline) for one in batch.entries]
        batch.unsaved = 0

    def recorded(self, batches: Sequence[Batch], error: StorageError | None) -> None:
        """The records of batches are on disk, or refused: so are the events that were not journalled."""
        who = [
            (entry.barrier, sum(map(_DURABLE, entry.messages)))
            for batch in batches
            if batch.unsaved
            for entry in batch.entries
            if entry.barrier is not None
        ]
        if who:
            self.settle(who, error)

    def settle(self, who: Sequence[tuple[Barrier | None, int]], error: StorageError | None) -> None:
        """Tell those who wait, before anything else is run: the queues of brokers are short."""
        total = 0
        for barrier, count in who:
            total += count
            if barrier is not None:
                barrier.settle(count, error)
        self._loop.call_soon(self._settled, total)

    def _settled(self, count: int) -> None:
        self.unpersisted -= count
        self._after()


def on_loop(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: object) -> Committed:
    """Returns what the commit thread calls to have `callback` called on the loop, with the error last."""

    def done(error: StorageError | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(partial(callback, *arguments, error))

    return done
