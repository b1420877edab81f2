"""The list of what could not become an event: bounded, told, each message once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from edgewhisk.buffer.shelf import Shelf
from edgewhisk.clock import SystemClock
from edgewhisk.errors import StorageError
from edgewhisk.feed import dead_letters
from edgewhisk.feed.dead_letters import LARGEST, MOST, PER_MINUTE, ROOM, DeadLetters, Letter


class Minutes(SystemClock):
    """A clock that is a minute later each time it is asked."""

    passed = 0.0

    def monotonic(self) -> float:
        self.passed += 60
        return self.passed


def letter(number: int, payload: bytes = b"{", origin: str = "") -> Letter:
    return Letter("/guest/t", "mqtt h:1", "in", "not JSON", payload, number, origin)


def play(folder: Path, scene: Callable[[Shelf], Awaitable[None]]) -> None:
    async def run() -> None:
        shelf = Shelf.open(folder)
        await scene(shelf)
        await shelf.close()

    asyncio.run(run())


def test_a_redelivery_is_known_once_its_letter_is_on_disk(tmp_path: Path) -> None:
    async def first(shelf: Shelf) -> None:
        dead = DeadLetters(shelf, SystemClock())
        stored = dead.bury([letter(1, origin="mqtt:1:a"), letter(2)])
        assert not dead.knows("/guest/t", "mqtt:1:a")
        await stored
        await asyncio.sleep(0)
        assert dead.knows("/guest/t", "mqtt:1:a")
        assert not dead.knows("/guest/other", "mqtt:1:a")
        assert not dead.knows("/guest/t", "")

    async def second(shelf: Shelf) -> None:
        dead = DeadLetters(shelf, SystemClock())
        assert dead.knows("/guest/t", "mqtt:1:a")
        assert [one["at"] for one in dead.list()] == [1, 2]
        assert await dead.drop([one["id"] for one in dead.list()]) == 2
        assert not dead.knows("/guest/t", "mqtt:1:a")

    play(tmp_path, first)
    play(tmp_path, second)


def test_what_the_disk_refused_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(shelf: Shelf) -> None:
        def refuse(changes: object) -> None:
            raise StorageError("the disk is full")

        dead = DeadLetters(shelf, SystemClock())
        monkeypatch.setattr(shelf._store, "write", refuse)
        with pytest.raises(StorageError):
            await dead.bury([letter(1, origin="o")])
        await asyncio.sleep(0)
        assert not dead.list()
        assert not dead.knows("/guest/t", "o")

    play(tmp_path, scene)


def test_a_stream_of_garbage_is_counted_not_written_down(tmp_path: Path) -> None:
    async def scene(shelf: Shelf) -> None:
        dead = DeadLetters(shelf, SystemClock())
        monotonic = dead_letters.PER_MINUTE * 1.0
        dead._clock.monotonic = lambda: monotonic  # type: ignore[method-assign]
        await dead.bury([letter(number) for number in range(PER_MINUTE + 40)])
        assert (len(dead), dead.unlisted) == (PER_MINUTE, 40)
        await dead.bury([letter(1)])  # nothing to write: done at once
        assert dead.unlisted == 41

    play(tmp_path, scene)


def test_the_list_is_bounded_by_number_and_by_size_and_the_oldest_go(tmp_path: Path) -> None:
    async def scene(shelf: Shelf) -> None:
        dead = DeadLetters(shelf, Minutes())
        await dead.bury([letter(number) for number in range(MOST + 10)])
        assert (len(dead), dead.evicted) == (MOST, 10)
        assert dead.list()[0]["at"] == 10
        await dead.bury([letter(1000 + number, b"x" * 100_000) for number in range(60)])
        assert sum(len(one["payload"]) for one in dead.list()) <= ROOM
        assert dead.list()[-1]["at"] == 1059
        assert len(shelf.read("dead-letters")) == len(dead)
        found = dead.find(dead.list()[-1]["id"])
        assert found is not None
        assert (len(found.payload), found.size) == (LARGEST, 100_000)

    play(tmp_path, scene)
