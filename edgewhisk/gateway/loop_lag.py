"""How late the event loop is: everything it serves waits that long."""

from __future__ import annotations

import asyncio
from typing import Final

from edgewhisk.base.histogram import Histogram

EVERY: Final = 1.0  # seconds between two looks


class LoopLag:
    """Measured by how much later than asked for a timer goes off."""

    def __init__(self) -> None:
        """Nothing is known before `run`."""
        self.seconds = Histogram()
        self.last = self.worst = 0.0  # seconds

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY
            await asyncio.sleep(EVERY)
            self.last = max(0.0, loop.time() - due)
            self.worst = max(self.worst, self.last)
            self.seconds.observe(self.last, 1)

    def describe(self) -> dict[str, float]:
        """For `status`, in ms."""
        return {"last_ms": round(self.last * 1000, 1), "worst_ms": round(self.worst * 1000, 1)}
