"""A clock whose hands a test moves."""

from __future__ import annotations

from datetime import UTC, datetime

from edgewhisk.clock.system import SystemClock


def ms(moment: str) -> int:
    """A UTC time as ms since the epoch."""
    return round(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1000)


class HandClock(SystemClock):
    """`spi.Clock`; time stands until a test lets it pass."""

    def __init__(
        self, wall: str = "2026-05-01T12:00:00", *, boot: str = "b0000001", up: int = 20_000
    ) -> None:
        """The system's clock says `wall`, `up` ms after the boot."""
        self.passed = up
        self.wall = ms(wall) - up  # of the system's clock, at the boot
        self.vouched = False
        self.keeper = False
        super().__init__()
        self.timing = self.timing._replace(boot=boot)

    def up(self) -> int:
        return self.passed

    def now(self) -> int:
        return self.passed + self.timing.offset

    def system(self) -> int:
        return self.wall + self.passed

    def monotonic(self) -> float:
        return self.passed / 1000

    def kept(self) -> bool:
        return self.vouched

    def expected(self) -> bool:
        return self.keeper

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.passed += round(seconds * 1000)

    def set(self, wall: str) -> None:
        """NTP, or a person, sets the system's clock; the gateway notices when it looks."""
        self.wall = ms(wall) - self.passed

    def turn(self, seconds: float) -> None:
        """NTP, or a person, turns the system's clock forward, or back; the gateway has noticed."""
        self.wall += round(seconds * 1000)
        self.look()

    def turn_to(self, wall: str) -> None:
        """As `turn`."""
        self.set(wall)
        self.look()


class TickingClock(HandClock):
    """A clock that is a second later each time it is asked."""

    def now(self) -> int:
        self.pass_(1)
        return super().now()

    def monotonic(self) -> float:
        self.pass_(1)
        return super().monotonic()


class SteadyClock(SystemClock):
    """No run takes any time: however busy the machine is, what was run once is run on the event loop."""

    def monotonic(self) -> float:
        return 1.0

    def busy(self) -> float:
        return 1.0
