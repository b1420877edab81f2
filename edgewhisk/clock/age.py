"""The time by which ages are told where something is dropped for its age. Pure.

A clock that jumps ahead for a minute must cost nothing: what expired is gone. So a jump that is larger than
plausible is held until the clock has stood by it for a day; meanwhile time passes as the machine counts
it. What expires too late by that only goes later.
"""

from __future__ import annotations

from typing import Any, Final

from edgewhisk.clock.offset import is_known

PLAUSIBLE: Final = 3_600_000  # ms that the clock may be set ahead, and be believed at once
CONFIRMED: Final = 86_400_000  # ms that the machine runs until it is believed
COLLECTION: Final = "clock"  # in the document store: what survives, under `KEY`
KEY: Final = "believed"
_KEEP: Final = 3_600_000  # ms between two that are kept


class Age:
    """What time it is at the earliest, over restarts and boots. Not thread-safe, but for `now`."""

    def __init__(self, kept: dict[str, Any] | None) -> None:
        """`kept`: `document` of an earlier life."""
        self._kept = kept or {}
        self._anchor = (0, 0)  # ms since the epoch, at ms since the boot
        self._doubt: tuple[int, int] | None = None  # what the clock claims to be the boot's time; since when
        self._saved = (0, False)

    def look(self, boot: str, up: int, said: int) -> None:
        """Follow a clock that says `said`, `up` ms after the boot."""
        expected = self.now(up) or self._from_before(boot, up)
        if expected and (not is_known(said) or said > expected + PLAUSIBLE) and not self._stands(up, said):
            self._anchor = (expected, up)
        elif is_known(said):
            self._anchor, self._doubt = (said, up), None

    def now(self, up: int) -> int:
        """Milliseconds since the epoch, `up` ms after the boot; 0: nobody knows, nothing is old."""
        at, since = self._anchor
        return at + up - since if at else 0

    @property
    def doubted(self) -> bool:
        """Whether the clock is ahead of what is believed."""
        return self._doubt is not None

    def document(self, boot: str, up: int) -> dict[str, Any] | None:
        """What must survive; None while there is nothing new worth a write."""
        now, state = self.now(up), self.doubted
        if not now or (state is self._saved[1] and abs(now - self._saved[0]) < _KEEP):
            return None
        self._saved = (now, state)
        return {"at": now, "boot": boot, "up": up}

    def _from_before(self, boot: str, up: int) -> int:
        """What an earlier life believed, and what the machine has counted since."""
        at = int(self._kept.get("at", 0))
        same = self._kept.get("boot") == boot
        return at + (max(0, up - int(self._kept["up"])) if same else 0)

    def _stands(self, up: int, said: int) -> bool:
        """Whether the clock has stood by what it claims for long enough."""
        claim, since = self._doubt or (said - up, up)
        if abs(said - up - claim) > PLAUSIBLE:
            claim, since = said - up, up
        self._doubt = (claim, since)
        return is_known(said) and up - since >= CONFIRMED
