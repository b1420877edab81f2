"""Events that wait for an action which fails always, until it is worth another try."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final, Generic

from edgewhisk.entity.arguments import Bound
from edgewhisk.entity.message import ActivationMessage
from edgewhisk.invoker.guard import GO, SPILT, Guard
from edgewhisk.invoker.job import Taken, Waiter
from edgewhisk.invoker.queue import Queue
from edgewhisk.spi import Lookup

LOOK: Final = 1.0  # seconds between looks at what waits


class Held(Generic[Waiter]):
    """The lanes of a queue that are behind open circuit breakers."""

    def __init__(
        self,
        queue: Queue[Waiter],
        lock: threading.Lock,
        guard: Guard,
        lookup: Lookup,
        wake: Callable[[], None],
    ) -> None:
        """`lock` guards the queue; `wake` is called with it held, when there may be work."""
        self._queue = queue
        self._lock = lock
        self._guard = guard
        self._lookup = lookup
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._look: asyncio.TimerHandle | None = None
        self._burying: set[asyncio.Task[None]] = set()
        self._closing = False

    def allowed(self, bound: Bound, taken: Taken[Waiter]) -> Taken[Waiter] | None:
        """What may be run now of a batch, or nothing; the rest is held. Called on a worker thread.

        Only events of triggers wait: who calls the action wants to see how it fails.
        """
        go = self._guard.ask(bound) if taken.lane.ordered else GO
        if not go.pause and not go.alone:
            return taken
        mine = 1 if go.alone else 0
        rest = taken._replace(jobs=taken.jobs[mine:])
        if rest.jobs:
            with self._lock:
                self._queue.hold(rest)
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._watch)
        return taken._replace(jobs=taken.jobs[:mine]) if mine else None

    def spill(self) -> None:
        """Give up the newest of what waits, if more waits than may."""
        if not self._queue.held:
            return
        self._let_go()
        with self._lock:
            spilt = [job.message for job in self._queue.spill()]
        if spilt:
            task = self._loop.create_task(self._bury(spilt))
            self._burying.add(task)
            task.add_done_callback(self._burying.discard)

    async def close(self) -> None:
        """Finish what is being given up."""
        self._closing = True
        if self._look is not None:
            self._look.cancel()
        await asyncio.gather(*self._burying)

    async def _bury(self, messages: list[ActivationMessage]) -> None:
        await self._guard.bury(messages, SPILT.format(self._queue.most_held), "spilt")

    def _watch(self) -> None:
        """Look again and again, as long as something waits."""
        if self._look is None and not self._closing:
            self._look = self._loop.call_later(LOOK, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        if self._let_go():
            self._watch()

    def _let_go(self) -> bool:
        """Let go on what need not wait any more: its time has come, or its action was changed.

        Whether anything waited.
        """
        with self._lock:
            lanes = self._queue.holding
        bounds = {lane.action: self._lookup(lane.action, lane.binding) for lane in lanes}
        free = {action for action, bound in bounds.items() if bound is None or self._guard.changed(bound)}
        with self._lock:
            self._queue.free(free)
            self._wake()
        return bool(lanes)
