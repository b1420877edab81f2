"""The event loop's time for runs that are not brief."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.invoker.leisure import MOST, PAUSE, SHARE, Leisure


def test_readings_now_and_then_leave_time_enough() -> None:
    leisure = Leisure()
    for number in range(1000):
        now = 100 + number * 0.005
        assert leisure.has(now)
        leisure.spend(now + 0.001, 0.001)


def test_once_it_is_spent_there_is_a_pause() -> None:
    leisure = Leisure()
    now = 100.0
    while leisure.has(now):
        now += 0.001
        leisure.spend(now, 0.001)
    assert now < 100.2
    assert not leisure.has(now + PAUSE - 0.01)
    assert leisure.has(now + PAUSE + 0.01)


@given(st.lists(st.tuples(st.floats(0, 0.1), st.floats(0.0004, 0.01)), min_size=1))
def test_no_more_than_its_share_is_spent(course: list[tuple[float, float]]) -> None:
    leisure, begun = Leisure(), 100.0
    now, spent = begun, 0.0
    for pause, took in course:
        now += pause
        if leisure.has(now):
            now += took
            spent += took
            leisure.spend(now, took)
        assert spent <= MOST + (now - begun) * SHARE + 0.01
