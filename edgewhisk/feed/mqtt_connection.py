"""One connection to an MQTT broker: the only door to gmqtt.

Of gmqtt this uses connecting, subscribing, keep-alive and all packets but PUBLISH and PUBACK.
Reconnecting is ours (gmqtt's forgets subscriptions that were under way), and so is acknowledging:
gmqtt 0.8 hands the packet identifier to nobody else. The private names stand here; the dependency is
pinned to 0.8.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import gmqtt
from gmqtt.mqtt.connection import MQTTConnection
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from gmqtt.mqtt.handler import MQTTConnectError
from gmqtt.mqtt.package import Package
from gmqtt.mqtt.protocol import BaseMQTTProtocol, MQTTProtocol

from edgewhisk.feed import mqtt_packets as packets
from edgewhisk.feed.mqtt_packets import Delivery, Message

_KEEP_ALIVE: Final = 60  # seconds
_WINDOW: Final = 1000  # QoS 1 messages of ours under way at once, if the broker does not say
_PUBLISH: Final = 0x30
_PUBACK: Final = 0x40
_REFUSALS: Final = {
    1: "the broker does not speak this version of MQTT: set version",
    2: "the broker refuses the client id: set client_id",
    3: "the broker is not available",
    4: "wrong username or password: see username and password_file",
    5: "the broker does not authorize this client: see username and password_file",
    132: "the broker does not speak MQTT 5: set version",
    133: "the broker refuses the client id: set client_id",
    134: "wrong username or password: see username and password_file",
    135: "the broker does not authorize this client: see username and password_file",
}


@dataclass(frozen=True, slots=True)
class MqttLink:
    """How to reach a broker."""

    host: str
    port: int
    client_id: str
    username: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None
    version: int = 4  # 4 is MQTT 3.1.1
    receive_maximum: int = 200
    session_expiry: int = 604_800  # seconds
    status_topic: str = ""
    lasting: bool = True  # the broker keeps the session when the connection ends


Failed = Mapping[int, Exception]  # by position in what was published


class Sending:
    """Messages that are published together."""

    __slots__ = ("_failed", "_left", "sent")

    def __init__(self, count: int, sent: asyncio.Future[Failed]) -> None:
        """`sent` is done when all `count` are settled."""
        self._left = count
        self._failed: dict[int, Exception] = {}
        self.sent = sent

    def settle(self, at: int, error: Exception | None = None) -> None:
        """The broker has a message, or never will."""
        if error is not None:
            self._failed[at] = error
        self._left -= 1
        if not self._left and not self.sent.done():
            self.sent.set_result(self._failed)


class Connection:
    """One gmqtt client for the life of one connection."""

    def __init__(
        self,
        link: MqttLink,
        take: Callable[[Connection, Sequence[Delivery]], None],
        refused: dict[str, str] | None = None,
    ) -> None:
        """`take` gets what each chunk from the network brought, `refused` why a filter was not granted."""
        self._refused = {} if refused is None else refused
        self._asked: dict[int, str] = {}  # packet identifier -> filter
        self._link = link
        self._take = take
        self._out = b""  # to be sent
        self._rest = bytearray()  # the beginning of a packet that is not whole
        self._lost = asyncio.Event()
        self._error: BaseException | None = None
        self._paused = False
        self._socket: socket.socket | None = None
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[Message, Sending, int]] = deque()
        self._flying: dict[int, tuple[Sending, int]] = {}
        self._window = _WINDOW
        self._client = self._make()

    async def open(self) -> None:
        """Connect; raises `OSError`."""
        link = self._link
        version = MQTTv50 if link.version >= 5 else MQTTv311
        secure = link.tls if link.tls is not None else False
        try:
            await self._client.connect(
                link.host, link.port, ssl=secure, keepalive=_KEEP_ALIVE, version=version
            )
        except MQTTConnectError as error:
            raise ConnectionRefusedError(_REFUSALS.get(error._code, str(error))) from error
        if link.version >= 5:
            # gmqtt hands out no more identifiers than the broker takes, also for subscriptions.
            most = self._client._package_handler._connack_properties.get("receive_maximum", [_WINDOW])
            self._window = max(1, min(_WINDOW, int(most[0]) - 4))
        if link.status_topic:
            self.publish([Message(link.status_topic, b"online", 1, retain=True)])

    async def lost(self) -> None:
        """Wait until the connection is gone; raises what made us give it up."""
        await self._lost.wait()
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Say good-bye if there is somebody to hear it."""
        link = self._link
        if self._client._connection is not None:
            if link.status_topic and not self._lost.is_set():
                # A clean good-bye makes the broker forget the will.
                self._send(
                    packets.write(Message(link.status_topic, b"offline", 0, retain=True), 0, link.version)
                )
            self._write()
            await self._client.disconnect()
        if self._socket is not None:
            self._socket.close()
        self._abandon()

    def publish(self, messages: Sequence[Message]) -> asyncio.Future[Failed]:
        """Send messages in order, in one write; done when the broker has all of them, or never will.

        At QoS 0 that is when they are written. The result says which failed, with a `ConnectionError`
        if the connection was lost before.
        """
        sending = Sending(len(messages), self._loop.create_future())
        self._waiting.extend((message, sending, at) for at, message in enumerate(messages))
        self._flush()
        return sending.sent

    def subscribe(self, pattern: str, qos: int) -> None:
        """Ask for a filter."""
        self._refused.pop(pattern, None)
        self._asked[self._client.subscribe(pattern, qos=qos)] = pattern

    def unsubscribe(self, pattern: str) -> None:
        """Ask for a filter no more."""
        self._client.unsubscribe(pattern)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """PUBACKs of QoS 1 messages, in one write."""
        if deliveries and not self._lost.is_set():
            ids = (one.packet_id for one in deliveries if one.packet_id is not None)
            self._send(b"".join(b"\x40\x02" + mid.to_bytes(2, "big") for mid in ids))

    def give_up(self, error: BaseException) -> None:
        """Drop the connection, so that the broker delivers again what was not acknowledged."""
        self._error = error
        self._lost.set()

    def pause(self) -> None:
        """Read no more; the broker holds what comes."""
        transport = self._client._connection._transport
        if not self._paused and not transport.is_closing():
            self._paused = True
            transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if not self._paused:
            return
        self._paused = False
        transport = self._client._connection._transport
        if not transport.is_closing():
            transport.resume_reading()

    def _make(self) -> Any:
        link = self._link
        properties: dict[str, Any] = {}
        if link.version >= 5:
            properties = {
                "receive_maximum": link.receive_maximum,
                "session_expiry_interval": link.session_expiry,
            }
        will = gmqtt.Message(link.status_topic, b"offline", qos=1, retain=True) if link.status_topic else None
        client = _Client(
            link.client_id,
            clean_session=not link.lasting,
            optimistic_acknowledgement=False,
            will_message=will,
            **properties,
        )
        client.set_config({"reconnect_retries": -2, "reconnect_delay": 0})  # -1 is for ever, 0 is once
        if link.username:
            client.set_auth_credentials(link.username, link.password)
        client.on_subscribe = self._granted
        client.on_disconnect = lambda *_: self._lost.set()
        client.arrived = self._arrived
        return client

    def _send(self, data: bytes) -> None:
        """Send in the next turn of the loop: acknowledgements and messages share a write."""
        if not self._out:
            self._loop.call_soon(self._write)
        self._out += data

    def _write(self) -> None:
        out, self._out = self._out, b""
        if out and self._client._connection is not None and not self._lost.is_set():
            self._client._connection.send_package(out)

    def _flush(self) -> None:
        """Write what the window lets through, in order."""
        if self._lost.is_set():
            self._abandon()
            return
        written = bytearray()
        ids = self._client._package_handler.id_generator
        while self._waiting:
            message, sending, at = self._waiting[0]
            if message.qos and len(self._flying) >= self._window:
                break
            self._waiting.popleft()
            number = ids._mid_generate() if message.qos else 0
            written += packets.write(message, number, self._link.version)
            if message.qos:
                self._flying[number] = sending, at
            else:
                sending.settle(at)
        if written:
            self._send(bytes(written))

    def _granted(self, _client: Any, mid: int, codes: Sequence[int], _properties: Any) -> None:
        pattern = self._asked.pop(mid, None)
        if pattern is not None and codes and codes[0] >= 0x80:
            self._refused[pattern] = f"the broker does not grant {pattern} (code {codes[0]:#x}): see its ACL"

    def _arrived(self, data: bytes) -> None:
        """What came from the network."""
        if self._lost.is_set():
            return
        self._client._connection._last_data_in = self._loop.time()  # what gmqtt's keep-alive looks at
        try:
            found = self._packets(data)
            collected = [one for first, body in found if (one := self._packet(first, body)) is not None]
        except ValueError as error:
            self.give_up(ConnectionAbortedError(f"the broker sent a malformed packet: {error}"))
            return
        if self._waiting:
            self._flush()
        if collected:
            self._hand_over(collected)

    def _packets(self, data: bytes) -> list[tuple[int, bytes]]:
        """The packets that are whole now; raises `ValueError`."""
        if self._rest:
            self._rest += data
            found, end = packets.split(self._rest)
            del self._rest[:end]
        else:
            found, end = packets.split(data)
            if end < len(data):
                self._rest += data[end:]
        return found

    def _packet(self, first: int, body: bytes) -> Delivery | None:
        """Take one packet: a PUBLISH is returned, PUBACKs are ours too, all others are gmqtt's."""
        kind = first & 0xF0
        if kind == _PUBLISH:
            return packets.read(first, body, self._link.version)
        if kind == _PUBACK:
            self._puback(body)
        else:
            self._client._connection.put_package(Package(first, body))
        return None

    def _hand_over(self, collected: Sequence[Delivery]) -> None:
        try:
            self._tell_received()
            self._take(self, collected)
        except Exception as error:  # noqa: BLE001 - a fault of ours must reach the supervisor
            self.give_up(error)

    def _puback(self, packet: bytes) -> None:
        number = int.from_bytes(packet[:2], "big")
        self._client._package_handler.id_generator.free_id(number)
        found = self._flying.pop(number, None)
        if found is None:
            return
        sending, at = found
        refused = packet[2] if len(packet) > 2 else 0  # MQTT 5, 3.4.2.1: 0x80 and more are errors
        if refused >= 0x80:
            sending.settle(at, ConnectionRefusedError(f"the broker refused it with code {refused:#x}"))
        else:
            sending.settle(at)

    def _abandon(self) -> None:
        """Nobody will acknowledge what is under way."""
        left = [*self._flying.values(), *((sending, at) for _, sending, at in self._waiting)]
        self._flying.clear()
        self._waiting.clear()
        for sending, at in left:
            sending.settle(at, ConnectionResetError("the connection to the broker was lost"))

    def _tell_received(self) -> None:
        """Let the kernel acknowledge the segment now.

        A broker with Nagle's algorithm on (mosquitto's default) holds the next message until it is; the
        kernel waits up to 40 ms for data of ours to go with it, and our PUBACK waits for the disk.
        Measured at 200 readings a second: 10 ms without this, 1 ms with it. Linux forgets the wish, so
        it is renewed for each chunk.
        """
        if self._socket is None:  # one of our own: uvloop makes a new one for each call
            link = self._client._connection._transport.get_extra_info("socket")
            self._socket = socket.socket(fileno=os.dup(link.fileno()))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class _Client(gmqtt.Client):  # type: ignore[misc]
    """A client that hands us what arrives as it comes, without gmqtt's stream, task and dispatch.

    These take 12 us of a reading's 50.
    """

    arrived: Callable[[bytes], None]

    async def _create_connection(
        self, host: str, port: int, ssl: ssl.SSLContext | bool, clean_session: bool, keepalive: int
    ) -> MQTTConnection:
        handler = self._package_handler
        _, protocol = await asyncio.get_running_loop().create_connection(
            lambda: _Protocol(
                self.arrived, connection_state=self._connection_state, id_generator=handler.id_generator
            ),
            host,
            port,
            ssl=ssl,
        )
        return MQTTConnection(
            protocol._transport, protocol, clean_session, keepalive, package_handler=handler
        )


class _Protocol(MQTTProtocol):  # type: ignore[misc]
    def __init__(self, arrived: Callable[[bytes], None], **more: Any) -> None:
        super().__init__(**more)
        self.data_received = arrived

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        BaseMQTTProtocol.connection_made(self, transport)  # without a task that reads

    def eof_received(self) -> bool:
        return False  # close the transport
