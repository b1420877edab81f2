"""What becomes of events that an earlier life accepted and did not finish. Pure.

A first run leaves no trace before its record. Whatever is run again is marked in the journal before it
begins; so an event in whose run the gateway died more than once is known, and in the end is put aside:
one event must not keep a gateway from ever coming up. A cut of the power is nobody's fault: only runs
that began in this boot count.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from edgewhisk.spi import Starts

MOST_STARTS: Final = 3  # runs in which the gateway died
NOT_AGAIN: Final = (
    "The gateway stopped while the action may have been running, and its annotation edge-delivery says "
    "at-most-once: it is not run again."
)
POISON: Final = "The gateway died {} times while the action was running for this event: it is not run again."


class Verdict(Enum):
    """What to do with an event."""

    RUN = "run"
    ALONE = "alone"  # with no other such event beside it, so that the guilty one is found
    NOT_AGAIN = "not again"
    POISON = "poison"


def verdict(starts: Starts, *, once: bool) -> Verdict:
    """`starts`: the marked runs; `once`: the action must never be run twice."""
    if once and starts.ever:
        return Verdict.NOT_AGAIN
    if starts.here >= MOST_STARTS:
        return Verdict.POISON
    return Verdict.ALONE if starts.here else Verdict.RUN
