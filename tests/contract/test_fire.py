"""The contract of `spi.Fire`, over the fake that feed tests use and over the real controller."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from edgewhisk.buffer.activations import Activations
from edgewhisk.clock import SystemClock
from edgewhisk.settings import Buffer
from edgewhisk.spi import Fire, Query
from tests.fakes.fire import RecordingFire
from tests.stages import TRIGGER, event, stages

Made = tuple[Fire, Callable[[], list[int]]]  # the implementation, and the numbers it was fired with so far


@asynccontextmanager
async def fake(_folder: Path) -> AsyncIterator[Made]:
    fire = RecordingFire()
    yield fire, lambda: [int(payload[5:-1]) for payload in fire.payloads]


@asynccontextmanager
async def real(folder: Path) -> AsyncIterator[Made]:
    async with stages(folder) as made:
        await made.make()
        yield made.controller, made.numbers


Implementation = Callable[[Path], AbstractAsyncContextManager[Made]]


@pytest.fixture(params=[fake, real])
def implementation(request: pytest.FixtureRequest) -> Implementation:
    found: Implementation = request.param
    return found


def test_events_are_started_in_order_and_acknowledged(implementation: Implementation, tmp_path: Path) -> None:
    async def play() -> None:
        async with implementation(tmp_path) as (fire, fired):
            futures = [fire([event(at), event(at + 1, durable=False)]) for at in range(0, 100, 2)]
            async with asyncio.timeout(20):
                await asyncio.gather(*futures)
                while len(await asyncio.to_thread(fired)) < 100:  # noqa: ASYNC110 - a real disk
                    await asyncio.sleep(0.01)
            assert fired() == list(range(100))

    asyncio.run(play())


def test_nothing_fired_is_acknowledged_at_once(implementation: Implementation, tmp_path: Path) -> None:
    async def play() -> None:
        async with implementation(tmp_path) as (fire, _):
            async with asyncio.timeout(5):
                await fire([])
            assert not fire.full([TRIGGER])

    asyncio.run(play())


def test_what_is_acknowledged_is_in_the_journal(tmp_path: Path) -> None:
    async def play() -> None:
        async with real(tmp_path) as (fire, _):
            await fire([event(at) for at in range(10)])
            # A second store on the same files sees what a power cut would leave.
            copy = tmp_path / "copy"
            shutil.copytree(tmp_path / "buffer", copy)
            left = Activations.open(copy, Buffer(min_free_bytes=0), SystemClock())
            accepted = {message.payload for message in left.unfinished()}
            recorded = {b'{"n":%d}' % one["response"]["result"]["n"] for one in left.list(Query("guest"))}
            assert accepted | recorded == {b'{"n":%d}' % at for at in range(10)}
            assert left.origins() == [f"mqtt:{at}:x" for at in range(10)]
            left.close()

    asyncio.run(play())
