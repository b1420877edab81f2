"""Counts what a source sent that is no reading, or was odd and taken all the same. Pure.

A noisy line can send thousands of bad frames; each is counted, the first of a burst is logged, and
the rest once a minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from edgewhisk.device.rejected import sample

QUIET: Final = 60.0  # seconds between log lines of one burst


@dataclass(slots=True)
class RejectCounter:
    """What was refused so far."""

    count: int = 0
    mended: int = 0  # odd parts of what was taken: NaN, a byte order mark, half a pair of surrogates ...
    reason: str = ""
    sample: str = ""
    _logged: float | None = None  # monotonic seconds
    _unlogged: int = 0

    def add(self, reason: str, data: bytes, now: float) -> str | None:
        """Count one; the line to log, if it is time for one. `now`: monotonic seconds."""
        self.count += 1
        self._unlogged += 1
        self.reason, self.sample = reason, sample(data)
        if self._logged is not None and now - self._logged < QUIET:
            return None
        self._logged = now
        count, self._unlogged = self._unlogged, 0
        return f"{count} refused: {reason}: {self.sample}"

    def mend(self, count: int) -> None:
        """Count odd parts of a message that something else stands for now."""
        self.mended += count

    def describe(self) -> dict[str, Any]:
        """For `status`."""
        mended = {"mended": self.mended} if self.mended else {}
        if not self.count:
            return {"garbage": 0, **mended}
        return {"garbage": self.count, "last_garbage": f"{self.reason}: {self.sample}", **mended}
