"""Where runs go, by what earlier ones took."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.entity.names import parse_name
from edgewhisk.invoker.execution.policy import LARGEST, PAUSE, SAVED, SHARE, InlineBudget, RuntimeEstimator

ACTION = parse_name("/guest/a", "_")


def test_readings_now_and_then_leave_time_enough() -> None:
    budget = InlineBudget()
    for number in range(1000):
        now = 100 + number * 0.005
        assert budget.has(now)
        budget.spend(now + 0.001, 0.001)


def test_once_it_is_spent_there_is_a_pause() -> None:
    budget = InlineBudget()
    now = 100.0
    while budget.has(now):
        now += 0.001
        budget.spend(now, 0.001)
    assert now < 100.2
    assert not budget.has(now + PAUSE - 0.01)
    assert budget.has(now + PAUSE + 0.01)


@given(st.lists(st.tuples(st.floats(0, 0.1), st.floats(0.0004, 0.01)), min_size=1))
def test_no_more_than_its_share_is_spent(course: list[tuple[float, float]]) -> None:
    budget, begun = InlineBudget(), 100.0
    now, spent = begun, 0.0
    for pause, took in course:
        now += pause
        if budget.has(now):
            now += took
            spent += took
            budget.spend(now, took)
        assert spent <= SAVED + (now - begun) * SHARE + 0.01


def test_only_quick_actions_get_company() -> None:
    estimator = RuntimeEstimator()
    assert estimator.size(ACTION) == 1
    estimator.ran(ACTION, 1, 0.00002)
    assert estimator.size(ACTION) == LARGEST
    estimator.ran(ACTION, 1, 0.1)
    assert estimator.size(ACTION) == 1


def test_slow_runs_count_at_once_and_quick_ones_by_and_by() -> None:
    estimator = RuntimeEstimator()
    estimator.ran(ACTION, 1, 0.00002)
    assert estimator.brief(ACTION)
    estimator.ran(ACTION, 1, 0.003)
    assert not estimator.brief(ACTION)
    assert not estimator.quick(ACTION)
    estimator.ran(ACTION, 10, 0.0002)
    estimator.ran(ACTION, 10, 0.0002)
    assert estimator.quick(ACTION)
    assert not estimator.brief(ACTION)
    for _ in range(20):
        estimator.ran(ACTION, 10, 0.0002)
    assert estimator.brief(ACTION)


def test_a_brief_action_that_was_slow_by_the_clock_is_measured_once_more() -> None:
    estimator = RuntimeEstimator()
    estimator.ran(ACTION, 1, 0.00002)
    estimator.ran(ACTION, 1, 0.05, by_clock=True)
    assert estimator.brief(ACTION)
    assert estimator.doubts(ACTION)
    estimator.ran(ACTION, 1, 0.00002)  # it had only waited
    assert estimator.brief(ACTION)
    assert not estimator.doubts(ACTION)
    estimator.ran(ACTION, 1, 0.05, by_clock=True)
    estimator.ran(ACTION, 1, 0.003)
    assert not estimator.brief(ACTION)


def test_the_time_of_a_load_that_was_rounded_up_is_no_time() -> None:
    estimator = RuntimeEstimator()
    estimator.ran(ACTION, 1, -0.001)
    assert estimator.brief(ACTION)
