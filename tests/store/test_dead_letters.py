"""The list of what could not be delivered: in order, bounded, and it survives."""

from __future__ import annotations

import asyncio
import base64
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk.entity.invocation.message import ActivationMessage
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import StorageError
from edgewhisk.store import dead_letters as module
from edgewhisk.store.dead_letters import MAX_KEPT_BYTES, MAX_LETTERS, PER_MINUTE, DeadLetters, Letter
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.store.log.disk import Disk
from tests.fakes.clock import HandClock
from tests.fakes.disk import FaultyDisk

ACTION = parse_name("/guest/pkg/a", "_")


def letter(number: int, size: int = 0, origin: str = "") -> Letter:
    payload = b"%d" % number + b"x" * size
    return Letter("/guest/t", "mqtt h:1883", "in", "no JSON", payload, number, origin)


def play(
    folder: Path, scene: Callable[[DeadLetters, HandClock], Awaitable[None]], disk: Disk | None = None
) -> None:
    async def life() -> None:
        shelf, clock = LogDocumentStore.open(folder, disk), HandClock()
        await scene(DeadLetters(shelf, clock), clock)
        await shelf.close()

    asyncio.run(life())


def test_an_event_comes_back_as_it_was_under_another_id(tmp_path: Path) -> None:
    message = ActivationMessage(
        "a" * 32, ACTION, "guest", "me", b'{"n":1}', 7, "/guest/t", "guest/b", "mqtt:1", durable=True
    )

    async def bury(dead: DeadLetters, _: HandClock) -> None:
        await dead.bury([Letter.of(message, "why"), letter(1)])

    async def look(dead: DeadLetters, _: HandClock) -> None:
        shown, other = dead.list()
        assert (shown["id"], shown["topic"], shown["source"]) == ("1", "/guest/pkg/a", "queue")
        assert shown["event"]["activation_id"] == "a" * 32
        kept, unkept = dead.find("1"), dead.find(other["id"])
        assert kept is not None
        assert unkept is not None
        assert kept.message("b" * 32, 9) == message._replace(activation_id="b" * 32, at=9, origin="")
        assert unkept.message("b" * 32, 9) is None
        assert dead.find("7") is None

    play(tmp_path, bury)
    play(tmp_path, look)


def test_order_is_that_of_burial_whatever_the_clock_says(tmp_path: Path) -> None:
    async def bury(dead: DeadLetters, _: HandClock) -> None:
        for at in (1_800_000_000_000, 5, 1_700_000_000_000):
            await dead.bury([letter(at)])

    async def look(dead: DeadLetters, _: HandClock) -> None:
        assert [one["at"] for one in dead.list()] == [1_800_000_000_000, 5, 1_700_000_000_000] * 4
        assert await dead.drop(["2", "2", "99"]) == 1
        assert [one["id"] for one in dead.list()] == ["1", *map(str, range(3, 13))]

    for _ in range(4):
        play(tmp_path, bury)
    play(tmp_path, look)


def test_garbage_is_counted_and_does_not_wear_the_card_but_rare_ones_are_kept(tmp_path: Path) -> None:
    async def scene(dead: DeadLetters, clock: HandClock) -> None:
        await dead.bury([letter(n) for n in range(PER_MINUTE + 5)])
        await dead.bury([letter(n) for n in range(3)], rare=True)
        assert (len(dead), dead.unlisted) == (PER_MINUTE + 3, 5)
        clock.pass_(60)
        await dead.bury([letter(1)])
        assert len(dead) == PER_MINUTE + 4

    play(tmp_path, scene)


def test_what_the_disk_refuses_is_counted(tmp_path: Path) -> None:
    disk = FaultyDisk()

    async def scene(dead: DeadLetters, _: HandClock) -> None:
        disk.full = True
        with pytest.raises(StorageError):
            await dead.bury([letter(1), letter(2)])
        await asyncio.sleep(0)
        assert dead.describe() == {"kept": 0, "bytes": 0, "unlisted": 0, "evicted": 0, "refused": 2}

    play(tmp_path, scene, disk)


def test_what_is_too_large_is_cut_and_says_so(tmp_path: Path) -> None:
    async def scene(dead: DeadLetters, _: HandClock) -> None:
        event = ActivationMessage("a" * 32, ACTION, "guest", "me", b"x" * 2 * MAX_KEPT_BYTES, 7, durable=True)
        await dead.bury([letter(1, MAX_KEPT_BYTES), letter(2, MAX_KEPT_BYTES - 1), Letter.of(event, "why")])
        cut, whole, kept = dead.find("1"), dead.find("2"), dead.find("3")
        assert cut is not None
        assert whole is not None
        assert kept is not None
        assert (len(kept.payload), kept.size) == (2 * MAX_KEPT_BYTES, 0)
        assert (cut.size, len(cut.payload), whole.size) == (MAX_KEPT_BYTES + 1, MAX_KEPT_BYTES, 0)

    play(tmp_path, scene)


def test_a_redelivery_is_known_once_its_letter_is_on_disk(tmp_path: Path) -> None:
    async def bury(dead: DeadLetters, _: HandClock) -> None:
        stored = dead.bury([letter(1, origin="mqtt:1:a"), letter(2)])
        assert not dead.knows("/guest/t", "mqtt:1:a")
        await stored
        await asyncio.sleep(0)
        assert dead.knows("/guest/t", "mqtt:1:a")
        assert not dead.knows("/guest/other", "mqtt:1:a")
        assert not dead.knows("/guest/t", "")

    async def look(dead: DeadLetters, _: HandClock) -> None:
        assert dead.knows("/guest/t", "mqtt:1:a")
        assert await dead.drop([one["id"] for one in dead.list()]) == 2
        assert not dead.knows("/guest/t", "mqtt:1:a")

    play(tmp_path, bury)
    play(tmp_path, look)


def test_what_the_disk_refused_is_not_listed(tmp_path: Path) -> None:
    disk = FaultyDisk()

    async def scene(dead: DeadLetters, _: HandClock) -> None:
        disk.full = True
        with pytest.raises(StorageError):
            await dead.bury([letter(1, origin="o")])
        await asyncio.sleep(0)
        assert not dead.list()
        assert not dead.knows("/guest/t", "o")

    play(tmp_path, scene, disk)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["bury", "bury", "drop"]), st.integers(0, 400)), max_size=40))
def test_the_list_has_bounds(course: list[tuple[str, int]]) -> None:
    async def scene(dead: DeadLetters, _: HandClock) -> None:
        buried = dropped = 0
        for what, size in course:
            if what == "bury":
                await dead.bury([letter(1, size)], rare=True)
                buried += 1
            elif found := dead.list():
                dropped += await dead.drop([found[0]["id"]])
            told = dead.describe()
            kept = dead.list()
            assert told["bytes"] == sum(len(one["payload"]) for one in kept) <= 2000
            assert told["kept"] == len(kept) == buried - dropped - told["evicted"] <= 10
        assert [base64.b64decode(one["payload"])[:1] for one in dead.list()] == [b"1"] * len(dead)

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_LETTERS", 10)
        patch.setattr(module, "MAX_TOTAL_SIZE", 2000)
        play(Path(folder), scene)
    assert MAX_LETTERS == 500
