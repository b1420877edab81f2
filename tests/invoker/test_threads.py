"""Who may touch what: the threading model of `edgewhisk/invoker/README.md`, under many switches."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import edgewhisk.invoker
from edgewhisk.clock.system import SystemClock
from edgewhisk.entity.action import Action
from edgewhisk.entity.invocation.message import ActivationMessage
from edgewhisk.entity.names import parse_name
from edgewhisk.invoker.queue.queue import Queue
from tests.fakes.sandbox import FakeSandbox
from tests.stages import Stages, event, stages, until

FOLDER = Path(edgewhisk.invoker.__file__).parent
COUNT = 400


@pytest.fixture
def hasty_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def play(folder: Path, course: Any) -> None:
    async def run() -> None:
        clock = SystemClock()
        async with stages(folder, clock=clock, sandbox=FakeSandbox(clock)) as made:
            await course(made)

    asyncio.run(run())


def stress(made: Stages) -> list[asyncio.Future[Any]]:
    """Events of 20 triggers, and calls; every third action run takes a worker's time."""
    action = parse_name("/guest/a", "_")
    found: list[asyncio.Future[Any]] = []
    for number in range(COUNT):
        own = made.clock.activation_ids(1)[0]
        trigger = f"/guest/t{number % 20}" if number % 4 else ""
        payload = b'{"n":%d}' % number
        message = ActivationMessage(own, action, "guest", "guest", payload, 1, trigger, durable=bool(trigger))
        if trigger:
            found.append(made.invoker.submit([message], urgent=False))
        else:
            found.append(made.invoker.run(message))
    return found


@pytest.mark.usefixtures("hasty_switches")
def test_only_the_loop_touches_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I1."""
    threads: Counter[str] = Counter()
    for name in [name for name, one in vars(Queue).items() if callable(one) and name != "__init__"]:
        original = getattr(Queue, name)

        def watched(self: Queue, *given: Any, original: Any = original, **more: Any) -> Any:
            threads[threading.current_thread().name] += 1
            return original(self, *given, **more)

        monkeypatch.setattr(Queue, name, watched)

    async def course(made: Stages) -> None:
        await made.make()
        for _ in range(5):
            await asyncio.gather(*stress(made))
            await made.bind(x=len(threads))
        assert made.invoker.describe()["workers"] >= 1

    play(tmp_path, course)
    assert set(threads) == {threading.current_thread().name}


@pytest.mark.usefixtures("hasty_switches")
def test_an_ordered_stream_has_one_running_batch(tmp_path: Path) -> None:
    """I2, and I3: what is recorded of a trigger has its order."""
    running: Counter[int] = Counter()
    most = 0

    def behave(_action: Action, payload: bytes) -> bytes:
        nonlocal most
        stream = int(payload[5:-1]) % 20
        running[stream] += 1
        if stream % 4:
            most = max(most, running[stream])
        if threading.current_thread() is not threading.main_thread():
            threading.Event().wait(0.0005)
        running[stream] -= 1
        return payload

    async def course(made: Stages) -> None:
        await made.make()
        assert isinstance(made.sandbox, FakeSandbox)
        made.sandbox.behave = behave
        for _ in range(3):
            await asyncio.gather(*stress(made))
        assert await made.invoker.drain(30)
        await until(lambda: len(made.recorded()) == 3 * COUNT)
        for stream in range(20):
            numbers = [n for n in made.numbers() if n % 20 == stream and stream % 4]
            assert numbers == 3 * sorted(set(numbers))

    play(tmp_path, course)
    assert most == 1


@pytest.mark.usefixtures("hasty_switches")
def test_each_event_has_one_record_while_actions_change(tmp_path: Path) -> None:
    """I8."""

    async def course(made: Stages) -> None:
        await made.make()
        sent: list[asyncio.Future[Any]] = []
        for number in range(300):
            sent.append(made.controller([event(number, durable=number % 2 > 0)]))
            if number % 25 == 0:
                await made.bind(x=number)
        await asyncio.gather(*sent)
        assert await made.invoker.drain(30)
        await until(lambda: len(made.recorded()) == 300)
        assert made.numbers() == list(range(300))

    play(tmp_path, course)


def test_the_invoker_has_no_locks() -> None:
    """I6: there is nothing that the event loop could wait for."""
    locks = re.compile(r"\b(Lock|RLock|Condition|Semaphore|Barrier)\(\)")
    assert not [path.name for path in FOLDER.rglob("*.py") if locks.search(path.read_text())]


def test_every_invariant_names_tests_that_exist() -> None:
    text = (FOLDER / "README.md").read_text()
    assert re.findall(r"^\| (I\d) \|", text, re.MULTILINE) == [f"I{number}" for number in range(1, 9)]
    here = Path(__file__).parent
    for file, name in re.findall(r"`?(test_\w+\.py)(?:::(test_\w+))?`?", text):
        assert (here / file).exists(), file
        assert not name or f"def {name}(" in (here / file).read_text(), name


def test_the_map_names_every_module() -> None:
    text = (FOLDER / "README.md").read_text()
    assert not [
        path.stem for path in FOLDER.rglob("*.py") if path.stem not in text and path.stem != "__init__"
    ]
