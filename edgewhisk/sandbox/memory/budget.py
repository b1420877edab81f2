"""One memory budget for all sandboxes of the process: counters behind a lock.

Each action may grow to a limit of its own; eight that do so at once would take 2 GB of a gateway that
has one. So whatever grows asks here first. What does not fit waits a while for others to give back, and
is refused then: the guest finds that there is no memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from edgewhisk.base.memory_limit import memory_limit

LEAST: Final = 256 << 20  # bytes: a run with the default limit fits on any device
_PATIENCE: Final = 10.0  # seconds that a growth waits at most


class Budget:
    """How much all sandboxes together may grow."""

    def __init__(self, size: int) -> None:
        """Allow `size` bytes."""
        self.size = size
        self.used = 0  # bytes that shares hold
        self.refused = 0  # growths that did not fit
        self.waiting = 0  # growths; while there are any, nothing that is idle should keep memory
        self._blocked = 0  # bytes that those hold who wait
        self._changed = threading.Condition()  # reentrant: a collection inside may free a memory
        self._sheds: list[Callable[[], None]] = []

    def share(self) -> Share:
        """The part of one sandbox, with nothing in it."""
        return Share(self)

    def shed_by(self, shed: Callable[[], None]) -> None:
        """Call `shed` when there is no room: it drops what is idle. From any thread, without a lock."""
        self._sheds.append(shed)

    def describe(self) -> dict[str, int]:
        """Counters for `status`, in bytes."""
        return {"memory_used": self.used, "memory_budget": self.size, "memory_refused": self.refused}

    def take(self, share: Share, size: int) -> bool:
        """Count `size` bytes more for `share`; false if they do not fit.

        Waits until others gave back, for half of the time that the share's run has left: the other half is
        for its ending in its own words. Those who all wait for each other are refused one by one.
        """
        with self._changed:
            if self._add(share, size):
                return True
            self.waiting += 1
            self._blocked += share.held
        try:
            for shed in self._sheds:
                shed()
        finally:
            with self._changed:
                found = self._await(share, size)
        return found

    def give(self, share: Share, size: int) -> None:
        """Count `size` bytes less."""
        with self._changed:
            share.held -= size
            self.used -= size
            if self.waiting:
                self._changed.notify_all()

    def _await(self, share: Share, size: int) -> bool:
        """Wait for room, then stop being counted as waiting."""
        held, patience = share.held, min(_PATIENCE, (share.until - time.monotonic()) / 2)
        self._changed.wait_for(lambda: self._fits(size) or self._blocked >= self.used, max(0.0, patience))
        self.waiting -= 1
        self._blocked -= held
        if self._add(share, size):
            return True
        self.refused += 1
        share.refused = True
        return False

    def _add(self, share: Share, size: int) -> bool:
        if not self._fits(size):
            return False
        share.held += size
        self.used += size
        return True

    def _fits(self, size: int) -> bool:
        return self.used + size <= self.size


class Share:
    """What one sandbox has of the budget. One thread at a time takes, any gives back."""

    def __init__(self, budget: Budget) -> None:
        """Nothing yet, and no time to wait."""
        self.budget = budget
        self.held = 0  # bytes
        self.until = 0.0  # monotonic seconds: when the run ends that grows
        self.refused = False  # whether that run was refused memory

    def begin(self, until: float) -> None:
        """A run begins that may last `until`."""
        self.until = until
        self.refused = False


def usual() -> int:
    """Bytes where the owner said nothing: half of what the process may use, but at least `LEAST`.

    Where a control group allows little, three quarters of it at most: the kernel kills whoever takes more.
    """
    limit = memory_limit()
    return max(min(LEAST, limit * 3 // 4), limit // 2)
