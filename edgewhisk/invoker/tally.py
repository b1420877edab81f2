"""Counts how runs ended and how long they took, for `status` and metrics."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Final

from edgewhisk.entity.message import Ran, Smooth, Status
from edgewhisk.entity.timing import Timing
from edgewhisk.histogram import Histogram

_ACTIONS: Final = 1000
OTHERS: Final = "others"  # counted together once too many actions have been seen


class Tally:
    """Thread-safe."""

    def __init__(self) -> None:
        """Nothing has run."""
        self.outcomes: Counter[Status] = Counter()
        self.by_action: Counter[tuple[str, Status]] = Counter()  # "guest/pkg/a", at most `_ACTIONS` of them
        self.durations = Histogram()
        self._lock = threading.Lock()

    def unrun(self, status: Status, count: int) -> None:
        """Messages ended without a run."""
        with self._lock:
            self.outcomes[status] += count

    def ran(self, action: str, ran: Ran, timing: Timing) -> None:
        """A batch of one action was run; `timing` is how the clock stands now."""
        if isinstance(ran, Smooth):
            self.smooth((action,), (timing.took(ran.start, ran.end),), len(ran.results))
            return
        statuses = Counter(outcome.status for outcome in ran)
        spans = Counter(timing.spans(ran))
        with self._lock:
            for status, count in statuses.items():
                self._count(action, status, count)
            for took, count in spans.items():
                self.durations.observe(took / 1000, count)

    def smooth(self, actions: Sequence[str], took: Sequence[int], count: int) -> None:
        """`count` runs of each action succeeded, which took so long (ms)."""
        with self._lock:
            for action, span in zip(actions, took, strict=True):
                self._count(action, Status.SUCCESS, count)
                self.durations.observe(span / 1000, count)

    def _count(self, action: str, status: Status, count: int) -> None:
        self.outcomes[status] += count
        key = (action, status)
        if key not in self.by_action and len(self.by_action) >= _ACTIONS:
            key = (OTHERS, status)
        self.by_action[key] += count
