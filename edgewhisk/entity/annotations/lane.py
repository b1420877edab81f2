"""Lanes: what of the buffer goes first when there is no room for all."""

from __future__ import annotations

from typing import Final

from edgewhisk.entity.parameters import Parameters
from edgewhisk.errors import MalformedContent

ERRORS: Final = "errors"  # every activation that failed
NORMAL: Final = "normal"
TELEMETRY: Final = "telemetry"
LANES: Final = (TELEMETRY, NORMAL, ERRORS)  # the least worth first
ANNOTATION: Final = "edge-lane"


def lane_of(annotations: Parameters) -> str:
    """The lane of an action's successful activations."""
    value = annotations.get(ANNOTATION)
    return value if value in LANES else NORMAL


def check_lane(annotations: Parameters) -> None:
    """Raise `MalformedContent` if the annotation names no lane."""
    value = annotations.get(ANNOTATION, NORMAL)
    if value not in LANES:
        raise MalformedContent(f"annotation '{ANNOTATION}' must be one of {', '.join(LANES)}, not {value!r}")
