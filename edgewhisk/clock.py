"""The real clock."""

from __future__ import annotations

import os
import time
from typing import Final

from edgewhisk.entity.activation import ID_LENGTH

_STOCK: Final = 128  # ids made at a time


class SystemClock:
    """`spi.Clock` over the operating system. Thread-safe."""

    def __init__(self) -> None:
        """With an empty stock of ids."""
        self._ids: list[str] = []

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds since some fixed point."""
        return time.monotonic()

    def activation_ids(self, count: int) -> list[str]:
        """Ids from the kernel's random numbers, read many at a time: a system call costs 3 us."""
        if count == 1:
            try:
                return [self._ids.pop()]
            except IndexError:
                self._ids.extend(_ids(_STOCK))
        return _ids(count)


def _ids(count: int) -> list[str]:
    text = os.urandom(ID_LENGTH // 2 * count).hex()
    return [text[at : at + ID_LENGTH] for at in range(0, len(text), ID_LENGTH)]
