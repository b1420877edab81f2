"""What the gateway knows of its clock, over restarts and reboots."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgewhisk import timekeeper as module
from edgewhisk.buffer.shelf import Shelf
from edgewhisk.entity.boots import COLLECTION, MOST
from edgewhisk.errors import StorageError
from edgewhisk.spi import Change
from edgewhisk.timekeeper import Timekeeper
from tests.fakes.clock import HandClock, ms


async def life(folder: Path, clock: HandClock, *sets: str) -> Timekeeper:
    """One life, in which the clock is set."""
    shelf = Shelf.open(folder)
    keeper = Timekeeper(clock, shelf)
    await keeper.look()
    for wall in sets:
        clock.pass_(10)
        clock.set(wall)
        await keeper.look()
    await shelf.close()
    return keeper


def test_it_is_told_who_waits_and_remembered(tmp_path: Path) -> None:
    async def scene() -> None:
        shelf, clock, told = Shelf.open(tmp_path), HandClock("1970-01-01T00:00:20"), []
        keeper = Timekeeper(clock, shelf)
        keeper.was_set.append(lambda: told.append(clock.now()))
        await keeper.look()
        assert keeper.describe() == {
            "now": "1970-01-01T00:00:20.000000000Z",
            "sureness": "unset",
            "boots": 1,
            "never_set": 0,
            "steps": 0,
            "last_error": "",
        }
        assert "never set" in keeper.problem()
        told.clear()
        await keeper.look()
        assert told == []
        clock.set("2026-05-01T12:00:00")
        await keeper.look()
        assert told == [ms("2026-05-01T12:00:00")]
        assert keeper.describe()["sureness"] == "set"
        assert keeper.problem() == ""
        clock.vouched = True
        await keeper.look()
        assert keeper.sureness == "kept"
        assert shelf.read(COLLECTION)["b0000001"]["until"] == 20_000
        await shelf.close()

    asyncio.run(scene())


def test_boots_are_known_in_order_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewhisk.entity.boots.MOST", 3)
    assert MOST == 1024
    for n in range(5):
        asyncio.run(life(tmp_path, HandClock("1970-01-01T00:00:20", boot=f"{9 - n:08x}")))
    shelf = Shelf.open(tmp_path)
    assert sorted(shelf.read(COLLECTION)) == [f"{9 - n:08x}" for n in (4, 3, 2)]
    keeper = asyncio.run(life(tmp_path, HandClock("2026-05-01T12:00:00", boot="00000001")))
    assert keeper.describe()["never_set"] == 2


@pytest.mark.parametrize(
    ("wall", "keeper", "waits"),
    [
        ("1970-01-01T00:00:20", False, True),
        ("2026-05-01T12:00:00", True, True),  # a time service runs: it may be about to set it
        ("2026-05-01T12:00:00", False, False),
    ],
)
def test_the_cloud_waits_for_a_clock_that_is_about_to_be_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wall: str, keeper: bool, waits: bool
) -> None:
    monkeypatch.setattr(module, "LOOK", 0.01)

    async def scene() -> None:
        clock = HandClock(wall)
        clock.keeper = keeper
        made = await life(tmp_path, clock)
        async with asyncio.timeout(20):
            waiting = asyncio.create_task(made.settled())
            await asyncio.sleep(0.05)
            assert waiting.done() is not waits
            if waits:
                clock.set("2026-05-01T13:00:00")
                clock.look()
                made.boots.see(clock.timing, clock.up(), kept=True)
            await waiting
            monkeypatch.setattr(module, "PATIENCE", 0.03)
            clock.set(wall)
            await Timekeeper(clock, Shelf.open(tmp_path / "other")).settled()  # not for ever

    asyncio.run(scene())


def test_a_disk_that_refuses_stops_nothing_and_is_tried_again(tmp_path: Path) -> None:
    class Full(Shelf):
        full = True

        def write(self, changes: Sequence[Change]) -> asyncio.Future[None]:
            if not self.full:
                return super().write(changes)
            refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            refused.set_exception(StorageError("no space"))
            return refused

    async def scene() -> None:
        shelf, clock = Full.open(tmp_path), HandClock("1970-01-01T00:00:20")
        assert isinstance(shelf, Full)
        keeper = Timekeeper(clock, shelf)
        await keeper.look()
        clock.set("2026-05-01T12:00:00")
        await keeper.look()
        assert (keeper.sureness, keeper.describe()["last_error"]) == ("set", "no space")
        shelf.full = False
        await keeper.look()
        assert keeper.describe()["last_error"] == ""
        assert shelf.read(COLLECTION)["b0000001"]["sureness"] == "set"
        await shelf.close()

    asyncio.run(scene())
