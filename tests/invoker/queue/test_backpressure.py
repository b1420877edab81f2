"""A source goes on when its triggers have room."""

from __future__ import annotations

import asyncio

from edgewhisk.entity.names import parse_name
from edgewhisk.invoker.queue.backpressure import Backpressure
from edgewhisk.invoker.queue.queue import Queue

T, U = parse_name("/guest/t", "_"), parse_name("/guest/u", "_")


def test_what_is_under_way_holds_back_its_own_source_only_and_until_half_is_gone() -> None:
    async def course() -> None:
        pressure, resumed = Backpressure(Queue(10), 10), list[str]()
        pressure.under_way.add(str(T), 6)
        assert (pressure.full([T]), pressure.full([U]), pressure.full([U, T])) == (True, False, True)
        pressure.on_room(lambda: resumed.append("t"), [T])
        pressure.on_room(lambda: resumed.append("u"), [U])
        await asyncio.sleep(0)
        assert (resumed, len(pressure)) == (["u"], 1)
        pressure.under_way.add(str(T), -4)
        pressure.make_room()
        await asyncio.sleep(0)
        assert (resumed, len(pressure)) == (["u", "t"], 0)

    asyncio.run(course())
