"""Every event that was accepted ends in one record, whatever fails; who floods holds back only itself."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edgewhisk.entity.activation import Record
from edgewhisk.entity.invocation.message import ActivationMessage
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import NotFound
from edgewhisk.sandbox.pool import Sandboxes
from tests.stages import GUEST, TRIGGER, Stages, event, stages, until

OTHER = parse_name("/guest/other", "_")
Course = Callable[[Stages], Awaitable[None]]
Break = Callable[[pytest.MonkeyPatch, Stages, Callable[..., Any]], None]


def play(folder: Path, course: Course, limits: Limits | None = None) -> None:
    async def run() -> None:
        async with stages(folder, limits=limits or Limits()) as made:
            await course(made)

    asyncio.run(run())


ECHO = "function main(p) { return p }"


def run_once(made: Stages, name: str) -> asyncio.Future[Record]:
    """A call that somebody waits for."""
    own, action = made.clock.activation_ids(1)[0], parse_name(f"/guest/{name}", "_")
    return made.invoker.run(ActivationMessage(own, action, "guest", "guest", b"{}", 1))


async def warm(made: Stages, count: int = 60) -> None:
    for number in range(count):
        await made.controller([event(number)])
    await until(lambda: len(made.recorded()) == count)


def of_key(patch: pytest.MonkeyPatch, made: Stages, failing: Callable[..., Any]) -> None:
    patch.setattr(made, "key_of", failing)


def of_slots(patch: pytest.MonkeyPatch, made: Stages, failing: Callable[..., Any]) -> None:
    patch.setattr("edgewhisk.sandbox.guest.guests.Guests._take", failing)


def of_parts(patch: pytest.MonkeyPatch, made: Stages, failing: Callable[..., Any]) -> None:
    patch.setattr("edgewhisk.invoker.composition.Composition.actions", failing)
    patch.setattr("edgewhisk.invoker.plan.Plans.of", failing)


def of_flights(patch: pytest.MonkeyPatch, made: Stages, failing: Callable[..., Any]) -> None:
    patch.setattr("edgewhisk.invoker.plan.StepBatch", failing)


@pytest.mark.parametrize("fault", [of_key, of_slots, of_parts, of_flights])
def test_what_fails_on_the_loop_is_tried_once_more_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Break
) -> None:
    tries: list[str] = []

    def failing(*_: object, **__: object) -> Any:
        tries.append(threading.current_thread().name)
        raise NotFound("the subject is gone")

    async def course(made: Stages) -> None:
        await made.make()
        await made.annotate(**{"provide-api-key": True})
        await warm(made)
        with monkeypatch.context() as patch:
            fault(patch, made, failing)
            async with asyncio.timeout(20):
                await made.controller([event(60)])
            await until(lambda: len(made.recorded()) == 61)
        assert made.recorded()[-1]["response"]["status"] == "whisk internal error"
        assert len(tries) <= 4  # the loop, to find out whose it is, and a worker
        await made.controller([event(61)])
        await until(lambda: len(made.recorded()) == 62)
        assert made.recorded()[-1]["response"]["result"] == {"n": 61}
        assert made.invoker.describe()["queued"] == 0

    play(tmp_path, course)


def test_what_failed_on_the_loop_is_told_and_not_tried_there_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[str] = []

    def failing(_: str) -> str:
        tries.append(threading.current_thread().name)
        raise NotFound("the subject is gone")

    async def course(made: Stages) -> None:
        await made.make()
        await made.unannotate("provide-api-key")  # a missing one gives the key, too
        await warm(made)
        before = made.invoker.describe()
        assert before["inline"] > 0
        monkeypatch.setattr(made, "key_of", failing)
        for number in range(60, 70):
            await made.controller([event(number)])
        await until(lambda: len(made.recorded()) == 70)
        after = made.invoker.describe()
        assert tries.count("MainThread") == after["fell_back_failed"] - before["fell_back_failed"] == 1
        assert after["inline"] == before["inline"]
        assert after["workers_ran"] - before["workers_ran"] == 10
        assert "failed on the event loop" in caplog.text

    play(tmp_path, course)


@pytest.mark.parametrize("seed", range(4))
def test_each_event_has_one_record_however_often_the_sandbox_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = Random(seed)

    async def course(made: Stages) -> None:
        await made.make()
        await warm(made)
        run = made.sandbox.run

        def flaky(*given: Any, **more: Any) -> Any:
            if chance.random() < 0.3:
                raise RuntimeError("a fault of ours")
            return run(*given, **more)

        monkeypatch.setattr(made.sandbox, "run", flaky)
        sent = []
        for number in range(60, 360):
            sent.append(made.controller([event(number, durable=number % 3 > 0)]))
            if number % 5 == 0:
                await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await asyncio.gather(*sent)
        await until(lambda: len(made.recorded()) >= 360)
        assert await made.invoker.drain(20)
        records = made.recorded()
        assert len(records) == len({one["activationId"] for one in records}) == 360
        good = [one["response"]["result"]["n"] for one in records if one["response"]["success"]]
        assert good == sorted(good)

    play(tmp_path, course)


@pytest.mark.parametrize(
    "breaking",
    ["record.records.Records.of", "record.records.Records.block", "record.templates.BatchTemplates.of"],
)
def test_what_cannot_be_written_down_is_recorded_as_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, breaking: str
) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("a fault of ours")

    async def course(made: Stages) -> None:
        await made.make("function main(p) { if (p.n % 2) console.log(p.n); return p }")
        await warm(made)
        monkeypatch.setattr(f"edgewhisk.invoker.{breaking}", broken)
        async with asyncio.timeout(20):
            await asyncio.gather(*(made.controller([event(number)]) for number in range(60, 70)))
        await until(lambda: len(made.recorded()) == 70)
        assert await made.invoker.drain(20)

    play(tmp_path, course)


@pytest.fixture
def hasty_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_switches")
def test_the_queue_may_be_looked_at_while_workers_are_at_it(tmp_path: Path) -> None:
    async def course(made: Stages) -> None:
        await made.make()
        await made.annotate(**{"edge-delivery": "at-most-once"})  # so that workers run it
        action = parse_name("/guest/a", "_")
        for _ in range(60):
            ids = made.clock.activation_ids(100)
            messages = [
                ActivationMessage(own, action, f"n{at % 20}", "guest", b"{}", 1, f"/n/t{at}", durable=False)
                for at, own in enumerate(ids)
            ]
            made.invoker.submit(messages, urgent=True)
            while made.invoker.describe()["queued"]:
                made.invoker.full([TRIGGER, OTHER])
                made.invoker.crowded("guest")
                await asyncio.sleep(0)
        assert await made.invoker.drain(20)

    play(tmp_path, course)


def test_a_run_that_is_watched_is_told_once_and_one_that_never_ends_after_its_time(tmp_path: Path) -> None:
    async def course(made: Stages) -> None:
        await made.make(ECHO)
        told: list[str] = []
        name = parse_name("/guest/a", "_")
        one = ActivationMessage("1" * 32, name, "guest", "guest", b"{}", 1, durable=True)
        made.invoker.watch(one.activation_id, lambda: told.append("ran"), 60)
        made.invoker.watch("2" * 32, lambda: told.append("late"), 0.01)
        await made.invoker.submit([one], urgent=True)
        await until(lambda: len(told) == 2)
        await made.invoker.submit([one._replace(activation_id="3" * 32)], urgent=True)
        await until(lambda: len(made.recorded()) == 2)
        assert sorted(told) == ["late", "ran"]

    play(tmp_path, course)


SLEEPY = "async function main(p) { await new Promise(r => setTimeout(r, 20)); return {n: p.n} }"


def test_who_floods_is_held_back_and_nobody_else(tmp_path: Path) -> None:
    async def course(made: Stages) -> None:
        await made.make(SLEEPY)
        resumed: list[int] = []
        count = 0
        while not made.controller.full([TRIGGER]):
            made.controller([event(number, durable=False) for number in range(count, count + 8)])
            count += 8
            assert count < 100
        made.controller.on_room(lambda: resumed.append(made.invoker.describe()["queued"]), [TRIGGER])
        assert not made.controller.full([OTHER])
        assert made.controller.full([OTHER, TRIGGER])
        others: list[int] = []
        made.controller.on_room(lambda: others.append(1), [OTHER])
        await until(lambda: bool(others))
        assert not resumed
        assert made.invoker.describe()["held_back"] == made.invoker.describe()["running"] == 1
        await until(lambda: bool(resumed))
        assert len(resumed) == 1
        assert resumed[0] <= 34  # (100 - n) / 2
        await until(lambda: len(made.recorded()) == count, 60)
        assert made.numbers() == list(range(count))
        await until(lambda: made.invoker.describe()["running"] == 0)

    play(tmp_path, course, Limits(max_queue=100))


def test_every_flooding_trigger_keeps_its_part_and_all_is_run(tmp_path: Path) -> None:
    async def course(made: Stages) -> None:
        await made.make(SLEEPY)
        action, sent = parse_name("/guest/a", "_"), Counter[str]()
        for _ in range(40):
            for name in ("x", "y", "z"):
                trigger = parse_name(f"/guest/{name}", "_")
                if not made.invoker.full([trigger]):
                    one = ActivationMessage(
                        made.clock.activation_ids(1)[0], action, "guest", "guest", b"{}", 1, str(trigger),
                        durable=False,
                    )  # fmt: skip
                    made.invoker.submit([one], urgent=False)
                    sent[name] += 1
        assert min(sent.values()) >= 10
        assert made.invoker.describe()["queued"] <= 40
        await until(lambda: len(made.recorded()) == sent.total(), 60)

    play(tmp_path, course, Limits(max_queue=40))


def test_a_sequence_waits_in_the_queue_while_a_part_is_being_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = threading.Event()

    async def course(made: Stages) -> None:
        await made.make(ECHO, "/_/a", "/_/p")
        ready = made.sandbox.ready
        monkeypatch.setattr(
            made.sandbox, "ready", lambda kind: ready(kind) and (compiled.is_set() or "python" not in kind)
        )
        waiting = [run_once(made, name) for name in ["s"] * 20]
        await until(lambda: made.invoker.describe()["parked"] == 20)
        assert made.invoker.describe()["workers"] < 16
        await asyncio.wait_for(run_once(made, "a"), 20)  # JavaScript goes on
        compiled.set()
        made.invoker.runtime_ready()
        done = await asyncio.wait_for(asyncio.gather(*waiting), 60)
        assert {one.status.value for one in done} == {"success"}

    async def run() -> None:
        async with stages(tmp_path) as made:
            python = {"exec": {"kind": "python:3", "code": "def main(p): return p"}}
            await made.actions.put(GUEST, parse_name("/guest/p", "_"), python, overwrite=False)
            assert isinstance(made.sandbox, Sandboxes)
            made.sandbox.prepare_rest(lambda _: None)
            await course(made)

    asyncio.run(run())


def test_a_gateway_stops_although_a_conductor_waits_for_a_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead = "function main(p) { return p.done ? p : {action: 'p', params: {done: true}} }"

    async def run() -> None:
        async with stages(tmp_path) as made:
            python = {"exec": {"kind": "python:3", "code": "def main(p): return p"}}
            await made.actions.put(GUEST, parse_name("/guest/p", "_"), python, overwrite=False)
            await made.make(lead)
            await made.annotate(conductor=True)
            ready = made.sandbox.ready
            monkeypatch.setattr(made.sandbox, "ready", lambda kind: "python" not in kind and ready(kind))
            waiting = [run_once(made, "a") for _ in range(12)]
            await until(lambda: made.invoker.describe()["queued"] == 0)
            await until(lambda: made.invoker.describe()["parked"] == 12)
            async with asyncio.timeout(20):
                await made.invoker.close()
            assert not any(one.done() for one in waiting)

    asyncio.run(run())


@pytest.mark.parametrize("inline", [True, False])
def test_a_step_of_the_gateway_itself_ends_at_its_time_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inline: bool
) -> None:
    hang = False

    async def act(given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        if hang:
            await asyncio.Event().wait()
        return [{"n": one["n"]} for one in given]

    async def run() -> None:
        nonlocal hang
        async with stages(tmp_path, act, Limits(default_action_duration=300)) as made:
            await made.make(ECHO, "/_/a", "/whisk.system/test/act")
            for number in range(60 if inline else 0):
                await made.controller([event(number)])
            before = made.invoker.describe()
            hang = True
            async with asyncio.timeout(20):
                await made.controller([event(99)])
            await until(lambda: made.recorded("s")[-1:] != [] and "error" in str(made.recorded("s")[-1]))
            found = made.recorded("s")[-1]["response"]
            assert found["result"] == {"error": "The action exceeded its time limits of 300 milliseconds."}
            assert made.invoker.describe()["inline"] - before["inline"] == int(inline)

    asyncio.run(run())


def test_a_source_goes_on_when_what_filled_the_queue_is_held(tmp_path: Path) -> None:
    """Events behind an open circuit breaker take nobody's room: who waits for some is told."""

    async def course(made: Stages) -> None:
        await made.make("function main(p) { while (true) { } }")
        document = {"limits": {"timeout": 100}}
        await made.actions.put(GUEST, parse_name("/guest/a", "_"), document, overwrite=True)
        count = 0
        while not made.controller.full([TRIGGER]):
            made.controller([event(number, durable=False) for number in range(count, count + 8)])
            count += 8
        resumed: list[int] = []
        made.controller.on_room(lambda: resumed.append(1), [TRIGGER])
        await until(lambda: bool(made.invoker.describe()["breakers"]))
        await until(lambda: bool(resumed), 8)  # before the breaker's first pause of 10 s is over
        assert made.invoker.describe()["held"] > 0

    play(tmp_path, course, Limits(max_queue=100))


def test_an_engine_that_becomes_ready_while_a_batch_is_parked_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def course(made: Stages) -> None:
        await made.make(ECHO)
        ready, found = made.sandbox.ready, iter([False])

        def late(kind: str) -> bool:
            if next(found, True):
                return ready(kind)
            made.invoker.runtime_ready()  # between the look and the parking
            return False

        monkeypatch.setattr(made.sandbox, "ready", late)
        record = await asyncio.wait_for(run_once(made, "a"), 20)
        assert record.status.value == "success"

    play(tmp_path, course)
