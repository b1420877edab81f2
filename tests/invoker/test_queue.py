"""Fair order: lanes take turns, a trigger's readings keep theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.entity.delivery import Priority
from edgewhisk.entity.message import ActivationMessage
from edgewhisk.entity.names import parse_name
from edgewhisk.invoker.job import PLACE, Job, LaneKey, Taken, places
from edgewhisk.invoker.pace import LARGEST, Pace
from edgewhisk.invoker.queue import HELD, Queue, Workers

ACTION = parse_name("/guest/a", "_")


def job(lane: str, number: int, namespace: str = "guest", action: str = "a", size: int = 2) -> Job[None]:
    name = parse_name(f"/guest/{action}", "_")
    message = ActivationMessage(f"{number:032x}", name, namespace, "guest", b"x" * size, 0, trigger=lane)
    return Job(message, None, float(number))


def drain(queue: Queue[None]) -> list[LaneKey]:
    """Whose turn it was, batch by batch."""
    turns = []
    while (taken := queue.take()) is not None:
        turns.append(taken.lane)
        queue.release(taken.lane)
    return turns


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


def test_a_flood_of_a_namespace_in_many_lanes_does_not_starve_another() -> None:
    queue: Queue[None] = Queue(10_000, lambda _: 1)
    for number in range(1000):
        queue.put(job(f"t{number % 100}", number, "loud"))
    for number in range(10):
        queue.put(job("t", number, "calm"))
    turns = [lane.namespace for lane in drain(queue)]
    assert max(at for at, one in enumerate(turns) if one == "calm") <= 20
    assert len(turns) == 1010


PRIORITIES = {"high": Priority.HIGH, "normal": Priority.NORMAL, "low": Priority.LOW}


def test_urgent_ones_go_first_and_low_ones_never_starve() -> None:
    queue: Queue[None] = Queue(10_000, lambda _: 1, priority=lambda lane: PRIORITIES[lane.trigger])
    for number in range(400):
        for trigger in PRIORITIES:
            queue.put(job(trigger, number))
    turns = [lane.trigger for lane in drain(queue)]
    early = Counter(turns[:210])
    assert early["high"] > 3 * early["normal"] > 9 * early["low"] > 0
    gaps = [at for at, one in enumerate(turns[:210]) if one == "low"]
    assert max(after - before for before, after in pairwise(gaps)) <= 22


def test_who_wanted_nothing_for_long_gets_no_more_than_its_share_afterwards() -> None:
    queue: Queue[None] = Queue(10_000, lambda _: 1, priority=lambda lane: PRIORITIES[lane.trigger])
    for number in range(1000):
        queue.put(job("high", number))
    for _ in range(500):
        taken = queue.take()
        assert taken is not None
        queue.release(taken.lane)
    for number in range(100):
        queue.put(job("low", number))
    assert Counter(lane.trigger for lane in drain(queue)[:170])["low"] <= 11


def test_namespaces_and_low_priority_leave_workers_to_others() -> None:
    workers = Workers(of_namespace=3, of_low=2)
    queue: Queue[None] = Queue(
        100, lambda _: 1, priority=lambda lane: PRIORITIES.get(lane.trigger, Priority.NORMAL), workers=workers
    )
    for number in range(10):
        queue.put(job("", number, "loud", f"a{number}"))
    held = [queue.take() for _ in range(4)]
    assert held[3] is None
    queue.put(job("", 11, "calm"))
    calm = queue.take()
    assert calm is not None
    assert calm.lane.namespace == "calm"
    waits = [queue.oldest]
    queue.release(held[0].lane)  # type: ignore[union-attr]
    waits.append(queue.oldest)
    assert [one is None for one in waits] == [True, False]
    low: Queue[None] = Queue(100, lambda _: 1, priority=lambda _: Priority.LOW, workers=workers)
    for number in range(3):
        low.put(job("", number, f"n{number}"))
    assert [low.take() is None for _ in range(3)] == [False, False, True]


def test_a_namespace_with_its_share_is_refused_and_others_are_not() -> None:
    queue: Queue[None] = Queue(8, lambda _: 1)
    for number in range(4):
        assert not queue.crowded("loud")
        queue.put(job("", number, "loud"))
    assert (queue.crowded("loud"), queue.full) == (True, False)
    for number in range(4):
        queue.put(job("t", number, "loud"))  # its feeds go on
    assert (queue.crowded("calm"), queue.full) == (False, True)
    for number in range(8, 10):
        queue.put(job("", number, "calm"))
    assert [queue.crowded(one) for one in ("loud", "calm", "third")] == [True, True, False]


def test_suspects_run_one_by_one_and_alone() -> None:
    queue: Queue[None] = Queue(100, lambda _: 10)
    for number in range(3):
        queue.put(job("a", number), suspect=True)
        queue.put(job("b", number), suspect=True)
        queue.put(job("c", number))
    first, second = queue.take(), queue.take()
    assert first is not None
    assert second is not None
    assert (len(first.jobs), first.lane.suspect, second.lane.trigger) == (1, True, "c")
    assert queue.take() is None
    queue.release(first.lane)
    third = queue.take()
    assert third is not None
    assert third.lane.suspect
    queue.release(third.lane)
    assert len(drain(queue)) == 4


def test_what_is_held_takes_nobodys_room_and_spills_the_newest() -> None:
    queue: Queue[None] = Queue(40, lambda _: 1)
    queue.put(job("a", 0))
    taken = queue.take()
    assert taken is not None
    queue.hold(taken)
    queue.release(taken.lane)
    for number in range(1, 50):
        queue.put(job("a", number))
    assert not queue.full
    assert queue.take() is None
    assert {lane.action for lane in queue.holding} == {ACTION}
    spilt = queue.spill()
    assert [int(one.since) for one in spilt] == list(range(49, 40 // HELD - 1, -1))
    assert queue.spill() == []
    queue.free({ACTION})
    assert len(queue) == len(drain(queue)) == 10
    assert queue.describe() == {}


COURSE = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "suspect", "take", "take", "release", "park", "unpark", "hold",
                         "free", "spill"]),
        st.sampled_from(["", "a", "b"]),
        st.sampled_from(["x", "y"]),
    ),
    max_size=60,
)  # fmt: skip


@given(COURSE)
def test_nothing_is_lost_doubled_or_stuck_whatever_happens(course: list[tuple[str, str, str]]) -> None:
    queue: Queue[None] = Queue(
        8,
        lambda _: 2,
        priority=lambda lane: {"a": Priority.HIGH, "b": Priority.LOW}.get(lane.trigger, Priority.NORMAL),
        workers=Workers(3, 2),
    )
    put: list[int] = []
    got: list[int] = []
    held: list[Taken[None]] = []
    easy: dict[str, Callable[[], None]] = {"unpark": queue.unpark, "free": lambda: queue.free({ACTION})}
    for number, (what, trigger, namespace) in enumerate(course):
        if what in easy:
            easy[what]()
        if what in ("put", "suspect"):
            size = number % 3 * PLACE
            queue.put(job(trigger, number, namespace, size=size), suspect=what == "suspect")
            put.append(number)
        elif what == "release" and held:
            queue.release(held.pop(0).lane)
        elif what == "spill":
            got += [int(one.since) for one in queue.spill()]
        elif what in ("take", "park", "hold") and (taken := queue.take()) is not None:
            assert not taken.lane.ordered or taken.lane not in [one.lane for one in held]
            if what == "take":
                held.append(taken)
                got += [int(one.since) for one in taken.jobs]
                continue
            {"park": queue.park, "hold": queue.hold}[what](taken)
            queue.release(taken.lane)
        assert sum(queue.describe().values()) == len(queue) == len(put) - len(got)
        waiting = [lane for lane in queue._lanes.values() if not lane.held]
        assert queue.room.taken == places(one.message for lane in waiting for one in lane.jobs)
        assert queue.held == len(queue) - sum(len(lane.jobs) for lane in waiting)
        assert sum(one.lane.suspect for one in held) <= 1
        assert max(Counter(one.lane.namespace for one in held).values(), default=0) <= 3
    queue.unpark()
    queue.free({ACTION})
    for one in held:
        queue.release(one.lane)
    while (last := queue.take()) is not None:
        got += [int(one.since) for one in last.jobs]
        queue.release(last.lane)
    assert sorted(got) == put
    assert not queue._lanes
    assert not queue._running_of


def test_large_messages_take_more_room() -> None:
    """Ten thousand events of 1 MiB each would be 10 GB."""
    queue = Queue[None](1000, lambda _: 1)
    for number in range(3):
        queue.put(job("t", number, size=1 << 20))
        queue.put(job("u", number))
    assert queue.room.of("t") == 3 * ((1 << 20) // PLACE + 1)
    assert queue.room.of("u") == 3
    assert queue.room.taken < 1000
    queue.put(job("t", 4, size=1 << 20))
    assert queue.full
    taken = queue.take()
    assert taken is not None
    queue.hold(taken)
    assert (queue.room.of("t"), queue.held) == (0, 4)
    assert [one.since for one in queue.spill()] == [4, 2, 1, 0]  # a quarter of the room may be held: none


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
    pace.ran(ACTION, 1, 0.003)
    assert pace.brief(ACTION)
    pace.ran(ACTION, 1, 0.00002)
    pace.ran(ACTION, 1, 0.003)
    assert pace.brief(ACTION)
    pace.ran(ACTION, 1, 0.003)
    assert not pace.brief(ACTION)
    assert not pace.quick(ACTION)
    pace.ran(ACTION, 10, 0.0002)
    pace.ran(ACTION, 10, 0.0002)
    assert pace.quick(ACTION)
    assert not pace.brief(ACTION)
    for _ in range(20):
        pace.ran(ACTION, 10, 0.0002)
    assert pace.brief(ACTION)
    pace.ran(ACTION, 1, 0.01)  # that is not waiting
    assert not pace.brief(ACTION)


def take_all(queue: Queue[None]) -> list[Taken[None]]:
    taken = []
    while (one := queue.take()) is not None:
        taken.append(one)
    return taken


def test_namespaces_that_want_workers_get_even_shares_and_a_new_one_is_never_kept_waiting() -> None:
    queue: Queue[None] = Queue(1000, lambda _: 1, workers=Workers(16, 14, 8, 4))
    for number in range(400):
        queue.put(job("", number, f"n{number % 2}", f"a{number % 40}"))
    held = take_all(queue)
    assert Counter(one.lane.namespace for one in held) == {"n0": 8, "n1": 8}
    for number in range(6):
        queue.put(job("", 400 + number, f"new{number}"))
        queue.put(job("", 500 + number, f"new{number}"))
    late = take_all(queue)
    assert sorted(one.lane.namespace for one in late) == ["new0", "new1", "new2", "new3"]  # 4 spare ones
    for one in held:
        queue.release(one.lane)
    held = take_all(queue)
    assert max(Counter(one.lane.namespace for one in held + late).values()) <= 2
    assert {"new4", "new5"} <= {one.lane.namespace for one in held}


def test_a_batch_that_waits_for_another_lends_its_place_but_keeps_its_order() -> None:
    queue: Queue[None] = Queue(1000, lambda _: 1, most=lambda lane: 1)
    for lane in ("", "", "t", "t"):
        queue.put(job(lane, 0))
    plain, ordered = queue.take(), queue.take()
    assert plain is not None
    assert ordered is not None
    assert queue.take() is None
    for one in (plain, ordered):
        queue.lend(one.lane)
    second = queue.take()
    assert second is not None
    assert second.lane == LaneKey(ACTION, "", "", "guest")
    assert queue.take() is None  # what is next of the trigger must not overtake
    queue.release(second.lane)
    for one in (plain, ordered):
        queue.take_back(one.lane)
        queue.release(one.lane)
    assert len(drain(queue)) == 1
    assert not queue._lanes
    assert not queue._running_of
