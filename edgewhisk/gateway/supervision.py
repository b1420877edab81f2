"""Keeps the parts of the gateway running, whatever happens to them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

_log = logging.getLogger(__name__)

Run = Callable[[], Awaitable[None]]
_RESTART: Final = (1.0, 30.0)  # seconds before a failed task is started again: first, most


@contextlib.asynccontextmanager
async def supervised(
    tasks: list[tuple[str, Run]],
) -> AsyncIterator[None]:
    """Keep `tasks` running inside the block, whatever happens to them."""
    running = [asyncio.create_task(_supervise(name, run), name=name) for name, run in tasks]
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _supervise(name: str, run: Run) -> None:
    pause, longest = _RESTART
    while True:
        try:
            await run()
        except Exception:  # noqa: BLE001 - supervisor: one broken source never stops the others
            _log.exception("%s failed; starting it again in %g s", name, pause)
        await asyncio.sleep(pause)
        pause = min(longest, pause * 2)
