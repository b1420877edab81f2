"""Batches are handed over and come back to the event loop, whatever they raise."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

from edgewhisk.base.threads import apart
from edgewhisk.invoker.execution.workers import THREADS, WorkerPool


def batch(number: int) -> Any:
    return SimpleNamespace(number=number, bound=SimpleNamespace(action=SimpleNamespace(name="a")))


def test_a_batch_comes_back_on_the_loop_with_what_it_raised() -> None:
    async def course() -> None:
        back: asyncio.Queue[tuple[int, Exception | None, str]] = asyncio.Queue()

        def run(one: Any) -> None:
            if one.number % 2:
                raise RuntimeError(one.number)

        def is_back(one: Any, error: Exception | None) -> None:
            back.put_nowait((one.number, error, threading.current_thread().name))

        pool = WorkerPool(run, is_back, lambda _batch, _begins: None)
        for number in range(200):
            pool.start(batch(number))
        found = [await back.get() for _ in range(200)]
        assert sorted(number for number, _, _ in found) == list(range(200))
        assert all((error is not None) == bool(number % 2) for number, error, _ in found)
        assert {thread for _, _, thread in found} == {threading.current_thread().name}
        assert (pool.busy, len(pool) <= THREADS) == (0, True)
        pool.close()
        await apart("join", pool.join)

    asyncio.run(course())


def test_a_worker_that_waits_for_another_action_is_not_busy() -> None:
    async def course() -> None:
        go, told, ended = threading.Event(), asyncio.Event(), asyncio.Event()
        seen: list[tuple[bool, int]] = []

        def run(_: Any) -> None:
            with pool.lent():
                go.wait(20)

        def lend(_: Any, begins: bool) -> None:
            seen.append((begins, pool.busy))
            told.set()

        pool = WorkerPool(run, lambda *_: ended.set(), lend)
        with pool.lent():  # not a worker: nothing happens
            assert seen == []
        pool.start(batch(0))
        await told.wait()
        go.set()
        await ended.wait()
        assert seen == [(True, 0), (False, 1)]
        pool.close()
        await apart("join", pool.join)

    asyncio.run(course())
