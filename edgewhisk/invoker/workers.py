"""The threads that run batches of the queue: hired when work waits, idle when there is none.

Wasm releases the interpreter lock, but half of the work of a small action is Python's; so one
worker does all the work as long as it keeps up, which also makes batches, and the others are woken
only when something has waited for `RELIEF`: behind a slow action nobody waits longer than that.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic

from edgewhisk.invoker.job import LaneKey, Taken, Waiter
from edgewhisk.invoker.queue import Queue
from edgewhisk.spi import Clock

RELIEF: Final = 0.005  # seconds that a job may wait before another worker is woken

THREADS: Final = 64  # at most: some of them wait for others


class WorkerPool(Generic[Waiter]):
    """Methods are called on the event loop unless they say otherwise."""

    def __init__(
        self,
        queue: Queue[Waiter],
        lock: threading.Lock,
        clock: Clock,
        most: int,
        work: Callable[[Taken[Waiter]], bool],
        room: Callable[[], None],
    ) -> None:
        """`most` work at once; `lock` guards the queue.

        `work` runs a batch, and says whether its place in the queue is free then. `room` is called with
        the lock held when there may be more room in the queue.
        """
        self._queue = queue
        self._lock = lock
        self._clock = clock
        self._most = most
        self._work = work
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._work_waits = threading.Condition(lock)
        self._all_done = threading.Condition(lock)
        self._threads: list[threading.Thread] = []
        self._idle = self._lent = 0  # threads that wait for work, and for others' work
        self._own = threading.local()  # `lane`: whose batch this thread runs
        self._relief: asyncio.TimerHandle | None = None
        self.closing = False

    def __len__(self) -> int:
        """How many threads there are."""
        return len(self._threads)

    @property
    def awake(self) -> int:
        """How many are at work. The lock is held."""
        return len(self._threads) - self._idle - self._lent

    def wake_one(self) -> None:
        """Make sure that somebody works, if there is work. The lock is held; called from any thread."""
        if not self.awake:
            self._wake()

    def relieve_later(self) -> None:
        """See after a while whether a job waits too long."""
        if self._relief is None:
            self._relief = self._loop.call_later(RELIEF, self._relieve)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """A worker that waits for the run of another batch, which may need its place, gives that meanwhile.

        Called on a worker's thread; does nothing on others.
        """
        lane: LaneKey | None = getattr(self._own, "lane", None)
        if lane is None:
            yield
            return
        with self._lock:
            self._queue.lend(lane)
            self._lent += 1
            self.wake_one()
        try:
            yield
        finally:
            with self._lock:
                self._lent -= 1
                self._queue.take_back(lane)

    def wait_idle(self, seconds: float) -> bool:
        """Wait until all that can be run has been; false if it took longer. Blocks; for a thread apart."""
        with self._lock:
            return self._all_done.wait_for(
                lambda: len(self._queue) == self._queue.parked and not self.awake and not self._lent, seconds
            )

    def close(self) -> None:
        """Take no more batches."""
        if self._relief is not None:
            self._relief.cancel()
        with self._lock:
            self.closing = True
            self._work_waits.notify_all()

    def join(self) -> None:
        """Wait for the batches that are being run. Blocks; for a thread apart."""
        for thread in self._threads:
            thread.join()

    def _wake(self) -> None:
        if self._idle:
            self._work_waits.notify()
        elif self.awake < self._most and len(self._threads) < THREADS and not self.closing:
            thread = threading.Thread(target=self._serve, name=f"worker-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _relieve(self) -> None:
        """Wake or hire one more worker if a job waits too long; look again while one waits."""
        self._relief = None
        with self._lock:
            oldest = self._queue.oldest
            if oldest is None or self.closing:
                return
            if self._clock.monotonic() - oldest >= RELIEF:
                self._wake()
        self._relief = self._loop.call_later(RELIEF, self._relieve)

    # -- on a worker thread ----------------------------------------------------------------------

    def _serve(self) -> None:
        while (taken := self._next()) is not None:
            self._own.lane = taken.lane
            if self._work(taken):
                with self._lock:
                    self._queue.release(taken.lane)
                    self._room()  # what was held takes nobody's room

    def _next(self) -> Taken[Waiter] | None:
        with self._lock:
            while not self.closing:
                taken = self._queue.take()
                if taken is not None:
                    self._room()
                    return taken
                self._idle += 1
                if not self.awake:
                    self._all_done.notify_all()
                self._work_waits.wait()
                self._idle -= 1
            return None
