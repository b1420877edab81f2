"""How long a card will last. Pure."""

from __future__ import annotations

from typing import Any, Final

from edgewhisk.entity.stats import BufferStats
from edgewhisk.settings import Buffer

_SOONEST: Final = 600  # seconds that a gateway must have run for a projection
_DAY: Final = 86_400  # seconds


def wear(stats: BufferStats, settings: Buffer) -> dict[str, Any]:
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
