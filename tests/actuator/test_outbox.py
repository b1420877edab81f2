"""Commands that cannot be delivered at once: kept, in order, over restarts, until they expire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from edgewhisk.actuator.outbox import MOST, Outbox, one_by_one
from edgewhisk.actuator.request import Command
from edgewhisk.buffer.shelf import Shelf
from edgewhisk.clock import SystemClock
from edgewhisk.errors import CapabilityError, Undelivered


class Target:
    """A device that can be away, or refuse."""

    def __init__(self) -> None:
        self.away = False
        self.got: list[int] = []

    async def take(self, command: Command) -> dict[str, Any]:
        if self.away:
            raise Undelivered("nobody answers")
        if command.body["n"] < 0:
            raise CapabilityError("never")
        self.got.append(command.body["n"])
        return {"took": command.body["n"]}


class LateClock(SystemClock):
    """A wall clock that a test moves on."""

    ahead = 0

    def now(self) -> int:
        return super().now() + self.ahead


def command(n: int, expires: float = 60.0) -> Command:
    return Command("http", "http:h", "h", {"n": n}, expires)


async def opened(
    folder: Path, target: Target, clock: SystemClock
) -> tuple[Shelf, Outbox, asyncio.Task[None]]:
    shelf = Shelf.open(folder)
    outbox = Outbox(shelf, clock, {"http": one_by_one(target.take)})
    return shelf, outbox, asyncio.create_task(outbox.run())


async def closed(shelf: Shelf, task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await shelf.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a task of the outbox's own
            await asyncio.sleep(0.005)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scene())  # type: ignore[arg-type]


def test_order_is_kept_over_a_restart_and_with_what_comes_later(tmp_path: Path) -> None:
    async def scene() -> None:
        target, clock = Target(), LateClock()
        shelf, outbox, task = await opened(tmp_path, target, clock)
        assert await outbox.send([command(1)]) == [{"delivered": True, "took": 1}]
        target.away = True
        told = await outbox.send([command(2), command(3)])
        assert [one["delivered"] for one in told if isinstance(one, dict)] == [False, False]
        await closed(shelf, task)

        shelf, outbox, task = await opened(tmp_path, target, clock)
        assert len(outbox) == 2
        target.away = False
        (late,) = await outbox.send([command(4)])
        assert isinstance(late, dict)
        assert "behind 2 others" in late["reason"]
        outbox.wake("http:h")
        await until(lambda: not len(outbox))
        assert target.got == [1, 2, 3, 4]
        assert await outbox.send([command(5)]) == [{"delivered": True, "took": 5}]
        await closed(shelf, task)
        assert Shelf.open(tmp_path).read("outbox") == {}

    play(scene)


def test_what_expires_or_is_refused_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    async def scene() -> None:
        target, clock = Target(), LateClock()
        shelf, outbox, task = await opened(tmp_path, target, clock)
        (refusal,) = await outbox.send([command(-1)])
        assert isinstance(refusal, CapabilityError)
        target.away = True
        (never,) = await outbox.send([command(6, expires=0)])
        assert isinstance(never, Undelivered)
        await outbox.send([command(7, expires=1), command(-2), command(8)])
        clock.ahead = 2000
        target.away = False
        outbox.wake("http:h")
        await until(lambda: not len(outbox))
        assert target.got == [8]
        told = outbox.describe()
        assert (told["expired"], told["refused"], told["late"], told["waiting"]) == (1, 3, 1, {})
        await closed(shelf, task)

    play(scene)


def test_the_outbox_has_a_bound(tmp_path: Path) -> None:
    async def scene() -> None:
        target = Target()
        target.away = True
        shelf, outbox, task = await opened(tmp_path, target, LateClock())
        told = await outbox.send([command(n) for n in range(MOST + 2)])
        assert [isinstance(one, dict) for one in told] == [True] * MOST + [False] * 2
        assert len(outbox) == MOST
        await closed(shelf, task)

    play(scene)
