"""The real clock."""

from __future__ import annotations

import os
import time

from edgewhisk.entity.activation import ID_LENGTH


class SystemClock:
    """`spi.Clock` over the operating system."""

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds since some fixed point."""
        return time.monotonic()

    def activation_ids(self, count: int) -> list[str]:
        """Ids from one read of the kernel's random numbers."""
        text = os.urandom(ID_LENGTH // 2 * count).hex()
        return [text[at : at + ID_LENGTH] for at in range(0, len(text), ID_LENGTH)]
