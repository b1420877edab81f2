"""PUBLISH packets as bytes (MQTT 3.1.1, section 3.3; MQTT 5, sections 2.2.2 and 3.3). Pure."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

_EXPIRY: Final = 0x02
_NAMES: Final = {0x01: "payload_format", _EXPIRY: "expiry", 0x03: "content_type", 0x08: "response_topic",
                 0x09: "correlation", 0x0B: "subscription", 0x23: "alias", 0x26: "user"}  # fmt: skip
_SIZES: Final = {0x01: 1, _EXPIRY: 4, 0x23: 2}
LARGEST: Final = 268_435_455  # bytes of a packet's body


class Delivery(NamedTuple):
    """One PUBLISH from the broker."""

    topic: str
    payload: bytes
    packet_id: int | None  # None at QoS 0
    again: bool  # the broker's DUP flag
    retained: bool = False
    properties: bytes = b""  # MQTT 5, not read yet


class Message(NamedTuple):
    """One message to be published."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    expiry: int = 0  # seconds after which the broker forgets it (MQTT 5); 0: never


def split(data: bytes | bytearray) -> tuple[list[tuple[int, bytes]], int]:
    """The whole packets in `data`, each as first byte and body, and where the rest begins.

    Raises `ValueError` for a length of more than four bytes (MQTT 3.1.1, 2.2.3).
    """
    found: list[tuple[int, bytes]] = []
    at, end = 0, len(data)
    while at + 2 <= end:
        size, start = data[at + 1], at + 2
        if size >= 0x80:
            if start + 3 > end and all(byte >= 0x80 for byte in data[start:end]):
                break  # the length is not whole
            size, start = _varint(data, at + 1)
        if start + size > end:
            break
        found.append((data[at], bytes(data[start : start + size])))
        at = start + size
    return found, at


def read(header: int, packet: bytes, version: int) -> Delivery:
    """The PUBLISH in a packet's first byte and body. Raises `ValueError` if it is none."""
    end = 2 + int.from_bytes(packet[:2], "big")
    topic = packet[2:end].decode(errors="replace")
    packet_id = None
    if header & 0x06:
        packet_id = int.from_bytes(packet[end : end + 2], "big")
        end += 2
    properties = b""
    if version >= 5:
        size, start = _varint(packet, end)
        end = start + size
        properties = packet[start:end]
    return Delivery(topic, packet[end:], packet_id, bool(header & 0x08), bool(header & 0x01), properties)


def write(message: Message, packet_id: int, version: int, *, again: bool = False) -> bytes:
    """A PUBLISH; `packet_id` is unused at QoS 0."""
    topic = message.topic.encode()
    body = len(topic).to_bytes(2, "big") + topic
    if message.qos:
        body += packet_id.to_bytes(2, "big")
    if version >= 5:
        body += b"\x05\x02" + message.expiry.to_bytes(4, "big") if message.expiry else b"\0"
    header = 0x30 | message.qos << 1 | int(message.retain) | (0x08 if again else 0)
    return bytes([header]) + _length(len(body) + len(message.payload)) + body + message.payload


def properties(data: bytes) -> dict[str, Any]:
    """The properties of a PUBLISH that mean something to an action. Raises `ValueError`."""
    found: dict[str, Any] = {}
    at = 0
    while at < len(data):
        kind, at = data[at], at + 1
        if kind == 0x0B:
            found["subscription"], at = _varint(data, at)
        elif kind in _SIZES:
            size = _SIZES[kind]
            found[_NAMES[kind]], at = int.from_bytes(data[at : at + size], "big"), at + size
        elif kind == 0x26:
            key, at = _text(data, at)
            value, at = _text(data, at)
            found.setdefault("user", {})[key] = value
        elif kind in _NAMES:
            found[_NAMES[kind]], at = _text(data, at)
        else:
            raise ValueError(f"unknown property {kind:#x}")
    return found


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = at + 2 + int.from_bytes(data[at : at + 2], "big")
    if end > len(data):
        raise ValueError("a property is cut off")
    return data[at + 2 : end].decode(errors="replace"), end


def _varint(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """A variable byte integer (MQTT 5, 1.5.5) and where it ends."""
    value = 0
    for shift in (0, 7, 14, 21):
        if at >= len(data):
            break
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise ValueError("no variable byte integer")


def _length(size: int) -> bytes:
    out = bytearray()
    while True:
        size, byte = size >> 7, size & 0x7F
        out.append(byte | (0x80 if size else 0))
        if not size:
            return bytes(out)
