"""Dynamic thresholds: a stream that floods leaves room for the others, whatever comes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.base.room import Room, full, roomy, scarce

BOUND = 60


def flood(room: Room, stream: str) -> int:
    """Fill a stream until it must hold back; how much it got."""
    while not (scarce(room.taken, BOUND) and full(room.of(stream), room.taken, BOUND)):
        room.add(stream, 1)
    return room.of(stream)


def test_who_floods_alone_gets_half_and_two_a_third_each_by_and_by() -> None:
    room = Room()
    assert flood(room, "a") == 30
    assert flood(room, "b") == 15
    room.add("a", -10)  # as its events are run
    flood(room, "b")
    assert (room.of("a"), room.of("b")) == (20, 20)
    assert full(room.of("a"), room.taken, BOUND)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=300))
def test_something_is_left_for_who_has_nothing(course: list[tuple[str, bool]]) -> None:
    room, wanted = Room(), Counter[str]()
    for stream, more in course:
        if not more:
            more_or_less = -min(1, room.of(stream))
        else:
            more_or_less = int(not full(room.of(stream), room.taken, BOUND))
        room.add(stream, more_or_less)
        wanted[stream] += more_or_less
        assert {name: room.of(name) for name in wanted} == wanted
        assert room.taken == wanted.total() < BOUND
        assert not full(0, room.taken, BOUND)
        for name in wanted:
            held = full(room.of(name), room.taken, BOUND)
            assert not (held and roomy(room.of(name), room.taken, BOUND))
            assert scarce(room.taken, BOUND) or not held
