"""What every `spi.Clock` keeps to."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgewhisk.clock.system import SystemClock
from edgewhisk.entity.activation import activation_id
from edgewhisk.spi import Clock
from tests.contract.suites import Suite, named
from tests.fakes.clock import HandClock, SteadyClock, TickingClock
from tests.path.wrong_clock import WrongClock


class Stepped(SystemClock):
    """The system's clock was set by a test."""

    ahead = 0

    def system(self) -> int:
        return super().system() + self.ahead


def wrong(folder: Path) -> SystemClock:
    (folder / "clock.json").write_text('{"boot": "b0000001", "shift": 3600}')
    return WrongClock(folder / "clock.json")


SUITE = Suite(
    Clock,
    {
        SystemClock: lambda _: SystemClock(),
        HandClock: lambda _: HandClock(),
        TickingClock: lambda _: TickingClock(),
        SteadyClock: lambda _: SteadyClock(),
        Stepped: lambda _: Stepped(),
        WrongClock: wrong,
    },
)


@pytest.fixture(params=SUITE.classes, ids=named)
def clock(request: pytest.FixtureRequest, tmp_path: Path) -> SystemClock:
    made: SystemClock = SUITE.implementations[request.param](tmp_path)
    return made


def test_the_wall_clock_is_the_time_since_the_boot_and_an_offset(clock: SystemClock) -> None:
    before, now, after = clock.up(), clock.now(), clock.up()
    assert before <= now - clock.timing.offset <= after
    assert clock.timing.straight(now) == now
    assert clock.timing.took(now, now + 5) == 5
    assert len(clock.timing.boot) == 8


def test_it_agrees_with_the_system(clock: SystemClock) -> None:
    clock.look()
    assert abs(clock.now() - clock.system()) < 1000


def test_nothing_was_set(clock: SystemClock) -> None:
    assert clock.look() == 0
    assert clock.timing.forward == ()


def test_monotonic_never_falls(clock: SystemClock) -> None:
    seen = [clock.monotonic() for _ in range(100)]
    assert seen == sorted(seen)


def test_ids_are_new_and_valid(clock: SystemClock) -> None:
    found = clock.activation_ids(300)
    assert len(set(found)) == 300
    assert [activation_id(one) for one in found] == found


@pytest.mark.parametrize("by", [86_400_000, -86_400_000, 40])
def test_a_clock_that_is_set_is_followed_when_it_is_looked_at(by: int) -> None:
    clock = Stepped()
    clock.ahead = by
    assert abs(clock.now() - time.time_ns() // 1_000_000) < 1000
    assert abs(clock.look() - by) <= 3
    assert abs(clock.now() - time.time_ns() // 1_000_000 - by) < 1000
