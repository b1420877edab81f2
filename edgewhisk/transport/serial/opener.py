"""Opens a serial port beside the event loop, in one thread for each port however often it is tried."""

from __future__ import annotations

import asyncio

import serial

from edgewhisk.base.threads import apart
from edgewhisk.device.profile import Line
from edgewhisk.transport.serial import discovery


class Opener:
    """Opens one port. A driver may hang in that: who tries again waits for the same thread."""

    def __init__(self) -> None:
        """Nothing is opened yet."""
        self._under_way: asyncio.Future[serial.Serial] | None = None

    async def open(self, path: str, line: Line) -> serial.Serial:
        """As `discovery.connect`; of a try that was given up, what became of it is what this one gets."""
        if self._under_way is None:
            opening = apart("open serial port", discovery.connect, path, line)
            self._under_way = asyncio.ensure_future(opening)
        under_way = self._under_way
        try:
            return await asyncio.shield(under_way)
        finally:
            if under_way.done():
                self._under_way = None
