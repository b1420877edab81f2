"""Keeps actions that fail, or that killed the gateway, from doing harm: circuit breakers, and caution."""

from __future__ import annotations

from typing import Any, Final

from edgewhisk.entity.invocation.arguments import ResolvedAction
from edgewhisk.entity.invocation.message import BatchResult, Status, UniformResult
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.invoker.failure.breaker import FAILURES, Breaker, Go
from edgewhisk.spi import Clock

CAREFUL: Final = 60.0  # seconds for which all is journalled before it is run, after a crash
GO: Final = Go(0.0)


class FailurePolicy:
    """Called on the event loop."""

    def __init__(self, clock: Clock, breaker: Breaker, *, careful: bool = False) -> None:
        """Nothing is open. `careful`: the last life did not end by itself."""
        self._clock = clock
        self._breaker = breaker
        self._careful = clock.monotonic() + CAREFUL if careful else 0.0

    def ask(self, bound: ResolvedAction) -> Go:
        """Whether an event may be run now; begins the try if it is time for one."""
        if not self._breaker.tripped:
            return GO
        return self._breaker.ask(bound.action.name, bound.action.revision, self._clock.monotonic())

    def unjournalled(self, bound: ResolvedAction) -> bool:
        """Whether events may be run before they are in the journal: what is lost then comes again.

        Not if the circuit is open, or if one may have killed the gateway: such an event would come again
        for ever, and nobody could tell which it is.
        """
        if self._careful and self._clock.monotonic() < self._careful:
            return False
        self._careful = 0.0
        return not self._breaker.tripped or self._breaker.closed(bound.action.name)

    def alert(self) -> bool:
        """Whether any action failed lately, so that it matters when runs go well."""
        return self._breaker.watching

    def learn(self, bound: ResolvedAction, ran: BatchResult) -> None:
        """See how runs ended, in order."""
        if isinstance(ran, UniformResult):
            last, statuses = Status.SUCCESS, iter((Status.SUCCESS,))
        elif not ran:
            return
        else:
            last, statuses = ran[-1].status, (outcome.status for outcome in reversed(ran))
        if last in FAILURES or self.alert():
            action = bound.action
            self._breaker.ran(action.name, action.revision, statuses, self._clock.monotonic())

    def give_back(self, action: FullyQualifiedName) -> None:
        """A run that `ask` allowed came to nothing."""
        self._breaker.give_back(action, self._clock.monotonic())

    def changed(self, bound: ResolvedAction) -> bool:
        """Whether events that wait for an action should be looked at again."""
        return self._breaker.changed(bound.action.name, bound.action.revision, self._clock.monotonic())

    def describe(self) -> dict[str, Any]:
        """For `status`."""
        circuits = self._breaker.describe(self._clock.monotonic())
        return {"breakers": circuits, "breakers_opened": self._breaker.opened}
