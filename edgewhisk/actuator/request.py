"""What the actuator actions are asked for. Pure."""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from edgewhisk import jsontext
from edgewhisk.base.mqtt_topics import closes
from edgewhisk.errors import BadRequest

DAY: Final = 86_400.0  # seconds for which a command is tried by default
_LONGEST: Final = 30 * DAY
_LARGEST: Final = 1 << 20  # bytes of one command
_MOST: Final = 120  # registers or coils of one write; Modbus takes 123 and 1968
_LONG: Final = 4096  # bytes of parameters that are not remembered: they may have a megabyte
_TOPIC: Final = 65_535  # bytes: MQTT 3.1.1, section 1.5.3
_MQTT_OPTIONS: Final[Mapping[str, Any]] = {
    "topic": None, "qos": 1, "broker": "", "retain": False, "expiry": 0, "expires": DAY
}  # fmt: skip
_OPTION: Final = re.compile(b'"(?:%b|payload|payload64)"' % "|".join(_MQTT_OPTIONS).encode())
_ESCAPED: Final = rb"\u00"  # a letter of a key may be written so
_BACKSLASH: Final = 0x5C
_BRACE: Final = 0x7B
_HTTP_OPTIONS: Final = frozenset({"url", "method", "headers", "expires"})
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_WORDS: Final[Mapping[str, tuple[str, int, int]]] = {  # format, least, most
    "u16": ("H", 0, (1 << 16) - 1), "i16": ("h", -(1 << 15), (1 << 15) - 1),
    "u32": ("I", 0, (1 << 32) - 1), "i32": ("i", -(1 << 31), (1 << 31) - 1),
    "f32": ("f", 0, 0),
}  # fmt: skip
_COMMON: Final = {"expires": "seconds for which it is tried (default 86400; 0: now or never)"}
Body = dict[str, Any]


class Command(NamedTuple):
    """One thing to be delivered. The body is what JSON can say."""

    kind: str  # mqtt, serial, modbus, http
    target: str  # order is kept for each: "mqtt:", "serial:relay", "modbus:bus 3", "http:api.example.com:443"
    name: str  # what must be granted: a topic, a port, a host
    body: Body
    expires: float = DAY  # seconds
    id: str = ""  # the same in each try, by which a server can tell a second delivery
    data: bytes = b""  # what is sent

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Command:
        """What `document` gave."""
        return cls(**{**document, "data": base64.b64decode(document["data"])})

    @property
    def document(self) -> dict[str, Any]:
        """To be stored as JSON."""
        return {**self._asdict(), "data": base64.b64encode(self.data).decode()}

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return len(self.data) + (len(self.name) if self.kind == "mqtt" else len(str(self.body)))

    @property
    def told(self) -> str:
        """What it does, in a few words and without secrets."""
        body = self.body
        if self.kind == "mqtt":
            return f"publish to {self.name}"
        if self.kind == "serial":
            what = body.get("command") or f"{len(self.data)} bytes"
            return f"write {what} to {self.name}"
        if self.kind == "modbus":
            values = ", ".join(map(str, body["values"][:4])) + (" ..." if len(body["values"]) > 4 else "")
            return f"set {body['table']} {body['address']} of unit {body['unit']} at {self.name} to {values}"
        parts = urlsplit(body["url"])
        return f"{body['method']} {parts.scheme}://{parts.hostname}{parts.path}"


class Kind(NamedTuple):
    """One actuator action: `/whisk.system/PACKAGE/NAME`."""

    package: str
    name: str
    description: str
    parameters: Mapping[str, str]
    read: Callable[[Mapping[str, Any]], Command]
    # The command (without data) that each of `payloads`, texts of JSON objects, is the data of as it is, if
    # they are parameters over those that are bound (text of one object); None if they have to be read.
    alike: Callable[[bytes, Sequence[bytes]], Command | None] = lambda _bound, _payloads: None


def _mqtt(given: Mapping[str, Any]) -> Command:
    wanted = [given.get(key, usual) for key, usual in _MQTT_OPTIONS.items()]
    try:
        is_short = len(wanted[0]) + len(wanted[2]) <= _LONG  # topic and broker
        where = (_publication if is_short else _publication.__wrapped__)(*wanted)
    except TypeError:  # a list or an object, which nothing can be kept under, or a number
        where = _publication.__wrapped__(*wanted)
    data = _payload(given, _MQTT_OPTIONS)
    return Command(where.kind, where.target, where.name, where.body, where.expires, data=data)


@lru_cache(maxsize=1024, typed=True)
def _publication(topic: Any, qos: Any, broker: Any, retain: Any, expiry: Any, expires: Any) -> Command:
    """A command without its payload: nearly always one that was checked before."""
    if not isinstance(topic, str) or not topic or set(topic) & set("+#"):
        raise BadRequest(f"topic must be a topic without + and #, not {topic!r}")
    if closes(topic):
        raise BadRequest(f"topic must be without control characters, not {topic!r}")
    if len(topic.encode()) > _TOPIC:
        raise BadRequest(f"topic must have at most {_TOPIC} bytes")
    if qos not in (0, 1) or isinstance(qos, bool):
        raise BadRequest(f"qos must be 0 or 1, not {qos!r}")
    if not isinstance(broker, str):
        raise BadRequest("broker must be the name of a [brokers.NAME] section")
    if not isinstance(retain, bool):
        raise BadRequest(f"retain must be true or false, not {retain!r}")
    if not isinstance(expiry, int) or isinstance(expiry, bool) or not 0 <= expiry < 1 << 32:
        raise BadRequest("expiry must be a whole number of seconds")
    body = {"broker": broker, "topic": topic, "qos": int(qos), "retain": retain, "expiry": expiry}
    return Command("mqtt", f"mqtt:{broker}", topic, body, _expires({"expires": expires}))


def _mqtt_alike(bound: bytes, payloads: Sequence[bytes]) -> Command | None:
    """See `Kind.alike`. A fifth of a microsecond for each payload, where to read and write it takes three."""
    known = _bound_publication if len(bound) <= _LONG else _bound_publication.__wrapped__
    where, text = known(bound), b"\n".join(payloads)
    if where is None or len(text) + len(where.name) > _LARGEST or _OPTION.search(text):
        return None
    if _BACKSLASH in text and _ESCAPED in text:
        return None
    return where if set(map(itemgetter(0), payloads)) == {_BRACE} else None


@lru_cache(maxsize=1024)
def _bound_publication(bound: bytes) -> Command | None:
    """The command without its payload, if nothing that is bound is a part of that, or wrong."""
    given = jsontext.loads(bound)
    try:
        return _mqtt(given)._replace(data=b"") if given.keys() <= _MQTT_OPTIONS.keys() else None
    except BadRequest:
        return None


def _payload(given: Mapping[str, Any], options: Collection[str]) -> bytes:
    """`payload` (text as it is, anything else as JSON), `payload64`, or all other parameters as JSON."""
    if "payload64" in given:
        return _base64("payload64", given["payload64"])
    if "payload" in given:
        value = given["payload"]
    else:  # what the action before in a sequence returned
        value = {key: value for key, value in given.items() if key not in options}
    return value.encode() if isinstance(value, str) else jsontext.dumps(value)


def _serial(given: Mapping[str, Any]) -> Command:
    port = given.get("port")
    if not isinstance(port, str) or not port:
        raise BadRequest("port must be the name of a [serial.NAME] section, or a path below /dev")
    ways = [key for key in ("data", "data64", "hex", "command") if key in given]
    if len(ways) != 1:
        raise BadRequest("one of data (text), data64, hex and command (of the port's profile) is needed")
    value = given[ways[0]]
    if not isinstance(value, str):
        raise BadRequest(f"{ways[0]} must be text, not {value!r}")
    profile = given.get("profile", "")
    if not isinstance(profile, str):
        raise BadRequest("profile must be the name of a device profile")
    body: Body = {"port": port, "profile": profile}
    data = b""
    if ways[0] == "command":
        body["command"] = value
    else:
        data = value.encode() if ways[0] == "data" else _octets(ways[0], value)
    return Command("serial", f"serial:{port}", port, body, _expires(given), data=data)


def _modbus(given: Mapping[str, Any]) -> Command:
    where = {key: given[key] for key in ("port", "host") if key in given}
    if len(where) != 1 or not all(isinstance(value, str) and value for value in where.values()):
        raise BadRequest("either port (an RTU line) or host (Modbus TCP) is needed, as text")
    tables = [key for key in ("register", "coil") if key in given]
    if len(tables) != 1:
        raise BadRequest("either register or coil (its address) is needed")
    unit, address = _whole("unit", given.get("unit", 1), 247), _whole(tables[0], given[tables[0]], 65_535)
    if ("value" in given) == ("values" in given):
        raise BadRequest("either value, or values (a list), is needed")
    values = given["values"] if "values" in given else [given["value"]]
    if not isinstance(values, list) or not values:
        raise BadRequest(f"values must be a list, not {values!r}")
    numbers = _coils(values) if tables[0] == "coil" else _registers(given, values)
    if len(numbers) > _MOST or address + len(numbers) > 65_536:
        raise BadRequest(f"at most {_MOST} {tables[0]}s can be written at once, and none beyond 65535")
    name = next(iter(where.values()))
    table = "coil" if tables[0] == "coil" else "holding"
    body = {"where": where, "unit": unit, "table": table, "address": address, "values": numbers}
    body["single"] = "value" in given and len(numbers) == 1
    return Command("modbus", f"modbus:{name} {unit}", name, body, _expires(given))


def _coils(values: list[Any]) -> list[int]:
    for value in values:
        if value not in (0, 1):
            raise BadRequest(f"values of coils must be true or false, not {value!r}")
    return [int(value) for value in values]


def _registers(given: Mapping[str, Any], values: list[Any]) -> list[int]:
    """The 16-bit words of `values`, as `type` and `swapped` say."""
    kind, swapped = given.get("type", "u16"), given.get("swapped", False)
    if kind not in _WORDS:
        raise BadRequest(f"type must be one of {', '.join(_WORDS)}, not {kind!r}")
    if not isinstance(swapped, bool):
        raise BadRequest(f"swapped must be true or false, not {swapped!r}")
    numbers: list[int] = []
    for value in values:
        words = _words(kind, value)
        numbers += words[::-1] if swapped else words
    return numbers


def _words(kind: str, value: Any) -> list[int]:
    form, least, most = _WORDS[kind]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest(f"values must be numbers, not {value!r}")
    if kind != "f32":
        if not least <= value <= most or value != int(value):
            raise BadRequest(f"values must be whole numbers from {least} to {most} ({kind}), not {value!r}")
        value = int(value)
    try:
        if not math.isfinite(value):
            raise OverflowError
        data = struct.pack(f">{form}", value)
    except (struct.error, OverflowError):
        raise BadRequest(f"values must be numbers that 32 bits hold (f32), not {value!r}") from None
    return list(struct.unpack(f">{len(data) // 2}H", data))


def _http(given: Mapping[str, Any]) -> Command:
    url, method, headers = given.get("url"), given.get("method", "POST"), given.get("headers", {})
    host, port = _host(url)
    if method not in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        raise BadRequest(f"method must be GET, POST, PUT, PATCH or DELETE, not {method!r}")
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise BadRequest("headers must be an object of texts")
    for key, value in headers.items():
        if not _HEADER.fullmatch(key) or not value.isprintable() or not value.isascii():
            raise BadRequest(f"headers: {key!r} is no header that can be sent")
    payload = _payload(given, _HTTP_OPTIONS) if method != "GET" else b""
    if payload and not any(key.lower() == "content-type" for key in headers) and "payload64" not in given:
        plain = isinstance(given.get("payload"), str)
        headers = {**headers, "Content-Type": "text/plain" if plain else "application/json"}
    body = {"url": url, "method": method, "headers": headers}
    return Command("http", f"http:{host}:{port}", host, body, _expires(given), data=payload)


def _host(url: Any) -> tuple[str, int]:
    """Where a request goes; raises `BadRequest`."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        port = parts.port if parts else None
    except ValueError:
        parts = port = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadRequest(f"url must be http(s)://HOST/..., not {url!r}")
    return parts.hostname, port or (443 if parts.scheme == "https" else 80)


def _expires(given: Mapping[str, Any]) -> float:
    value = given.get("expires", DAY)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LONGEST:
        raise BadRequest(f"expires must be 0 to {_LONGEST:g} seconds, not {value!r}")
    return value


def _whole(key: str, value: Any, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise BadRequest(f"{key} must be a whole number from 0 to {most}, not {value!r}")
    return value


def _octets(key: str, value: str) -> bytes:
    if key == "data64":
        return _base64(key, value)
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise BadRequest(f"hex must be bytes in hexadecimal, not {value!r}") from None


def _base64(key: str, value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise BadRequest(f"{key} is not base64") from None


def read(kind: Kind, given: Mapping[str, Any]) -> Command:
    """The command; raises `BadRequest` naming what is wrong."""
    try:
        command = kind.read(given)
    except UnicodeEncodeError as error:
        text = f"{error.object[error.start : error.end]!r} is half a character"
        raise BadRequest(f"a text cannot be sent as UTF-8: {text}") from None
    size = command.size
    if size > _LARGEST:
        raise BadRequest(f"the command has {size} bytes; at most {_LARGEST} can be kept")
    return command


KINDS: Final = (
    Kind(
        "mqtt",
        "publish",
        "Publishes a message; without payload, the other parameters as JSON.",
        {
            "topic": "where to",
            "payload": "text, or anything as JSON",
            "payload64": "bytes as base64 instead",
            "qos": "0 or 1 (default 1)",
            "retain": "keep it at the broker (default false)",
            "expiry": "seconds after which the broker forgets it (MQTT 5)",
            "broker": "name of a [brokers.NAME] section (default: [mqtt])",
            **_COMMON,
        },
        _mqtt,
        _mqtt_alike,
    ),
    Kind(
        "serial",
        "write",
        "Writes bytes to a serial port; a device that answers is read by a feed of the port.",
        {
            "port": "name of a [serial.NAME] section, a path below /dev, or usb:VENDOR:PRODUCT[:SERIAL]",
            "profile": "vendor/model of the device (default: what the section or a feed says)",
            "command": "name of a command in the profile",
            "data": "text instead",
            "hex": "or bytes in hexadecimal",
            "data64": "or as base64",
            **_COMMON,
        },
        _serial,
    ),
    Kind(
        "modbus",
        "write",
        "Writes holding registers or coils of a Modbus device.",
        {
            "port": "of an RTU line",
            "host": "of Modbus TCP: HOST or HOST:PORT",
            "unit": "address of the device (default 1)",
            "register": "first holding register",
            "coil": "or first coil",
            "value": "what to write, by functions 5 and 6",
            "values": "or several, by functions 15 and 16 (a list of one where a device knows only those)",
            "type": f"of register values: {', '.join(_WORDS)} (default u16)",
            "swapped": "the low word of 32 bits first (default false)",
            **_COMMON,
        },
        _modbus,
    ),
    Kind(
        "http",
        "request",
        "Sends an HTTP request; without payload, the other parameters as JSON. After 5xx tried again.",
        {
            "url": "http(s)://HOST/...",
            "method": "default POST",
            "headers": "an object",
            "payload": "text, or anything as JSON",
            "payload64": "bytes as base64 instead",
            **_COMMON,
        },
        _http,
    ),
)
