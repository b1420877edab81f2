"""Circuit breakers: an action that fails always is left alone for a while. Pure.

Failures are those of the code or of the gateway: it cannot be loaded, it runs out of time or memory, it
dies. An error that the action answers with is an answer, and opens nothing.

    CLOSED --`THRESHOLD` failures in a row--> OPEN --pause over--> TRYING --success--> CLOSED
                                               ^-----failure, with a longer pause----'

Only events of triggers wait meanwhile; who invokes the action over HTTP still sees how it fails, and a
success closes the circuit at once. So does another version of the action.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

from edgewhisk.entity.action import Revision
from edgewhisk.entity.invocation.message import Status
from edgewhisk.entity.names import FullyQualifiedName

THRESHOLD: Final = 5  # failures in a row
PAUSE: Final = (10.0, 600.0)  # seconds: the first, the longest
GROWTH: Final = 2.0
MOST: Final = 1024  # actions that are watched: those that failed last
FAILURES: Final = frozenset((Status.DEVELOPER_ERROR, Status.WHISK_ERROR))


class State(Enum):
    """Of a circuit."""

    CLOSED = "closed"
    OPEN = "open"
    TRYING = "trying"


class Go(NamedTuple):
    """Whether an event may be run now."""

    pause: float  # seconds to wait; 0: now
    alone: bool = False  # it is a try: one event, no more


@dataclass(slots=True)
class Circuit:
    """One action that failed lately."""

    revision: Revision
    failures: int = 0  # in a row
    state: State = State.CLOSED
    until: float = 0.0  # monotonic seconds when the pause is over
    pause: float = 0.0
    opened: int = 0  # times


class Breaker:
    """The circuits of all actions. Not thread-safe; its owner locks."""

    def __init__(self, threshold: int = THRESHOLD, pause: tuple[float, float] = PAUSE) -> None:
        """All closed."""
        self._threshold = threshold
        self._first, self._longest = pause
        self._circuits: dict[FullyQualifiedName, Circuit] = {}
        self.tripped = 0  # circuits that are not closed: while there are none, nothing need be asked
        self.opened = 0  # times, of all

    def ask(self, action: FullyQualifiedName, revision: Revision, now: float) -> Go:
        """Whether an event of `action` may be run; begins the try if it is time for one."""
        circuit = self._circuits.get(action)
        if circuit is None or circuit.state is State.CLOSED:
            return Go(0.0)
        if circuit.revision != revision:
            self._forget(action)
            return Go(0.0)
        if circuit.state is State.TRYING or now < circuit.until:
            return Go(max(0.0, circuit.until - now) or self._first)
        circuit.state = State.TRYING
        return Go(0.0, alone=True)

    @property
    def watching(self) -> bool:
        """Whether any action failed lately."""
        return bool(self._circuits)

    def closed(self, action: FullyQualifiedName) -> bool:
        """Whether the circuit of an action is closed."""
        circuit = self._circuits.get(action)
        return circuit is None or circuit.state is State.CLOSED

    def ran(
        self, action: FullyQualifiedName, revision: Revision, statuses: Iterator[Status], now: float
    ) -> bool:
        """Learn how runs ended, told newest first; whether that closed a circuit."""
        failures, good = 0, False
        for status in statuses:
            if status not in FAILURES:
                good = True
                break
            failures += 1
        circuit = self._circuits.get(action)
        if circuit is not None and (good or circuit.revision != revision):
            closed = circuit.state is not State.CLOSED
            self._forget(action)
            circuit = None
            if not failures:
                return closed
        if failures:
            self._failed(action, circuit or self._watch(action, revision), failures, now)
        return False

    def give_back(self, action: FullyQualifiedName, now: float) -> None:
        """A try came to nothing: it neither failed nor succeeded. The next one is after the same pause."""
        circuit = self._circuits.get(action)
        if circuit is not None and circuit.state is State.TRYING:
            circuit.state, circuit.until = State.OPEN, now + circuit.pause

    def changed(self, action: FullyQualifiedName, revision: Revision | None, now: float) -> bool:
        """Whether those who wait for `action` should be let on: it is another one, or time for a try."""
        circuit = self._circuits.get(action)
        if circuit is None or circuit.state is State.CLOSED:
            return True
        if circuit.revision != revision:
            self._forget(action)
            return True
        return circuit.state is State.OPEN and now >= circuit.until

    def describe(self, now: float) -> list[dict[str, Any]]:
        """The circuits that are not closed, for `status`."""
        return [
            {
                "action": str(action),
                "state": circuit.state.value,
                "failures": circuit.failures,
                "opened": circuit.opened,
                "try_in": round(max(0.0, circuit.until - now), 1),
            }
            for action, circuit in self._circuits.items()
            if circuit.state is not State.CLOSED
        ]

    def _watch(self, action: FullyQualifiedName, revision: Revision) -> Circuit:
        if len(self._circuits) >= MOST:
            idle = (name for name, one in self._circuits.items() if one.state is State.CLOSED)
            self._forget(next(idle, next(iter(self._circuits))))
        circuit = self._circuits[action] = Circuit(revision)
        return circuit

    def _failed(self, action: FullyQualifiedName, circuit: Circuit, count: int, now: float) -> None:
        circuit.failures += count
        if circuit.state is State.OPEN or circuit.failures < self._threshold:
            return
        if circuit.state is State.CLOSED:
            self.tripped += 1
        circuit.pause = min(self._longest, circuit.pause * GROWTH) if circuit.pause else self._first
        circuit.until = now + circuit.pause
        circuit.state = State.OPEN
        circuit.opened += 1
        self.opened += 1

    def _forget(self, action: FullyQualifiedName) -> None:
        if self._circuits.pop(action).state is not State.CLOSED:
            self.tripped -= 1
