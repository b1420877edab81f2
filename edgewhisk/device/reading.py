"""What a device said: one value of one point at one time."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from edgewhisk.entity.parameters import JsonValue


class Quality(StrEnum):
    """How far a value can be trusted."""

    GOOD = "good"
    OUT_OF_RANGE = "out-of-range"  # decoded, but outside what the device can measure
    FAILED = "failed"  # could not be read; the value is None


class Reading(NamedTuple):
    """One measured value."""

    point: str  # "temperature"
    value: JsonValue
    unit: str  # "Cel": UCUM codes, as in SenML (RFC 8428)
    quality: Quality = Quality.GOOD
    reason: str = ""  # why it failed
