"""When to talk to the cloud, as a table. Pure.

The uplink is in one of five states. OFFLINE waits out a pause after a failure, then PROBING asks
what the cloud has (an empty batch: resuming costs one request, whatever was lost). IDLE has nothing
to send; SENDING has one batch out, and never more than one, which is what keeps the order. BLOCKED
is OFFLINE for reasons that only a person can mend: a wrong key, a missing action.

`step` says what follows an event; the shell in `sync.py` does the effect and reports what came of
it as the next event. A row that is missing is a fault in the shell and raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final


class UplinkState(Enum):
    """Where the uplink stands."""

    OFFLINE = "offline"
    PROBING = "probing"
    IDLE = "idle"
    SENDING = "sending"
    BLOCKED = "needs attention"


class Event(Enum):
    """What happened."""

    PAUSE_OVER = auto()
    ANSWERED = auto()  # the cloud took a batch, or said what it has
    FAILED = auto()  # network, overload: will pass
    REFUSED = auto()  # key, action, nonsense: will not pass by itself
    BUFFERED = auto()  # there is something to send
    DIVIDED = auto()  # refused for what was in it: part of it, or what is behind it, may be taken
    EMPTY = auto()  # there was nothing to send


class Effect(Enum):
    """What the shell must do now."""

    ASK = auto()
    SEND = auto()
    PAUSE = auto()
    PAUSE_LONG = auto()
    WAIT = auto()  # for something to send


TABLE: Final[Mapping[UplinkState, Mapping[Event, tuple[UplinkState, Effect]]]] = {
    UplinkState.OFFLINE: {Event.PAUSE_OVER: (UplinkState.PROBING, Effect.ASK)},
    UplinkState.BLOCKED: {Event.PAUSE_OVER: (UplinkState.PROBING, Effect.ASK)},
    UplinkState.PROBING: {
        Event.ANSWERED: (UplinkState.SENDING, Effect.SEND),
        Event.FAILED: (UplinkState.OFFLINE, Effect.PAUSE),
        Event.REFUSED: (UplinkState.BLOCKED, Effect.PAUSE_LONG),
    },
    UplinkState.SENDING: {
        Event.ANSWERED: (UplinkState.SENDING, Effect.SEND),
        Event.DIVIDED: (UplinkState.SENDING, Effect.SEND),
        Event.EMPTY: (UplinkState.IDLE, Effect.WAIT),
        Event.FAILED: (UplinkState.OFFLINE, Effect.PAUSE),
        Event.REFUSED: (UplinkState.BLOCKED, Effect.PAUSE_LONG),
    },
    UplinkState.IDLE: {Event.BUFFERED: (UplinkState.SENDING, Effect.SEND)},
}


class IllegalTransition(Exception):
    """The shell reported what cannot happen in this state."""


def step(state: UplinkState, event: Event) -> tuple[UplinkState, Effect]:
    """The next state, and what to do now."""
    try:
        return TABLE[state][event]
    except KeyError:
        raise IllegalTransition(f"{event.name} while {state.name}") from None
