"""What annotations say of the delivery of events: how urgent they are, how often at most. Pure."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from edgewhisk.entity.parameters import Parameters
from edgewhisk.errors import MalformedContent

PRIORITY: Final = "edge-priority"  # of a trigger, or of an action
DELIVERY: Final = "edge-delivery"  # of an action
AT_MOST_ONCE: Final = "at-most-once"
AT_LEAST_ONCE: Final = "at-least-once"


class Priority(IntEnum):
    """How urgent events are; the lower the sooner."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


_PRIORITIES: Final = {one.name.lower(): one for one in Priority}


def priority(annotations: Parameters) -> Priority | None:
    """What is asked for, None if nothing is; raises `MalformedContent`."""
    value = annotations.get(PRIORITY)
    if value is None:
        return None
    found = _PRIORITIES.get(value) if isinstance(value, str) else None
    if found is None:
        raise MalformedContent(f"annotation '{PRIORITY}' must be {', '.join(_PRIORITIES)}, not {value!r}")
    return found


def at_most_once(annotations: Parameters) -> bool:
    """Whether an action must never be run twice for an event; raises `MalformedContent`."""
    value = annotations.get(DELIVERY)
    if value not in (None, AT_MOST_ONCE, AT_LEAST_ONCE):
        raise MalformedContent(
            f"annotation '{DELIVERY}' must be {AT_MOST_ONCE} or {AT_LEAST_ONCE} (the default), not {value!r}"
        )
    return bool(value == AT_MOST_ONCE)
