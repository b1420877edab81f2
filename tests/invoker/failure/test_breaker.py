"""Circuits open for what fails always, and for nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.entity.invocation.message import Status
from edgewhisk.entity.names import parse_name
from edgewhisk.invoker.failure.breaker import FAILURES, MOST, PAUSE, THRESHOLD, Breaker

A = parse_name("/guest/a", "_")
R = ("guest/a", "0.0.1", 1)
BAD, GOOD, ANSWER = Status.DEVELOPER_ERROR, Status.SUCCESS, Status.APPLICATION_ERROR


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(THRESHOLD):
        assert breaker.ask(A, R, now).pause == 0
        breaker.ran(A, R, iter([BAD]), now)
    return breaker


def test_it_opens_after_failures_in_a_row_pauses_ever_longer_and_closes_with_a_success() -> None:
    breaker, now = opened(), 0.0
    for expected in (10, 20, 40, 80, 160, 320, 600, 600):
        assert breaker.ask(A, R, now).pause == expected
        now += expected
        assert breaker.ask(A, R, now - 0.1).pause > 0
        assert breaker.changed(A, R, now)
        go = breaker.ask(A, R, now)
        assert (go.pause, go.alone) == (0, True)
        assert breaker.ask(A, R, now).pause > 0  # one try at a time
        assert not breaker.changed(A, R, now)
        assert not breaker.ran(A, R, iter([BAD]), now)
    now += 600
    breaker.ask(A, R, now)
    assert breaker.ran(A, R, iter([GOOD]), now)
    assert breaker.ask(A, R, now) == (0, False)
    assert (breaker.tripped, breaker.opened) == (0, 9)
    assert PAUSE == (10.0, 600.0)


def test_what_the_action_answers_opens_nothing() -> None:
    breaker = Breaker()
    for _ in range(100):
        assert not breaker.ran(A, R, iter([ANSWER]), 0)
    assert breaker.describe(0) == []
    assert {Status.DEVELOPER_ERROR, Status.WHISK_ERROR} == FAILURES


def test_another_version_is_another_chance() -> None:
    breaker, other = opened(), ("guest/a", "0.0.2", 2)
    assert not breaker.changed(A, R, 1)
    assert breaker.changed(A, other, 1)
    assert breaker.ask(A, other, 1).pause == 0
    assert breaker.tripped == 0


def test_a_success_over_http_closes_it_and_a_try_may_be_given_back() -> None:
    breaker = opened()
    assert breaker.ran(A, R, iter([GOOD]), 1)
    breaker = opened()
    assert breaker.ask(A, R, 10).alone
    breaker.give_back(A, 12)
    assert breaker.ask(A, R, 12).pause == 10
    assert breaker.ask(A, R, 22).alone
    assert breaker.describe(22) == [
        {"action": "/guest/a", "state": "trying", "failures": 5, "opened": 1, "try_in": 0.0}
    ]


def test_it_remembers_a_bounded_number_of_actions() -> None:
    breaker = opened()
    for n in range(2 * MOST):
        breaker.ran(parse_name(f"/guest/a{n}", "_"), R, iter([BAD]), 0)
    assert len(breaker._circuits) <= MOST
    assert breaker.tripped == 1  # an open one is not forgotten for one that failed once


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "wait", "new", "http"]), st.lists(st.sampled_from(list(Status)), min_size=1)
    ),
    max_size=60,
)


@given(EVENTS)
def test_it_is_open_only_after_a_row_of_failures_and_never_for_ever(
    course: list[tuple[str, list[Status]]],
) -> None:
    breaker, now, row, revision = Breaker(), 0.0, 0, 1
    for what, statuses in course:
        now += {"wait": 7.0}.get(what, 0.01)
        revision += what == "new"
        row = 0 if what == "new" else row
        key = ("guest/a", "0.0.1", revision)
        go = breaker.ask(A, key, now)
        assert (go.pause == 0) or row >= THRESHOLD
        if go.pause and what != "http":
            continue
        ran = statuses[:1] if go.alone else statuses
        breaker.ran(A, key, reversed(ran), now)
        for status in ran:
            row = row + 1 if status in FAILURES else 0
        assert breaker.tripped == len(breaker.describe(now)) == (row >= THRESHOLD)
    for _ in range(2):
        now += PAUSE[1]
        if breaker.ask(A, ("guest/a", "0.0.1", revision), now).pause == 0:
            break
    else:
        raise AssertionError("no try for ever")
