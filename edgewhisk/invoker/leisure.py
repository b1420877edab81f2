"""How much of its time the event loop may give to runs that are quick, but not brief. Pure.

On a device with small caches the first run after a pause takes ten times what the next one does, and to
hand it to a thread would cost as much again. So while sensors speak now and then the loop runs such
actions, too; under load it has better things to do, and leaves them to the workers.
"""

from __future__ import annotations

from typing import Final

SHARE: Final = 0.25  # of the time
MOST: Final = 0.05  # seconds that are saved up
PAUSE: Final = 1.0  # seconds without, once all is spent: events do not go to and fro


class Leisure:
    """What is left of the loop's time for that."""

    def __init__(self) -> None:
        """All that may be saved up."""
        self._left = MOST
        self._at = 0.0

    def has(self, now: float) -> bool:
        """Whether there is some left at `now` (monotonic seconds)."""
        return self._left + (now - self._at) * SHARE > 0

    def spend(self, now: float, seconds: float) -> None:
        """A run that took `seconds` ended at `now`."""
        self._left = min(MOST, self._left + (now - self._at) * SHARE) - seconds
        self._at = now
        if self._left <= 0:
            self._left = -PAUSE * SHARE
