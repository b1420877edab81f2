"""When the kernel wakes the gateway for what a broker sends: for each segment, or for some bytes together.

Of `SO_RCVLOWAT` (socket(7)) and a timer, so that nothing waits for ever. While so many bytes are not
there the process sleeps, where a transport that is paused is woken all the same, to be told so.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Final

from edgewhisk.transport.mqtt.coalescing_policy import MAX_DELAY, CoalescingPolicy

_ACKNOWLEDGEMENT: Final = 4  # bytes of a PUBACK; nothing else that is waited for is as small
_COURTESY: Final = 0.02  # seconds that one may wait for a message to come along with
_MANY: Final = 16  # that are waited for: messages come so quickly then that a wake should bring several


class Coalescing:
    """Of one connection."""

    def __init__(self, link: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        """`link` may be one that the event loop made for this call, as uvloop does."""
        self._socket = socket.socket(fileno=os.dup(link.fileno()))
        self._loop = loop
        self._gathering = CoalescingPolicy()
        self._least = 1  # bytes for which the kernel wakes us
        self._gathers = False  # whether messages wait for company
        self._timer: asyncio.TimerHandle | None = None

    def came(self, count: int, size: int, flying: int) -> None:
        """A chunk of `size` bytes came, with `count` messages; so many acknowledgements are waited for."""
        if not count:
            if not self._gathers:
                self._wait_for_acknowledgements(flying)
            return
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if self._gathers:
            self._gathering.waited(well=timer is not None)
        least = self._gathering.came(count, size, self._loop.time())
        self._gathers = least > 0
        if self._gathers:
            self._wait_for(least, MAX_DELAY)
        elif flying == 1:  # nobody waits for the answer as urgently as somebody does for the next message
            self._wait_for(_ACKNOWLEDGEMENT + 1, _COURTESY)
        else:
            self._wait_for_acknowledgements(flying)

    def sent(self, flying: int) -> None:
        """Something was written; so many acknowledgements are waited for now."""
        if flying >= _MANY and not self._gathers:
            self._wait_for_acknowledgements(flying)

    def _wait_for_acknowledgements(self, flying: int) -> None:
        """Wake for the last of them or for a message; where they are many, for as many bytes of both."""
        least, message = flying * _ACKNOWLEDGEMENT, int(self._gathering.size / 2)
        self._wait_for(max(1, least if flying >= _MANY else min(least, message)), MAX_DELAY)

    def acknowledge(self) -> None:
        """Let the kernel acknowledge the segment now.

        A broker with Nagle's algorithm on (mosquitto's default) holds the next message until it is; the
        kernel waits up to 40 ms for data of ours to go with it, and our PUBACK waits for the disk.
        Measured at 200 readings a second: 10 ms without this, 1 ms with it. Linux forgets the wish, so
        it is renewed for each chunk that is not answered at once, which acknowledges it as well.
        """
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def close(self) -> None:
        """Wait for nothing."""
        if self._timer is not None:
            self._timer.cancel()
        self._socket.close()

    def _end(self) -> None:
        """Nothing waits any longer."""
        self._timer = None
        self._wake_for(1)

    def _wait_for(self, least: int, seconds: float) -> None:
        """Wake for so many bytes; for any after so many seconds, or when an earlier wait would have ended."""
        due = self._loop.time() + seconds
        if least > 1 and (self._timer is None or self._timer.when() > due):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(due, self._end)
        self._wake_for(least)

    def _wake_for(self, least: int) -> None:
        if least != self._least:
            self._least = least
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)
