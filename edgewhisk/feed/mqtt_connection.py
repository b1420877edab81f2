"""One connection to an MQTT broker: the only door to gmqtt.

Of gmqtt this uses the parser, keep-alive and packets. Reconnecting is ours (gmqtt's forgets
subscriptions that were under way), and so is acknowledging: gmqtt 0.8 hands the packet identifier to
nobody else. The private names stand here; the dependency is pinned to 0.8.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import gmqtt
from gmqtt.mqtt.constants import MQTTv311
from gmqtt.mqtt.handler import MQTTConnectError

_KEEP_ALIVE: Final = 60  # seconds
_REFUSALS: Final = {
    1: "the broker does not speak MQTT 3.1.1",
    2: "the broker refuses the client id: set [mqtt] client_id",
    3: "the broker is not available",
    4: "wrong username or password: see [mqtt] username and password_file",
    5: "the broker does not authorize this client: see [mqtt] username and password_file",
}


@dataclass(frozen=True, slots=True)
class MqttLink:
    """How to reach the broker."""

    host: str
    port: int
    client_id: str
    username: str = ""
    password: str = field(default="", repr=False)


class Delivery(NamedTuple):
    """One PUBLISH from the broker."""

    topic: str
    payload: bytes
    packet_id: int | None  # None at QoS 0
    again: bool  # the broker's DUP flag


class Connection:
    """One gmqtt client for the life of one connection."""

    def __init__(self, link: MqttLink, take: Callable[[Connection, Sequence[Delivery]], None]) -> None:
        self._link = link
        self._take = take
        self._collected: list[Delivery] = []
        self._lost = asyncio.Event()
        self._error: BaseException | None = None
        self._paused = False
        loop = asyncio.get_running_loop()
        self._soon = loop.call_soon
        client = gmqtt.Client(link.client_id, clean_session=False, optimistic_acknowledgement=False)
        client.set_config({"reconnect_retries": -2, "reconnect_delay": 0})  # -1 is for ever, 0 is once
        if link.username:
            client.set_auth_credentials(link.username, link.password)
        client.on_disconnect = lambda *_: self._lost.set()
        client._package_handler._handle_publish_packet = self._publish
        self._client: Any = client

    async def open(self) -> None:
        """Connect; raises `OSError`."""
        try:
            await self._client.connect(
                self._link.host, self._link.port, keepalive=_KEEP_ALIVE, version=MQTTv311
            )
        except MQTTConnectError as error:
            raise ConnectionRefusedError(_REFUSALS.get(error._code, str(error))) from error

    async def lost(self) -> None:
        """Wait until the connection is gone; raises what made us give it up."""
        await self._lost.wait()
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Say good-bye if there is somebody to hear it."""
        if self._client._connection is not None:
            await self._client.disconnect()

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """Send a message; of QoS 1 the broker's acknowledgement is not waited for."""
        self._client.publish(topic, payload, qos=qos, retain=retain)

    def subscribe(self, pattern: str, qos: int) -> None:
        """Ask for a filter."""
        self._client.subscribe(pattern, qos=qos)

    def unsubscribe(self, pattern: str) -> None:
        """Ask for a filter no more."""
        self._client.unsubscribe(pattern)

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """PUBACKs of QoS 1 messages, in one write."""
        if deliveries and not self._lost.is_set():
            ids = (one.packet_id for one in deliveries if one.packet_id is not None)
            self._client._connection.send_package(
                b"".join(b"\x40\x02" + mid.to_bytes(2, "big") for mid in ids)
            )

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

    def _tell_received(self) -> None:
        """Let the kernel acknowledge the segment now.

        A broker with Nagle's algorithm on (mosquitto's default) holds the next message until it is; the
        kernel waits up to 40 ms for data of ours to go with it, and our PUBACK waits for the disk.
        Measured at 200 readings a second: 10 ms without this, 1 ms with it. Linux forgets the wish, so
        it is renewed for each chunk.
        """
        link = self._client._connection._transport.get_extra_info("socket")
        if link is not None:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _publish(self, header: int, packet: bytes) -> None:
        """A PUBLISH of MQTT 3.1.1 (section 3.3): topic, packet identifier if QoS > 0, payload."""
        end = 2 + int.from_bytes(packet[:2], "big")
        topic = packet[2:end].decode(errors="replace")
        packet_id = None
        if header & 0x06:
            packet_id = int.from_bytes(packet[end : end + 2], "big")
            end += 2
        if not self._collected:
            self._soon(self._hand_over)
        self._collected.append(Delivery(topic, packet[end:], packet_id, bool(header & 0x08)))

    def _hand_over(self) -> None:
        collected, self._collected = self._collected, []
        if not self._lost.is_set():
            try:
                self._tell_received()
                self._take(self, collected)
            except Exception as error:  # noqa: BLE001 - a fault of ours must reach the supervisor
                self.give_up(error)
