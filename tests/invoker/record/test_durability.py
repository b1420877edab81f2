"""When a source is told, and what is journalled."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from edgewhisk.entity.invocation.message import ActivationMessage
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import StorageError
from edgewhisk.invoker.batch import Batch, PendingBatch, places, stream_of
from edgewhisk.invoker.record.durability import MAX_UNPERSISTED, Durability, DurabilityBarrier
from edgewhisk.spi import Committed

ACTION = parse_name("/guest/a", "_")


class Accepting:
    """What is journalled, and who is told."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, bool]] = []
        self.told: list[Committed] = []

    def accept(self, messages: Sequence[ActivationMessage], done: Committed, *, urgent: bool) -> None:
        self.asked.append((len(messages), urgent))
        self.told.append(done)


def messages(*durable: bool) -> list[ActivationMessage]:
    return [
        ActivationMessage(f"{at:032x}", ACTION, "guest", "guest", b"{}", 0, "/guest/t", durable=one)
        for at, one in enumerate(durable)
    ]


def entry(*durable: bool) -> tuple[PendingBatch, asyncio.Future[None]]:
    found = messages(*durable)
    barrier = DurabilityBarrier(asyncio.get_running_loop(), found)
    return PendingBatch(found, 0.0, places(found), barrier), barrier.future


def made(store: Any, flushed: list[str]) -> Durability:
    return Durability(store, lambda: flushed.append("flush"), lambda: flushed.append("more"))


@pytest.mark.parametrize("error", [None, StorageError("no space")])
def test_a_source_is_told_when_all_its_events_are_on_disk_or_one_is_refused(
    error: StorageError | None,
) -> None:
    async def course() -> None:
        loop = asyncio.get_running_loop()
        barrier = DurabilityBarrier(loop, messages(True, False, True, True))
        barrier.settle(2, error)
        assert not barrier.future.done()
        barrier.settle(1)
        assert barrier.future.exception() == error
        assert DurabilityBarrier(loop, messages(False)).future.done()

    asyncio.run(course())


def test_an_entry_is_journalled_once_behind_what_was_run() -> None:
    async def course() -> None:
        store, seen = Accepting(), list[str]()
        durability = made(store, seen)
        whole, future = entry(True, False, True)
        kept = durability.journal(whole)
        assert (store.asked, seen, durability.unpersisted) == ([(2, False)], ["flush"], 2)
        assert durability.journal(kept) == kept
        assert len(store.asked) == 1
        store.told[0](None)
        await future
        await asyncio.sleep(0)
        assert (seen, durability.unpersisted) == (["flush", "more"], 0)
        plain, _ = entry(False)
        assert durability.journal(plain).barrier is None
        assert len(store.asked) == 1

    asyncio.run(course())


def test_what_was_begun_is_counted_until_it_is_recorded_and_presses_when_it_is_much() -> None:
    async def course() -> None:
        store, seen = Accepting(), list[str]()
        durability = made(store, seen)
        whole, future = entry(*[True] * MAX_UNPERSISTED)
        batch = Batch(stream_of(whole.messages[0]), [whole])
        batch.inline = True
        durability.begin(batch)
        assert (durability.room, durability.pressing) == (0, False)
        durability.end(batch)
        assert durability.pressing
        durability.recorded([batch], None)
        await future
        await asyncio.sleep(0)
        assert (durability.room, durability.pressing) == (MAX_UNPERSISTED, False)

    asyncio.run(course())
