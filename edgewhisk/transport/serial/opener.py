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
        self._waiting = 0

    async def open(self, path: str, line: Line) -> serial.Serial:
        """As `discovery.connect`; while a try that was given up is under way, its outcome is this one's."""
        if self._under_way is None:
            opening = apart("open serial port", discovery.connect, path, line)
            self._under_way = asyncio.ensure_future(opening)
            self._under_way.add_done_callback(self._opened)
        under_way = self._under_way
        self._waiting += 1
        try:
            return await asyncio.shield(under_way)
        finally:
            self._waiting -= 1
            if under_way.done():
                self._under_way = None  # it is the caller's now

    def _opened(self, done: asyncio.Future[serial.Serial]) -> None:
        """Close a port for which nobody waits any more."""
        if self._waiting or self._under_way is not done:
            return
        self._under_way = None
        if not done.cancelled() and done.exception() is None:
            done.result().close()
