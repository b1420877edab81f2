"""The wall clock of one boot, as far as it is known. Pure.

A gateway without a battery wakes up in 1970, or when it was last switched off. What never jumps is the
time since the machine booted; so the gateway's clock is that plus an offset, and when the system's
clock is set, only the offset changes. A moment is therefore known for good by the boot it belongs to
and the milliseconds since: `edge-boot` in each record, `boot` in each journalled event.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

KNOWN: Final = 1_735_689_600_000  # 2025-01-01 in ms: a clock that says less was never set
LATEST: Final = 2_682_374_400_000  # 2055-01-01 in ms: one that says more is as wrong
MARK: Final = (
    8  # hex characters of a boot id that are kept: of 1000 boots two are alike once in 10,000 gateways
)
_REMEMBERED: Final = 16  # times that the clock was set


def is_known(at: float) -> bool:
    """Whether a clock that says `at`, in ms since the epoch, may be right."""
    return KNOWN <= at < LATEST


class Span(Protocol):
    """What has a beginning and an end, as the clock said."""

    @property
    def start(self) -> int:
        """Milliseconds since the epoch."""

    @property
    def end(self) -> int:
        """Milliseconds since the epoch."""


class Wrong(NamedTuple):
    """What the clock said in this life before it was set forward."""

    first: int  # ms since the epoch, the first reading
    last: int
    by: int  # ms that were missing


class ClockOffset(NamedTuple):
    """How the clock is read now; a new one takes its place when the clock is set."""

    boot: str = "0" * MARK  # the beginning of the kernel's boot id
    offset: int = 0  # what the clock would have said when the machine booted, in ms since the epoch
    begun: int = 0  # the first reading with this offset
    forward: tuple[Wrong, ...] = ()  # oldest first

    def straight(self, at: int) -> int:
        """What the clock should have said when it said `at`. To be asked once: the answer is no reading.

        A clock that is set forward never says what lies between, so what was read before is told from
        what was read after. One that is set back says times twice: those stay as they are.
        """
        for first, wrong in enumerate(self.forward):
            if wrong.first <= at <= wrong.last:
                return at + sum(one.by for one in self.forward[first:])
        return at

    def up(self, at: int) -> int:
        """Milliseconds since the boot when the clock said `at`."""
        return max(0, self.straight(at) - self.offset)

    def took(self, start: int, end: int) -> int:
        """Milliseconds from one reading to another, never less than none."""
        if self.forward:
            start, end = self.straight(start), self.straight(end)
        return max(0, end - start)

    def spans(self, runs: Iterable[Span]) -> list[int]:
        """Milliseconds that each took."""
        if self.forward:
            return [self.took(run.start, run.end) for run in runs]
        return [run.end - run.start for run in runs]

    def set_to(self, offset: int, up: int) -> ClockOffset:
        """The timing from `up` ms after the boot on, when the clock was set to another offset."""
        forward = self.forward
        if offset > self.offset:
            wrong = Wrong(self.begun, up + self.offset, offset - self.offset)
            forward = (*forward, wrong)[-_REMEMBERED:]
        return ClockOffset(self.boot, offset, up + offset, forward)
