"""Fair order: lanes take turns, a trigger's readings keep theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.entity.annotations.delivery import Priority
from edgewhisk.entity.invocation.message import ActivationMessage
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.invoker.batch import PLACE, PendingBatch, Stream, places, stream_of
from edgewhisk.invoker.lifecycle import Route
from edgewhisk.invoker.queue.queue import HELD, Queue
from edgewhisk.invoker.queue.streams import Taken, Workers

ACTION = parse_name("/guest/a", "_")


class Worked(Queue):
    """A queue that workers take from."""

    def __init__(self, bound: int, size: Callable[[FullyQualifiedName], int], **more: Any) -> None:
        super().__init__(bound, **more)
        self.size = size

    def add(self, message: ActivationMessage, *, suspect: bool = False) -> None:
        since = float(int(message.activation_id, 16))
        entry = PendingBatch([message], since, places([message]))
        self.put(stream_of(message, suspect=suspect), entry, Route.WORKER)

    def first(self) -> Taken | None:
        """What a worker gets next."""
        found = self.next(Route.WORKER)
        return None if found is None else self.take(found[0], self.size(found[0].action))

    def hold_back(self, taken: Taken) -> None:
        self.put_back(taken, Route.WORKER)
        self.hold(taken.stream)

    def park_back(self, taken: Taken) -> None:
        self.put_back(taken, Route.WORKER)
        self.park(taken.stream)


def job(
    trigger: str, number: int, namespace: str = "guest", action: str = "a", size: int = 2
) -> ActivationMessage:
    name = parse_name(f"/guest/{action}", "_")
    return ActivationMessage(f"{number:032x}", name, namespace, "guest", b"x" * size, 0, trigger=trigger)


def numbers_of(taken: Taken) -> list[int]:
    return [int(one.activation_id, 16) for entry in taken.entries for one in entry.messages]


def drain(queue: Worked) -> list[Stream]:
    """Whose turn it was, batch by batch."""
    turns = []
    while (taken := queue.first()) is not None:
        turns.append(taken.stream)
        queue.release(taken.stream)
    return turns


@given(st.lists(st.sampled_from(["put-a", "put-b", "put-", "take", "release", "park", "unpark"])))
def test_order_and_exclusion_hold_for_any_course(course: list[str]) -> None:
    queue = Worked(5, lambda _: 2)
    put: dict[str, list[int]] = {"a": [], "b": [], "": []}
    taken: dict[str, list[int]] = {"a": [], "b": [], "": []}
    held = []
    for number, what in enumerate(course):
        if what.startswith("put"):
            lane = what[4:]
            queue.add(job(lane, number))
            put[lane].append(number)
        elif what == "take" and (batch := queue.first()) is not None:
            assert not batch.stream.ordered or batch.stream not in held
            held.append(batch.stream)
            taken[batch.stream.trigger] += numbers_of(batch)
        elif what == "release" and held:
            queue.release(held.pop(0))
        elif what == "park" and (batch := queue.first()) is not None:
            queue.park_back(batch)
            queue.release(batch.stream)
        elif what == "unpark":
            queue.unpark()
    for lane, numbers in taken.items():
        assert numbers == put[lane][: len(numbers)]
    assert len(queue) == sum(map(len, put.values())) - sum(map(len, taken.values()))
    assert queue.full == (len(queue) >= 5)
    queue.unpark()
    for key in held:
        queue.release(key)
    while (batch := queue.first()) is not None:  # nothing is stuck, nothing out of order
        taken[batch.stream.trigger] += numbers_of(batch)
        queue.release(batch.stream)
    assert {lane: sorted(numbers) for lane, numbers in taken.items()} == put
    assert all(taken[lane] == put[lane] for lane in ("a", "b"))


def test_hanging_calls_leave_room_for_others() -> None:
    queue = Worked(1000, lambda _: 1, most=lambda stream: 1 if stream.ordered else 2)
    for number in range(10):
        queue.add(job("", number))
    held = [queue.first(), queue.first()]
    assert None not in held
    assert queue.first() is None  # the third would be one too many
    queue.add(job("other", 11))
    other = queue.first()
    assert other is not None
    assert other.stream.trigger == "other"
    queue.release(held[0].stream)  # type: ignore[union-attr]
    assert queue.first() is not None


def test_a_trigger_whose_order_does_not_matter_is_run_by_several() -> None:
    queue = Worked(1000, lambda _: 1, most=lambda lane: 3 if lane.trigger == "many" else 1)
    for number in range(5):
        queue.add(job("many", number))
        queue.add(job("one", number))
    taken = [queue.first() for _ in range(5)]
    assert sorted(one.stream.trigger for one in taken if one) == ["many", "many", "many", "one"]


def test_a_flood_in_one_lane_does_not_starve_another() -> None:
    queue = Worked(1000, lambda _: 10)
    for number in range(500):
        queue.add(job("", number))
    queue.add(job("quiet", 1000))
    first, second = queue.first(), queue.first()
    assert first is not None
    assert second is not None
    assert second.stream.trigger == "quiet"


def test_a_flood_of_a_namespace_in_many_lanes_does_not_starve_another() -> None:
    queue = Worked(10_000, lambda _: 1)
    for number in range(1000):
        queue.add(job(f"t{number % 100}", number, "loud"))
    for number in range(10):
        queue.add(job("t", number, "calm"))
    turns = [lane.namespace for lane in drain(queue)]
    assert max(at for at, one in enumerate(turns) if one == "calm") <= 20
    assert len(turns) == 1010


PRIORITIES = {"high": Priority.HIGH, "normal": Priority.NORMAL, "low": Priority.LOW}


def test_urgent_ones_go_first_and_low_ones_never_starve() -> None:
    queue = Worked(10_000, lambda _: 1, priority=lambda lane: PRIORITIES[lane.trigger])
    for number in range(400):
        for trigger in PRIORITIES:
            queue.add(job(trigger, number))
    turns = [lane.trigger for lane in drain(queue)]
    early = Counter(turns[:210])
    assert early["high"] > 3 * early["normal"] > 9 * early["low"] > 0
    gaps = [at for at, one in enumerate(turns[:210]) if one == "low"]
    assert max(after - before for before, after in pairwise(gaps)) <= 22


def test_who_wanted_nothing_for_long_gets_no_more_than_its_share_afterwards() -> None:
    queue = Worked(10_000, lambda _: 1, priority=lambda lane: PRIORITIES[lane.trigger])
    for number in range(1000):
        queue.add(job("high", number))
    for _ in range(500):
        taken = queue.first()
        assert taken is not None
        queue.release(taken.stream)
    for number in range(100):
        queue.add(job("low", number))
    assert Counter(lane.trigger for lane in drain(queue)[:170])["low"] <= 11


def test_namespaces_and_low_priority_leave_workers_to_others() -> None:
    workers = Workers(of_namespace=3, of_low=2)
    queue = Worked(
        100, lambda _: 1, priority=lambda lane: PRIORITIES.get(lane.trigger, Priority.NORMAL), workers=workers
    )
    for number in range(10):
        queue.add(job("", number, "loud", f"a{number}"))
    held = [queue.first() for _ in range(4)]
    assert held[3] is None
    queue.add(job("", 11, "calm"))
    calm = queue.first()
    assert calm is not None
    assert calm.stream.namespace == "calm"
    waits = [queue.oldest]
    queue.release(held[0].stream)  # type: ignore[union-attr]
    waits.append(queue.oldest)
    assert [one is None for one in waits] == [True, False]
    low = Worked(100, lambda _: 1, priority=lambda _: Priority.LOW, workers=workers)
    for number in range(3):
        low.add(job("", number, f"n{number}"))
    assert [low.first() is None for _ in range(3)] == [False, False, True]


def test_a_namespace_with_its_share_is_refused_and_others_are_not() -> None:
    queue = Worked(8, lambda _: 1)
    for number in range(4):
        assert not queue.crowded("loud")
        queue.add(job("", number, "loud"))
    assert (queue.crowded("loud"), queue.full) == (True, False)
    for number in range(4):
        queue.add(job("t", number, "loud"))  # its feeds go on
    assert (queue.crowded("calm"), queue.full) == (False, True)
    for number in range(8, 10):
        queue.add(job("", number, "calm"))
    assert [queue.crowded(one) for one in ("loud", "calm", "third")] == [True, True, False]


def test_suspects_run_one_by_one_and_alone() -> None:
    queue = Worked(100, lambda _: 10)
    for number in range(3):
        queue.add(job("a", number), suspect=True)
        queue.add(job("b", number), suspect=True)
        queue.add(job("c", number))
    first, second = queue.first(), queue.first()
    assert first is not None
    assert second is not None
    assert (len(first.entries), first.stream.suspect, second.stream.trigger) == (1, True, "c")
    assert queue.first() is None
    queue.release(first.stream)
    third = queue.first()
    assert third is not None
    assert third.stream.suspect
    queue.release(third.stream)
    assert len(drain(queue)) == 4


def test_what_is_held_takes_nobodys_room_and_spills_the_newest() -> None:
    queue = Worked(40, lambda _: 1)
    queue.add(job("a", 0))
    taken = queue.first()
    assert taken is not None
    queue.hold_back(taken)
    queue.release(taken.stream)
    for number in range(1, 50):
        queue.add(job("a", number))
    assert not queue.full
    assert queue.first() is None
    assert {lane.action for lane in queue.holding} == {ACTION}
    spilt = queue.spill()
    assert [int(one.activation_id, 16) for one in spilt] == list(range(49, 40 // HELD - 1, -1))
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
    queue = Worked(
        8,
        lambda _: 2,
        priority=lambda lane: {"a": Priority.HIGH, "b": Priority.LOW}.get(lane.trigger, Priority.NORMAL),
        workers=Workers(3, 2),
    )
    put: list[int] = []
    got: list[int] = []
    sent: dict[int, tuple[ActivationMessage, Stream]] = {}
    held: list[Taken] = []
    easy: dict[str, Callable[[], None]] = {"unpark": queue.unpark, "free": lambda: queue.free({ACTION})}
    for number, (what, trigger, namespace) in enumerate(course):
        if what in easy:
            easy[what]()
        if what in ("put", "suspect"):
            size = number % 3 * PLACE
            message = job(trigger, number, namespace, size=size)
            queue.add(message, suspect=what == "suspect")
            put.append(number)
            sent[number] = message, stream_of(message, suspect=what == "suspect")
        elif what == "release" and held:
            queue.release(held.pop(0).stream)
        elif what == "spill":
            got += [int(one.activation_id, 16) for one in queue.spill()]
        elif what in ("take", "park", "hold") and (taken := queue.first()) is not None:
            assert not taken.stream.ordered or taken.stream not in [one.stream for one in held]
            if what == "take":
                held.append(taken)
                got += numbers_of(taken)
                continue
            {"park": queue.park_back, "hold": queue.hold_back}[what](taken)
            queue.release(taken.stream)
        assert sum(queue.describe().values()) == len(queue) == len(put) - len(got)
        left = [one for number, one in sent.items() if number not in got]
        waiting = [one for one, stream in left if stream not in queue.holding]
        assert queue.room.taken == places(waiting)
        assert queue.held == len(queue) - len(waiting)
        assert sum(one.stream.suspect for one in held) <= 1
        assert max(Counter(one.stream.namespace for one in held).values(), default=0) <= 3
    queue.unpark()
    queue.free({ACTION})
    for one in held:
        queue.release(one.stream)
    while (last := queue.first()) is not None:
        got += numbers_of(last)
        queue.release(last.stream)
    assert sorted(got) == put
    assert (len(queue), queue.describe(), queue.room.taken) == (0, {}, 0)


def test_large_messages_take_more_room() -> None:
    """Ten thousand events of 1 MiB each would be 10 GB."""
    queue = Worked(1000, lambda _: 1)
    for number in range(3):
        queue.add(job("t", number, size=1 << 20))
        queue.add(job("u", number))
    assert queue.room.of("t") == 3 * ((1 << 20) // PLACE + 1)
    assert queue.room.of("u") == 3
    assert queue.room.taken < 1000
    queue.add(job("t", 4, size=1 << 20))
    assert queue.full
    taken = queue.first()
    assert taken is not None
    queue.hold_back(taken)
    assert (queue.room.of("t"), queue.held) == (0, 4)
    assert [int(one.activation_id, 16) for one in queue.spill()] == [
        4,
        2,
        1,
        0,
    ]  # a quarter of the room may be held: none


def take_all(queue: Worked) -> list[Taken]:
    taken = []
    while (one := queue.first()) is not None:
        taken.append(one)
    return taken


def test_namespaces_that_want_workers_get_even_shares_and_a_new_one_is_never_kept_waiting() -> None:
    queue = Worked(1000, lambda _: 1, workers=Workers(16, 14, 8, 4))
    for number in range(400):
        queue.add(job("", number, f"n{number % 2}", f"a{number % 40}"))
    held = take_all(queue)
    assert Counter(one.stream.namespace for one in held) == {"n0": 8, "n1": 8}
    for number in range(6):
        queue.add(job("", 400 + number, f"new{number}"))
        queue.add(job("", 500 + number, f"new{number}"))
    late = take_all(queue)
    assert sorted(one.stream.namespace for one in late) == ["new0", "new1", "new2", "new3"]  # 4 spare ones
    for one in held:
        queue.release(one.stream)
    held = take_all(queue)
    assert max(Counter(one.stream.namespace for one in held + late).values()) <= 2
    assert {"new4", "new5"} <= {one.stream.namespace for one in held}


def test_a_batch_that_waits_for_another_lends_its_place_but_keeps_its_order() -> None:
    queue = Worked(1000, lambda _: 1, most=lambda lane: 1)
    for lane in ("", "", "t", "t"):
        queue.add(job(lane, 0))
    plain, ordered = queue.first(), queue.first()
    assert plain is not None
    assert ordered is not None
    assert queue.first() is None
    for one in (plain, ordered):
        queue.lend(one.stream)
    second = queue.first()
    assert second is not None
    assert second.stream == Stream(ACTION, "", "", "guest")
    assert queue.first() is None  # what is next of the trigger must not overtake
    queue.release(second.stream)
    for one in (plain, ordered):
        queue.take_back(one.stream)
        queue.release(one.stream)
    assert len(drain(queue)) == 1
    assert (len(queue), queue.describe(), queue.room.taken) == (0, {}, 0)
