"""What a broker delivered at QoS 1 and the gateway accepted, so that a redelivery is recognised."""

from __future__ import annotations

import asyncio
import re
from array import array
from collections.abc import Mapping, Sequence
from typing import Final
from zlib import crc32

from edgewhisk.transport.mqtt.codec import numbers

_TAIL: Final = re.compile("[0-9a-f]{12}")  # of an origin: packet identifier and checksum
Fresh = Mapping[bytes, int]  # packet identifier -> checksum


def checksum(topic: bytes, payload: bytes) -> int:
    """Of a message; never 0.

    It tells a redelivery from another message under the same packet identifier, where only a broker's
    chance or a lost connection can bring them together: 32 bits are plenty, and blake2b takes thrice as long.
    """
    return crc32(payload, crc32(topic)) or 1


class AcceptedMessages:
    """Of one broker, the newest message of each packet identifier: 65,535 at most."""

    def __init__(self, mark: str, origins: Sequence[str]) -> None:
        """`origins` of what earlier lives accepted, oldest first; those of this broker begin with `mark`."""
        self._mark = mark
        tails = [origin[len(mark) :] for origin in origins if origin.startswith(mark)]
        # By packet identifier; 0 of those that never came. In 256 KB: a dictionary grows to 10 MB.
        self._known = array("I", bytes(4 << 16))
        for tail in filter(_TAIL.fullmatch, tails):
            self._known[int(tail[:4], 16)] = int(tail[4:], 16)
        self._pending: dict[asyncio.Future[None], Fresh] = {}

    def origin(self, packet_id: bytes, check: int) -> str:
        """What is kept of a message in the journal."""
        return f"{self._mark}{packet_id.hex()}{check:08x}"

    def knows(self, packet_id: bytes, check: int) -> bool:
        """Whether a message was accepted; it may not be on disk yet."""
        return self._known[int.from_bytes(packet_id, "big")] == check

    def add(self, fresh: Fresh, stored: asyncio.Future[None]) -> None:
        """Remember messages; `stored` is done when their events are on disk."""
        known = self._known
        for number, check in zip(numbers(fresh), fresh.values(), strict=True):
            known[number] = check
        self._pending[stored] = fresh

    def pending(self, packet_id: bytes, check: int) -> asyncio.Future[None] | None:
        """When a message that is known will be on disk; None if it is."""
        return next(
            (stored for stored, fresh in self._pending.items() if fresh.get(packet_id) == check), None
        )

    def settle(self, fresh: Fresh, stored: asyncio.Future[None], *, refused: bool) -> None:
        """Messages are on disk; or they were refused, and come again as if they had never come."""
        self._pending.pop(stored, None)
        if not refused:
            return
        for packet_id, check in fresh.items():
            if self.knows(packet_id, check):
                self._known[int.from_bytes(packet_id, "big")] = 0
