"""A broker without sockets, its disk and its clients, all driven step by step."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from edgewhisk.broker import packets
from edgewhisk.broker.broker import Broker
from edgewhisk.broker.link import Link
from edgewhisk.broker.properties import OF_MESSAGE, Cursor
from edgewhisk.broker.recovery import restore
from edgewhisk.broker.rights import Admit, everybody
from edgewhisk.config.schema import EmbeddedConfig

ALL = OF_MESSAGE | {0x0B, 0x23, 0x11, 0x12, 0x13, 0x21, 0x22, 0x27}


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(2, "big") + data


def connect(
    client: str,
    version: int = 4,
    *,
    clean: bool = True,
    keep_alive: int = 0,
    properties: bytes = b"",
    will: tuple[str, bytes, int, bool] | None = None,
    will_properties: bytes = b"",
    user: str = "",
    password: str = "",
) -> bytes:
    name = text("MQIsdp" if version == 3 else "MQTT")
    flags = 2 * clean | (0xC0 if user else 0)
    if will is not None:
        flags |= 4 | will[2] << 3 | will[3] << 5
    five = version >= 5
    body = name + bytes((version, flags)) + keep_alive.to_bytes(2, "big")
    body += bytes((len(properties),)) + properties if five else b""
    body += text(client)
    if will is not None:
        body += bytes((len(will_properties),)) + will_properties if five else b""
        body += text(will[0]) + text(will[1])
    if user:
        body += text(user) + text(password)
    return packets.packet(packets.CONNECT, body)


def subscribe(packet_id: int, *filters: tuple[str, int], version: int = 4, properties: bytes = b"") -> bytes:
    body = packet_id.to_bytes(2, "big") + (bytes((len(properties),)) + properties if version >= 5 else b"")
    return packets.packet(packets.SUBSCRIBE, body, *(text(one) + bytes((how,)) for one, how in filters))


def publish(
    topic: str,
    payload: bytes,
    qos: int = 0,
    packet_id: int = 0,
    *,
    retain: bool = False,
    again: bool = False,
    version: int = 4,
    properties: bytes = b"",
) -> bytes:
    first = packets.PUBLISH | qos << 1 | retain | again << 3
    return packets.publish(version, first, topic.encode(), packet_id, properties, payload)


class Disk:
    """What was written, and may refuse."""

    def __init__(self) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.refuses = ""
        self.groups = 0


class Bench:
    """One broker."""

    def __init__(
        self,
        bounds: EmbeddedConfig | None = None,
        disk: Disk | None = None,
        admit: Admit = everybody,
    ) -> None:
        self.disk = disk or Disk()
        self.now = 1000.0
        numbers = count(1)
        self.slow = False  # whether a write takes until `write` is called
        self.bounds = bounds or EmbeddedConfig()
        self.broker = Broker(self.bounds, lambda: f"auto-{next(numbers)}", self.now, self.now, admit)
        restore(self.broker.delivery, self.disk.documents)
        self.peers: dict[int, Peer] = {}
        self._group: list[Any] = []

    def peer(self, address: str = "10.0.0.1") -> Peer:
        number = len(self.peers) + 1
        made = self.peers[number] = Peer(self, number)
        self.broker.opened(Link(number, address, self.now), self.now)
        self.act()
        return made

    def act(self) -> None:
        while True:
            actions = self.broker.take(self.now)
            for number, data in actions.send.items():
                self.peers[number].heard(data)
            for number in actions.close:
                self.peers[number].closed = True
                self.broker.lost(number, self.now)
            if actions.write:
                self._group = list(actions.write)
            if actions.write and not self.slow:
                self.write()
            elif not actions.send and not actions.close:
                return

    @property
    def writing(self) -> bool:
        return bool(self._group)

    def write(self) -> None:
        """Finish the write that is under way."""
        group, self._group = self._group, []
        if not group:
            return
        if not self.disk.refuses:
            self.disk.groups += 1
            for change in group:
                collection = self.disk.documents.setdefault(change.collection, {})
                if change.document is None:
                    collection.pop(change.key, None)
                else:
                    collection[change.key] = dict(change.document)
        self.broker.written(self.disk.refuses, self.now)
        if self.slow:
            self.act()

    def wait(self, seconds: float) -> None:
        """Let time go by."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.5)
            self.broker.tick(self.now)
            self.act()


class Peer:
    """A client that only does what it is told to; `inbox` has packets as (first byte, body)."""

    def __init__(self, bench: Bench, number: int) -> None:
        self.bench = bench
        self.number = number
        self.inbox: list[tuple[int, bytes]] = []
        self.closed = False
        self.react: Callable[[int, bytes], None] | None = None

    def say(self, data: bytes) -> list[tuple[int, bytes]]:
        """Send packets; what came since the last time."""
        buffer = bytearray(data)
        for first, body in packets.split(buffer, 1 << 28):
            self.bench.broker.received(self.number, first, body, self.bench.now)
        assert not buffer
        self.bench.act()
        return self.take()

    def take(self) -> list[tuple[int, bytes]]:
        found, self.inbox = self.inbox, []
        return found

    def heard(self, data: bytes) -> None:
        buffer = bytearray(data)
        self.inbox += packets.split(buffer, 1 << 28)
        assert not buffer

    def cut(self) -> None:
        """The connection breaks."""
        if not self.closed:
            self.closed = True
            self.bench.broker.lost(self.number, self.bench.now)
            self.bench.act()


class Got:
    """A PUBLISH that a client got."""

    def __init__(self, first: int, body: bytes, version: int = 4) -> None:
        cursor = Cursor(body)
        self.qos, self.retain, self.again = first >> 1 & 3, bool(first & 1), bool(first & 8)
        self.topic = cursor.text()
        self.packet_id = cursor.number(2) if self.qos else 0
        self.properties = cursor.properties(ALL) if version >= 5 else None
        self.payload = cursor.rest()


def got(inbox: list[tuple[int, bytes]], version: int = 4) -> list[Got]:
    """The PUBLISHes among packets."""
    return [Got(first, body, version) for first, body in inbox if first & 0xF0 == packets.PUBLISH]
