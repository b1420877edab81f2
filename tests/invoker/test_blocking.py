"""Calls of one turn of the loop share a write."""

from __future__ import annotations

import asyncio
from typing import Any

from edgewhisk.entity.activation import Record
from edgewhisk.errors import StorageError
from edgewhisk.invoker.blocking import BlockingCalls, Call, deliver


def test_calls_are_gathered_while_the_last_ones_are_written() -> None:
    async def course() -> None:
        released: list[list[Any]] = []
        calls = BlockingCalls(lambda found: released.append([one.message for one in found]))
        for name in "ab":
            calls.add(Call(name, asyncio.get_running_loop().create_future()))  # type: ignore[arg-type]
        assert len(calls) == 2
        await asyncio.sleep(0)
        assert released == [["a", "b"]]
        calls.writes()
        for name in "cd":
            calls.add(Call(name, asyncio.get_running_loop().create_future()))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert released == [["a", "b"]]
        calls.wrote()
        await asyncio.sleep(0)
        assert released == [["a", "b"], ["c", "d"]]
        assert len(calls) == 0

    asyncio.run(course())


def test_who_waits_gets_the_record_or_the_error() -> None:
    async def course() -> None:
        loop = asyncio.get_running_loop()
        first, gone, third = (loop.create_future() for _ in range(3))
        gone.cancel()
        records = [Record(name, b"{}") for name in "abcd"]
        deliver([first, gone, None, third], records, None)
        assert (first.result(), third.result()) == (records[0], records[3])
        failed: asyncio.Future[Record] = loop.create_future()
        deliver([failed], records[:1], error := StorageError("no space"))
        assert failed.exception() is error

    asyncio.run(course())
