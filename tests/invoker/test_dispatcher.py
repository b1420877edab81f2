"""What runs on the event loop: in order, on disk before it is acknowledged, and never for long."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import BufferConfig
from edgewhisk.entity.action import Action
from edgewhisk.entity.invocation.message import ActivationMessage
from edgewhisk.entity.limits import Limits
from edgewhisk.invoker.batch import PLACE
from edgewhisk.invoker.record.durability import MAX_UNPERSISTED
from edgewhisk.spi import Committed
from edgewhisk.store.activations.activations import ActivationLog
from tests.fakes.clock import HandClock, SteadyClock
from tests.fakes.sandbox import FakeSandbox
from tests.stages import TRIGGER, Native, Stages, event, stages, until

SLOW_AT_TIMES = """function main(p) {
    if (p.slow) { const begun = Date.now(); while (Date.now() - begun < 40); }
    return {n: p.n};
}"""


def play(
    folder: Path, course: Callable[[Stages], Awaitable[None]], native: Native | None = None, **more: Any
) -> None:
    async def run() -> None:
        async with stages(folder, native, **more) as made:
            await course(made)

    asyncio.run(run())


def play_steadily(
    folder: Path, course: Callable[[Stages], Awaitable[None]], native: Native | None = None, **more: Any
) -> None:
    """Without a sandbox, and as if runs took no time."""
    clock = SteadyClock()
    play(folder, course, native, clock=clock, sandbox=FakeSandbox(clock), **more)


async def warm(made: Stages, count: int = 60) -> None:
    """Show that the action is brief, one event after the other."""
    for number in range(count):
        await made.controller([event(number, durable=False)])
        assert await made.invoker.drain(20)


def test_brief_actions_run_on_the_loop_and_are_on_disk_when_that_is_told(tmp_path: Path) -> None:
    async def course(made: Stages) -> None:
        await made.make()
        await warm(made)
        begun = made.store.stats().commits
        await made.controller([event(number) for number in range(60, 90)])
        copy = tmp_path / "copy"  # what a power cut would leave now
        shutil.copytree(tmp_path / "buffer", copy)
        left = ActivationLog.open(copy, BufferConfig(min_free_bytes=0), SystemClock())
        assert left.unfinished() == []  # event and record went in one write: there is nothing to run again
        assert left.origins()[-30:] == [f"mqtt:{number}:x" for number in range(60, 90)]
        left.close()
        assert made.store.stats().commits - begun <= 2
        assert made.invoker.describe()["queued"] == 0
        assert made.numbers() == list(range(90))

    play(tmp_path, course)


def test_order_holds_when_an_action_turns_slow(tmp_path: Path) -> None:
    async def course(made: Stages) -> None:
        await made.make(SLOW_AT_TIMES)
        await warm(made)
        accepted = []
        for number in range(60, 400):
            slow = b',"slow":true' if number % 100 == 50 else b""
            one = event(number)._replace(payload=b'{"n":%d%b}' % (number, slow))
            accepted.append(made.controller([one, event(1000 + number, durable=False)]))
            if number % 7 == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*accepted)
        await until(lambda: len(made.recorded()) == 60 + 2 * 340)
        wanted = [n for number in range(60, 400) for n in (number, 1000 + number)]
        assert made.numbers() == [*range(60), *wanted]

    play(tmp_path, course)


def test_the_last_part_of_a_sequence_is_waited_for_without_a_thread(tmp_path: Path) -> None:
    got: list[int] = []

    async def act(given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        got.extend(one["n"] for one in given)
        await asyncio.sleep(0)
        return [{"n": one["n"]} for one in given]

    async def course(made: Stages) -> None:
        await made.make("function main(p) { return p }", "/_/a", "/whisk.system/test/act")
        await warm(made)
        await asyncio.gather(*(made.controller([event(number)]) for number in range(60, 360)))
        await until(lambda: len(made.recorded("s")) == 360)
        assert got == made.numbers("s") == made.numbers("test/act") == made.numbers("a") == list(range(360))
        parts = {record["activationId"] for name in ("a", "test/act") for record in made.recorded(name)}
        assert all(set(record["logs"]) <= parts for record in made.recorded("s"))
        assert made.invoker.describe()["workers"] == 1  # for the first run

    play_steadily(tmp_path, course, act)


def test_events_are_journalled_while_their_last_part_takes_its_time(tmp_path: Path) -> None:
    go, stuck = asyncio.Event(), asyncio.Event()

    async def act(given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        if any(one["n"] >= 60 for one in given):
            stuck.set()
            await go.wait()
        return [{"n": one["n"]} for one in given]

    async def course(made: Stages) -> None:
        await made.make("function main(p) { return p }", "/_/a", "/whisk.system/test/act")
        await warm(made)
        await until(lambda: len(made.recorded("s")) == 60)
        async with asyncio.timeout(10):
            await made.controller([event(60)])  # told, although it has not ended
        assert stuck.is_set()
        assert len(made.recorded("s")) == 60
        assert [message.origin for message in unfinished(tmp_path)] == ["mqtt:60:x"]
        go.set()
        await until(lambda: len(made.recorded("s")) == 61)
        assert unfinished(tmp_path) == []

    play(tmp_path, course, act)


def test_what_must_not_be_begun_twice_is_journalled_first_however_brief(tmp_path: Path) -> None:
    async def course(made: Stages) -> None:
        await made.make()
        await warm(made)
        await made.annotate(**{"edge-delivery": "at-most-once"})
        marked: list[str] = []
        begin = made.store.begin

        def watched(activation_ids: Sequence[str], done: Committed) -> None:
            marked.extend(activation_ids)
            begin(activation_ids, done)

        made.store.begin = watched  # type: ignore[method-assign]
        for number in range(60):
            await made.controller([event(number)])
        await asyncio.gather(*(made.controller([event(number)]) for number in range(60, 160)))
        await until(lambda: len(made.recorded()) == 220)
        assert made.numbers() == [*range(60), *range(160)]
        assert [one["activationId"] for one in made.recorded()[60:]] == marked

    play(tmp_path, course)


def unfinished(folder: Path) -> list[Any]:
    """What would be run again after a power cut now."""
    copy = folder / "cut"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / "buffer", copy)
    left = ActivationLog.open(copy, BufferConfig(min_free_bytes=0), SystemClock())
    found = left.unfinished()
    left.close()
    return list(found)


def test_a_fault_in_the_last_part_is_recorded(tmp_path: Path) -> None:
    async def act(given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        if any(one["n"] >= 60 for one in given):
            raise RuntimeError("a fault of ours")
        return [{"n": one["n"]} for one in given]

    async def course(made: Stages) -> None:
        await made.make("function main(p) { return p }", "/_/a", "/whisk.system/test/act")
        await warm(made)
        await made.controller([event(60)])
        await until(lambda: len(made.recorded("s")) == 61)
        assert made.recorded("s")[-1]["response"]["status"] == "whisk internal error"

    play(tmp_path, course, act)


def test_what_waits_on_the_loop_is_run_before_the_gateway_stops(tmp_path: Path) -> None:
    async def course(made: Stages) -> None:
        await made.make()
        await warm(made)
        made.controller([event(number, durable=False) for number in range(60, 4000)])
        assert await made.invoker.drain(20)
        await until(lambda: len(made.recorded()) == 4000)  # those of workers are on their way to the disk
        assert made.numbers() == list(range(4000))

    play(tmp_path, course)


def test_a_fault_before_the_last_part_begins_is_recorded(tmp_path: Path) -> None:
    async def act(given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [{"n": one["n"]} for one in given]

    def broken(*_: object) -> Any:
        raise RuntimeError("a fault of ours")

    async def course(made: Stages) -> None:
        await made.make("function main(p) { return p }", "/_/a", "/whisk.system/test/act")
        await warm(made)
        made.native = broken
        await made.controller([event(60)])
        await until(lambda: len(made.recorded("s")) == 61)
        assert made.recorded("s")[-1]["response"]["status"] == "whisk internal error"

    play(tmp_path, course, act)


def test_readings_that_come_one_by_one_are_written_down_together(tmp_path: Path) -> None:
    async def course(made: Stages) -> None:
        await made.make()
        await warm(made)
        begun = made.store.stats().commits
        accepted = []
        for number in range(60, 66):
            accepted.append(made.controller([event(number)]))
            await asyncio.sleep(0.002)  # another time of start for each
        assert made.store.stats().commits == begun
        await asyncio.gather(*accepted)
        assert made.store.stats().commits == begun + 1
        assert made.numbers() == list(range(66))
        starts = [record["start"] for record in made.recorded()[60:]]
        assert starts == sorted(starts)
        assert len(set(starts)) > 1

    play_steadily(tmp_path, course, window=1)


def test_no_broker_stands_still_until_the_window_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends some messages ahead, 20 as a rule, and waits."""
    half = 10
    monkeypatch.setattr("edgewhisk.invoker.record.recorder.SOON", 0.0001)

    async def course(made: Stages) -> None:
        await made.make()
        await warm(made)
        accepted = [made.controller([event(number)]) for number in range(60, 60 + half - 1)]
        assert made.store.stats().records == 60  # nine wait for company
        accepted.append(made.controller([event(60 + half - 1)]))
        async with asyncio.timeout(20):
            await asyncio.gather(*accepted)
        assert made.numbers() == list(range(60 + half))

    play_steadily(tmp_path, course, window=600)


def test_what_prints_and_what_does_not_keep_their_order(tmp_path: Path) -> None:
    async def course(made: Stages) -> None:
        await made.make("function main(p) { if (p.n % 5 == 3) console.log('it is', p.n); return {n: p.n} }")
        await warm(made)
        await asyncio.gather(*(made.controller([event(number)]) for number in range(60, 200)))
        await until(lambda: len(made.recorded()) == 200)
        assert made.numbers() == list(range(200))
        for record in made.recorded():
            n = record["response"]["result"]["n"]
            assert [line[-len(f"it is {n}") :] for line in record["logs"]] == (
                [f"it is {n}"] if n % 5 == 3 else []
            )

    play(tmp_path, course)


def test_waiting_records_are_written_when_the_gateway_stops(tmp_path: Path) -> None:
    async def course(made: Stages) -> None:
        await made.make()
        await warm(made)
        made.controller([event(60, durable=False)])
        assert await made.invoker.drain(20)
        assert made.numbers() == list(range(61))

    play(tmp_path, course, window=60)  # seconds that they would wait for company


def test_large_results_are_written_one_by_one(tmp_path: Path) -> None:
    async def course(made: Stages) -> None:
        await made.make("function main(p) { return {n: p.n, text: 'x'.repeat(p.size || 0)} }")
        await warm(made)
        payloads = [b'{"n":%d,"size":300000}' % number for number in range(60, 63)]
        async with asyncio.timeout(20):
            await asyncio.gather(*(made.controller([event(0)._replace(payload=one)]) for one in payloads))
        await until(lambda: made.numbers() == list(range(63)))
        assert [len(record["response"]["result"]["text"]) for record in made.recorded()[60:]] == [300_000] * 3

    play(tmp_path, course, window=60)


def test_what_workers_take_over_is_written_behind_what_has_landed(tmp_path: Path) -> None:
    async def course(made: Stages) -> None:
        await made.make(SLOW_AT_TIMES)
        await warm(made)
        made.controller([event(60, durable=False)])
        made.controller([event(61, durable=False)._replace(payload=b'{"n":61,"slow":true}')])
        assert await made.invoker.drain(20)
        assert made.numbers() == list(range(62))

    play(tmp_path, course, window=60)


def test_what_is_under_way_on_the_loop_takes_room_by_its_size(tmp_path: Path) -> None:
    reached, go = asyncio.Event(), asyncio.Event()

    async def act(given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        if given[0]["n"] == 60:
            reached.set()
            await go.wait()
        return [{"n": one["n"]} for one in given]

    async def course(made: Stages) -> None:
        await made.make("function main(p) { return {n: p.n} }", "/_/a", "/whisk.system/test/act")
        await warm(made)
        large = made.controller([event(60)._replace(payload=b'{"n":60,"x":"%b"}' % (b"x" * PLACE * 99))])
        await reached.wait()
        assert made.controller.full([TRIGGER])  # 100 places
        go.set()
        await large
        await until(lambda: len(made.recorded("s")) == 61)
        await until(lambda: not made.controller.full([TRIGGER]))

    play_steadily(tmp_path, course, act, limits=Limits(max_queue=200))


def test_workers_get_nothing_past_what_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewhisk.invoker.execution.natives.JOURNAL_AFTER", 60)
    reached, go = asyncio.Event(), asyncio.Event()

    async def act(given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        if given[0]["n"] == 60:
            reached.set()
            await go.wait()
        return [{"n": one["n"]} for one in given]

    async def course(made: Stages) -> None:
        await made.make("function main(p) { return p }", "/_/a", "/whisk.system/test/act")
        await warm(made)
        first = made.controller([event(60)])
        await reached.wait()
        await made.bind(x=1)  # workers run it first
        second = made.controller([event(61)])
        assert made.invoker.describe()["queued"] == 1
        assert unfinished(tmp_path) == []  # nor is it journalled, which would be before the first
        go.set()
        await asyncio.gather(first, second)
        await until(lambda: len(made.recorded("s")) == 62)
        assert made.numbers("s") == made.numbers("test/act") == made.numbers("a") == list(range(62))

    play_steadily(tmp_path, course, act)


def test_what_goes_to_workers_at_once_is_written_behind_what_has_ended(tmp_path: Path) -> None:
    async def course(made: Stages) -> None:
        await made.make()
        await warm(made)
        made.controller([event(60, durable=False)])
        await made.bind(x=1)  # workers run it first
        made.controller([event(61)])
        assert await made.invoker.drain(20)
        assert made.numbers() == list(range(62))

    play_steadily(tmp_path, course, window=60)


def test_no_more_than_some_results_leave_before_their_source_is_told(tmp_path: Path) -> None:
    async def course(made: Stages) -> None:
        await made.make()
        await warm(made, 300)
        run = told = ahead = 0

        def watched(_action: Action, payload: bytes) -> bytes:
            nonlocal run, ahead
            run += 1
            ahead = max(ahead, run - told)
            return payload

        def tell(_: object) -> None:
            nonlocal told
            told += 1

        assert isinstance(made.sandbox, FakeSandbox)
        made.sandbox.behave = watched
        accepted = [made.controller([event(number)]) for number in range(300, 2300)]
        for one in accepted:
            one.add_done_callback(tell)
        await asyncio.gather(*accepted)
        assert run == told == 2000
        assert ahead == MAX_UNPERSISTED
        await until(lambda: made.numbers() == list(range(2300)))

    play_steadily(tmp_path, course)


def test_where_many_events_wait_for_the_disk_it_is_asked_at_once(tmp_path: Path) -> None:
    async def course(made: Stages) -> None:
        await made.make(
            "function main(p) { const begun = Date.now(); while (Date.now() - begun < 4); return p }"
        )
        asked: list[bool] = []
        accept = made.store.accept

        def watched(messages: Sequence[ActivationMessage], done: Committed, *, urgent: bool) -> None:
            asked.append(urgent)
            accept(messages, done, urgent=urgent)

        made.store.accept = watched  # type: ignore[method-assign]
        await asyncio.gather(*(made.controller([event(number)]) for number in range(MAX_UNPERSISTED + 5)))
        assert asked == [False] * (MAX_UNPERSISTED - 1) + [True] * 6
        await made.controller([event(MAX_UNPERSISTED + 5)])
        assert not asked[-1]
        await until(lambda: made.numbers() == list(range(MAX_UNPERSISTED + 6)))

    play(tmp_path, course)


def test_a_clock_that_is_set_back_while_records_wait_keeps_nobody_waiting(tmp_path: Path) -> None:
    async def course(made: Stages) -> None:
        assert isinstance(made.clock, HandClock)
        await made.make()
        await warm(made)
        first = made.controller([event(60)])
        made.clock.set("1999-01-01T00:00:00")
        made.clock.look()
        async with asyncio.timeout(10):
            await asyncio.gather(first, made.controller([event(61)]))

    clock = HandClock()
    play(tmp_path, course, clock=clock, sandbox=FakeSandbox(clock), window=0.2)
