"""Device profiles: what is connected, as data. Format: `devices/README.md`. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edgewhisk.config.table import Table, broken
from edgewhisk.config.validate import FLOWS, PARITIES
from edgewhisk.device.validate import rules
from edgewhisk.errors import ConfigError, Fault

MAX_FRAME_BYTES: Final = 65_536  # bytes of a frame
FRAMINGS: Final = ("line", "nmea", "telegram", "fixed", "length", "delimited", "slip", "cobs")
DECODINGS: Final = (
    "json", "csv", "regex", "struct", "text", "value", "cbor", "registers", "sparkplug", "homeassistant",
)  # fmt: skip
CHECKS: Final = ("none", "sum8", "negated-sum8", "xor8", "sum16", "crc16-modbus", "crc16-ccitt")
TYPES: Final = ("u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64")
ORDERS: Final = ("big", "little")
TABLES: Final = ("input", "holding", "coil", "discrete")
RESERVED: Final = ("device", "port", "topic", "taken_at", "suspect", "errors")  # what an event says itself
_HIGHEST: Final = 65_535  # Modbus address


@dataclass(frozen=True, slots=True)
class Line:
    """How a serial port is set."""

    baudrate: int = 9600
    bytesize: int = 8
    parity: str = "none"  # none, even, odd, mark, space
    stopbits: float = 1
    flow: str = "none"  # none, rtscts, xonxoff
    rs485: bool = False  # the driver switches the direction with RTS
    quiet: float = 0.0  # seconds without a frame after which the device counts as silent; 0: never


@dataclass(frozen=True, slots=True)
class Check:
    """Where a frame has its checksum, over what."""

    kind: str = "none"
    first: int = 0  # first byte covered
    last: int = 0  # byte after the covered ones, negative from the end
    at: int = -1  # where the checksum is, negative from the end
    order: str = "little"


@dataclass(frozen=True, slots=True)
class Framing:
    """How the bytes of a port are cut."""

    kind: str = "line"
    longest: int = 512  # bytes
    start: bytes = b""
    end: bytes = b"\n"
    size: int = 0  # of fixed frames, all included
    size_at: int = 0  # of length-prefixed frames: where the length stands
    size_type: str = "u8"
    size_order: str = "big"
    size_extra: int = 0  # what the length does not count
    check: Check = Check()


@dataclass(frozen=True, slots=True)
class Point:
    """One value that a device measures."""

    name: str
    unit: str  # UCUM; "1" for a plain number, "" for text and switches
    low: float = -math.inf  # what the device can measure, after scale and offset
    high: float = math.inf
    scale: float = 1.0
    offset: float = 0.0
    optional: bool = False
    kind: str = "number"  # number, text, boolean
    path: tuple[str, ...] = ()  # json, cbor: keys and list places; sparkplug: the metric
    channels: bool = False  # json, cbor: also the keys of its path with a number behind: POWER1, POWER2
    column: int = 0  # csv
    hemisphere: int = 0  # csv: the column with N, S, E, W of a coordinate in degrees and minutes; 0: none
    pattern: re.Pattern[str] | None = None  # regex: its first group
    when: re.Pattern[str] | None = None  # only in frames that match
    at: int = 0  # struct: byte; registers: address
    type: str = "u16"
    order: str = "big"
    swapped: bool = False  # registers: the low word first
    bits: tuple[int, int] | None = None  # first bit from the lowest, count
    table: str = "input"  # registers
    values: Mapping[str, Any] = field(default_factory=dict, hash=False)  # raw text -> value
    invalid: tuple[float, ...] = ()  # raw numbers by which the device says that it has no value


@dataclass(frozen=True, slots=True)
class Ask:
    """Bytes that make a device answer."""

    send: bytes
    every: float  # seconds


@dataclass(frozen=True, slots=True)
class Match:
    """How a device can be recognised."""

    usb: tuple[str, ...] = ()  # "1a86:7523"
    product: re.Pattern[str] | None = None  # in the USB product text


@dataclass(frozen=True, slots=True)
class Modbus:
    """How a Modbus device is polled."""

    unit: int = 1
    every: float = 10.0  # seconds
    timeout: float = 1.0  # seconds for an answer
    most: int = 64  # registers in one request
    gap: int = 8  # unused registers that are read along rather than asked around


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of device."""

    name: str  # "vendor/model"
    description: str
    source: str
    transport: str  # serial, mqtt, modbus
    line: Line
    framing: Framing
    decoding: str
    order: str
    separator: str
    others: bool  # json, cbor, sparkplug: values without a point are passed on as they are
    points: tuple[Point, ...]
    asks: tuple[Ask, ...] = ()
    match: Match = Match()
    topics: tuple[str, ...] = ()
    modbus: Modbus = Modbus()
    writes: Mapping[str, bytes] = field(default_factory=dict, hash=False)  # command -> bytes


def read(name: str, document: Mapping[str, Any], where: str) -> Profile:
    """A profile of a parsed file; raises `ConfigError`."""
    faults: list[Fault] = []
    top = Table(dict(document), where, "", faults)
    transport = "mqtt" if "mqtt" in top else "modbus" if "modbus" in top else "serial"
    if "mqtt" in top and ("modbus" in top or "serial" in top):
        top.fault("mqtt", "stands beside [serial] or [modbus]: a device is reached in one way")
    description, source = top.text("description", name), top.text("source")
    match, mqtt = top.table("match"), top.table("mqtt")
    matching = Match(match.texts("usb"), match.pattern("product"))
    line, modbus = _line(top.table("serial")), _modbus(top.table("modbus"))
    framing = _framing(top.table("framing"), needed=transport == "serial")
    decoding = top.table("decoding")
    how = decoding.text("kind", "registers" if transport == "modbus" else None, DECODINGS)
    order = decoding.text("order", "big", ORDERS)
    separator, others = decoding.text("separator", ","), decoding.flag("others")
    asks = tuple(_ask(entry) for entry in top.tables("ask"))
    writes = top.table("writes")
    commands = {key: writes.octets(key) for key in writes.keys}
    points = top.table("points")
    found = tuple(_point(key, points.table(key), how, order) for key in points.keys)
    if not (found or others or commands or faults or how == "homeassistant"):
        top.fault("points", "must name at least one value", '[points.temperature]  unit = "Cel"')
    topics = mqtt.texts("topics")
    if transport == "mqtt" and not topics:
        mqtt.fault("topics", "must name at least one topic", 'topics = ["tele/{id}/SENSOR"]')
    for table in (match, mqtt, decoding, points, top):
        table.rest()
    if faults:
        raise ConfigError(tuple(faults))
    made = Profile(
        name, description, source, transport, line, framing, how, order, separator, others, found, asks,
        matching, topics, modbus, commands,
    )  # fmt: skip
    if wrong := broken(rules(made, RESERVED), where):
        raise ConfigError(tuple(wrong))
    return made


def _line(table: Table) -> Line:
    line = Line(
        table.whole("baudrate", 9600, 50, 4_000_000),
        table.whole("bytesize", 8, 5, 8),
        table.text("parity", "none", PARITIES),
        table.number("stopbits", 1, 1, 2),
        table.text("flow", "none", FLOWS),
        table.flag("rs485"),
        table.number("quiet", 0.0, 0, 86_400),
    )
    table.rest()
    return line


def _modbus(table: Table) -> Modbus:
    modbus = Modbus(
        table.whole("unit", 1, 0, 247),
        table.number("every", 10.0, 0.05, 86_400),
        table.number("timeout", 1.0, 0.05, 60),
        table.whole("most", 64, 1, 125),
        table.whole("gap", 8, 0, 124),
    )
    table.rest()
    return modbus


def _framing(table: Table, *, needed: bool) -> Framing:
    if not table.given and not needed:
        return Framing()
    kind = table.text("kind", None, FRAMINGS)
    check = table.table("check")
    framing = Framing(
        kind,
        table.whole("longest", 512, 1, MAX_FRAME_BYTES),
        table.octets("start", None if kind in ("fixed", "length", "delimited") else b""),
        table.octets("end", None if kind == "delimited" else b"\n" if kind == "line" else b""),
        table.whole("size", None if kind == "fixed" else 0, 0, MAX_FRAME_BYTES),
        table.whole("size_at", None if kind == "length" else 0, 0, 255),
        table.text("size_type", "u8", ("u8", "u16", "u32")),
        table.text("size_order", "big", ORDERS),
        table.whole("size_extra", 0, -1024, 1024),
        Check(
            check.text("kind", "none", CHECKS),
            check.whole("first", 0, 0, 255),
            check.whole("last", -1, -255, MAX_FRAME_BYTES),
            check.whole("at", -1, -255, MAX_FRAME_BYTES),
            check.text("order", "big", ORDERS),
        ),
    )
    check.rest()
    table.rest()
    return framing


def _ask(table: Table) -> Ask:
    ask = Ask(table.octets("send", None), table.number("every", 10.0, 0.05, 86_400))
    table.rest()
    return ask


def _point(name: str, table: Table, how: str, order: str) -> Point:
    kind = table.text("kind", "number", ("number", "text", "boolean"))
    unit = table.text("unit", None if kind == "number" else "")
    low, high = table.pair("range", (-math.inf, math.inf))
    bits = table.wholes("bits", 2) if "bits" in table and how in ("struct", "registers") else None
    point = Point(
        name,
        unit,
        low,
        high,
        table.number("scale", 1.0),
        table.number("offset", 0.0),
        table.flag("optional"),
        kind,
        tuple(table.text("path", name).split(".")) if how != "sparkplug" else (table.text("path", name),),
        table.flag("channels"),
        table.whole("column", None if how == "csv" else 0, 0, 4096),
        table.whole("hemisphere", 0, 0, 4096),
        table.pattern("pattern"),
        table.pattern("when"),
        table.whole("at", None if how in ("struct", "registers") else 0, 0, _HIGHEST),
        table.text("type", "u16", TYPES),
        table.text("order", order, ORDERS),
        table.flag("swapped"),
        (bits[0], bits[1]) if bits else None,
        table.text("table", "input", TABLES),
        table.mapping("values"),
        table.numbers("invalid"),
    )
    if how == "regex" and point.pattern is None:
        table.fault("pattern", "is missing", r"pattern = '([\d.]+) kWh'")
    table.rest()
    return point
