"""When messages wait for company."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.transport.mqtt.coalescing_policy import ENOUGH_MESSAGES, MAX_DELAY, CoalescingPolicy

SIZE = 60


def test_at_a_thousand_a_second_messages_come_together() -> None:
    gathering, now, waits = CoalescingPolicy(), 10.0, []
    for _ in range(200):
        now += 0.001
        waits.append(gathering.came(1, SIZE, now))
    assert waits[0] == 0
    assert {2 * SIZE < wait <= 3 * SIZE for wait in waits[100:]} == {True}  # three are 3 ms


def test_at_two_hundred_a_second_nobody_waits() -> None:
    gathering = CoalescingPolicy()
    assert not any(gathering.came(1, SIZE, 10 + number * 0.005) for number in range(1000))


def test_many_together_are_company_enough() -> None:
    gathering = CoalescingPolicy()
    assert not any(
        gathering.came(ENOUGH_MESSAGES, ENOUGH_MESSAGES * SIZE, 10 + number * 0.001) for number in range(1000)
    )


def test_a_source_that_sends_when_it_has_the_answer_is_soon_left_alone() -> None:
    gathering, now, waits = CoalescingPolicy(), 10.0, 0
    for _ in range(10_000):
        now += 0.0005
        if gathering.came(1, SIZE, now):
            now += MAX_DELAY
            waits += 1
            gathering.waited(well=False)
    assert 1 < waits < 50


def test_waits_go_on_where_most_are_worth_it() -> None:
    gathering, now, waits = CoalescingPolicy(), 10.0, 0
    for number in range(10_000):
        now += 0.001
        if gathering.came(1, SIZE, now):
            waits += 1
            gathering.waited(well=number % 4 != 0)
    assert waits > 9000


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 2), st.integers(5, 5000), st.booleans())))
def test_nobody_is_asked_to_wait_for_more_than_company(
    course: list[tuple[int, float, int, bool]],
) -> None:
    gathering, now, largest = CoalescingPolicy(), 0.0, 0
    for count, pause, size, well in course:
        now, largest = now + pause, max(largest, size)
        wait = gathering.came(count, count * size, now)
        assert 0 <= wait <= ENOUGH_MESSAGES * largest
        if wait:
            assert count < ENOUGH_MESSAGES
            gathering.waited(well=well)
