"""Readings on their way to a trigger: filters, windows, batches, and that none is lost on the way."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.buffer.shelf import Shelf
from edgewhisk.clock import SystemClock
from edgewhisk.entity.message import TriggerEvent
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import FeedError
from edgewhisk.feed.shaped import ShapedFire
from edgewhisk.feed.shaping import SOURCES, Shape, read
from tests.fakes.fire import RecordingFire

T = parse_name("/guest/t", "_")


def through(wish: dict[str, Any], readings: Sequence[tuple[float, dict[str, Any]]]) -> list[Any]:
    """What is let through of readings at their times, and when all is over."""
    shape = Shape(read(wish))
    found: list[Any] = []
    for now, document in readings:
        found += map(orjson.loads, shape.due(now))
        found += map(orjson.loads, shape.offer(orjson.dumps(document), now))
    return found


def celsius(*values: float, step: float = 1.0) -> list[tuple[float, dict[str, Any]]]:
    return [(at * step, {"c": value, "topic": "a"}) for at, value in enumerate(values)]


def test_a_deadband_lets_through_what_moved() -> None:
    found = through({"deadband": {"c": 0.5}}, celsius(20, 20.3, 20.4, 20.6, 20.2, 20.1, 30))
    assert [one["c"] for one in found] == [20, 20.6, 20.1, 30]


def test_silence_is_broken_after_the_longest_interval() -> None:
    found = through({"deadband": {"c": 5}, "maxInterval": 3}, celsius(20, 20, 20, 21, 21, 21, 22))
    assert [one["c"] for one in found] == [20, 21, 22]


def test_only_changes_by_any_value_but_the_time() -> None:
    readings = [(n, {"door": n > 2, "taken_at": n}) for n in range(5)]
    assert [one["door"] for one in through({"onlyChanges": True}, readings)] == [False, True]


def test_the_last_one_of_an_interval_is_not_lost() -> None:
    found = through(
        {"minInterval": 10},
        [*celsius(1, 2, 3), (11.0, {"c": 4, "topic": "a"}), (22.0, {"c": 5, "topic": "a"})],
    )
    assert [one["c"] for one in found] == [1, 3, 4]


def test_every_nth_of_each_source() -> None:
    readings = [(n, {"topic": name, "n": n}) for n in range(6) for name in "ab"]
    assert [one["n"] for one in through({"every": 3}, readings)] == [0, 0, 3, 3]


def test_windows_and_batches() -> None:
    wish = {"window": {"count": 3, "seconds": 60, "values": ["mean", "min", "max", "last", "count", "sum"]}}
    (found,) = through(wish, celsius(1, 2, 6))
    assert found["c"] == {"mean": 3, "min": 1, "max": 6, "last": 6, "count": 3, "sum": 9}
    assert (found["topic"], found["window"]["count"]) == ("a", 3)
    first, second = through(
        {"window": {"seconds": 10}}, [*celsius(1, 3), *[(t, {"c": 5, "topic": "a"}) for t in (10.5, 21)]]
    )
    assert first["c"] == {"mean": 2, "min": 1, "max": 3}
    assert second["window"]["count"] == 1
    (found,) = through({"batch": {"count": 2}}, celsius(1, 2, 3))
    assert [one["c"] for one in found["readings"]] == [1, 2]


@given(
    st.lists(st.tuples(st.floats(0, 30), st.integers(0, 3), st.integers(-5, 5)), max_size=40),
    st.integers(1, 5),
    st.floats(0.01, 40),
)
def test_a_batch_loses_nothing_and_keeps_order(
    steps: list[tuple[float, int, int]], count: int, seconds: float
) -> None:
    shape, now, sent = (
        Shape(read({"batch": {"count": count, "seconds": seconds}})),
        0.0,
        dict[str, list[int]](),
    )
    found: dict[str, list[int]] = {}

    def take(events: Sequence[bytes]) -> None:
        for event in events:
            readings = orjson.loads(event)["readings"]
            assert len(readings) <= count
            for one in readings:
                found.setdefault(one["topic"], []).append(one["n"])

    for number, (pause, source, _) in enumerate(steps):
        now += pause
        take(shape.due(now))
        take(shape.offer(orjson.dumps({"topic": str(source), "n": number}), now, f"t{number}"))
        sent.setdefault(str(source), []).append(number)
    take(shape.due(now, everything=True))
    assert found == sent
    assert shape.holding == 0
    assert sorted(shape.released) == sorted(f"t{number}" for number in range(len(steps)))


def test_sources_are_bounded() -> None:
    shape = Shape(read({"onlyChanges": True}))
    for number in range(SOURCES + 10):
        shape.offer(b'{"topic":"%d"}' % number, 0.0)
    assert len(shape._sources) == SOURCES


@pytest.mark.parametrize(
    ("wish", "problem"),
    [
        (5, "shape must be an object"),
        ({"deadband": {"c": 0}}, "shape.deadband.c must be a number above 0"),
        ({"deadband": 5}, "shape.deadband must be a table"),
        ({"window": {}, "batch": {}}, "exclude each other"),
        ({"window": {"values": ["median"]}}, "must be some of mean"),
        ({"window": {"seconds": 0}}, "shape.window.seconds must be a number from"),
        ({"batch": {"count": 0}}, "shape.batch.count must be a whole number"),
        ({"every": 0}, "shape.every"),
        ({"minInterval": "x"}, "shape.minInterval"),
        ({"by": "topic"}, "shape.by must be a list"),
        ({"smooth": 1}, "shape.smooth is not a key here"),
    ],
)
def test_wrong_wishes_are_named(wish: object, problem: str) -> None:
    with pytest.raises(FeedError, match=re.escape(problem)):
        read(wish)


def event(n: int, *, durable: bool = True) -> TriggerEvent:
    return TriggerEvent(T, b'{"topic":"a","n":%d}' % n, 5, durable)


def test_what_is_held_for_a_source_that_waits_is_on_disk_and_taken_up_again(tmp_path: Path) -> None:
    async def scene() -> None:
        shelf, fire = Shelf.open(tmp_path), RecordingFire()
        shaped = ShapedFire(fire, SystemClock(), shelf)
        shaped.shape(T, {"batch": {"count": 4, "seconds": 3600}})
        await asyncio.wait_for(shaped([event(1), event(2, durable=False), event(3)]), 5)
        assert fire.events == []
        assert shaped.describe(T) == {"offered": 3, "let_through": 0, "held": 3}
        await shelf.close()  # and the memory is gone

        shelf = Shelf.open(tmp_path)
        shaped = ShapedFire(fire, SystemClock(), shelf)
        shaped.shape(T, {"batch": {"count": 3, "seconds": 3600}})
        await asyncio.wait_for(shaped([event(4)]), 5)
        assert [one["n"] for one in orjson.loads(fire.payloads[0])["readings"]] == [1, 3, 4]
        assert fire.events[0].durable
        await shaped([event(5)])
        shaped.shape(T, None)  # no more: what is held is fired
        assert [one["n"] for one in orjson.loads(fire.payloads[1])["readings"]] == [5]
        async with asyncio.timeout(5):
            while shelf.read("held"):  # noqa: ASYNC110 - the shelf's own thread
                await asyncio.sleep(0.01)
        await shaped([event(6)])
        assert fire.payloads[2] == event(6).payload
        await shelf.close()

    asyncio.run(scene())


def test_what_is_due_is_fired_without_another_reading(tmp_path: Path) -> None:
    async def scene() -> None:
        shelf, fire = Shelf.open(tmp_path), RecordingFire()
        shaped = ShapedFire(fire, SystemClock(), shelf)
        shaped.shape(T, {"window": {"seconds": 0.05, "values": ["sum"]}})
        await shaped([event(1), event(2)])
        await fire.count(1)
        assert orjson.loads(fire.payloads[0])["n"] == {"sum": 3}
        await shelf.close()

    asyncio.run(scene())
