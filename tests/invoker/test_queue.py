"""Fair order: lanes take turns, a trigger's readings keep theirs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.entity.message import ActivationMessage
from edgewhisk.entity.names import parse_name
from edgewhisk.invoker.pace import LARGEST, Pace
from edgewhisk.invoker.queue import Job, Queue

ACTION = parse_name("/guest/a", "_")


def job(lane: str, number: int) -> Job[None]:
    message = ActivationMessage(f"{number:032x}", ACTION, "guest", "guest", b"{}", 0, trigger=lane)
    return Job(message, None, float(number))


@given(st.lists(st.sampled_from(["put-a", "put-b", "put-", "take", "release", "park", "unpark"])))
def test_order_and_exclusion_hold_for_any_course(course: list[str]) -> None:
    queue: Queue[None] = Queue(5, lambda _: 2)
    put: dict[str, list[int]] = {"a": [], "b": [], "": []}
    taken: dict[str, list[int]] = {"a": [], "b": [], "": []}
    held = []
    for number, what in enumerate(course):
        if what.startswith("put"):
            lane = what[4:]
            queue.put(job(lane, number))
            put[lane].append(number)
        elif what == "take" and (batch := queue.take()) is not None:
            assert not batch.lane.ordered or batch.lane not in held
            held.append(batch.lane)
            taken[batch.lane.trigger] += [int(one.since) for one in batch.jobs]
        elif what == "release" and held:
            queue.release(held.pop(0))
        elif what == "park" and (batch := queue.take()) is not None:
            queue.park(batch)
            queue.release(batch.lane)
        elif what == "unpark":
            queue.unpark()
    for lane, numbers in taken.items():
        assert numbers == put[lane][: len(numbers)]
    assert len(queue) == sum(map(len, put.values())) - sum(map(len, taken.values()))
    assert queue.full == (len(queue) >= 5)
    queue.unpark()
    for key in held:
        queue.release(key)
    while (batch := queue.take()) is not None:  # nothing is stuck, nothing out of order
        taken[batch.lane.trigger] += [int(one.since) for one in batch.jobs]
        queue.release(batch.lane)
    assert {lane: sorted(numbers) for lane, numbers in taken.items()} == put
    assert all(taken[lane] == put[lane] for lane in ("a", "b"))


def test_hanging_calls_leave_room_for_others() -> None:
    queue: Queue[None] = Queue(1000, lambda _: 1, most=lambda lane: 1 if lane.ordered else 2)
    for number in range(10):
        queue.put(job("", number))
    held = [queue.take(), queue.take()]
    assert None not in held
    assert queue.take() is None  # the third would be one too many
    queue.put(job("other", 11))
    other = queue.take()
    assert other is not None
    assert other.lane.trigger == "other"
    queue.release(held[0].lane)  # type: ignore[union-attr]
    assert queue.take() is not None


def test_a_trigger_whose_order_does_not_matter_is_run_by_several() -> None:
    queue: Queue[None] = Queue(1000, lambda _: 1, most=lambda lane: 3 if lane.trigger == "many" else 1)
    for number in range(5):
        queue.put(job("many", number))
        queue.put(job("one", number))
    taken = [queue.take() for _ in range(5)]
    assert sorted(one.lane.trigger for one in taken if one) == ["many", "many", "many", "one"]


def test_a_flood_in_one_lane_does_not_starve_another() -> None:
    queue: Queue[None] = Queue(1000, lambda _: 10)
    for number in range(500):
        queue.put(job("", number))
    queue.put(job("quiet", 1000))
    first, second = queue.take(), queue.take()
    assert first is not None
    assert second is not None
    assert second.lane.trigger == "quiet"


def test_only_quick_actions_get_company() -> None:
    pace = Pace()
    assert pace.size(ACTION) == 1
    pace.ran(ACTION, 1, 0.00002)
    assert pace.size(ACTION) == LARGEST
    pace.ran(ACTION, 1, 0.1)
    assert pace.size(ACTION) == 1


def test_one_slow_run_may_have_had_to_wait() -> None:
    pace = Pace()
    pace.ran(ACTION, 1, 0.00002)
    pace.ran(ACTION, 1, 0.001)
    assert pace.brief(ACTION)
    pace.ran(ACTION, 1, 0.00002)
    pace.ran(ACTION, 1, 0.001)
    assert pace.brief(ACTION)
    pace.ran(ACTION, 1, 0.001)
    assert not pace.brief(ACTION)
    for _ in range(20):
        pace.ran(ACTION, 10, 0.0002)
    assert pace.brief(ACTION)
    pace.ran(ACTION, 1, 0.01)  # that is not waiting
    assert not pace.brief(ACTION)
