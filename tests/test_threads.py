"""Threads apart: each call has one to itself; those that are done are used again, or end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from edgewhisk.base import threads
from edgewhisk.base.threads import apart
from tests.path.gateway import until


def spare() -> int:
    return sum(one.name == "spare" for one in threading.enumerate())


def test_none_waits_for_another_and_each_is_named() -> None:
    together = threading.Barrier(30)

    def meet() -> str:
        together.wait(20)
        return threading.current_thread().name

    async def run() -> list[str]:
        return await asyncio.gather(*(apart(f"meet {n}", meet) for n in range(30)))

    assert asyncio.run(run()) == [f"meet {n}" for n in range(30)]


def test_a_thread_is_used_again() -> None:
    async def run() -> None:
        await apart("first", threading.get_ident)
        until(lambda: spare() > 0)
        waiting = {one.ident for one in threading.enumerate() if one.name == "spare"}
        assert await apart("second", threading.get_ident) in waiting

    asyncio.run(run())


def test_what_is_raised_goes_to_the_caller_and_the_thread_stays_of_use() -> None:
    def wrong() -> None:
        raise ValueError("wrong")

    async def run() -> int:
        for _ in range(3):
            with pytest.raises(ValueError, match="wrong"):
                await apart("wrong", wrong)
        return await apart("right", lambda: 1)

    assert asyncio.run(run()) == 1


def test_a_caller_that_is_cancelled_leaves_it_to_end() -> None:
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go.wait(20)
        ended.set()

    async def run() -> None:
        task = asyncio.ensure_future(apart("slow", slow))
        await asyncio.to_thread(begun.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    go.set()
    assert ended.wait(20)


def test_those_that_nobody_wants_end(monkeypatch: pytest.MonkeyPatch) -> None:
    until(lambda: not spare(), 30)  # of other tests, which wait for longer
    monkeypatch.setattr(threads, "IDLE", 0.05)
    together = threading.Barrier(8)

    async def run() -> None:
        await asyncio.gather(*(apart("meet", together.wait, 20) for _ in range(8)))

    asyncio.run(run())
    until(lambda: not spare())
    assert asyncio.run(apart("again", lambda: 2)) == 2
