"""The broker's sockets, timer and store: carries out on the event loop what the core decides.

A reading that comes is on disk, or with who subscribed, before the device hears that it was taken.
"""

from __future__ import annotations

import asyncio
import resource
import secrets
import socket
import ssl
from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol, cast

from edgewhisk.broker import documents, packets
from edgewhisk.broker.broker import SILENT, Broker
from edgewhisk.broker.link import Link
from edgewhisk.broker.message import PublishedMessage
from edgewhisk.broker.packets import split
from edgewhisk.broker.reason import BadPacket, Reason
from edgewhisk.broker.recovery import restore
from edgewhisk.broker.rights import Admit, everybody
from edgewhisk.broker.websocket import WebSocket, WebSocketError, frame, good_bye
from edgewhisk.config.schema import EmbeddedConfig
from edgewhisk.errors import InstanceError
from edgewhisk.spi import Clock, DocumentStore

MOST_PARTIAL: Final = 64 << 20  # bytes of packets that are not here in full, of all connections
_OTHERS: Final = 64  # descriptors that are neither the API's nor the broker's
_TICK: Final = 0.5  # seconds
_LEAVING: Final = 5.0  # seconds that a client which was told to go has to read that
_BACKLOG: Final = 256
_UNSENT: Final = 256 << 10  # bytes that a client has not taken; beyond, it gets no QoS 0 and the rest waits
_EVER: Final = float("inf")


class BrokerPeer(Protocol):
    """Who is at the other end of a link."""

    def send(self, data: bytes) -> None:
        """Send whole packets."""
        ...

    def leave(self) -> None:
        """Close when all is sent."""
        ...

    def abort(self) -> None:
        """Close now."""
        ...

    def hold(self, *, on: bool) -> None:
        """Read no more, or read on."""
        ...


class LocalPeer(Protocol):
    """The gateway itself, which has messages as they are."""

    def wake(self) -> None:
        """Some may have come."""
        ...


class BrokerServer:
    """The broker on the gateway's event loop."""

    def __init__(
        self, bounds: EmbeddedConfig, store: DocumentStore, clock: Clock, admit: Admit = everybody
    ) -> None:
        """Go on with the sessions, the retained values and what waits in `store`."""
        spare = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - SILENT - _OTHERS  # the API has half
        self.bounds = replace(bounds, connections=max(1, min(bounds.connections, spare)))
        self.store = store
        self.partial = 0  # bytes
        self.core = Broker(self.bounds, _name, clock.monotonic(), clock.now() / 1000, admit)
        restore(self.core.delivery, _stored(store))
        self.now = clock.monotonic
        self._connections: dict[int, BrokerPeer] = {}
        self._locals: dict[int, LocalPeer] = {}
        self._held: set[int] = set()  # connections that are not read for now
        self._last = 0
        self._servers: list[asyncio.Server] = []
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None
        self._stopped = False

    async def listen(
        self, host: str, port: int, tls: ssl.SSLContext | None = None, *, web: bool = False
    ) -> int:
        """Begin to serve, with `web` over WebSocket; the port, a free one for 0.

        Raises `InstanceError` when that cannot be.
        """
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(
                partial(_WebConnection if web else _Connection, self),
                host,
                port,
                ssl=tls,
                ssl_handshake_timeout=self.bounds.connect_timeout if tls is not None else None,
                backlog=_BACKLOG,
            )
        except OSError as error:
            hint = f'a broker may run there: set [mqtt] url = "mqtt://{host}:{port}"'
            reason = error.strerror or str(error)
            raise InstanceError(
                f"the embedded broker cannot listen on {host}:{port}: {reason}", hint=hint
            ) from error
        self._servers.append(server)
        if self._timer is None:
            self._timer = loop.call_later(_TICK, self._tick)
        found: int = server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Tell the clients, close every connection, and have all on disk that waits for it."""
        for server in self._servers:
            server.close()
        if self._timer is not None:
            self._timer.cancel()
        self.core.stop(self.now())
        self.act()
        while self._writing is not None:
            await asyncio.wait([self._writing])
        self._stopped = True
        if changes := self.core.take(_EVER).write:
            await asyncio.wait([self.store.write(changes)])
        for connection in list(self._connections.values()):
            connection.abort()

    def describe(self) -> dict[str, Any]:
        """What status shows."""
        return {**self.core.describe(), "partial_bytes": self.partial, "held": len(self._held)}

    def clients(self) -> list[dict[str, Any]]:
        """All clients that are known, connected ones first."""
        found = sorted(self.core.sessions.values(), key=lambda session: session.link is None)
        return [session.describe(self.now()) for session in found]

    def kick(self, client: str) -> bool:
        """End a client's connection; false if it has none."""
        done = self.core.kick(client, self.now())
        self.act()
        return done

    def retained(self, text: str) -> list[PublishedMessage]:
        """The retained messages whose topics a filter matches."""
        return self.core.delivery.retained.matching(text, self.now())

    def act(self) -> None:
        """Carry out what the core decided."""
        actions = self.core.take(self.now())
        for number, data in actions.send.items():
            if (connection := self._connections.get(number)) is not None:
                connection.send(data)
        for number in actions.close:
            if (connection := self._connections.get(number)) is not None:
                connection.leave()
        if actions.write and not self._stopped:
            self._writing = self.store.write(actions.write)
            self._writing.add_done_callback(self._written)
        for number in [held for held in self._held if not self.core.burdened(held)]:
            self._held.discard(number)
            self._connections[number].hold(on=False)
        for local in list(self._locals.values()):
            local.wake()

    def _written(self, done: asyncio.Future[None]) -> None:
        self._writing = None
        error = done.exception()
        self.core.written("" if error is None else str(error) or repr(error), self.now())
        self.act()

    def _tick(self) -> None:
        self.core.tick(self.now())
        self.act()
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._tick)

    # -- what connections tell -------------------------------------------------------------------

    def next_number(self) -> int:
        """A number for a link."""
        self._last += 1
        return self._last

    def enter(self, connection: BrokerPeer, link: Link, local: LocalPeer | None = None) -> None:
        """A connection is there."""
        self._connections[link.number] = connection
        if local is not None:
            self._locals[link.number] = local
        self.core.opened(link, self.now())
        self.act()

    def heard(self, number: int, buffer: bytearray) -> None:
        """More of a connection's bytes came; what is whole is taken out of `buffer`."""
        now = self.now()
        try:
            if buffer[:1] != b"\x10" and not self.core.knows(number):
                raise BadPacket("the first packet is no CONNECT", Reason.PROTOCOL_ERROR)
            for first, body in split(buffer, self.bounds.packet_bytes):
                self.core.received(number, first, body, now)
            if self.partial > MOST_PARTIAL:
                raise BadPacket("too much is not here in full", Reason.QUOTA)
        except BadPacket as error:
            self.core.broke(number, error, now)
        if self.core.burdened(number):
            self.hold(number)
        self.act()

    def hold(self, number: int) -> None:
        """Read no more from a connection, until the core has no burden of it."""
        self._held.add(number)
        self._connections[number].hold(on=True)

    def acknowledged(self, link: Link, packet_ids: Collection[bytes], exact: Collection[bytes]) -> None:
        """The gateway itself has taken messages, the `exact` ones of them at QoS 2."""
        now = self.now()
        plain = [one for one in packet_ids if one not in exact] if exact else packet_ids
        self.core.acknowledged(link, packets.PUBACK, plain, now)
        self.core.acknowledged(link, packets.PUBREC, exact, now)
        self.act()

    def lost(self, number: int) -> None:
        """A connection is gone."""
        self._connections.pop(number, None)
        self._locals.pop(number, None)
        self._held.discard(number)
        self.core.lost(number, self.now())
        self.act()


class _Connection(asyncio.Protocol):
    """The bytes of one client."""

    transport: asyncio.Transport

    def __init__(self, server: BrokerServer) -> None:
        self._server = server
        self._buffer = bytearray()
        self._number = 0
        self._ends: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is of no such class
        self.transport.set_write_buffer_limits(_UNSENT)
        plain = transport.get_extra_info("socket")
        if plain is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # who has no keep-alive may be gone
        peer = transport.get_extra_info("peername")
        link = Link(self._server.next_number(), peer[0] if peer else "", self._server.now())
        self._number = link.number
        self._server.enter(self, link)

    def data_received(self, data: bytes) -> None:
        if self._ends is None:
            server, buffer = self._server, self._buffer
            before = len(buffer)
            buffer += data
            server.partial += len(data)
            server.heard(self._number, buffer)
            server.partial -= before + len(data) - len(buffer)

    def pause_writing(self) -> None:
        self._server.core.paused(self._number, self._server.now(), on=True)
        self._server.hold(self._number)

    def resume_writing(self) -> None:
        self._server.core.paused(self._number, self._server.now(), on=False)
        self._server.act()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ends is not None:
            self._ends.cancel()
        self._server.partial -= len(self._buffer)
        self._buffer.clear()
        self._server.lost(self._number)

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def abort(self) -> None:
        self.transport.abort()

    def hold(self, *, on: bool) -> None:
        if self.transport.is_closing():
            return
        if on:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def leave(self) -> None:
        """Close when all is sent, or when that takes too long."""
        if self._ends is None:
            self.transport.close()
            self._ends = asyncio.get_running_loop().call_later(_LEAVING, self.transport.abort)


class _WebConnection(_Connection):
    """The same over WebSocket."""

    def __init__(self, server: BrokerServer) -> None:
        super().__init__(server)
        self._web = WebSocket(server.bounds.origins)
        self._closed = False

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        try:
            said, answer = self._web.receive(data)
        except WebSocketError as error:
            self._closed = True
            self.transport.write(error.answer)
            self.leave()
            return
        if answer:
            self.transport.write(answer)
        if said:
            super().data_received(said)

    def send(self, data: bytes) -> None:
        self.transport.write(frame(data))

    def leave(self) -> None:
        if not self._closed:
            self._closed = True
            if self._web.open:
                self.transport.write(good_bye())
        super().leave()


def _name() -> str:
    return f"auto-{secrets.token_hex(8)}"


def _stored(store: DocumentStore) -> Mapping[str, Mapping[str, dict[str, Any]]]:
    """All that can be read; the store tells of the rest, and leaves it where it is."""
    return {name: store.read(name, check) for name, check in documents.CHECKS.items()}
