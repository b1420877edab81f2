"""The packets of MQTT 3.1, 3.1.1 and 5 as a server reads and writes them. Pure.

Section numbers are those of MQTT 5 (OASIS, 2019) unless a docstring says 3.1.1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from edgewhisk.broker.properties import (
    NO_PROPERTIES,
    OF_CONNECT,
    OF_DISCONNECT,
    OF_OTHERS,
    OF_PUBLISH,
    OF_SUBSCRIBE,
    OF_WILL,
    Cursor,
    Properties,
    Property,
    properties_of,
    text_of,
)
from edgewhisk.broker.reason import BadPacket, Reason
from edgewhisk.transport.mqtt import codec
from edgewhisk.transport.mqtt.codec import Delivery, head

CONNECT: Final = 0x10
CONNACK: Final = 0x20
PUBLISH: Final = 0x30
PUBACK: Final = 0x40
PUBREC: Final = 0x50
PUBREL: Final = 0x62
PUBCOMP: Final = 0x70
SUBSCRIBE: Final = 0x82
SUBACK: Final = 0x90
UNSUBSCRIBE: Final = 0xA2
UNSUBACK: Final = 0xB0
PINGREQ: Final = 0xC0
PINGRESP: Final = b"\xd0\0"
DISCONNECT: Final = 0xE0
_LONG: Final = 512  # characters of a topic that is not remembered
_PROTOCOLS: Final = {("MQIsdp", 3): 3, ("MQTT", 4): 4, ("MQTT", 5): 5}


class WillMessage(NamedTuple):
    """What is published when a client is lost (3.1.2.5)."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: Properties


class ConnectPacket(NamedTuple):
    """A CONNECT (3.1)."""

    version: int
    client_id: str
    clean: bool
    keep_alive: int  # seconds; 0: none
    properties: Properties
    will: WillMessage | None
    username: str | None
    password: bytes | None


class Wish(NamedTuple):
    """One filter of a SUBSCRIBE and its options (3.8.3.1)."""

    filter: str
    qos: int
    no_local: bool = False
    as_published: bool = False
    retain_handling: int = 0


def topic_of(data: bytes) -> str:
    """A topic to publish to (4.7), "" for none; raises `BadPacket`."""
    return _topic(data) if len(data) <= _LONG else _topic.__wrapped__(data)


@lru_cache(maxsize=1024)
def _topic(data: bytes) -> str:
    found = text_of(data)
    if "+" in found or "#" in found:
        raise BadPacket("a topic to publish to holds a wildcard", Reason.BAD_TOPIC)
    return found


def split(data: bytearray, most: int) -> Iterator[tuple[int, bytes]]:
    """The whole packets at the beginning of `data`, first byte and body each; removes them when done.

    Raises `BadPacket` as soon as a length says that a packet is longer than `most` bytes, before it is here.
    """
    at, end = 0, len(data)
    try:
        while at + 2 <= end:
            try:
                length = codec.length_at(data, at + 1)
            except ValueError as error:
                raise BadPacket(str(error)) from error
            if length is None:
                return
            size, start = length
            if start - at + size > most:
                raise BadPacket(f"a packet of {size} bytes; {most} are taken", Reason.TOO_LARGE)
            if start + size > end:
                return
            first, at = data[at], start + size
            yield first, bytes(data[start:at])
    finally:
        del data[:at]


def read_connect(body: bytes) -> ConnectPacket:
    """A CONNECT (3.1), whose version may be another than those that are known; raises `BadPacket`."""
    cursor = Cursor(body)
    name, version = cursor.text(), cursor.number(1)
    if name not in ("MQIsdp", "MQTT"):
        raise BadPacket("no CONNECT of MQTT")
    if (name, version & 0x7F) not in _PROTOCOLS:  # a bridge of mosquitto sets the highest bit
        raise BadPacket(f"{name} of version {version}", Reason.OTHER_VERSION)
    version &= 0x7F
    flags, keep_alive = cursor.number(1), cursor.number(2)
    properties = cursor.properties(OF_CONNECT) if version >= 5 else NO_PROPERTIES
    client_id = cursor.text()
    will = _will(flags, version, cursor)
    username = cursor.text() if flags & 0x80 else None
    password = cursor.octets() if flags & 0x40 else None
    if flags & 1 or not cursor.ended:
        raise BadPacket("a CONNECT with more in it than it says")
    return ConnectPacket(
        version, client_id, bool(flags & 2), keep_alive, properties, will, username, password
    )


def _will(flags: int, version: int, cursor: Cursor) -> WillMessage | None:
    qos, retain = flags >> 3 & 3, bool(flags & 0x20)
    if not flags & 4:
        if qos or retain:
            raise BadPacket("a CONNECT with flags of a will that is not there")
        return None
    if qos > 2:
        raise BadPacket("a will at QoS 3")
    properties = cursor.properties(OF_WILL) if version >= 5 else NO_PROPERTIES
    topic = topic_of(cursor.octets())
    if not topic:
        raise BadPacket("a will without a topic", Reason.BAD_TOPIC)
    return WillMessage(topic, cursor.octets(), qos, retain, properties)


def read_publish(first: int, body: bytes, version: int) -> tuple[Delivery, Properties]:
    """A PUBLISH (3.3) as it came; its topic is not looked at. Raises `BadPacket`."""
    qos = first >> 1 & 3
    if qos > 2 or (first & 8 and not qos):
        raise BadPacket("a PUBLISH with flags that there are not")
    try:
        found = codec.delivery_of(first, body, 0, len(body), version)
    except ValueError as error:
        raise BadPacket(str(error)) from error
    if found.packet_id == b"\0\0":
        raise BadPacket("a packet identifier is 0", Reason.PROTOCOL_ERROR)
    if not found.properties:
        return found, NO_PROPERTIES
    return found, Properties(*properties_of(Cursor(found.properties), OF_PUBLISH))


def read_answer(body: bytes, version: int) -> tuple[int, int]:
    """Packet identifier and reason code of a PUBACK, PUBREC, PUBREL or PUBCOMP (3.4 to 3.7)."""
    if len(body) == 2 and body != b"\0\0":
        return body[0] << 8 | body[1], 0
    cursor = Cursor(body)
    packet_id = cursor.packet_id()
    reason = cursor.number(1) if version >= 5 else 0
    if not cursor.ended:
        cursor.properties(OF_OTHERS if version >= 5 else ())
    return packet_id, reason


def read_subscribe(body: bytes, version: int) -> tuple[int, int, list[Wish]]:
    """Packet identifier, subscription identifier (0: none) and wishes of a SUBSCRIBE (3.8)."""
    cursor = Cursor(body)
    packet_id = cursor.packet_id()
    properties = cursor.properties(OF_SUBSCRIBE) if version >= 5 else NO_PROPERTIES
    wishes: list[Wish] = []
    while not cursor.ended:
        text, options = cursor.text(), cursor.number(1)
        qos, handling = options & 3, options >> 4 & 3
        if qos > 2 or handling > 2 or options & (0xC0 if version >= 5 else 0xFC):
            raise BadPacket("a SUBSCRIBE with options that there are not", Reason.PROTOCOL_ERROR)
        wishes.append(Wish(text, qos, bool(options & 4), bool(options & 8), handling))
    if not wishes:
        raise BadPacket("a SUBSCRIBE without a filter", Reason.PROTOCOL_ERROR)
    return packet_id, properties.get(Property.SUBSCRIPTION, 0), wishes


def read_unsubscribe(body: bytes, version: int) -> tuple[int, list[str]]:
    """Packet identifier and filters of an UNSUBSCRIBE (3.10)."""
    cursor = Cursor(body)
    packet_id = cursor.packet_id()
    if version >= 5:
        cursor.properties((Property.USER,))
    filters: list[str] = []
    while not cursor.ended:
        filters.append(cursor.text())
    if not filters:
        raise BadPacket("an UNSUBSCRIBE without a filter", Reason.PROTOCOL_ERROR)
    return packet_id, filters


def read_disconnect(body: bytes, version: int) -> tuple[int, Properties]:
    """Reason code and properties of a DISCONNECT (3.14)."""
    if version < 5 or not body:
        return 0, NO_PROPERTIES
    cursor = Cursor(body)
    reason = cursor.number(1)
    return reason, NO_PROPERTIES if cursor.ended else cursor.properties(OF_DISCONNECT)


def packet(first: int, *parts: bytes) -> bytes:
    """A packet of its first byte and its body."""
    body = b"".join(parts)
    return head(first, len(body)) + body


def answer(first: int, packet_id: int, reason: int = 0, version: int = 4) -> bytes:
    """A PUBACK, PUBREC, PUBREL or PUBCOMP; only MQTT 5 tells a reason."""
    if reason and version >= 5:
        return bytes((first, 3, packet_id >> 8, packet_id & 0xFF, reason))
    return bytes((first, 2, packet_id >> 8, packet_id & 0xFF))


def acknowledged(first: int, packet_id: int, reasons: Collection[int], version: int) -> bytes:
    """A SUBACK (3.9), or an UNSUBACK (3.11), which tells reasons in MQTT 5 only."""
    codes = [reason if version >= 5 or reason < 0x80 else 0x80 for reason in reasons]
    told = bytes(codes) if version >= 5 or first == SUBACK else b""
    return packet(first, packet_id.to_bytes(2, "big"), b"\0" if version >= 5 else b"", told)


_OLD_CODES: Final = {Reason.SUCCESS: 0, Reason.OTHER_VERSION: 1, Reason.BAD_CLIENT_ID: 2,
                     Reason.BAD_USER: 4, Reason.BUSY: 3, Reason.QUOTA: 3}  # fmt: skip


def connack(version: int, reason: Reason, *, present: bool = False, properties: bytes = b"") -> bytes:
    """A CONNACK (3.2; of MQTT 3.1.1 3.2.2.3)."""
    if version < 5:
        return bytes((CONNACK, 2, present and version > 3, _OLD_CODES.get(reason, 5)))
    return packet(CONNACK, bytes((present, reason)), _sized(properties))


def disconnect(reason: Reason) -> bytes:
    """A DISCONNECT of MQTT 5 (3.14); before, a server says nothing and closes."""
    return bytes((DISCONNECT, 1, reason))


def connect(version: int, client_id: str, clean: bool, properties: bytes, will: WillMessage | None) -> bytes:
    """A CONNECT (3.1) without keep-alive and password."""
    five = version >= 5
    parts = [b"\0\4MQTT", bytes((version, clean << 1)), b"\0\0", _sized(properties) if five else b""]
    parts.append(_octets(client_id.encode()))
    if will is not None:
        parts[1] = bytes((version, clean << 1 | 4 | will.qos << 3 | will.retain << 5))
        parts += b"\0" if five else b"", _octets(will.topic.encode()), _octets(will.payload)
    return packet(CONNECT, *parts)


def subscribe(version: int, packet_id: int, text: str, qos: int) -> bytes:
    """A SUBSCRIBE (3.8) of one filter."""
    properties = b"\0" if version >= 5 else b""
    return packet(SUBSCRIBE, packet_id.to_bytes(2, "big"), properties, _octets(text.encode()), bytes((qos,)))


def unsubscribe(version: int, packet_id: int, text: str) -> bytes:
    """An UNSUBSCRIBE (3.10) of one filter."""
    properties = b"\0" if version >= 5 else b""
    return packet(UNSUBSCRIBE, packet_id.to_bytes(2, "big"), properties, _octets(text.encode()))


def _octets(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _sized(properties: bytes) -> bytes:
    return head(0, len(properties))[1:] + properties


def publish(
    version: int, first: int, topic: bytes, packet_id: int, properties: bytes, payload: bytes
) -> bytes:
    """A PUBLISH (3.3); at QoS 0 `packet_id` is unused."""
    before = _octets(topic)
    if first & 6:
        before += packet_id.to_bytes(2, "big")
    if version >= 5:
        before += _sized(properties)
    return head(first, len(before) + len(payload)) + before + payload
