"""amqtt with bounds, and without its faults that devices meet. Loaded with the embedded broker.

amqtt 0.12 waits for ever for a CONNECT, keeps the descriptor of a connection that fails, buffers a packet of
any size, loses both connections where a device with a lasting session comes back before its old one ended,
sends retained messages to whoever connects, and knows MQTT 3.1.1 only.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any, Final, NamedTuple

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker

CONNECT_TIMEOUT: Final = 10.0  # seconds for a client to say CONNECT
SILENT: Final = 64  # connections that did not say CONNECT yet; beyond, the oldest of them goes
MAX_CLIENTS: Final = 256  # clients; beyond, a new one is refused. Systems allow 1024 open files by default
MAX_PACKET_BYTES: Final = 4 << 20  # bytes of a packet
_LEAVING: Final = 5.0  # seconds for an old connection of a client to end
_NO_ROOM: Final = b"\x20\x02\x00\x03"  # CONNACK of MQTT 3.1.1: server unavailable
_OTHER_VERSION: Final = b"\x20\x03\x00\x84\x00"  # of MQTT 5: unsupported protocol version
_HEADS: Final = {b"\x00\x06MQIsdp\x03": 3, b"\x00\x04MQTT\x04": 4, b"\x00\x04MQTT\x05": 5}


class Malformed(ConnectionError):
    """It is no MQTT, or more than is taken; a kind of error that ends a connection of amqtt."""


class PacketStream:
    """Follows a stream by the fixed headers of its packets (MQTT 3.1.1, section 2.2)."""

    def __init__(self) -> None:
        """At the beginning of a packet."""
        self._left = self._size = 0
        self._shift: int | None = None  # within a length; None: the first byte of a packet comes next

    def feed(self, data: bytes) -> None:
        """Go on; raises `Malformed` as soon as a length says that a packet is too large."""
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            octet = data[at]
            at += 1
            if self._shift is None:
                self._shift = self._size = 0
                continue
            self._size |= (octet & 0x7F) << self._shift
            self._shift += 7
            if self._size > MAX_PACKET_BYTES or (octet & 0x80 and self._shift > 21):
                raise Malformed(f"a packet of more than {MAX_PACKET_BYTES} bytes")
            if not octet & 0x80:
                self._left, self._shift = self._size, None


class Connect(NamedTuple):
    """What a CONNECT says (MQTT 3.1.1, section 3.1)."""

    version: int
    client: str
    will_retain: bool
    packet: bytes  # as MQTT 3.1.1 has it


def connect_of(body: bytes) -> Connect:
    """Read what stands behind the fixed header; raises `Malformed`.

    All of it, as amqtt waits for more where a length leads beyond the packet.
    """
    head = next((head for head in _HEADS if body.startswith(head)), None)
    if head is None or len(body) < len(head) + 3:
        raise Malformed("no CONNECT of MQTT 3.1, 3.1.1 or 5")
    version, rest = _HEADS[head], body[len(head) :]
    if version > 4:
        return Connect(version, "", False, b"")
    flags, at = rest[0], 3
    texts = []  # client, topic and message of the will, user, password
    for there in (True, flags & 4, flags & 4, flags & 0x80, flags & 0x40):
        size = int.from_bytes(rest[at : at + 2], "big") if there else 0
        end = at + 2 + size if there else at
        if end > len(rest):
            raise Malformed("a CONNECT that is cut off")
        texts.append(rest[end - size : end])
        at = end
    if at < len(rest) or flags & 1:
        raise Malformed("a CONNECT with more in it than it says")
    try:
        client, _, _ = (texts[place].decode() for place in (0, 1, 3))
    except UnicodeDecodeError:
        raise Malformed("a CONNECT with a text that is no UTF-8") from None
    told = b"\x00\x04MQTT\x04" + rest  # 3.1 says the same in the same places
    return Connect(version, client, bool(flags & 0x20), b"\x10" + _length(len(told)) + told)


def _length(size: int) -> bytes:
    octets = bytearray()
    while True:
        size, low = divmod(size, 128)
        octets.append(low | (0x80 if size else 0))
        if not size:
            return bytes(octets)


class _PacketReader(StreamReaderAdapter):  # type: ignore[misc]
    """What a client sends, its CONNECT once more, within bounds."""

    def __init__(self, reader: asyncio.StreamReader, connect: Connect) -> None:
        """Behind the CONNECT."""
        super().__init__(reader)
        self.connect = connect
        self._again = connect.packet
        self._packets = PacketStream()

    async def read(self, n: int = -1) -> bytes:
        """See `ReaderAdapter`."""
        if self._again:
            data, self._again = self._again[:n], self._again[n:]
            return data
        data = await super().read(n)
        try:
            self._packets.feed(data)
        except Malformed as error:
            raise ConnectionResetError(str(error)) from error  # amqtt knows this one
        return bytes(data)


class _Link(NamedTuple):
    """The connection of a client."""

    writer: asyncio.StreamWriter
    task: asyncio.Task[Any]
    gone: asyncio.Event


class BoundedBroker(Broker):  # type: ignore[misc]
    """The broker."""

    def __init__(self, config: dict[str, Any]) -> None:
        """As `config` says."""
        super().__init__(config)
        self._silent: deque[asyncio.StreamWriter] = deque()
        self._links: dict[str, _Link] = {}
        self._clients = 0

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Serve one connection; whatever comes of it, its descriptor is given back."""
        try:
            connect = await self._greet(reader, writer)
            if connect.version > 4:
                writer.write(_OTHER_VERSION)
            elif self._clients >= MAX_CLIENTS:
                writer.write(_NO_ROOM)
            else:
                await self._serve(connect, reader, writer, listener_name)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Connect:
        """Wait for CONNECT, which others must not wait for."""
        self._silent.append(writer)
        if len(self._silent) > SILENT:
            self._silent.popleft().transport.abort()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                if await reader.readexactly(1) != b"\x10":
                    raise Malformed("the first packet is no CONNECT")
                packets, head = PacketStream(), b"\x10"
                packets.feed(head)
                while head[-1] & 0x80 or len(head) == 1:
                    head += await reader.readexactly(1)
                    packets.feed(head[-1:])
                size = sum((octet & 0x7F) << 7 * place for place, octet in enumerate(head[1:]))
                return connect_of(await reader.readexactly(size))
        finally:
            with contextlib.suppress(ValueError):
                self._silent.remove(writer)

    async def _serve(
        self, connect: Connect, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Let amqtt serve a client, once its former connection is gone (MQTT 3.1.1, 3.1.4-2)."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("not within a task")
        while (old := self._links.get(connect.client)) is not None and connect.client:
            await self._end(old)
        link = _Link(writer, task, asyncio.Event())
        self._links[connect.client] = link
        self._clients += 1
        try:
            await self._client_connected(
                listener_name, _PacketReader(reader, connect), StreamWriterAdapter(writer)
            )
        finally:
            self._clients -= 1
            if self._links.get(connect.client) is link:
                del self._links[connect.client]
            link.gone.set()

    async def _end(self, link: _Link) -> None:
        link.writer.transport.abort()
        try:
            async with asyncio.timeout(_LEAVING):
                await link.gone.wait()
        except TimeoutError:
            link.task.cancel()
            await link.gone.wait()

    async def _initialize_client_session(self, reader: Any, *more: Any) -> Any:
        """amqtt forgets whether the will of a client that comes back is to be retained."""
        handler, session = await super()._initialize_client_session(reader, *more)
        session.will_retain = reader.connect.will_retain
        return handler, session

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Any
    ) -> None:
        """amqtt calls this for each filter that anybody has subscribed to."""
        if any(one.client_id == session.client_id for one, _ in self._subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription(subscription, session)
