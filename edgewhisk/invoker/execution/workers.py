"""The threads that run steps in the sandbox: hired when work waits, idle when there is none.

The event loop hands a batch over and gets it back: a worker never waits for the loop, for an engine, or
for another part of a composition. Wasm releases the interpreter lock, but half of the work of a small
action is Python's; so the dispatcher gives all the work to one worker as long as that keeps up.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Final

from edgewhisk.invoker.batch import StepBatch

_log = logging.getLogger(__name__)

THREADS: Final = 64  # at most: some are inside calls that wait for other actions

Back = Callable[[StepBatch, Exception | None], None]


class WorkerPool:
    """Methods are called on the event loop unless they say otherwise."""

    def __init__(
        self, run: Callable[[StepBatch], None], back: Back, lend: Callable[[StepBatch, bool], None]
    ) -> None:
        """`run` takes a batch one step on, on a worker; `back` gets it on the event loop, or what it raised.

        `lend` is told on the event loop that a worker inside a batch begins to wait (true) or goes on.
        """
        self._run = run
        self._back = back
        self._lend = lend
        self._loop = asyncio.get_running_loop()
        self._given: SimpleQueue[StepBatch | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._own = threading.local()  # `batch`: what this thread runs
        self._out = 0  # batches that were handed over and are not back
        self._lent = 0  # of those, the ones that wait inside for another action
        self.closing = False

    def __len__(self) -> int:
        """How many threads there are."""
        return len(self._threads)

    @property
    def busy(self) -> int:
        """How many workers are at work."""
        return self._out - self._lent

    def start(self, batch: StepBatch) -> None:
        """Hand a batch over to the first worker that is idle."""
        self._out += 1
        if self._out > len(self._threads) and len(self._threads) < THREADS:
            thread = threading.Thread(target=self._serve, name=f"worker-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._given.put(batch)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """A worker that waits for the run of another batch, which may need its place, gives that meanwhile.

        Called on a worker's thread; does nothing on others.
        """
        batch: StepBatch | None = getattr(self._own, "batch", None)
        if batch is None:
            yield
            return
        self._tell(self._waits, batch, True)
        try:
            yield
        finally:
            self._tell(self._waits, batch, False)

    def close(self) -> None:
        """Let the threads end, after what they have begun."""
        self.closing = True
        for _ in self._threads:
            self._given.put(None)

    def join(self) -> None:
        """Wait for the threads. Blocks; for a thread apart."""
        for thread in self._threads:
            thread.join()

    def _waits(self, batch: StepBatch, begins: bool) -> None:
        self._lent += 1 if begins else -1
        self._lend(batch, begins)

    def _is_back(self, batch: StepBatch, error: Exception | None) -> None:
        self._out -= 1
        self._back(batch, error)

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *arguments)

    # -- on a worker thread ----------------------------------------------------------------------

    def _serve(self) -> None:
        while (batch := self._given.get()) is not None:
            if self.closing:
                continue  # what was journalled is run by the next life
            self._own.batch = batch
            error: Exception | None = None
            try:
                self._run(batch)
            except Exception as raised:  # noqa: BLE001 - supervisor: a worker outlives a fault in our own code
                _log.exception("a batch of %s failed", batch.bound.action.name)
                error = raised
            self._own.batch = None
            self._tell(self._is_back, batch, error)
