"""MQTT 3.1.1 on a plain socket, for load: the generator must not be what is measured.

No task, no callback and no timer per message: packets are encoded before a run and read by the chunk.
"""

from __future__ import annotations

import os
import socket
import time
from typing import NamedTuple

from edgewhisk.transport.mqtt import codec
from edgewhisk.transport.mqtt.codec import Message

CONNACK, PUBLISH, PUBACK, SUBACK = 2, 3, 4, 9
CHUNK = 1 << 18


class Packet(NamedTuple):
    """One packet from the broker."""

    kind: int
    header: int  # the whole first byte
    body: bytes


def encoded(topic: str, payload: bytes, qos: int, number: int) -> bytes:
    """A PUBLISH; the packet identifier follows from `number`."""
    return codec.write(Message(topic, payload, qos), number % 65535 + 1, 4)


def dropped(port: int) -> float:
    """Messages that mosquitto, with `sys_interval 1`, dropped since its start; asked when it has told the latest."""
    time.sleep(2)
    client = Client(port, f"dropped-{os.getpid()}")
    try:
        client.send(_subscribe("$SYS/broker/publish/messages/dropped", 0))
        return float(payload(client._wait(PUBLISH)))  # it is retained
    finally:
        client.close()


def _subscribe(topic: str, qos: int) -> bytes:
    body = b"\0\1" + len(topic).to_bytes(2, "big") + topic.encode() + bytes([qos])
    return bytes([0x82, len(body)]) + body


class Client:
    """One connection with a clean session. Sending never blocks; what the socket does not take waits in `unsent`."""

    def __init__(self, port: int, name: str) -> None:
        """Connect to a broker on this machine; raises `OSError`."""
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unsent = bytearray()
        self._buffer = bytearray()
        body = b"\0\4MQTT\4\2\0\0" + len(name).to_bytes(2, "big") + name.encode()
        self.socket.sendall(bytes([0x10, len(body)]) + body)
        assert self._wait(CONNACK).body == b"\0\0", "the broker refuses the connection"

    def fileno(self) -> int:
        """For `select`."""
        return self.socket.fileno()

    def subscribe(self, topic: str, qos: int) -> None:
        """Returns when the broker has granted it."""
        self.socket.sendall(_subscribe(topic, qos))
        assert self._wait(SUBACK).body[2:] == bytes([qos]), "the broker refuses the subscription"

    def send(self, data: bytes) -> None:
        """Send, or keep what the socket does not take now."""
        self.unsent += data
        self.flush()

    def flush(self) -> None:
        """Go on sending what is left."""
        self.socket.setblocking(False)
        try:
            while self.unsent:
                del self.unsent[: self.socket.send(self.unsent)]
        except BlockingIOError:
            return

    def receive(self) -> list[Packet]:
        """What one read brings, which may be nothing; raises `ConnectionError` when the broker is gone."""
        self.socket.setblocking(False)
        try:
            data = self.socket.recv(CHUNK)
        except BlockingIOError:
            return []
        return self._packets(data)

    def acknowledge(self, packets: list[Packet]) -> None:
        """Answer what came at QoS 1, in one write."""
        self.send(b"".join(b"\x40\2" + identifier(one) for one in packets if one.header & 0x36 == 0x32))

    def close(self) -> None:
        self.socket.close()

    def _wait(self, kind: int) -> Packet:
        self.socket.setblocking(True)
        while True:
            for packet in self._packets(self.socket.recv(CHUNK)):
                if packet.kind == kind:
                    return packet

    def _packets(self, data: bytes) -> list[Packet]:
        if not data:
            raise ConnectionError("the broker closed the connection")
        self._buffer += data
        buffer, at, end, found = self._buffer, 0, len(self._buffer), list[Packet]()
        while end - at >= 2:
            size, shift, start = 0, 0, at + 1
            while start < end:
                byte = buffer[start]
                size |= (byte & 0x7F) << shift
                start, shift = start + 1, shift + 7
                if byte < 0x80:
                    break
            else:
                break
            if start + size > end:
                break
            found.append(Packet(buffer[at] >> 4, buffer[at], bytes(buffer[start : start + size])))
            at = start + size
        del buffer[:at]
        return found


def identifier(packet: Packet) -> bytes:
    """The packet identifier of a PUBLISH at QoS 1."""
    end = 2 + int.from_bytes(packet.body[:2], "big")
    return packet.body[end : end + 2]


def payload(packet: Packet) -> bytes:
    """What a PUBLISH carries."""
    end = 2 + int.from_bytes(packet.body[:2], "big")
    return packet.body[end + 2 if packet.header & 0x06 else end :]
