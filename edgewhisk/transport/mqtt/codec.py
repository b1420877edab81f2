"""MQTT packets as bytes (MQTT 3.1.1, sections 2.2.3, 3.3 and 3.4; MQTT 5, 2.2.2, 3.3 and 3.4). Pure.

Most of them are PUBLISHes and PUBACKs, a thousand and more a second; of these nothing is decoded that is
the same for all of a topic. All others pass as they are.
"""

from __future__ import annotations

import base64
import contextlib
import struct
from collections.abc import Collection, Sequence
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

PUBACK: Final = 0x40
_LONG: Final = 512  # characters of a topic that is not remembered: it may have 64 KB
PUBREC: Final = 0x50
_PUBLISH: Final = range(0x30, 0x40)
_AGAIN: Final = 0x08
_QOS: Final = 0x06
EXACT: Final = 0x04  # of the first byte: QoS 2
_RETAINED: Final = 0x01
_EXPIRY: Final = 0x02
_CORRELATION: Final = 0x09
_NAMES: Final = {0x01: "payload_format", _EXPIRY: "expiry", 0x03: "content_type", 0x08: "response_topic",
                 0x09: "correlation", 0x0B: "subscription", 0x23: "alias", 0x26: "user"}  # fmt: skip
_SIZES: Final = {0x01: 1, _EXPIRY: 4, 0x23: 2}


class Delivery(NamedTuple):
    """One PUBLISH from the broker."""

    topic: bytes
    payload: bytes
    packet_id: bytes = b""  # two bytes; none at QoS 0
    first: int = 0x30  # byte of the packet, with its flags
    properties: bytes = b""  # MQTT 5, not read yet

    @property
    def again(self) -> bool:
        """The broker's DUP flag."""
        return bool(self.first & _AGAIN)

    @property
    def retained(self) -> bool:
        """Whether the broker kept it for those who subscribe later."""
        return bool(self.first & _RETAINED)


_delivery: Final = partial(tuple.__new__, Delivery)  # a third of the time that its own constructor takes


class Packets(NamedTuple):
    """What some packets of a stream say; of each kind in order."""

    deliveries: Sequence[Delivery]
    acknowledged: Sequence[bytes]  # packet identifiers of PUBACKs that tell nothing else
    others: Sequence[tuple[int, bytes]]  # first byte and body


NONE: Final = Packets((), (), ())


class Publication(NamedTuple):
    """What messages to one topic have in common."""

    topic: str
    qos: int = 0
    retain: bool = False
    expiry: int = 0  # seconds after which the broker forgets it (MQTT 5); 0: never


class Message(NamedTuple):
    """One message to be published."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    expiry: int = 0

    @property
    def publication(self) -> Publication:
        """All but the payload."""
        return Publication(self.topic, self.qos, self.retain, self.expiry)


def read(data: bytes, version: int) -> tuple[Packets, int]:
    """The whole packets in `data`, and where the rest begins. Raises `ValueError` for what is none."""
    deliveries: list[Delivery] = []
    acknowledged: list[bytes] = []
    others: list[tuple[int, bytes]] = []
    at, end = 0, len(data)
    while at + 2 <= end:
        first, size, start = data[at], data[at + 1], at + 2
        if size >= 0x80:
            length = length_at(data, at + 1)
            if length is None:
                break
            size, start = length
        stop = start + size
        if stop > end:
            break
        at = stop
        if first in _PUBLISH:
            deliveries.append(delivery_of(first, data, start, stop, version))
        elif first == PUBACK and size == 2:
            acknowledged.append(data[start:stop])
        else:
            others.append((first, data[start:stop]))
    return Packets(deliveries, acknowledged, others), at


def begins_whole(data: bytes | bytearray) -> bool:
    """Whether the first packet in `data` is whole. Raises `ValueError` as `read` does."""
    length = length_at(data, 1)
    return length is not None and sum(length) <= len(data)


def delivery_of(first: int, data: bytes, start: int, stop: int, version: int) -> Delivery:
    """The PUBLISH whose body is data[start:stop]."""
    if stop - start < 2:
        raise ValueError("a PUBLISH without a topic")
    at = start + 2 + (data[start] << 8 | data[start + 1])
    topic, packet_id, properties = data[start + 2 : at], b"", b""
    if first & _QOS:
        packet_id, at = data[at : at + 2], at + 2
    if version >= 5:
        size, at = (0, at + 1) if data[at : at + 1] == b"\0" else varint_at(data, at)
        properties, at = data[at : at + size], at + size
    if at > stop:
        raise ValueError("a PUBLISH is cut off")
    return _delivery((topic, data[at:stop], packet_id, first, properties))


def acknowledgements(packet_ids: Collection[bytes], kind: int = PUBACK) -> bytes:
    """A PUBACK (3.4), or a PUBREC (3.5), for each of the PUBLISHes."""
    before = bytes((kind, 2))
    return before + before.join(packet_ids) if packet_ids else b""


def numbers(packet_ids: Collection[bytes]) -> tuple[int, ...]:
    """Packet identifiers as numbers."""
    return struct.unpack(f">{len(packet_ids)}H", b"".join(packet_ids))


def write(message: Message, number: int, version: int) -> bytes:
    """A PUBLISH; its packet identifier `number` is unused at QoS 0."""
    return publishes(message.publication, [message.payload], [number], version)


def publishes(what: Publication, payloads: Sequence[bytes], taken: Sequence[int], version: int) -> bytes:
    """A PUBLISH for each payload; the packet identifiers that were `taken` are unused at QoS 0."""
    around = _around if len(what.topic) <= _LONG else _around.__wrapped__
    first, before, after = around(what, version)
    parts: list[bytes] = []
    if not what.qos:
        before += after
        size = len(before)
        for payload in payloads:
            parts += head(first, size + len(payload)), before, payload
        return b"".join(parts)
    ids = struct.pack(f">{len(taken)}H", *taken)
    size = len(before) + 2 + len(after)
    for at, payload in enumerate(payloads):
        parts += head(first, size + len(payload)), before, ids[2 * at : 2 * at + 2], after, payload
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _around(what: Publication, version: int) -> tuple[int, bytes, bytes]:
    """First byte, what is before the packet identifier, and what is between it and the payload."""
    topic = what.topic.encode()
    after = b""
    if version >= 5:
        after = b"\x05\x02" + what.expiry.to_bytes(4, "big") if what.expiry else b"\0"
    return 0x30 | what.qos << 1 | int(what.retain), len(topic).to_bytes(2, "big") + topic, after


@lru_cache(maxsize=1024)
def head(first: int, size: int) -> bytes:
    """The fixed header: the first byte and the size of what follows."""
    out = bytearray([first])
    while True:
        size, byte = size >> 7, size & 0x7F
        out.append(byte | (0x80 if size else 0))
        if not size:
            return bytes(out)


def properties(data: bytes) -> dict[str, Any]:
    """The properties of a PUBLISH that mean something to an action. Raises `ValueError`.

    Of a user property that is there more than once, which 3.3.2.3.7 allows, the values are a list, in order.
    `correlation_data` is base64: any bytes; `correlation` the same where it is text.
    """
    found: dict[str, Any] = {}
    at = 0
    while at < len(data):
        kind, at = data[at], at + 1
        if kind == 0x0B:
            found["subscription"], at = varint_at(data, at)
        elif kind in _SIZES:
            size = _SIZES[kind]
            found[_NAMES[kind]], at = int.from_bytes(data[at : at + size], "big"), at + size
        elif kind == 0x26:
            key, at = _text(data, at)
            value, at = _text(data, at)
            _add(found.setdefault("user", {}), key, value)
        elif kind == _CORRELATION:
            raw, at = _octets(data, at)
            found["correlation_data"] = base64.b64encode(raw).decode()
            with contextlib.suppress(UnicodeDecodeError):
                found["correlation"] = raw.decode()
        elif kind in _NAMES:
            found[_NAMES[kind]], at = _text(data, at)
        else:
            raise ValueError(f"unknown property {kind:#x}")
    return found


def _add(values: dict[str, Any], key: str, value: str) -> None:
    known = values.get(key)
    if isinstance(known, list):
        known.append(value)
    else:
        values[key] = value if known is None else [known, value]


def _text(data: bytes, at: int) -> tuple[str, int]:
    found, end = _octets(data, at)
    return found.decode(errors="replace"), end


def _octets(data: bytes, at: int) -> tuple[bytes, int]:
    end = at + 2 + int.from_bytes(data[at : at + 2], "big")
    if at + 2 > len(data) or end > len(data):
        raise ValueError("a property is cut off")
    return data[at + 2 : end], end


def varint_at(data: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer and where it ends. Raises `ValueError` if it has no end."""
    found = length_at(data, at)
    if found is None:
        raise ValueError("no variable byte integer")
    return found


def length_at(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """A variable byte integer (MQTT 5, 1.5.5) and where it ends; None if more has to come first.

    Raises `ValueError` for more than four bytes.
    """
    value, end = 0, len(data)
    for shift in (0, 7, 14, 21):
        if at >= end:
            return None
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("no variable byte integer")
