"""A broker by script, for what no real one can be made to do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

CONNECT, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, PINGREQ = 0x10, 0x30, 0x80, 0xA0, 0xC0
Answer = Callable[["Talk", int, bytes], bool]  # whether it answered a packet (first byte, body) itself


def packet(first: int, body: bytes) -> bytes:
    """A packet of less than 16 KB."""
    size = len(body)
    return bytes((first, size) if size < 128 else (first, size & 0x7F | 0x80, size >> 7)) + body


def text(value: str) -> bytes:
    """A string of MQTT."""
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


class Talk:
    """One connection."""

    def __init__(self, writer: asyncio.StreamWriter, number: int) -> None:
        self.number = number  # of the connection, from 1 on
        self.writer = writer
        self.version = 4

    def send(self, first: int, body: bytes) -> None:
        self.writer.write(packet(first, body))

    def close(self) -> None:
        self.writer.close()


class Scripted:
    """Grants everything and takes everything, but for what `answer` answers."""

    def __init__(self, answer: Answer, connack: bytes = b"") -> None:
        """`connack`: the properties of its CONNACK (MQTT 5)."""
        self._answer = answer
        self._connack = connack
        self.connects = 0
        self.heard: list[tuple[int, bytes]] = []
        self._writers: list[asyncio.StreamWriter] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for writer in self._writers:
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connects += 1
        self._writers.append(writer)
        talk = Talk(writer, self.connects)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first = (await reader.readexactly(1))[0]
                size, shift = 0, 0
                while True:
                    byte = (await reader.readexactly(1))[0]
                    size |= (byte & 0x7F) << shift
                    shift += 7
                    if byte < 0x80:
                        break
                body = await reader.readexactly(size)
                self.heard.append((first, body))
                if not self._answer(talk, first, body):
                    self._usual(talk, first, body)

    def _usual(self, talk: Talk, first: int, body: bytes) -> None:
        kind = first & 0xF0
        if kind == CONNECT:
            talk.version = body[6]
            properties = bytes((len(self._connack),)) + self._connack if talk.version == 5 else b""
            talk.send(0x20, b"\0\0" + properties)
        elif kind == SUBSCRIBE:
            talk.send(0x90, body[:2] + (b"\0" if talk.version == 5 else b"") + b"\1")
        elif kind == UNSUBSCRIBE:
            talk.send(0xB0, body[:2] + (b"\0\0" if talk.version == 5 else b""))
        elif kind == PINGREQ:
            talk.send(0xD0, b"")
        elif kind == PUBLISH and first & 6 == 2:
            end = 2 + int.from_bytes(body[:2], "big")
            talk.send(0x40, body[end : end + 2])
