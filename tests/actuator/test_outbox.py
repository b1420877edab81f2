"""Commands that cannot be delivered at once: kept, in order, over restarts, until they expire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.actuator.outbox import MAX_WAITING, MOST_OF_ONE, Outbox
from edgewhisk.actuator.request import Command
from edgewhisk.actuator.targets.http import HttpTarget
from edgewhisk.clock.history import ClockHistory
from edgewhisk.errors import CapabilityError, NotFound, StorageError, Unavailable, Undelivered
from edgewhisk.spi import Clock
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.store.log.disk import Disk
from tests.fakes.clock import HandClock
from tests.fakes.disk import FaultyDisk


class Target(HttpTarget):
    """A device that can be away, or refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.away = self.slow = self.broken = False
        self.failing = 0  # tries that fail
        self.hanging: asyncio.Event | None = None
        self.got: list[int] = []

    async def send(self, command: Command) -> dict[str, Any]:
        if self.broken:
            raise ZeroDivisionError
        if self.slow:
            await asyncio.sleep(0.01)
        if self.hanging is not None:
            await self.hanging.wait()
        self.failing -= 1
        if self.away or self.failing >= 0:
            raise Undelivered("nobody answers")
        if command.body["n"] < 0:
            raise CapabilityError("never")
        self.got.append(command.body["n"])
        return {"took": command.body["n"]}


def command(n: int, expires: float = 60.0, target: str = "http:h") -> Command:
    return Command("http", target, "h", {"n": n, "method": "POST", "url": "http://h/set?key=secret"}, expires)


async def opened(
    folder: Path, target: Target, clock: Clock, disk: Disk | None = None
) -> tuple[LogDocumentStore, Outbox, asyncio.Task[None]]:
    shelf = LogDocumentStore.open(folder, disk)
    outbox = Outbox(shelf, clock, [target], ClockHistory({}).moment)
    return shelf, outbox, asyncio.create_task(outbox.run())


async def closed(shelf: LogDocumentStore, task: asyncio.Task[None]) -> None:
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
        target, clock = Target(), HandClock()
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
        await until(lambda: not outbox.describe()["waiting"])
        assert target.got == [1, 2, 3, 4]
        assert await outbox.send([command(5)]) == [{"delivered": True, "took": 5}]
        await closed(shelf, task)
        assert LogDocumentStore.open(tmp_path).read("outbox") == {}

    play(scene)


def test_a_command_that_the_disk_refused_is_not_done_behind_its_senders_back(tmp_path: Path) -> None:
    async def scene() -> None:
        target, disk = Target(), FaultyDisk()
        shelf, outbox, task = await opened(tmp_path, target, HandClock(), disk)
        target.away = True
        disk.full = True
        with pytest.raises(StorageError):
            await outbox.send([command(1)])
        disk.full = False
        await until(lambda: not outbox.describe()["waiting"])
        told = outbox.describe()
        assert (told["bytes"], told["queued"], told["refused"]) == (0, 0, 1)
        target.away = False
        await outbox.send([command(2)])
        assert target.got == [2]
        await closed(shelf, task)

    play(scene)


def test_what_expires_or_is_refused_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    async def scene() -> None:
        target, clock = Target(), HandClock()
        shelf, outbox, task = await opened(tmp_path, target, clock)
        (refusal,) = await outbox.send([command(-1)])
        assert isinstance(refusal, CapabilityError)
        target.away = True
        (never,) = await outbox.send([command(6, expires=0)])
        assert isinstance(never, Undelivered)
        await outbox.send([command(7, expires=1), command(-2), command(8)])
        clock.pass_(2)
        target.away = False
        outbox.wake("http:h")
        await until(lambda: not outbox.describe()["waiting"])
        assert target.got == [8]
        told = outbox.describe()
        assert (told["expired"], told["refused"], told["late"], told["waiting"]) == (1, 3, 1, {})
        await closed(shelf, task)

        # What was promised and not done stays on the list, over restarts, until a person looked.
        shelf, outbox, task = await opened(tmp_path, target, clock)
        rows = outbox.rows()
        assert [(one["state"], one["reason"][:7], one["told"]) for one in rows] == [
            ("expired", "expired", "POST http://h/set"),
            ("refused", "never", "POST http://h/set"),
        ]
        assert "secret" not in str(rows)
        assert await outbox.retry(rows[0]["id"]) == {"delivered": True, "took": 7}
        with pytest.raises(CapabilityError, match="never"):
            await outbox.retry(rows[1]["id"])
        await outbox.drop(rows[1]["id"])
        assert outbox.rows() == []
        for wrong in (outbox.retry, outbox.drop):
            with pytest.raises(NotFound):
                await wrong(rows[0]["id"])
        await closed(shelf, task)

    play(scene)


def test_behind_one_that_has_to_be_tried_again_none_is_delivered(tmp_path: Path) -> None:
    async def scene() -> None:
        target = Target()
        shelf, outbox, task = await opened(tmp_path, target, HandClock())
        target.failing = 1  # the first try only
        told = await outbox.send([command(1), command(2), command(3)])
        assert [isinstance(one, dict) and one["delivered"] for one in told] == [False] * 3
        outbox.wake("http:h")
        await until(lambda: not len(outbox))
        assert target.got == [1, 2, 3]

        target.failing, target.slow = 1, True  # two callers at once
        told = [
            one
            for both in await asyncio.gather(outbox.send([command(4)]), outbox.send([command(5)]))
            for one in both
        ]
        target.slow = False
        outbox.wake("http:h")
        await until(lambda: not len(outbox))
        assert target.got == [1, 2, 3, 4, 5]
        await closed(shelf, task)

    play(scene)


def test_a_target_that_hangs_holds_only_its_own_and_nothing_is_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewhisk.actuator.target.ANSWER_TIMEOUT", 0.2)

    async def scene() -> None:
        target = Target()
        shelf, outbox, task = await opened(tmp_path, target, HandClock())
        target.hanging = asyncio.Event()
        told = await outbox.send([command(1), command(2)])
        assert ["no answer within" in one["reason"] for one in told if isinstance(one, dict)] == [True, True]
        waiting, target.hanging = target.hanging, None
        waiting.set()
        outbox.wake("http:h")
        await until(lambda: not len(outbox))
        assert target.got == [1, 2]
        await closed(shelf, task)

    play(scene)


def test_a_command_that_waits_can_be_dropped_and_those_behind_it_go_on(tmp_path: Path) -> None:
    async def scene() -> None:
        target = Target()
        target.away = True
        shelf, outbox, task = await opened(tmp_path, target, HandClock())
        await outbox.send([command(1), command(2)])
        first, second = outbox.rows()
        assert (first["state"], first["reason"]) == ("waiting", "nobody answers")
        await outbox.drop(first["id"])
        target.away = False
        assert (await outbox.retry(second["id"]))["delivered"] is False
        await until(lambda: not len(outbox))
        assert (target.got, outbox.describe()["bytes"]) == ([2], 0)
        await closed(shelf, task)
        assert LogDocumentStore.open(tmp_path).read("outbox") == {}

    play(scene)


def test_a_fault_of_ours_is_an_error_of_that_command_alone(tmp_path: Path) -> None:
    async def scene() -> None:
        target = Target()
        shelf, outbox, task = await opened(tmp_path, target, HandClock())
        target.broken = True
        (told,) = await outbox.send([command(1)])
        assert isinstance(told, CapabilityError)
        assert "ZeroDivisionError" in str(told)
        target.broken = False
        assert await outbox.send([command(2)]) == [{"delivered": True, "took": 2}]
        await closed(shelf, task)

    play(scene)


def test_the_outbox_has_a_bound(tmp_path: Path) -> None:
    async def scene() -> None:
        target = Target()
        target.away = True
        shelf, outbox, task = await opened(tmp_path, target, HandClock())
        told = await outbox.send([command(n) for n in range(MOST_OF_ONE + 2)])
        assert [isinstance(one, dict) for one in told] == [True] * MOST_OF_ONE + [False] * 2
        assert isinstance(told[-1], Unavailable)
        # One that is away for long leaves room for the others.
        others = [command(n, target=f"http:{n % 4}") for n in range(MAX_WAITING)]
        told = await outbox.send(others)
        assert len(outbox) == MAX_WAITING
        assert "10000 commands wait already" in str(told[-1])
        await closed(shelf, task)

    play(scene)


@pytest.mark.parametrize(
    ("boot", "wall", "known", "late", "delivered"),
    [
        ("b0000001", "2026-05-01T12:00:00", True, 30, True),  # NTP arrived: 56 years are no waiting
        ("b0000001", "1970-01-01T00:00:20", False, 30, True),  # or somebody set it back
        ("b0000001", "2026-05-01T12:00:00", True, 90, False),
        ("b0000002", "2026-05-01T12:00:30", True, 0, True),  # after a reboot: 30 s off
        ("b0000002", "2026-05-01T12:01:30", True, 0, False),  # 90 s off
        ("b0000002", "1970-01-01T00:00:20", True, 0, True),  # nobody knows how long
        ("b0000002", "2026-05-01T12:01:30", False, 0, True),  # nor here, from when it was
    ],
)
def test_a_command_expires_by_the_time_that_passed_not_by_the_clock(
    tmp_path: Path, boot: str, wall: str, known: bool, late: float, delivered: bool
) -> None:
    async def scene() -> None:
        target, boots = Target(), ClockHistory({})
        clock = HandClock("2026-05-01T12:00:00" if known and boot != "b0000001" else "1970-01-01T00:00:20")
        boots.see(clock.timing, clock.up(), kept=False)
        target.away = True
        shelf = LogDocumentStore.open(tmp_path)
        outbox = Outbox(shelf, clock, [target], boots.moment)
        task = asyncio.create_task(outbox.run())
        await outbox.send([command(1)])
        clock.set(wall)
        clock.look()
        clock.pass_(late)
        await closed(shelf, task)
        again = HandClock(wall, boot=boot, up=clock.passed if boot == "b0000001" else 5000)
        shelf = LogDocumentStore.open(tmp_path)
        target.away = False
        outbox = Outbox(shelf, again, [target], boots.moment)
        task = asyncio.create_task(outbox.run())
        await until(lambda: not outbox.describe()["waiting"])
        assert target.got == ([1] if delivered else [])
        await closed(shelf, task)

    play(scene)
