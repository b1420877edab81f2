"""Pauses that end early when somebody says so."""

from __future__ import annotations

import asyncio


async def wakeable_sleep(seconds: float, told: asyncio.Event) -> None:
    """Sleep, unless `told` is set meanwhile."""
    told.clear()
    try:
        async with asyncio.timeout(seconds):
            await told.wait()
    except TimeoutError:
        return
