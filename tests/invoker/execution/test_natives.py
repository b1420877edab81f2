"""Steps of the gateway itself: begun in order, recorded in order, whichever ends first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.clock import SteadyClock
from tests.fakes.sandbox import FakeSandbox
from tests.stages import event, stages, until


def test_records_keep_the_order_of_dispatch_though_the_last_step_ends_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewhisk.invoker.execution.natives.JOURNAL_AFTER", 60)
    waiting: list[tuple[int, asyncio.Event]] = []

    async def act(given: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        if given[0]["n"] > 0:
            waiting.append((given[0]["n"], go := asyncio.Event()))
            await go.wait()
        return [{"n": one["n"]} for one in given]

    async def course() -> None:
        clock = SteadyClock()
        async with stages(tmp_path, act, clock=clock, sandbox=FakeSandbox(clock)) as made:
            await made.make("function main(p) { return p }", "/_/a", "/whisk.system/test/act")
            await made.controller([event(0)])
            sent = [made.controller([event(number)]) for number in range(1, 6)]
            while len(waiting) < 5:  # noqa: ASYNC110 - each begins in a task of its own
                await asyncio.sleep(0)
            assert [number for number, _ in waiting] == [1, 2, 3, 4, 5]  # begun in order, side by side
            for _, go in waiting[:0:-1]:
                go.set()
                await asyncio.sleep(0.001)
            assert not any(one.done() for one in sent)
            waiting[0][1].set()
            await asyncio.gather(*sent)
            await until(lambda: len(made.recorded("s")) == 6)
            assert made.numbers("s") == made.numbers("test/act") == list(range(6))

    asyncio.run(course())
