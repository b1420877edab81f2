"""Which single records a cloud refuses, as against a cloud that refuses all. Pure.

A batch that is refused for what is in it is halved until one record is refused alone. If that one is refused
`TIMES` times in `LONG` seconds, each time by a cloud that had answered a question just before, it is in
doubt: it is passed over, and those behind it are tried, each time after the first in doubt was refused once
more. When the cloud takes one of them, it was not at fault: what is in doubt is refused for good. When it
takes the first in doubt, or refuses `MAX_DOUBTFUL` in a row, it was: nothing is in doubt any more, and all
are sent
again.
"""

from __future__ import annotations

from typing import Final

from edgewhisk.spi import SyncBatch

TIMES: Final = 5
LONG: Final = 600.0  # seconds
MAX_DOUBTFUL: Final = 100  # records in doubt


class Doubt:
    """What is in doubt in this life."""

    def __init__(self) -> None:
        """Nothing."""
        self.passed: list[SyncBatch] = []  # of one record each, in the order they were met
        self._alone = ("", 0)  # epoch and number of the record that was refused last
        self._times = 0  # that it was
        self._since = 0.0

    def refused(self, alone: SyncBatch, now: float) -> bool:
        """Whether a record that was refused alone once more, at `now` (monotonic seconds), is passed over."""
        if self._alone != (alone.epoch, alone.first):
            self._alone, self._times, self._since = (alone.epoch, alone.first), 0, now
        self._times += 1
        if self._times < TIMES or now - self._since < LONG:
            return False
        self.passed.append(alone)
        return True

    @property
    def general(self) -> bool:
        """Whether so much is in doubt that the cloud must be at fault."""
        return len(self.passed) >= MAX_DOUBTFUL

    def of(self, epoch: str) -> tuple[int, ...]:
        """Numbers of an epoch that are in doubt."""
        return tuple(one.first for one in self.passed if one.epoch == epoch)

    def settle(self) -> list[SyncBatch]:
        """What was in doubt, in order; nothing is any more."""
        passed, self.passed = self.passed, []
        self._alone = ("", 0)
        return passed
