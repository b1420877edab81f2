"""From a frame to readings, as the profile says. Pure.

A point that is missing or bad does not cost the others: it is a reading that failed, with the reason. A
decoder raises `Undecodable` for a frame of which nothing is good; no readings and no error means that the
frame is fine but none of the points is in it.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from edgewhisk import jsontext
from edgewhisk.device import document as documents
from edgewhisk.device.document import ABSENT, Channels, is_endless
from edgewhisk.device.homeassistant.discovery import Discovery, NotDiscovery
from edgewhisk.device.profile import RESERVED, Point, Profile
from edgewhisk.device.reading import Quality, Reading
from edgewhisk.device.sparkplug import NotSparkplug, Sparkplug
from edgewhisk.entity.invocation.facts import REQUEST, beside

Parts = Mapping[str, str]  # named levels of the topic
Decode = Callable[[bytes, Parts, str], tuple[Reading, ...]]  # frame, parts, topic
Learn = Callable[[], frozenset[str]]  # topics that a decoder wants besides those of the profile
_NOTHING: Final[Parts] = {}
_FORMATS: Final = {"u8": "B", "i8": "b", "u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q",
                   "i64": "q", "f32": "f", "f64": "d"}  # fmt: skip
_SWITCHES: Final = {"on": True, "off": False, "true": True, "false": False, "1": True, "0": False,
                    "open": True, "closed": False, "online": True, "offline": False}  # fmt: skip
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DIGITS: Final = 20  # of a text that is a number; a longer one is an identity, and would lose digits
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1  # whole numbers that JSON readers agree on
_TAKEN: Final = REQUEST.union(RESERVED)  # keys that neither a device nor a level of a topic may have
_CHANNELS: Final = 64  # of one point
_OTHERS: Final = 256  # values of one frame without a point that are passed on


class Undecodable(ValueError):
    """The frame is not what the profile describes; the text says why."""


def decoder(profile: Profile) -> Decode:
    """What decodes the frames of one device, in order: some remember what earlier frames said."""
    return learner(profile)[0]


def learner(profile: Profile) -> tuple[Decode, Learn]:
    """The same, and the topics it learns of."""
    if profile.decoding == "homeassistant":
        known = Discovery()
        return lambda frame, _parts, topic: _discovered(known, topic, frame), known.topics
    if profile.decoding == "sparkplug":
        births = Sparkplug()
        return lambda frame, parts, _topic: _metrics(profile, births, frame, parts), frozenset
    raw = _RAW[profile.decoding]
    return lambda frame, parts, _topic: _readings(profile, frame, raw(profile, frame, parts)), frozenset


def decode(profile: Profile, frame: bytes, parts: Parts = _NOTHING, topic: str = "") -> tuple[Reading, ...]:
    """The readings of a single frame. Raises `Undecodable`."""
    return decoder(profile)(frame, parts, topic)


def read_struct(point: Point, data: bytes, at: int) -> Any:
    """The raw value of a point at byte `at`; raises `Undecodable` when there are too few bytes."""
    form = (">" if point.order == "big" else "<") + _FORMATS[point.type]
    try:
        value = struct.unpack_from(form, data, at)[0]
    except struct.error:
        raise Undecodable(f"{point.name} is missing: the frame has {len(data)} bytes only") from None
    if point.bits is not None and isinstance(value, int):
        first, count = point.bits
        return value >> first & ((1 << count) - 1)
    return float(f"{value:.7g}") if point.type == "f32" else value  # the digits that 32 bits hold


def reading(point: Point, value: Any) -> Reading:
    """A raw value as the point describes it; raises `Undecodable`."""
    if point.values:
        value = point.values.get(_text(value), ABSENT)
        if value is ABSENT:
            raise Undecodable(f"{point.name} has an unknown value")
        return Reading(point.name, value, point.unit)
    if point.kind == "text":
        if value is None or isinstance(value, dict | list):
            raise Undecodable(f"{point.name} is {'null' if value is None else 'no text'}")
        return Reading(point.name, _text(value), point.unit)
    if point.kind == "boolean":
        plain = int(value) if isinstance(value, float) and value.is_integer() else value  # 1.0 is on
        found = _SWITCHES.get(_text(plain).lower())
        if found is None:
            raise Undecodable(f"{point.name} is neither on nor off")
        return Reading(point.name, found, point.unit)
    return _measured(point, value)


def _measured(point: Point, value: Any) -> Reading:
    number = _number(value) if isinstance(value, str) else _finite(value)
    if number is None:
        raise Undecodable(f"{point.name} is no number")
    if number in point.invalid:
        raise Undecodable(f"{point.name} has no value: the device says {number}")
    if (point.scale, point.offset) != (1.0, 0.0):
        # 12 digits: 215 * 0.1 is 21.5, not 21.500000000000004
        number = float(f"{number * point.scale + point.offset:.12g}")
    if not math.isfinite(number):
        raise Undecodable(f"{point.name} is no number")
    good = point.low <= number <= point.high
    return Reading(point.name, number, point.unit, Quality.GOOD if good else Quality.OUT_OF_RANGE)


def _finite(value: Any) -> int | float | None:
    """A number that JSON can carry; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        if _LEAST <= value <= _MOST:
            return value
        try:
            return float(value)
        except OverflowError:
            return None
    return value if math.isfinite(value) else None


def _readings(profile: Profile, frame: bytes, raw: Callable[[Point], Any]) -> tuple[Reading, ...]:
    readings: list[Reading] = []
    for point in profile.points:
        if point.when is not None and not point.when.search(frame.decode("latin-1")):
            continue
        try:
            value = raw(point)
            if (value is ABSENT or value is None) and point.optional:
                continue
            if value is ABSENT:
                raise Undecodable(f"{point.name} is missing")
            readings += _each(point, value)
        except Undecodable as error:
            readings.append(_failed(point, error))
    if profile.others:
        readings += _others(profile, raw(_EVERYTHING))
    if readings and all(one.quality is Quality.FAILED for one in readings):
        raise Undecodable(readings[0].reason)
    return tuple(readings)


def _each(point: Point, value: Any) -> Iterator[Reading]:
    """The reading of a point; of several channels one for each, with its number: `power_1`."""
    if isinstance(value, list) and point.kind != "text":
        value = Channels(enumerate(value, 1))
    if not isinstance(value, Channels):
        yield _one(point, value)
        return
    for number, one in list(value.items())[:_CHANNELS]:
        if one is not None:
            yield _one(replace(point, name=f"{point.name}_{number}"), one)


def _one(point: Point, value: Any) -> Reading:
    """A value among others: one that is bad does not cost them."""
    try:
        return reading(point, value)
    except Undecodable as error:
        return _failed(point, error)


def _failed(point: Point, error: Undecodable) -> Reading:
    return Reading(point.name, None, point.unit, Quality.FAILED, str(error))


_EVERYTHING: Final = Point("", "")


def _others(profile: Profile, document: Any) -> Iterator[Reading]:
    """Values of a document that no point asks for."""
    if not isinstance(document, dict):
        return
    known = {point.path[0] for point in profile.points} | {point.name for point in profile.points}
    for key, value in list(document.items())[:_OTHERS]:
        if not isinstance(key, str) or key in known:
            continue
        if isinstance(value, str) and is_endless(value):
            yield Reading(key, None, "", Quality.FAILED, f"{key} is no number")
        elif isinstance(value, str | bool):
            yield Reading(key, value, "")
        elif (number := _finite(value)) is not None:
            yield Reading(key, number, "")
        elif isinstance(value, float):
            yield Reading(key, None, "", Quality.FAILED, f"{key} is no number")
    if (more := len(document) - _OTHERS) > 0:
        yield Reading("others", None, "", Quality.FAILED, f"{more} values beyond {_OTHERS} are left out")


# -- how each kind finds the raw value of a point -----------------------------------------------


def _json(profile: Profile, frame: bytes, _parts: Parts) -> Callable[[Point], Any]:
    return _document(documents.of_json, frame, "JSON")


def _cbor(profile: Profile, frame: bytes, _parts: Parts) -> Callable[[Point], Any]:
    return _document(documents.of_cbor, frame, "CBOR")


def _document(read: Callable[[bytes], Any], frame: bytes, kind: str) -> Callable[[Point], Any]:
    try:
        document = read(frame)
    except documents.NoDocument as error:
        raise Undecodable(str(error)) from None
    if not isinstance(document, dict):
        raise Undecodable(f"not a {kind} object")

    def raw(point: Point) -> Any:
        found = documents.at(document, point.path)
        return documents.numbered(document, point.path) if found is ABSENT and point.channels else found

    return raw


def _csv(profile: Profile, frame: bytes, _parts: Parts) -> Callable[[Point], Any]:
    text = _decoded(frame)
    if profile.framing.kind == "nmea":
        text = text.rpartition("*")[0]
    columns = [column.strip() for column in text.split(profile.separator)]

    def raw(point: Point) -> Any:
        if point.column >= len(columns) or not columns[point.column]:
            return ABSENT
        value = columns[point.column]
        if not point.hemisphere:
            return value
        side = columns[point.hemisphere] if point.hemisphere < len(columns) else ""
        return _degrees(point, value, side)

    return raw


def _degrees(point: Point, text: str, side: str) -> float:
    """NMEA 0183 writes 4807.038,N for 48 degrees and 7.038 minutes north."""
    value = _number(text)
    if value is None or side not in ("N", "S", "E", "W"):
        raise Undecodable(f"{point.name} is no coordinate")
    degrees = int(value // 100)
    return round((degrees + (value - 100 * degrees) / 60) * (-1 if side in "SW" else 1), 7)


def _regex(profile: Profile, frame: bytes, _parts: Parts) -> Callable[[Point], Any]:
    text = _decoded(frame)

    def raw(point: Point) -> Any:
        match = point.pattern.search(text) if point.pattern else None
        if match is None:
            return ABSENT
        named = "value" in match.re.groupindex
        found = match.group("value" if named else 1 if match.re.groups else 0)
        return ABSENT if found is None else found

    return raw


def _struct(profile: Profile, frame: bytes, _parts: Parts) -> Callable[[Point], Any]:
    return lambda point: read_struct(point, frame, point.at)


def _whole(profile: Profile, frame: bytes, _parts: Parts) -> Callable[[Point], Any]:
    text = _decoded(frame).strip()
    return lambda _point: text


def _value(profile: Profile, frame: bytes, parts: Parts) -> Callable[[Point], Any]:
    """The whole message is the value of the point that the topic names."""
    text = _decoded(frame).strip()
    name = parts.get("point", "")

    def raw(point: Point) -> Any:
        if point is not _EVERYTHING:
            return text if point.path[0] == name or (not name and len(profile.points) == 1) else ABSENT
        return {name or "value": _guessed(text)}

    return raw


def _guessed(text: str) -> Any:
    """What a text without a point means; nothing for what a device says where it has no value."""
    if text.lower() in ("unknown", "unavailable", "") or is_endless(text):
        return None
    if text.lower() in _SWITCHES and not text.isdecimal():
        return _SWITCHES[text.lower()]
    number = _number(text) if len(text) <= _DIGITS else None
    return text if number is None else number


_RAW: Final[Mapping[str, Callable[[Profile, bytes, Parts], Callable[[Point], Any]]]] = {
    "json": _json,
    "cbor": _cbor,
    "csv": _csv,
    "regex": _regex,
    "struct": _struct,
    "text": _whole,
    "value": _value,
}


def _metrics(profile: Profile, births: Sparkplug, frame: bytes, parts: Parts) -> tuple[Reading, ...]:
    try:
        metrics = births.metrics(frame, parts)
    except NotSparkplug as error:
        raise Undecodable(str(error)) from None
    wanted = {point.path[0]: point for point in profile.points}
    found = []
    for name, value, missing in metrics if profile.others else [one for one in metrics if one.name in wanted]:
        point = wanted.get(name)
        if missing:
            label, unit = (point.name, point.unit) if point else (name, "")
            found.append(Reading(label, None, unit, Quality.FAILED, missing))
        elif point:
            found.append(_one(point, value))
        elif not isinstance(value, float) or math.isfinite(value):
            found.append(Reading(name, value, ""))
        else:
            found.append(Reading(name, None, "", Quality.FAILED, f"{name} is no number"))
    return tuple(found)


def _discovered(known: Discovery, topic: str, frame: bytes) -> tuple[Reading, ...]:
    try:
        found = known.read(topic, frame)
    except NotDiscovery as error:
        raise Undecodable(str(error)) from None
    return tuple(
        Reading(one.name, one.value, one.unit, Quality.FAILED if one.missing else Quality.GOOD, one.missing)
        for one in found
    )


def _decoded(frame: bytes) -> str:
    try:
        return frame.decode()
    except UnicodeDecodeError:
        raise Undecodable("not UTF-8 text") from None


def _number(text: str) -> int | float | None:
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return _finite(int(text))
    except ValueError:
        return _finite(float(text))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


# -- events ---------------------------------------------------------------------------------------


def payload(
    profile: Profile, port: str, at: int, readings: Sequence[Reading], parts: Parts = _NOTHING
) -> bytes:
    """The parameters of an event: the values by their points, and which of them cannot be trusted.

    `port` is where it came from: a port's name or a topic. What a device calls like something that
    the event says itself gets `_` behind its name.
    """
    origin = "topic" if profile.transport == "mqtt" else "port"
    facts = beside({"device": profile.name, origin: port, "taken_at": at}, parts, _TAKEN)
    values = {reading.point: reading.value for reading in readings}
    document = beside(facts, values, _TAKEN)
    if suspect := [reading.point for reading in readings if reading.quality is Quality.OUT_OF_RANGE]:
        document["suspect"] = suspect
    if failed := {reading.point: reading.reason for reading in readings if reading.quality is Quality.FAILED}:
        document["errors"] = failed
    return jsontext.dumps(document, default=_text)
