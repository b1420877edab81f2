"""Counts how runs ended and how long they took, for `status` and metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from edgewhisk.base.histogram import Histogram
from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.invocation.message import BatchResult, Status, UniformResult

_ACTIONS: Final = 1000
OTHERS: Final = "others"  # counted together once too many actions have been seen


class RunRoute(Enum):
    """Where messages were run, or why the event loop gave them to a worker after all."""

    __hash__ = object.__hash__  # each is one object; by name takes five times as long

    INLINE = "inline"
    WORKER = "workers_ran"
    SLOW = "fell_back_slow"
    FAILED = "fell_back_failed"


class RunMetrics:
    """Called on the event loop."""

    def __init__(self) -> None:
        """Nothing has run."""
        self.durations = Histogram()
        self._counts: dict[str, dict[Status, int]] = {}  # "guest/pkg/a", at most `_ACTIONS` of them
        self._unrun: Counter[Status] = Counter()
        self._routes = Counter(dict.fromkeys(RunRoute, 0))

    @property
    def by_action(self) -> dict[tuple[str, Status], int]:
        """How many runs of each action ended how."""
        return {
            (action, status): count
            for action, counts in self._counts.items()
            for status, count in counts.items()
            if count
        }

    @property
    def outcomes(self) -> Counter[Status]:
        """How many activations ended how."""
        found = Counter(self._unrun)
        for (_, status), count in self.by_action.items():
            found[status] += count
        return found

    @property
    def routes(self) -> dict[str, int]:
        """How many messages took which route."""
        return {route.value: count for route, count in self._routes.items()}

    def went(self, route: RunRoute, count: int) -> None:
        """Messages took a route."""
        self._routes[route] += count

    def unrun(self, status: Status, count: int) -> None:
        """Messages ended without a run."""
        self._unrun[status] += count

    def ran(self, action: str, ran: BatchResult, timing: ClockOffset) -> None:
        """A batch of one action was run; `timing` is how the clock stands now."""
        if isinstance(ran, UniformResult):
            count = len(ran.results)
            self.uniform((action,), count, {timing.took(ran.start, ran.end): count})
            return
        statuses = Counter(outcome.status for outcome in ran)
        spans = Counter(timing.spans(ran))
        counts = self._of(action)
        for status, count in statuses.items():
            counts[status] += count
        for took, count in spans.items():
            self.durations.observe(took / 1000, count)

    def uniform(self, actions: Sequence[str], count: int, spans: Mapping[int, int]) -> None:
        """`count` runs of each action succeeded; `spans`: how many of them all took so long (ms)."""
        for action in actions:
            (self._counts.get(action) or self._of(action))[Status.SUCCESS] += count
        for took, times in spans.items():
            self.durations.observe(took / 1000, times)

    def _of(self, action: str) -> dict[Status, int]:
        counts = self._counts.get(action)
        if counts is None:
            if len(self._counts) >= _ACTIONS:
                action = OTHERS
            counts = self._counts.setdefault(action, dict.fromkeys(Status, 0))
        return counts
