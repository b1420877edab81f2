"""Keeps what was accepted from doing harm, and from being lost when it is not run.

Around the runs of a batch: circuit breakers, marks in the journal for what may not be begun twice
unnoticed, and the list of dead letters for what is not run at all. Each event that ends there has a
record, too, which says why.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from edgewhisk.dead_letters import DeadLetters, Letter
from edgewhisk.entity.activation import unrunnable_record
from edgewhisk.entity.arguments import Bound
from edgewhisk.entity.message import ActivationMessage, Ran, Smooth, Status
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import StorageError
from edgewhisk.invoker.acceptance import on_loop
from edgewhisk.invoker.breaker import FAILURES, Breaker, Go
from edgewhisk.invoker.resumption import NOT_AGAIN, POISON, Verdict, verdict
from edgewhisk.spi import ActivationStore, Clock, Lookup, Starts

SPILT: Final = (
    "The action fails always, so its events wait for it to be tried again; more of them wait than may "
    "({} of this action, a large one counts for several): this one is not run."
)
CAREFUL: Final = 60.0  # seconds for which all is journalled before it is run, after a crash
GO: Final = Go(0.0)


class Guard:
    """Thread-safe but for `resume` and `bury`, which are called on the event loop."""

    def __init__(
        self,
        store: ActivationStore,
        dead: DeadLetters,
        clock: Clock,
        breaker: Breaker,
        *,
        careful: bool = False,
    ) -> None:
        """Nothing is open. `careful`: the last life did not end by itself."""
        self._store = store
        self._dead = dead
        self._clock = clock
        self._breaker = breaker
        self._careful = clock.monotonic() + CAREFUL if careful else 0.0
        self._lock = threading.Lock()  # guards the breaker
        self.counts = Counter[str](dict.fromkeys(("poison", "not_again", "spilt", "unburied"), 0))

    # -- circuit breakers ------------------------------------------------------------------------

    def ask(self, bound: Bound) -> Go:
        """Whether an event may be run now; begins the try if it is time for one."""
        if not self._breaker.tripped:
            return GO
        with self._lock:
            return self._breaker.ask(bound.action.name, bound.action.revision, self._clock.monotonic())

    def may_hurry(self, bound: Bound) -> bool:
        """Whether events may be run before they are in the journal: what is lost then comes again.

        Not if it must not come again, if its circuit is open, or if it may have killed the gateway: such
        an event would come again for ever, and nobody could tell which it is.
        """
        if bound.once or (self._careful and self._clock.monotonic() < self._careful):
            return False
        self._careful = 0.0
        if not self._breaker.tripped:
            return True
        with self._lock:
            return self._breaker.closed(bound.action.name)

    def alert(self) -> bool:
        """Whether any action failed lately, so that it matters when runs go well."""
        return self._breaker.watching

    def learn(self, bound: Bound, ran: Ran) -> None:
        """See how runs ended, in order."""
        if isinstance(ran, Smooth):
            last, statuses = Status.SUCCESS, iter((Status.SUCCESS,))
        elif not ran:
            return
        else:
            last, statuses = ran[-1].status, (outcome.status for outcome in reversed(ran))
        if last not in FAILURES and not self.alert():
            return
        action = bound.action
        with self._lock:
            self._breaker.ran(action.name, action.revision, statuses, self._clock.monotonic())

    def give_back(self, action: FullyQualifiedName) -> None:
        """A run that `ask` allowed came to nothing."""
        with self._lock:
            self._breaker.give_back(action, self._clock.monotonic())

    def changed(self, bound: Bound) -> bool:
        """Whether events that wait for an action should be looked at again."""
        with self._lock:
            action = bound.action
            return self._breaker.changed(action.name, action.revision, self._clock.monotonic())

    def describe(self) -> dict[str, Any]:
        """For `status`."""
        with self._lock:
            circuits = self._breaker.describe(self._clock.monotonic())
        return {"breakers": circuits, "breakers_opened": self._breaker.opened, **self.counts}

    # -- the journal -----------------------------------------------------------------------------

    def mark(self, bound: Bound, messages: Sequence[ActivationMessage], *, again: bool) -> None:
        """Journal that runs begin, where a later life must know; blocks until it is on disk.

        `again`: an earlier life accepted them. Raises `StorageError` for actions that must not be begun
        twice: without the mark they must not be begun at all.
        """
        if not (bound.once or again):
            return
        ids = [message.activation_id for message in messages if message.durable]
        if not ids:
            return
        written = threading.Event()
        errors: list[StorageError | None] = []

        def done(error: StorageError | None) -> None:
            errors.append(error)
            written.set()

        self._store.begin(ids, done)
        written.wait()
        if bound.once and errors[0] is not None:
            raise errors[0]

    async def resume(
        self, messages: Iterable[ActivationMessage], starts: Mapping[str, Starts], lookup: Lookup
    ) -> list[tuple[ActivationMessage, bool]]:
        """Of what an earlier life did not finish what is to be run, and whether alone; bury the rest."""
        running: list[tuple[ActivationMessage, bool]] = []
        for message in messages:
            bound = lookup(message.action, message.binding)
            begun = starts.get(message.activation_id, Starts())
            found = verdict(begun, once=bound is not None and bound.once)
            if found in (Verdict.RUN, Verdict.ALONE):
                running.append((message, found is Verdict.ALONE))
            elif found is Verdict.NOT_AGAIN:
                await self.bury([message], NOT_AGAIN, "not_again")
            else:
                await self.bury([message], POISON.format(begun.here), "poison")
        return running

    async def bury(self, messages: Sequence[ActivationMessage], reason: str, kind: str) -> None:
        """Put events on the list of dead letters, then record that they are not run.

        Where the disk refuses, they are counted, and those that were journalled stay so.
        """
        try:
            await self._dead.bury([Letter.of(one, reason) for one in messages], rare=kind != "spilt")
        except StorageError:
            self.counts["unburied"] += len(messages)
            return
        self.counts[kind] += len(messages)
        now, timing = self._clock.now(), self._clock.timing
        records = [unrunnable_record(one, Status.WHISK_ERROR, reason, now, timing) for one in messages]
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[None] = loop.create_future()
        self._store.record(records, on_loop(loop, self._recorded, stored, len(messages)), urgent=True)
        await stored

    def _recorded(self, stored: asyncio.Future[None], count: int, error: StorageError | None) -> None:
        if error is not None:
            self.counts["unburied"] += count
        if not stored.done():
            stored.set_result(None)
