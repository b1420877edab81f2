"""What is wrong with a device profile beyond the types of its values. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from edgewhisk.config.table import Requirement
from edgewhisk.device.topics import pattern
from edgewhisk.errors import FeedError

if TYPE_CHECKING:
    from edgewhisk.device.profile import Framing, Match, Point, Profile

_FITTING: Final[Mapping[str, tuple[str, ...]]] = {
    "serial": ("json", "csv", "regex", "struct", "text", "value", "cbor"),
    "mqtt": ("json", "csv", "regex", "struct", "text", "value", "cbor", "sparkplug", "homeassistant"),
    "modbus": ("registers",),
}
_BITS: Final[Mapping[str, int]] = {"u8": 8, "i8": 8, "u16": 16, "i16": 16, "u32": 32, "i32": 32, "u64": 64,
                                   "i64": 64}  # fmt: skip
_REGISTERS: Final[Mapping[str, int]] = {"u32": 2, "i32": 2, "f32": 2, "u64": 4, "i64": 4, "f64": 4}
_HEX: Final = frozenset("0123456789abcdef")


def rules(profile: Profile, reserved: tuple[str, ...]) -> Iterator[Requirement]:
    """What holds of a profile as a whole; `reserved` are names that events have for themselves."""
    fitting = _FITTING[profile.transport]
    how = f"{profile.decoding!r} does not fit a {profile.transport} device: use {', '.join(fitting)}"
    yield Requirement(profile.decoding not in fitting, "decoding.kind", how)
    csv = profile.decoding == "csv" and not profile.separator
    yield Requirement(csv, "decoding.separator", "must not be empty", 'separator = ";"')
    stop = profile.line.stopbits
    yield Requirement(stop not in (1, 1.5, 2), "serial.stopbits", f"must be 1, 1.5 or 2, not {stop:g}")
    if profile.transport == "serial":
        yield from _framing(profile.framing)
    else:
        asked = "only a serial port is asked by [[ask]]"
        yield Requirement(profile.asks, "ask", asked)
        yield Requirement(profile.writes, "writes", "only a serial port has commands")
    yield from _match(profile.match)
    for topic in profile.topics:
        yield from _topic(topic)
    for point in profile.points:
        yield from _point(point, profile, reserved)


def _framing(framing: Framing) -> Iterator[Requirement]:
    kind, longest = framing.kind, framing.longest
    yield Requirement(kind == "line" and not framing.end, "framing.end", "must not be empty", 'end = "0D 0A"')
    delimited = kind == "delimited" and not framing.end
    yield Requirement(delimited, "framing.end", "must not be empty", 'end = "03"')
    searched = kind in ("fixed", "length", "delimited")
    yield Requirement(searched and not framing.start, "framing.start", "must not be empty", 'start = "AA C0"')
    least = len(framing.start) + len(framing.end)
    if kind == "fixed":
        small = framing.size < least or not framing.size
        told = f"must be at least {max(1, least)}, the bytes of start and end, not {framing.size}"
        yield Requirement(small, "framing.size", told)
        yield Requirement(framing.size > longest, "framing.longest", f"must be at least size, {framing.size}")
    unchecked = framing.check.kind != "none" and kind in ("line", "nmea", "telegram")
    yield Requirement(
        unchecked, "framing.check", f"is not done for {kind} frames: nmea and telegram have their own"
    )


def _match(match: Match) -> Iterator[Requirement]:
    for text in match.usb:
        vendor, _, product = text.partition(":")
        good = len(vendor) == len(product) == 4 and set(vendor + product) <= _HEX
        yield Requirement(not good, "match.usb", f"{text!r} must be vendor:product", 'usb = ["1a86:7523"]')


def _topic(topic: str) -> Iterator[Requirement]:
    try:
        pattern(topic)
    except FeedError as error:
        yield Requirement(True, "mqtt.topics", str(error), 'topics = ["tele/{id}/SENSOR"]')


def _point(point: Point, profile: Profile, reserved: tuple[str, ...]) -> Iterator[Requirement]:
    where = f"points.{point.name}"
    yield Requirement(point.name in reserved, where, "is a name that events use themselves: choose another")
    if profile.decoding in ("struct", "registers") and point.bits is not None:
        first, count = point.bits
        width = _BITS.get(point.type, 0)
        fits = width and first >= 0 and count >= 1 and first + count <= width
        told = f"must be [first bit, count] within the {width} bits of {point.type}"
        yield Requirement(not fits, f"{where}.bits", told, "bits = [4, 1]")
    if profile.decoding == "registers":
        size = _REGISTERS.get(point.type, 1)
        yield Requirement(
            point.at + size > 65_536, f"{where}.at", f"{point.type} takes {size} registers: beyond 65535"
        )
        small = f"{point.name} takes {size} registers"
        yield Requirement(size > profile.modbus.most, "modbus.most", f"must be at least {size}: {small}")
