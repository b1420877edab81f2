"""The life of a batch is a table: what has no row cannot happen."""

from __future__ import annotations

import pytest

from edgewhisk.invoker.lifecycle import TRANSITIONS, BatchEvent, BatchState, LifecycleError, after

FINAL = {BatchState.ACKED, BatchState.NACKED}


@pytest.mark.parametrize("state", BatchState)
@pytest.mark.parametrize("event", BatchEvent)
def test_a_missing_row_raises(state: BatchState, event: BatchEvent) -> None:
    if (state, event) in TRANSITIONS:
        assert after(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(LifecycleError, match=f"{state.value} cannot be {event.value}"):
            after(state, event)


def test_every_state_is_reached_and_left_but_for_the_final_ones() -> None:
    reached, todo = {BatchState.QUEUED}, [BatchState.QUEUED]
    while todo:
        here = todo.pop()
        for (state, _), to in TRANSITIONS.items():
            if state is here and to not in reached:
                reached.add(to)
                todo.append(to)
    assert reached == set(BatchState)
    assert {state for state, _ in TRANSITIONS} == set(BatchState) - FINAL


def test_only_what_is_written_is_acknowledged() -> None:
    to_ack = {state for (state, event), to in TRANSITIONS.items() if to is BatchState.ACKED}
    assert to_ack == {BatchState.WRITING, BatchState.DONE}
    assert TRANSITIONS[BatchState.DONE, BatchEvent.KEPT_OUT] is BatchState.ACKED  # of a system action's call
