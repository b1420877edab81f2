"""Counters of runs."""

from __future__ import annotations

from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.invocation.message import Outcome, Status, UniformResult
from edgewhisk.invoker.metrics import OTHERS, RunMetrics, RunRoute


def test_runs_are_counted_by_action_and_outcome_and_beyond_a_thousand_actions_together() -> None:
    metrics = RunMetrics()
    for number in range(1003):
        metrics.ran(f"guest/a{number}", UniformResult((b"{}",) * 2, 0, 5), ClockOffset())
    metrics.ran("guest/a0", [Outcome(Status.DEVELOPER_ERROR, b"{}", (), 0, 7)], ClockOffset())
    metrics.unrun(Status.WHISK_ERROR, 4)
    found = metrics.by_action
    assert (found["guest/a0", Status.SUCCESS], found["guest/a0", Status.DEVELOPER_ERROR]) == (2, 1)
    assert found[OTHERS, Status.SUCCESS] == 6
    assert metrics.outcomes == {
        Status.SUCCESS: 2006,
        Status.DEVELOPER_ERROR: 1,
        Status.WHISK_ERROR: 4,
    }


def test_routes_are_told_by_the_keys_of_status() -> None:
    metrics = RunMetrics()
    metrics.went(RunRoute.INLINE, 3)
    metrics.went(RunRoute.SLOW, 1)
    assert metrics.routes == {"inline": 3, "workers_ran": 0, "fell_back_slow": 1, "fell_back_failed": 0}
