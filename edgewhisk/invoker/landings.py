"""Flights that have ended, until they are written down: those that took the same way in one sheaf.

A commit costs a flash card a page at least, and a sheaf of one reading is ten times as long as its
reading; so a flight waits a little for others. Its results have left already, and who delivered its
events is told when they are on disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final, NamedTuple

from edgewhisk.entity.activation import Record
from edgewhisk.entity.sheaf import Sheaf
from edgewhisk.entity.timing import Timing
from edgewhisk.errors import StorageError
from edgewhisk.invoker.acceptance import Waiting, on_loop
from edgewhisk.invoker.flight import Flight
from edgewhisk.invoker.job import places
from edgewhisk.invoker.runner import Runner
from edgewhisk.invoker.way import Way
from edgewhisk.spi import ActivationStore, Clock

_log = logging.getLogger(__name__)

LONELY: Final = 5  # times the window that events wait whose source does not
BUSY: Final = 4  # events that landed in the last window, and more: then it is worth to wait for twice as long
COMPANY: Final = 20  # events that need not wait longer than the window: brokers send so many ahead, and stop
MOST: Final = 512  # events that wait, at most
LARGE: Final = 256 << 10  # bytes of results that wait, at most; and of a sheaf, which is read as a whole

Landed = tuple[Flight, Waiting]


class Begun(NamedTuple):
    """Events of one trigger."""

    trigger: str
    events: int
    places: int  # of the room


Wrote = Callable[[Begun, Sequence[Waiting], StorageError | None], None]  # on the loop: written, or refused


class Landings:
    """Called on the event loop."""

    def __init__(
        self, runner: Runner, store: ActivationStore, clock: Clock, window: float, wrote: Wrote
    ) -> None:
        """`window`: seconds that flights wait for company; `wrote` is told when they are on disk."""
        self._runner = runner
        self._store = store
        self._clock = clock
        self._window = window
        self._wrote = wrote
        self._loop = asyncio.get_running_loop()
        self._landed: dict[Way, list[Landed]] = {}
        self._timing = Timing()  # how the clock stood when they landed
        self._count = self._waited = 0  # events that landed, and those whose source waits
        self._bytes = 0  # of their results
        self._since = 0  # ms since the epoch when the first whose source waits began
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None

    def add(self, flight: Flight, waiting: Waiting, *, hurry: bool) -> None:
        """Write a flight down; not later than that if in a `hurry`."""
        timing = self._clock.timing
        if timing is not self._timing:
            self.flush()
            self._timing = timing
        try:
            way = self._runner.way(flight)
        except Exception:  # noqa: BLE001 - supervisor: events outlive a fault in our own code
            _log.exception("a run of %s could not be written down", flight.bound.action.name)
            self.fail(flight, waiting)
            return
        self._landed.setdefault(way, []).append((flight, waiting))
        waited = self._waited > 0
        if not waited:
            self._since = flight.begun
        self._count += len(flight.messages)
        self._waited += len(waiting.messages)
        self._bytes += flight.size
        if hurry or self._count >= MOST or self._bytes >= LARGE:
            self.flush()
        elif self._timer is None:
            self._plan()
        elif self._waited and not waited:  # a broker may send nothing more before it is told
            self._timer.cancel()
            self._plan()
        elif self._waited >= COMPANY and flight.begun - self._since >= self._window * 1000:
            self.flush()

    def fail(self, flight: Flight, waiting: Waiting) -> None:
        """Write down that the gateway itself broke a flight, behind what came before."""
        self.flush()
        self._write(self._runner.failed(flight.messages), None, _begun(flight), [waiting], urgent=True)

    def alone(self, flight: Flight, waiting: Waiting, *, urgent: bool) -> None:
        """Write a flight down by itself, behind what came before."""
        self.flush()
        self._write(self._records([flight]), None, _begun(flight), [waiting], urgent=urgent)

    def flush(self) -> None:
        """Write down what has landed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        landed, self._landed = self._landed, {}
        small, self._busy = self._bytes < LARGE, self._waited >= BUSY
        self._count = self._waited = self._bytes = 0
        left = len(landed)
        for way, group in landed.items():
            left -= 1
            flights, waiting = [flight for flight, _ in group], [one for _, one in group]
            records, sheaf = self._told(way, flights, small=small)
            self._write(records, sheaf, _begun(*flights), waiting, urgent=not left)

    def _told(self, way: Way, flights: Sequence[Flight], *, small: bool) -> tuple[list[Record], Sheaf | None]:
        """What is written of flights that took a way: one sheaf, if it is a `small` one."""
        try:
            sheaf = self._runner.sheaf(way, flights, self._timing) if small else None
        except Exception:  # noqa: BLE001 - supervisor: one by one those that can be are written down
            _log.exception("runs of %s could not be written down together", way.bound.action.name)
            sheaf = None
        return ([], sheaf) if sheaf is not None else (self._records(flights), None)

    def _records(self, flights: Sequence[Flight]) -> list[Record]:
        """A record for each run of flights."""
        try:
            return [record for flight in flights for record in self._runner.records(flight)]
        except Exception:  # noqa: BLE001 - supervisor: events outlive a fault in our own code
            _log.exception("runs of %s could not be written down", flights[0].bound.action.name)
            return self._runner.failed([one for flight in flights for one in flight.messages])

    def _plan(self) -> None:
        """Look again when those that wait have waited long enough; since they began, for their source."""
        times = LONELY if not self._waited else 2 if self._busy else 1
        passed = (self._clock.now() - self._since) / 1000 if self._waited else 0.0
        rest = self._window * times - max(0.0, passed)  # the clock may have been set back in between
        self._timer = self._loop.call_later(max(0.0, rest), self.flush)

    def _write(
        self,
        records: Sequence[Record],
        sheaf: Sheaf | None,
        begun: Begun,
        waiting: Sequence[Waiting],
        *,
        urgent: bool,
    ) -> None:
        """Write the records of what was begun, of one trigger; not `urgent`: more follow."""
        given = [one.give_up() for one in waiting]
        messages = chain.from_iterable(one.messages for one in given)
        done = on_loop(self._loop, self._wrote, begun, given)
        self._store.record(
            records, done, urgent=urgent, origins=[one.origin for one in messages if one.origin], sheaf=sheaf
        )


def _begun(*flights: Flight) -> Begun:
    """The events of flights that took the same way."""
    messages = [message for flight in flights for message in flight.messages]
    return Begun(messages[0].trigger, len(messages), places(messages))
