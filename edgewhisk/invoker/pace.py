"""How many runs one batch may hold. Pure.

A batch goes through one call into the sandbox, which is what makes small actions cheap; but the
first run's answer waits for the last, so a batch must stay short. Only an action that has shown to
be quick gets company.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from edgewhisk.entity.names import FullyQualifiedName

BUDGET: Final = 0.005  # seconds that a batch should take
BRIEF: Final = 0.0004  # seconds that it takes to hand a run to another thread
QUICK: Final = 0.002  # seconds that the event loop has for a run when it has nothing better to do
HURRY: Final = 10  # ms that runs on the event loop may take together
LARGEST: Final = 64  # runs in a batch
_REMEMBERED: Final = 10_000  # actions
_WEIGHT: Final = 0.2  # of the newest batch in the running mean


class Pace:
    """Remembers how long the runs of each action take. One thread at a time may tell it; any may ask."""

    def __init__(self) -> None:
        """Know nothing."""
        self._means: OrderedDict[FullyQualifiedName, float] = OrderedDict()  # seconds a run
        self._doubted: set[FullyQualifiedName] = set()  # brief ones whose last run was not, by the clock

    def size(self, action: FullyQualifiedName) -> int:
        """How many runs of `action` to put in one batch: 1 to `LARGEST`."""
        mean = self._means.get(action)
        if mean is None:
            return 1
        return max(1, min(LARGEST, int(BUDGET / max(mean, 1e-6))))

    def within(self, action: FullyQualifiedName) -> int:
        """How many runs of `action` a batch on the event loop may hold."""
        mean = self._means.get(action)
        return 1 if mean is None else max(1, int(BUDGET / max(mean, 1e-6)))

    def brief(self, action: FullyQualifiedName) -> bool:
        """Whether a run of `action` takes no longer than handing it to another thread would."""
        mean = self._means.get(action)
        return mean is not None and mean <= BRIEF

    def quick(self, action: FullyQualifiedName) -> bool:
        """Whether a run of `action` is one that may be run on the event loop at leisure."""
        mean = self._means.get(action)
        return mean is not None and mean <= QUICK

    def doubts(self, action: FullyQualifiedName) -> bool:
        """Whether the next run of `action` should be measured by what it computes, which costs more."""
        return action in self._doubted

    def ran(self, action: FullyQualifiedName, count: int, seconds: float, *, by_clock: bool = False) -> None:
        """Learn that `count` runs took `seconds`. Slow ones count at once, quick ones by and by.

        But a brief one that was slow `by_clock` is doubted first: on a busy machine it may have had to wait.
        """
        took = max(0.0, seconds) / count
        mean = self._means.get(action, took)
        if by_clock and took > BRIEF >= mean:
            self._doubted.add(action)
            return
        self._doubted.discard(action)
        self._means[action] = took if took > mean else mean + _WEIGHT * (took - mean)
        self._means.move_to_end(action)
        if len(self._means) > _REMEMBERED:
            forgotten, _ = self._means.popitem(last=False)
            self._doubted.discard(forgotten)
