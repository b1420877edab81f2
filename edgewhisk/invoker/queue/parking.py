"""What waits for something else than its turn: for an engine, or for an action that fails always."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from edgewhisk.invoker.batch import StepBatch, Stream
from edgewhisk.invoker.failure.failure_policy import FailurePolicy
from edgewhisk.invoker.queue.queue import Queue
from edgewhisk.invoker.record.recovery import Recovery
from edgewhisk.spi import Lookup

LOOK: Final = 1.0  # seconds between looks at what waits
SPILT: Final = (
    "The action fails always, so its events wait for it to be tried again; more of them wait than may "
    "({} of this action, a large one counts for several): this one is not run."
)


class Parking:
    """Streams behind open circuit breakers, and batches of compositions. Called on the event loop."""

    def __init__(
        self,
        queue: Queue,
        failures: FailurePolicy,
        recovery: Recovery,
        lookup: Lookup,
        dispatch: Callable[[], None],
    ) -> None:
        """`dispatch` is called when there may be work; `recovery` buries what is too much."""
        self._queue = queue
        self._failures = failures
        self._recovery = recovery
        self._lookup = lookup
        self._dispatch = dispatch
        self._loop = asyncio.get_running_loop()
        self._look: asyncio.TimerHandle | None = None
        self._burying: set[asyncio.Task[None]] = set()
        self._closing = False
        self.batches: list[StepBatch] = []  # whose next step waits for its engine

    @property
    def messages(self) -> int:
        """How many the parked batches hold."""
        return sum(len(batch.messages) for batch in self.batches)

    def hold(self, stream: Stream) -> None:
        """What waits in a stream is left alone for a while."""
        self._queue.hold(stream)
        if self._look is None and not self._closing:
            self._look = self._loop.call_later(LOOK, self._look_again)

    def spill(self) -> None:
        """Give up the newest of what waits, if more waits than may."""
        if not self._queue.held:
            return
        self._let_go()
        if spilt := self._queue.spill():
            reason = SPILT.format(self._queue.most_held)
            task = self._loop.create_task(self._recovery.bury(spilt, reason, "spilt"))
            self._burying.add(task)
            task.add_done_callback(self._burying.discard)

    async def close(self) -> None:
        """Finish what is being given up."""
        self._closing = True
        if self._look is not None:
            self._look.cancel()
        await asyncio.gather(*self._burying)

    def _look_again(self) -> None:
        """Look again and again, as long as something waits."""
        self._look = None
        if self._let_go() and not self._closing:
            self._look = self._loop.call_later(LOOK, self._look_again)

    def _let_go(self) -> bool:
        """Let go on what need not wait any more: its time has come, or its action was changed.

        Whether anything waited.
        """
        streams = self._queue.holding
        bounds = {one.action: self._lookup(one.action, one.binding) for one in streams}
        free = {action for action, bound in bounds.items() if bound is None or self._failures.changed(bound)}
        if free:
            self._queue.free(free)
            self._dispatch()
        return bool(streams)
