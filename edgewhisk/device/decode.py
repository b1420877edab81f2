"""From a frame to readings, as the profile says. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from edgewhisk.device.profile import Point, Profile
from edgewhisk.entity.reading import Quality, Reading


class Undecodable(ValueError):
    """The frame is not what the profile describes; the text says why."""


def decode(profile: Profile, frame: bytes) -> tuple[Reading, ...]:
    """The readings of one frame. Raises `Undecodable`."""
    try:
        found = orjson.loads(frame)
    except orjson.JSONDecodeError:
        raise Undecodable("not JSON") from None
    if not isinstance(found, dict):
        raise Undecodable("not a JSON object")
    readings = [
        _reading(point, found) for point in profile.points if point.name in found or not point.optional
    ]
    return tuple(readings)


def _reading(point: Point, found: dict[str, Any]) -> Reading:
    if point.name not in found:
        raise Undecodable(f"{point.name} is missing")
    value = found[point.name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Undecodable(f"{point.name} is no number")
    value = value * point.scale + point.offset if (point.scale, point.offset) != (1.0, 0.0) else value
    good = point.low <= value <= point.high
    return Reading(point.name, value, point.unit, Quality.GOOD if good else Quality.OUT_OF_RANGE)


def payload(profile: Profile, port: str, at: int, readings: Sequence[Reading]) -> bytes:
    """The parameters of an event: the values by their points, and which of them are out of range."""
    document: dict[str, Any] = {"device": profile.name, "port": port, "taken_at": at}
    document.update((reading.point, reading.value) for reading in readings)
    if suspect := [reading.point for reading in readings if reading.quality is not Quality.GOOD]:
        document["suspect"] = suspect
    return orjson.dumps(document)
