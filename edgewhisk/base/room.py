"""How much of a common bound each of several streams may take: dynamic thresholds. Pure.

A stream is full when it has as much as is left for all (Choudhury and Hahne, "Dynamic queue length
thresholds for shared-memory packet switches", 1998). One that floods gets half of the bound, two a third
each; something is always left for who comes next, and a stream that has nothing is never held back.
"""

from __future__ import annotations

from collections import Counter


class Room:
    """What each stream has taken. Only one thread at a time may change it; any may read."""

    __slots__ = ("_of", "taken")

    def __init__(self) -> None:
        """Nothing is taken."""
        self.taken = 0
        self._of = Counter[str]()

    def of(self, stream: str) -> int:
        """What one stream has."""
        return self._of[stream]

    def add(self, stream: str, count: int) -> None:
        """A stream has so many more; less if it is negative."""
        self.taken += count
        own = self._of[stream] + count
        if own:
            self._of[stream] = own
        else:
            self._of.pop(stream, None)


def scarce(taken: int, bound: int) -> bool:
    """Whether any stream may be full: none can be while less than half of the bound is taken."""
    return 2 * taken >= bound


def full(own: int, taken: int, bound: int) -> bool:
    """Whether a stream that has `own` must hold back; `taken` by all."""
    return own >= max(1, bound - taken)


def roomy(own: int, taken: int, bound: int) -> bool:
    """Whether a stream that was held back may go on: half empty, so that it does not flutter."""
    return own == 0 or 2 * own <= bound - taken
