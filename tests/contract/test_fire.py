"""The contract of `spi.Fire`: the controller, what stands before it, and the fake that feed tests use."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from edgewhisk.cli.device.device_try import Printing
from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import BufferConfig
from edgewhisk.controller.controller import Controller
from edgewhisk.entity.limits import Limits
from edgewhisk.errors import StorageError
from edgewhisk.feed.shaping.shaping_stage import ShapingStage
from edgewhisk.spi import Fire, Query
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.store.documents.document_store import LogDocumentStore
from tests.contract.suites import Suite, named, play
from tests.fakes.disk import FaultyDisk
from tests.fakes.fire import RecordingFire
from tests.guests import compiled
from tests.stages import TRIGGER, event, stages, until

# Gives back what it gets; for an `n` from 1000 on it takes its time.
CODE = "function main(p) { if (p.n >= 1000) for (let t = Date.now(); Date.now() - t < 20;); return p }"
FEW = 40  # places of the controller's queue


async def nothing_runs() -> None:
    """Nothing was begun that takes time."""


class Made(NamedTuple):
    """An implementation, and what a test does to what is behind it."""

    fire: Fire
    fired: Callable[[], list[int]]  # the numbers of what was started, in order
    fill: Callable[[], None] | None = None  # takes all room; None: there is always room
    empty: Callable[[], None] = lambda: None  # gives room, if it does not come by itself
    refuse: Callable[[bool], None] | None = None  # the disk takes nothing; None: there is none
    drain: Callable[[], Awaitable[object]] = nothing_runs  # waits until what was begun is over


@asynccontextmanager
async def recording(_folder: Path) -> AsyncIterator[Made]:
    fire = RecordingFire()
    numbers = lambda: [int(payload[5:-1]) for payload in fire.payloads]  # noqa: E731
    yield Made(fire, numbers, fire.fill, fire.make_room, lambda on: fire.refuse(on=on))


@asynccontextmanager
async def shaped(folder: Path) -> AsyncIterator[Made]:
    shelf = LogDocumentStore.open(folder / "shelf")
    async with recording(folder) as behind:
        yield behind._replace(fire=ShapingStage(behind.fire, SystemClock(), shelf))
    await shelf.close()


@asynccontextmanager
async def controller(folder: Path) -> AsyncIterator[Made]:
    disk = FaultyDisk()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ActivationLog, "open", partial(ActivationLog.open, disk=disk))
        whole = stages(folder, limits=Limits(max_queue=FEW))
        async with whole as made:
            await made.make(CODE)

            def fill() -> None:
                made.controller([event(number, durable=False) for number in range(1000, 1000 + FEW)])

            def refuse(on: bool) -> None:
                disk.full = on

            drain = partial(made.invoker.drain, 10)
            yield Made(made.controller, made.numbers, fill, refuse=refuse, drain=drain)


@asynccontextmanager
async def printing(_folder: Path) -> AsyncIterator[Made]:
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda text, flush: lines.append(text))
        yield Made(Printing(as_json=True, most=0), lambda: [orjson.loads(line)["n"] for line in lines])


SUITE = Suite(
    Fire, {RecordingFire: recording, ShapingStage: shaped, Controller: controller, Printing: printing}
)
Implementation = Callable[[Path], AbstractAsyncContextManager[Made]]


@pytest.fixture(params=SUITE.classes, ids=named)
def implementation(request: pytest.FixtureRequest) -> Implementation:
    found: Implementation = SUITE.implementations[request.param]
    return found


async def until_taken(fire: Fire) -> None:
    """Bring an event again and again, as a source does, until the disk takes it."""
    while True:
        try:
            return await fire([event(2)])
        except StorageError:
            await asyncio.sleep(0.01)


def test_events_are_started_in_order_and_acknowledged(implementation: Implementation, tmp_path: Path) -> None:
    async def scene() -> None:
        async with implementation(tmp_path) as made:
            futures = [made.fire([event(at), event(at + 1, durable=False)]) for at in range(0, 20, 2)]
            await asyncio.gather(*futures)
            await until(lambda: len(made.fired()) == 20)
            assert made.fired() == list(range(20))

    play(scene())


@pytest.fixture(autouse=True, scope="module")
def _guests() -> None:
    """Compiled before a scene's time begins."""
    compiled()


def test_nothing_fired_is_acknowledged_at_once(implementation: Implementation, tmp_path: Path) -> None:
    async def scene() -> None:
        async with implementation(tmp_path) as made:
            await made.fire([])
            assert not made.fire.full([TRIGGER])

    play(scene())


def test_who_waits_for_room_is_called_once_there_is_some(
    implementation: Implementation, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with implementation(tmp_path) as made:
            called: list[bool] = []
            if made.fill is not None:
                made.fill()
                assert made.fire.full([TRIGGER])
            made.fire.on_room(lambda: called.append(made.fire.full([TRIGGER])), [TRIGGER])
            assert made.fill is None or not called
            made.empty()
            await until(lambda: bool(called))
            assert called == [False]  # there was room when it was called
            if made.fill is not None:
                made.fill()
                made.empty()
            await until(lambda: not made.fire.full([TRIGGER]))
            assert len(called) == 1

    play(scene())


def test_a_source_that_does_not_stop_is_not_refused(implementation: Implementation, tmp_path: Path) -> None:
    async def scene() -> None:
        async with implementation(tmp_path) as made:
            if made.fill is not None:
                made.fill()
            done = made.fire([event(1)])  # one wake-up's worth may be over
            made.empty()
            await done
            await until(lambda: 1 in made.fired())

    play(scene())


def test_a_disk_that_refuses_starts_nothing_durable(implementation: Implementation, tmp_path: Path) -> None:
    async def scene() -> None:
        async with implementation(tmp_path) as made:
            if made.refuse is None:
                await made.fire([event(1)])
                assert made.fired() == [1]
                return
            made.refuse(True)
            with pytest.raises(StorageError):
                await made.fire([event(1)])
            await made.drain()  # running does not wait for the disk, which must take no record of it either
            made.refuse(False)

            await until_taken(made.fire)
            await until(lambda: 2 in made.fired())
            assert made.fired() == [2]

    play(scene())


def test_what_is_acknowledged_is_in_the_journal(tmp_path: Path) -> None:
    async def scene() -> None:
        async with controller(tmp_path) as made:
            await made.fire([event(at) for at in range(10)])
            # A second store on the same files sees what a power cut would leave.
            copy = tmp_path / "copy"
            shutil.copytree(tmp_path / "buffer", copy)
            left = ActivationLog.open(copy, BufferConfig(min_free_bytes=0), SystemClock())
            accepted = {message.payload for message in left.unfinished()}
            recorded = {b'{"n":%d}' % one["response"]["result"]["n"] for one in left.list(Query("guest"))}
            assert accepted | recorded == {b'{"n":%d}' % at for at in range(10)}
            assert left.origins() == [f"mqtt:{at}:x" for at in range(10)]
            left.close()

    play(scene())
