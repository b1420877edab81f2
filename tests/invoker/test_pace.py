"""How long runs take: batches stay short, and what had to wait on a busy machine is not taken for slow."""

from __future__ import annotations

import threading
import time

import pytest

from edgewhisk.busy import busy, waiting
from edgewhisk.entity.names import parse_name
from edgewhisk.invoker.pace import BRIEF, BUDGET, LARGEST, Pace

A = parse_name("/guest/a", "_")


def paced(seconds: float) -> Pace:
    pace = Pace()
    pace.ran(A, 10, 10 * seconds)
    return pace


def test_batches_are_as_large_as_their_time_allows() -> None:
    assert Pace().size(A) == 1
    assert paced(BUDGET / 10).size(A) == 10
    assert paced(BUDGET * 10).size(A) == 1
    assert paced(0.0).size(A) == LARGEST


def test_slow_runs_count_at_once_and_quick_ones_by_and_by() -> None:
    pace = paced(BRIEF / 2)
    assert pace.brief(A)
    pace.ran(A, 1, BRIEF * 10)
    assert not pace.brief(A)
    pace.ran(A, 1, 0.0)
    assert not pace.brief(A)
    for _ in range(20):
        pace.ran(A, 1, 0.0)
    assert pace.brief(A)


def test_a_brief_action_that_was_slow_by_the_clock_is_measured_once_more() -> None:
    pace = paced(BRIEF / 2)
    pace.ran(A, 1, BRIEF * 100, by_clock=True)
    assert pace.brief(A)
    assert pace.doubts(A)
    pace.ran(A, 1, BRIEF / 2)  # it had only waited
    assert pace.brief(A)
    assert not pace.doubts(A)
    pace.ran(A, 1, BRIEF * 100, by_clock=True)
    pace.ran(A, 1, BRIEF * 2)
    assert not pace.brief(A)


def test_the_time_of_a_load_that_was_rounded_up_is_no_time() -> None:
    pace = Pace()
    pace.ran(A, 1, -0.001)
    assert pace.brief(A)


def test_what_a_thread_computes_and_waits_for_counts_and_its_turns_do_not() -> None:
    took: list[tuple[float, float]] = []

    def run() -> None:
        wall, begun = time.monotonic(), busy()
        sum(range(300_000))
        with waiting():
            time.sleep(0.05)
        took.append((time.monotonic() - wall, busy() - begun))

    threads = [threading.Thread(target=run) for _ in range(20)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert min(counted for _, counted in took) >= 0.05
    assert sum(counted for _, counted in took) < sum(wall for wall, _ in took) - 0.01 * len(took)


@pytest.mark.parametrize("error", [None, ValueError])
def test_waiting_is_counted_however_it_ends(error: type[Exception] | None) -> None:
    begun = busy()
    try:
        with waiting():
            time.sleep(0.02)
            if error:
                raise error
    except ValueError:
        pass
    assert busy() - begun >= 0.02
