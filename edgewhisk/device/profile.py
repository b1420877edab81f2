"""Device profiles: what is connected to a port, as data. Format: `devices/README.md`."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from edgewhisk import share
from edgewhisk.errors import ConfigError, Fault

_LONGEST: Final = 65_536  # bytes of a frame
_SECTIONS: Final = {"description", "source", "serial", "framing", "decoding", "points"}
_POINT: Final = {"unit", "range", "scale", "offset", "optional"}


@dataclass(frozen=True, slots=True)
class Point:
    """One value that a device measures."""

    name: str
    unit: str  # UCUM
    low: float = -math.inf  # what the device can measure, after scale and offset
    high: float = math.inf
    scale: float = 1.0
    offset: float = 0.0
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of device."""

    name: str  # "vendor/model"
    description: str
    baudrate: int
    longest: int  # bytes of a frame
    points: tuple[Point, ...]


def names() -> list[str]:
    """All profiles there are."""
    return [name.removesuffix(".toml") for name, _ in share.every("devices", "*/*.toml")]


def load(name: str) -> Profile:
    """The profile `vendor/model`; raises `ConfigError` with all that is wrong with it."""
    if name not in names():
        problem = f"there is no profile {name!r}; there are: {', '.join(names())}"
        raise ConfigError((Fault("devices", "profile", problem),))
    path = share.find("devices", f"{name}.toml")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError((Fault(str(path), "(file)", f"cannot be read: {error}"),)) from error
    return read(name, document, str(path))


def read(name: str, document: Mapping[str, Any], where: str) -> Profile:
    """A profile of a parsed file; raises `ConfigError`."""
    faults = [Fault(where, key, "is not a key of a profile") for key in sorted(set(document) - _SECTIONS)]

    def table(key: str) -> Mapping[str, Any]:
        found = document.get(key, {})
        if isinstance(found, dict):
            return found
        faults.append(Fault(where, key, "must be a table"))
        return {}

    for key, kinds in (("framing", ("line",)), ("decoding", ("json",))):
        kind = table(key).get("kind")
        if kind not in kinds:
            faults.append(Fault(where, f"{key}.kind", f"must be one of {', '.join(kinds)}, not {kind!r}"))
    baudrate, longest = table("serial").get("baudrate", 9600), table("framing").get("longest", 512)
    for key, value, most in (
        ("serial.baudrate", baudrate, 4_000_000),
        ("framing.longest", longest, _LONGEST),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            faults.append(Fault(where, key, f"must be a whole number from 1 to {most}, not {value!r}"))
    points = [point for key, entry in table("points").items() if (point := _point(key, entry, where, faults))]
    if not points and not faults:
        faults.append(
            Fault(where, "points", "must name at least one value", '[points.temperature]  unit = "Cel"')
        )
    if faults:
        raise ConfigError(tuple(faults))
    return Profile(name, str(document.get("description", name)), baudrate, longest, tuple(points))


def _point(name: str, entry: object, where: str, faults: list[Fault]) -> Point | None:
    key = f"points.{name}"
    if not isinstance(entry, dict):
        faults.append(Fault(where, key, "must be a table"))
        return None
    wrong = [
        Fault(where, f"{key}.{extra}", "is not a key of a point") for extra in sorted(set(entry) - _POINT)
    ]
    span = entry.get("range", [-math.inf, math.inf])
    if not _is_range(span):
        wrong.append(Fault(where, f"{key}.range", "must be two rising numbers", "range = [-40.0, 85.0]"))
    wrong += [
        Fault(where, f"{key}.{part}", f"must be a number, not {entry[part]!r}")
        for part in ("scale", "offset")
        if part in entry and not _is_number(entry[part])
    ]
    if not isinstance(entry.get("unit"), str):
        wrong.append(Fault(where, f"{key}.unit", "must be a UCUM unit", 'unit = "Cel"'))
    if not isinstance(entry.get("optional", False), bool):
        wrong.append(Fault(where, f"{key}.optional", "must be true or false"))
    faults += wrong
    if wrong:
        return None
    scale, offset = entry.get("scale", 1.0), entry.get("offset", 0.0)
    return Point(name, entry["unit"], span[0], span[1], scale, offset, entry.get("optional", False))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_range(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(_is_number(part) for part in value)
        and value[0] < value[1]
    )
