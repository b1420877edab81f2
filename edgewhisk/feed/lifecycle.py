"""States of a feed's source and when to try it again. Pure.

A source is a broker, a serial port: something that may be away for days and that the feed gets back
by itself. `TRANSITIONS` is the whole machine:

    STOPPED --start--> CONNECTING --opened--> RUNNING
                           |                     |
                           +---lost / refused----+
                           v                     v
                        WAITING (lost)        FAILED (refused)
                           |                     |
                           +--------retry--------+--> CONNECTING

WAITING and FAILED both try again: they differ in what a person should do. WAITING mends itself when
the source comes back; FAILED means the source answered and said no (a wrong password), so somebody
has to change something, and then the next try succeeds without a restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final


class State(StrEnum):
    """Where a source is."""

    STOPPED = "stopped"  # not wanted
    CONNECTING = "connecting"
    RUNNING = "running"
    WAITING = "waiting"  # lost or away; tried again after a pause
    FAILED = "failed"  # it refused us; tried again after a pause, but a person must act


class Happening(StrEnum):
    """What can befall it."""

    START = "start"
    OPENED = "opened"
    LOST = "lost"
    REFUSED = "refused"
    RETRY = "retry"
    STOP = "stop"


TRANSITIONS: Final[Mapping[State, Mapping[Happening, State]]] = {
    State.STOPPED: {Happening.START: State.CONNECTING, Happening.STOP: State.STOPPED},
    State.CONNECTING: {
        Happening.OPENED: State.RUNNING,
        Happening.LOST: State.WAITING,
        Happening.REFUSED: State.FAILED,
        Happening.STOP: State.STOPPED,
    },
    State.RUNNING: {
        Happening.LOST: State.WAITING,
        Happening.REFUSED: State.FAILED,
        Happening.STOP: State.STOPPED,
    },
    State.WAITING: {Happening.RETRY: State.CONNECTING, Happening.STOP: State.STOPPED},
    State.FAILED: {Happening.RETRY: State.CONNECTING, Happening.STOP: State.STOPPED},
}


class LifecycleError(Exception):
    """A feed reported what cannot happen in its state: a mistake of the feed, not of its source."""


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """The state of one source, since when, and what went wrong last."""

    state: State = State.STOPPED
    since: int = 0  # ms since the epoch
    connects: int = 0  # how often it was opened
    last_error: str = ""  # kept after it runs again

    def after(self, happening: Happening, now: int, error: str = "") -> Lifecycle:
        """The state after `happening` at `now` (ms); raises `LifecycleError` if it cannot happen."""
        state = TRANSITIONS[self.state].get(happening)
        if state is None:
            raise LifecycleError(f"{happening} cannot happen to a source that is {self.state}")
        return replace(
            self,
            state=state,
            since=self.since if state is self.state else now,
            connects=self.connects + (happening is Happening.OPENED),
            last_error=error or self.last_error,
        )

    def to_json(self) -> dict[str, Any]:
        """What `describe` of a feed shows."""
        return {
            "state": str(self.state),
            "since": self.since,
            "connects": self.connects,
            "last_error": self.last_error,
        }


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between tries: doubling from `first` to `most` seconds, each shortened by chance.

    The chance spreads gateways that lost the same broker at the same moment.
    """

    first: float = 1.0
    most: float = 30.0

    def pause(self, failures: int, chance: float) -> float:
        """Seconds to wait after `failures` (1 or more) in a row; `chance` is random in [0, 1)."""
        doublings = min(max(failures - 1, 0), 32)  # a float overflows after 1024 of them
        return min(self.most, self.first * 2.0**doublings) * (1 - chance / 2)
