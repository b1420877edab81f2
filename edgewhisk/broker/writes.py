"""What waits to be on disk: documents that replace each other, and who waits for them. Pure.

One group is under way at a time; what comes meanwhile goes into the next one, so that one fdatasync serves
many. A group that the disk refused is tried again with what came since: nothing is forgotten, nothing is
told to be safe before it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from edgewhisk.spi import Change

RETRY: Final = 1.0  # seconds after which a disk that refused is asked again
LAZY: Final = 1.0  # seconds that a change waits that nobody waits for

Call = Callable[[], None]


class PendingWrites:
    """The changes that the store does not have yet."""

    def __init__(self) -> None:
        """Nothing waits."""
        self._changes: dict[tuple[str, str], Mapping[str, Any] | None] = {}
        self._calls: list[Call] = []
        self._under_way: dict[tuple[str, str], Mapping[str, Any] | None] = {}
        self._waiting: list[Call] = []  # for what is under way
        self._due = float("inf")
        self.busy = False
        self.problem = ""  # why the disk refuses

    def put(
        self, collection: str, key: str, document: Mapping[str, Any], then: Call | None, now: float
    ) -> None:
        """Write a document; `then` is called when it is on disk."""
        self._changes[collection, key] = document
        if then is not None:
            self._calls.append(then)
        self._hurry(now if then is not None else now + LAZY)

    def remove(self, collection: str, key: str, now: float, then: Call | None = None) -> None:
        """Remove a document that may be there."""
        self._changes[collection, key] = None
        if then is not None:
            self._calls.append(then)
        self._hurry(now if then is not None else now + LAZY)

    def _hurry(self, due: float) -> None:
        if not self.problem:
            self._due = min(self._due, due)

    def take(self, now: float) -> Sequence[Change]:
        """The group to be written now, in order; none while one is under way or nobody is in a hurry."""
        if self.busy or not self._changes or now < self._due:
            return ()
        self.busy, self._due = True, float("inf")
        self._under_way, self._changes = self._changes, {}
        self._waiting, self._calls = self._calls, []
        return [Change(*place, document) for place, document in self._under_way.items()]

    def done(self, problem: str, now: float) -> None:
        """The group is on disk, or was refused because of `problem`."""
        self.busy, self.problem = False, problem
        calls, self._waiting = self._waiting, []
        if problem:
            self._changes = {**self._under_way, **self._changes}
            self._calls = calls + self._calls
            self._due = now + RETRY
            calls = []
        elif self._changes:
            self._due = now if self._calls else now + LAZY
        self._under_way = {}
        for call in calls:
            call()
