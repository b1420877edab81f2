"""What the bodies of packets are made of: integers, texts, properties (MQTT 5, 1.5 and 2.2.2). Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from edgewhisk.broker.reason import BadPacket, Reason
from edgewhisk.transport.mqtt import codec
from edgewhisk.transport.mqtt.codec import head


class Property(IntEnum):
    """Properties (2.2.2.2) that mean something to a server."""

    EXPIRY = 0x02
    SUBSCRIPTION = 0x0B
    SESSION_EXPIRY = 0x11
    ASSIGNED_ID = 0x12
    KEEP_ALIVE = 0x13
    AUTHENTICATION_METHOD = 0x15
    WILL_DELAY = 0x18
    REASON = 0x1F
    RECEIVE_MAXIMUM = 0x21
    ALIAS_MAXIMUM = 0x22
    ALIAS = 0x23
    USER = 0x26
    MAXIMUM_PACKET = 0x27


_SIZES: Final = {0x01: 1, 0x02: 4, 0x11: 4, 0x13: 2, 0x17: 1, 0x18: 4, 0x19: 1, 0x21: 2, 0x22: 2, 0x23: 2,
                 0x24: 1, 0x25: 1, 0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1}  # fmt: skip
_TEXTS: Final = (0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, 0x1F)
_OCTETS: Final = (0x09, 0x16)
OF_MESSAGE: Final = frozenset((0x01, 0x02, 0x03, 0x08, 0x09, 0x26))
OF_PUBLISH: Final = OF_MESSAGE | {0x23}
OF_WILL: Final = OF_MESSAGE | {0x18}
OF_CONNECT: Final = frozenset((0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27))
OF_SUBSCRIBE: Final = frozenset((0x0B, 0x26))
OF_OTHERS: Final = frozenset((0x1F, 0x26))
OF_DISCONNECT: Final = OF_OTHERS | {0x11, 0x1C}
_NOT_PASSED_ON: Final = (Property.EXPIRY, Property.ALIAS, Property.WILL_DELAY)
_NEVER_ZERO: Final = (
    Property.SUBSCRIPTION,
    Property.RECEIVE_MAXIMUM,
    Property.ALIAS,
    Property.MAXIMUM_PACKET,
)


class Properties(NamedTuple):
    """The properties of one packet."""

    values: Mapping[int, Any] = MappingProxyType({})
    passed_on: bytes = b""  # as they came, in their order: those that belong to the message (3.3.2.3)

    def get(self, which: Property, default: int) -> int:
        """The value of a property that is a number."""
        return int(self.values.get(which, default))


class Cursor:
    """Reads a packet's body from its beginning on. All methods raise `BadPacket`."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        """Begin at `at`."""
        self.data = data
        self.at = at

    @property
    def ended(self) -> bool:
        """Whether nothing is left."""
        return self.at >= len(self.data)

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self.at + size
        if end > len(self.data):
            raise BadPacket("a packet is cut off")
        found, self.at = self.data[self.at : end], end
        return found

    def number(self, size: int) -> int:
        """An integer of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def packet_id(self) -> int:
        """A packet identifier, which is never 0 (2.2.1)."""
        found = self.number(2)
        if not found:
            raise BadPacket("a packet identifier is 0", Reason.PROTOCOL_ERROR)
        return found

    def octets(self) -> bytes:
        """Binary data with its length before it (1.5.6)."""
        return self.take(self.number(2))

    def text(self) -> str:
        """A UTF-8 string (1.5.4)."""
        return text_of(self.octets())

    def varint(self) -> int:
        """A variable byte integer (1.5.5)."""
        try:
            found, self.at = codec.varint_at(self.data, self.at)
        except ValueError as error:
            raise BadPacket(str(error)) from error
        return found

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self.data) - self.at)

    def properties(self, allowed: Collection[int]) -> Properties:
        """The properties that stand here (2.2.2), of the kinds that are `allowed`."""
        end = self.varint() + self.at
        if end == self.at:
            return NO_PROPERTIES
        within = Cursor(self.data[:end], self.at)
        if end > len(self.data):
            raise BadPacket("properties are cut off")
        found, passed_on = properties_of(within, allowed)
        self.at = end
        return Properties(found, passed_on)


NO_PROPERTIES: Final = Properties()


def properties_of(body: Cursor, allowed: Collection[int]) -> tuple[dict[int, Any], bytes]:
    """All properties to the end of `body`: their values, and those that are passed on."""
    found: dict[int, Any] = {}
    passed_on: list[bytes] = []
    while not body.ended:
        start = body.at
        kind = body.varint()
        if kind not in allowed:
            raise BadPacket(f"property {kind:#x} does not belong there", Reason.PROTOCOL_ERROR)
        value = _value(kind, body)
        if kind in found and kind != Property.USER:
            raise BadPacket(f"property {kind:#x} stands twice", Reason.PROTOCOL_ERROR)
        if not value and kind in _NEVER_ZERO:
            reason = Reason.BAD_ALIAS if kind == Property.ALIAS else Reason.PROTOCOL_ERROR
            raise BadPacket(f"property {kind:#x} must not be 0", reason)
        found[kind] = value
        if kind not in _NOT_PASSED_ON:
            passed_on.append(body.data[start : body.at])
    return found, b"".join(passed_on)


def _value(kind: int, body: Cursor) -> Any:
    if kind in _SIZES:
        return body.number(_SIZES[kind])
    if kind in _TEXTS:
        return body.text()
    if kind in _OCTETS:
        return body.octets()
    if kind == Property.USER:
        return body.text(), body.text()
    return body.varint()


def text_of(data: bytes) -> str:
    """A UTF-8 string without NUL (1.5.4); raises `BadPacket`."""
    try:
        found = data.decode()
    except UnicodeDecodeError as error:
        raise BadPacket("a text is no UTF-8") from error
    if "\0" in found:
        raise BadPacket("a text holds NUL")
    return found


def prop(kind: Property, value: int | str) -> bytes:
    """One property (2.2.2.2)."""
    if isinstance(value, str):
        text = value.encode()
        return bytes((kind,)) + len(text).to_bytes(2, "big") + text
    if kind == Property.SUBSCRIPTION:
        return bytes((kind,)) + head(0, value)[1:]
    return bytes((kind,)) + value.to_bytes(_SIZES[kind], "big")
