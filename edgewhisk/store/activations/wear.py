"""What the card had to write, and how long it will last."""

from __future__ import annotations

from typing import Any, Final

from edgewhisk.config.schema import BufferConfig
from edgewhisk.entity.records.stats import BufferStats
from edgewhisk.spi import Clock
from edgewhisk.store.activations.log_state import LogState, worn_frame
from edgewhisk.store.log.disk import Disk
from edgewhisk.store.log.frames import Frame

_SOONEST: Final = 600  # seconds that a gateway must have run for a projection
_DAY: Final = 86_400  # seconds
REMEMBER: Final = 3600.0  # seconds between two times that wear is written down


class Wear:
    """What the card had to write in this life, and when that was last written down for later ones."""

    def __init__(self, disk: Disk, clock: Clock) -> None:
        """A life begins."""
        self._disk = disk
        self._clock = clock
        self._started = self._remembered = clock.monotonic()

    def __call__(self) -> tuple[int, float]:
        """Bytes the card had to write, and seconds the gateway ran."""
        return self._disk.worn, self._clock.monotonic() - self._started

    @property
    def due(self) -> bool:
        """Whether it should be written down again."""
        return self._clock.monotonic() - self._remembered >= REMEMBER

    def frame(self, log_state: LogState) -> Frame:
        """What later lives must know: headers tell it only as it was when a segment was begun."""
        self._remembered = self._clock.monotonic()
        worn, ran = self()
        return worn_frame(log_state.worn + worn, log_state.ran + ran)


def wear(stats: BufferStats, settings: BufferConfig) -> dict[str, Any]:
    """What was written since the gateway was installed, and when the card is worn out at that pace.

    A card that spreads writes over all its cells takes its size times its cycles; what it moves
    about by itself is unknown, so this is the best case.
    """
    daily = stats.worn / stats.ran * _DAY if stats.ran >= _SOONEST else 0.0
    endurance = settings.card_bytes * settings.card_cycles
    return {
        "written": stats.worn,
        "hours": round(stats.ran / 3600, 1),
        "daily": round(daily),
        "card_bytes": settings.card_bytes,
        "card_cycles": settings.card_cycles,
        "card_years": round((endurance - stats.worn) / daily / 365, 1) if daily else None,
    }
