"""Readings on their way to a trigger: filters, windows, batches, and that none is lost on the way."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgewhisk.clock.system import SystemClock
from edgewhisk.entity.invocation.message import TriggerEvent
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import FeedError, StorageError
from edgewhisk.feed.shaping import spec
from edgewhisk.feed.shaping.shaping_stage import BACKLOG, ShapingStage
from edgewhisk.feed.shaping.spec import SOURCES, Shape, read
from edgewhisk.store.documents.document_store import LogDocumentStore
from tests.fakes.clock import HandClock
from tests.fakes.disk import FaultyDisk
from tests.fakes.fire import RecordingFire

T, OTHER = (parse_name(f"/guest/{name}", "_") for name in ("t", "other"))


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
    assert (shape.holding, shape.bytes) == (0, 0)
    assert shape.moved() == ([], [])  # nothing was held that is not let through


@pytest.mark.parametrize("wish", [{"onlyChanges": True}, {"batch": {"count": 3}}, {"minInterval": 60}])
def test_sources_are_bounded_and_none_of_their_readings_is_lost(wish: dict[str, Any]) -> None:
    shape, found = Shape(read(wish)), list[bytes]()
    for number in range(SOURCES + 10):
        for second in (0, 1):
            found += shape.offer(b'{"topic":"%d","n":%d}' % (number, second), 0.0)
    assert len(shape._sources) == SOURCES
    found += shape.due(0.0, everything=True)
    assert b"".join(found).count(b'"n":') == 2 * (SOURCES + 10)
    assert (shape.holding, shape.bytes) == (0, 0)


def test_what_is_held_is_bounded_by_number_and_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "HELD", 100)
    monkeypatch.setattr(spec, "ROOM", 10_000)
    for size in (1, 900):
        shape, found = Shape(read({"batch": {"seconds": 3600}})), list[bytes]()
        for number in range(500):
            reading = {"topic": str(number % 7), "n": number, "pad": "x" * size}
            found += shape.offer(orjson.dumps(reading), 0.0, f"t{number}")
            assert shape.holding <= 100
            assert shape.bytes <= 10_000
        found += shape.due(0.0, everything=True)
        seen: dict[str, list[int]] = {}
        for event in found:
            for one in orjson.loads(event)["readings"]:
                seen.setdefault(one["topic"], []).append(one["n"])
        assert seen == {str(topic): list(range(topic, 500, 7)) for topic in range(7)}


def test_a_reading_that_a_newer_one_replaces_is_held_no_more() -> None:
    shape = Shape(read({"minInterval": 10}))
    assert shape.offer(b'{"n":0}', 0.0, "t0") == [b'{"n":0}']
    assert shape.moved() == ([], [])
    for number in range(1, 50):
        shape.offer(b'{"n":%d}' % number, 1.0, f"t{number}")
        assert shape.holding == 1
        assert shape.moved() == ([f"t{number}"], [f"t{number - 1}"] if number > 1 else [])
    assert shape.due(10.0) == [b'{"n":49}']
    assert shape.moved() == ([], ["t49"])


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
        ({"smooth": 1}, "shape.smooth is not a key; known: "),
        ({"minIntervall": 1}, "shape.minIntervall is not a key; did you mean 'minInterval'?"),
    ],
)
def test_wrong_wishes_are_named(wish: object, problem: str) -> None:
    with pytest.raises(FeedError, match=re.escape(problem)):
        read(wish)


def event(n: int, *, durable: bool = True) -> TriggerEvent:
    return TriggerEvent(T, b'{"topic":"a","n":%d}' % n, 5, durable, f"mqtt:{n}")


def test_what_is_held_for_a_source_that_waits_is_on_disk_and_taken_up_again(tmp_path: Path) -> None:
    async def scene() -> None:
        shelf, fire = LogDocumentStore.open(tmp_path), RecordingFire()
        shaped = ShapingStage(fire, SystemClock(), shelf)
        shaped.shape(T, {"batch": {"count": 4, "seconds": 3600}})
        await asyncio.wait_for(shaped([event(1), event(2, durable=False), event(3)]), 5)
        assert fire.events == []
        assert shaped.describe(T) == {"offered": 3, "let_through": 0, "held": 3}
        await shelf.close()  # and the memory is gone

        shelf = LogDocumentStore.open(tmp_path)
        shaped = ShapingStage(fire, SystemClock(), shelf)
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


@pytest.mark.parametrize("filter_", [{"every": 3}, {"onlyChanges": True}, {"deadband": {"n": 1}}])
def test_what_was_let_through_once_is_not_filtered_again_after_a_crash(
    tmp_path: Path, filter_: dict[str, Any]
) -> None:
    async def scene() -> None:
        wish = {**filter_, "batch": {"count": 100, "seconds": 3600}}
        shelf, fire = LogDocumentStore.open(tmp_path), RecordingFire()
        shaped = ShapingStage(fire, SystemClock(), shelf)
        shaped.shape(T, wish)
        for number in range(9):
            await asyncio.wait_for(shaped([event(number)]), 5)
        held = shaped.describe(T)["held"]
        assert held >= 3
        await shelf.close()
        shelf = LogDocumentStore.open(tmp_path)
        shaped = ShapingStage(fire, SystemClock(), shelf)
        assert len(shaped.origins()) == held
        shaped.shape(T, wish)
        assert shaped.describe(T)["held"] == held
        shaped.shape(T, None)
        assert len(orjson.loads(fire.payloads[0])["readings"]) == held
        await shelf.close()

    asyncio.run(scene())


def test_a_slow_shelf_holds_sources_back(tmp_path: Path) -> None:
    async def scene() -> None:
        disk, fire, resumed = FaultyDisk(), RecordingFire(), list[int]()
        shelf = LogDocumentStore.open(tmp_path, disk)
        disk.hold()
        shaped = ShapingStage(fire, SystemClock(), shelf)
        shaped.shape(T, {"batch": {"seconds": 3600}})
        sent = [shaped([event(number)]) for number in range(BACKLOG)]
        assert shaped.full([T])
        assert not shaped.full([OTHER])  # only triggers that are shaped wait for the shelf
        shaped.on_room(lambda: resumed.append(1), [T])
        disk.go.set()
        await asyncio.wait_for(asyncio.gather(*sent), 20)
        assert resumed == [1]
        assert not shaped.full([T])
        await shelf.close()

    asyncio.run(scene())


STEP = st.one_of(
    st.tuples(st.just("reading"), st.integers(0, 2)),
    st.tuples(st.just("time"), st.integers(1, 8)),
    st.tuples(st.sampled_from(["crash", "full", "free"]), st.just(0)),
)


BATCHES = st.sampled_from([{"count": 3, "seconds": 5}, {"count": 1}, {"seconds": 4}])


TWICE = [("reading", 1), ("reading", 1), ("full", 0), ("reading", 1), ("crash", 0)]


@settings(max_examples=80, deadline=None)
@given(st.lists(STEP, max_size=30), BATCHES)
@example(TWICE, {"count": 3, "seconds": 5})  # what was held completes a batch when it is taken up again
def test_no_reading_that_was_acknowledged_is_lost_or_overtakes_another(
    steps: list[tuple[str, int]], batch: dict[str, Any]
) -> None:
    async def play(folder: Path) -> None:
        source = Source(folder, {"batch": batch})
        for number, step in enumerate([*steps, ("free", 0)]):
            await source.step(number, *step)
        assert await source.end() == source.acknowledged

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder)))


class Source:
    """Sends each reading until it is acknowledged, as a broker does at QoS 1, over crashes and full disks."""

    def __init__(self, folder: Path, wish: dict[str, Any]) -> None:
        self.folder, self.spec = folder, wish
        self.card, self.clock = RecordingFire(), HandClock()
        self.acknowledged: dict[str, list[int]] = {}
        self.open()

    def open(self) -> None:
        self.shelf = LogDocumentStore.open(self.folder)
        self.shaped = ShapingStage(self.card, self.clock, self.shelf)
        self.shaped.shape(T, self.spec)

    async def step(self, number: int, what: str, how: int) -> None:
        if what == "reading":
            await self.send(str(how), number)
        elif what == "time":
            self.clock.pass_(how)
            self.shaped._look(T, self.shaped._shapes[T])
        elif what == "crash":
            await self.shelf.close()
            self.open()
        else:
            self.card.refuse(on=what == "full")
        await asyncio.sleep(0)

    async def send(self, topic: str, number: int) -> None:
        text = orjson.dumps({"topic": topic, "n": number})
        for _ in range(2):  # and once more if it was refused
            try:
                await self.shaped([TriggerEvent(T, text, 5, True, f"o{number}")])
            except StorageError:
                continue
            self.acknowledged.setdefault(topic, []).append(number)
            return

    async def end(self) -> dict[str, list[int]]:
        """Let everything through; what came of the acknowledged readings, each where it came first."""
        self.shaped.shape(T, None)
        self.shaped._again()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await self.shelf.close()
        assert LogDocumentStore.open(self.folder).read("held") == {}
        found: dict[str, list[int]] = {}
        for payload in self.card.payloads:
            for one in orjson.loads(payload)["readings"]:
                if one["n"] in self.acknowledged.get(one["topic"], ()):
                    found.setdefault(one["topic"], []).append(one["n"])
        return {topic: list(dict.fromkeys(numbers)) for topic, numbers in found.items()}


def test_what_is_due_is_fired_without_another_reading(tmp_path: Path) -> None:
    async def scene() -> None:
        shelf, fire = LogDocumentStore.open(tmp_path), RecordingFire()
        shaped = ShapingStage(fire, SystemClock(), shelf)
        shaped.shape(T, {"window": {"seconds": 0.05, "values": ["sum"]}})
        await shaped([event(1), event(2)])
        await fire.count(1)
        assert orjson.loads(fire.payloads[0])["n"] == {"sum": 3}
        await shelf.close()

    asyncio.run(scene())
