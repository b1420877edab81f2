"""One connection to an MQTT broker: with `gmqtt_adapter` the only door to gmqtt.

Of gmqtt this uses connecting, subscribing, keep-alive and all packets but PUBLISH and PUBACK.
Reconnecting is ours (gmqtt's forgets subscriptions that were under way), and so is acknowledging:
gmqtt 0.8 hands the packet identifier to nobody else. The private names stand here; the dependency is
pinned to 0.8.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from gmqtt.mqtt.handler import MQTTConnectError
from gmqtt.mqtt.package import Package

from edgewhisk.transport.mqtt import codec as packets
from edgewhisk.transport.mqtt.coalescing import Coalescing
from edgewhisk.transport.mqtt.codec import NONE, PUBACK, Delivery, Message, Packets, Publication
from edgewhisk.transport.mqtt.gmqtt_adapter import FreeIds, GmqttClient
from edgewhisk.transport.mqtt.limits import AHEAD, BrokerLimits, Refused, reason, refusal
from edgewhisk.transport.mqtt.outbound import LOST, WINDOW, Failed, Outbound, Told, in_runs

_KEEP_ALIVE: Final = 60  # seconds
_IDENTIFIERS: Final = 65_536  # of packets, from 1 on
_DISCONNECT: Final = 0xE0


class Secrets(NamedTuple):
    """What a broker is shown."""

    password: str = ""
    tls: ssl.SSLContext | None = None


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
    # Read before each connection: files that are put right need no restart. Raises `StorageError`.
    secrets: Callable[[], Secrets] | None = field(default=None, repr=False)

    def opened(self) -> MqttLink:
        """With its secrets; blocks. Raises `StorageError`."""
        if self.secrets is None:
            return self
        password, tls = self.secrets()
        return replace(self, password=password, tls=tls)


class Grant(NamedTuple):
    """What is odd about a filter that was asked for."""

    served: bool
    problem: str


class MqttConnection:
    """One gmqtt client for the life of one connection."""

    def __init__(
        self,
        link: MqttLink,
        take: Callable[[MqttConnection, Sequence[Delivery]], None],
        grants: dict[str, Grant] | None = None,
    ) -> None:
        """`take` gets what each chunk from the network brought, `grants` what is odd about a filter."""
        self._grants = {} if grants is None else grants
        self._asked: dict[int, tuple[str, int]] = {}  # packet identifier -> filter and its QoS
        self._exact: set[bytes] = set()  # packet identifiers of QoS 2 messages that are not acknowledged yet
        self._limits = BrokerLimits()
        self.ahead = AHEAD
        self._link = link
        self._take = take
        self._out: list[bytes] = []  # to be sent
        self._hearing = False  # in a call of `_arrived`, which sends at its end
        self._rest = bytearray()  # the beginning of a packet that is not whole
        self._lost = asyncio.Event()
        self._error: BaseException | None = None
        self._paused = False
        self._wake: Coalescing | None = None
        self._loop = asyncio.get_running_loop()
        self._client = self._make()
        ids = FreeIds(self._client._package_handler.id_generator)
        self._outgoing = Outbound(ids, link.version, self._send)

    async def open(self) -> None:
        """Connect; raises `OSError`."""
        link = self._link
        version = MQTTv50 if link.version >= 5 else MQTTv311
        secure = link.tls if link.tls is not None else False
        connecting = self._client.connect(
            link.host, link.port, ssl=secure, keepalive=_KEEP_ALIVE, version=version
        )
        try:
            await _first(connecting, self._lost)
        except MQTTConnectError as error:
            raise Refused(error._code, refusal(error._code, link.client_id)) from error
        if link.version >= 5:
            # gmqtt takes the messages that the broker takes at once (mosquitto: 20) for the identifiers that
            # there are, and has none left for the subscriptions of a gateway with more triggers.
            handler = self._client._package_handler
            handler.id_generator._max = _IDENTIFIERS
            most = handler._connack_properties.get("receive_maximum", [WINDOW])
            self._outgoing.window = max(1, min(WINDOW, int(most[0])))
            self._limits = BrokerLimits.of(handler._connack_properties)
            # Nobody is told what the broker itself sends ahead; mosquitto's one setting holds for both ways.
            self.ahead = max(1, min(link.receive_maximum, int(most[0])))
        if link.status_topic:
            self.publish([self._told(b"online", min(1, self._limits.qos))])

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
                self._send(packets.write(self._told(b"offline", 0), 0, link.version))
            self._write()
            await self._client.disconnect()
        if self._wake is not None:
            self._wake.close()
        self._outgoing.abandon()

    def publish(self, messages: Sequence[Message]) -> asyncio.Future[Failed]:
        """Send messages in order, in one write; done when the broker has all of them, or never will.

        At QoS 0 that is when they are written. The result says which failed, with an `OSError`: the
        connection was lost, the broker refused it or does not answer.
        """
        return in_runs(messages, self.publish_alike)

    def publish_alike(self, what: Publication, payloads: Sequence[bytes], told: Told) -> None:
        """The same for messages that differ in their payload only; see `Outbound.publish`."""
        if self._lost.is_set():
            told(dict.fromkeys(range(len(payloads)), ConnectionResetError(LOST)))
        elif problem := self._limits.refuse(what):  # to send it would end the connection, again and again
            told(dict.fromkeys(range(len(payloads)), ConnectionRefusedError(problem)))
        elif self._limits.packet:
            self._publish_small(what, payloads, told)
        else:
            self._outgoing.publish(what, payloads, told)

    def _publish_small(self, what: Publication, payloads: Sequence[bytes], told: Told) -> None:
        """Publish those that are not too large for the broker."""
        problems = [self._limits.too_large(what, payload) for payload in payloads]
        failed = {at: ConnectionRefusedError(one) for at, one in enumerate(problems) if one}
        places = [at for at, one in enumerate(problems) if not one]

        def tell(found: Failed) -> None:
            told({**failed, **{places[at]: error for at, error in found.items()}})

        if places:
            self._outgoing.publish(what, [payloads[at] for at in places], tell)
        else:
            told(failed)

    def subscribe(self, pattern: str, qos: int) -> None:
        """Ask for a filter."""
        self._grants.pop(pattern, None)
        if problem := self._limits.forbid(pattern):
            self._grants[pattern] = Grant(False, problem)
        else:
            self._asked[self._client.subscribe(pattern, qos=qos)] = pattern, qos

    @property
    def unanswered(self) -> str:
        """The first filter that was asked for without an answer, "" if there is none."""
        return next(iter(self._asked.values()), ("", 0))[0]

    def unsubscribe(self, pattern: str) -> None:
        """Ask for a filter no more."""
        self._client.unsubscribe(pattern)

    def expect_release(self, packet_id: bytes) -> None:
        """The message is of QoS 2: PUBREC acknowledges it, and PUBCOMP (gmqtt's) the PUBREL that follows."""
        self._exact.add(packet_id)

    def acknowledge(self, packet_ids: Collection[bytes]) -> None:
        """PUBACKs of QoS 1 messages and PUBRECs of those of QoS 2, in one write."""
        if self._exact:
            exact = self._exact.intersection(packet_ids)
            self._exact -= exact
            self._send(packets.acknowledgements(exact, packets.PUBREC))
            packet_ids = [one for one in packet_ids if one not in exact]
        self._send(packets.acknowledgements(packet_ids))

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
        client = GmqttClient(
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

    def _told(self, text: bytes, qos: int) -> Message:
        """What the status topic says."""
        return Message(self._link.status_topic, text, qos, retain=self._limits.retain)

    def _send(self, data: bytes) -> None:
        """Send in the next turn of the loop: acknowledgements and messages share a write."""
        if not self._out and not self._hearing:
            self._loop.call_soon(self._write)
        self._out.append(data)

    def _write(self) -> None:
        out, self._out = self._out, []
        if out and self._client._connection is not None and not self._lost.is_set():
            self._client._connection.send_package(b"".join(out))
            if self._wake is not None:
                self._wake.sent(self._outgoing.flying)

    def _granted(self, _client: Any, mid: int, codes: Sequence[int], _properties: Any) -> None:
        pattern, qos = self._asked.pop(mid, ("", 0))
        if not pattern or not codes or codes[0] == qos:
            return
        if codes[0] < 0x80:
            lost = "what it delivers may be lost"
            self._grants[pattern] = Grant(True, f"the broker grants {pattern} at QoS {codes[0]} only: {lost}")
        else:
            why = "see its ACL" if codes[0] == 0x80 else reason(codes[0], self._link.client_id)
            problem = f"the broker does not grant {pattern} (code {codes[0]:#x}): {why}"
            self._grants[pattern] = Grant(False, problem)

    def _arrived(self, data: bytes) -> None:
        """What came from the network. What is sent for it at once goes out in one write, in this turn."""
        if self._lost.is_set():
            return
        self._client._connection._last_data_in = self._loop.time()  # what gmqtt's keep-alive looks at
        self._hearing = True
        try:
            count, wake = self._hear(data), self._waker()
            if not self._out:
                wake.acknowledge()
            wake.came(count, len(data), self._outgoing.flying)
        except Exception as error:  # noqa: BLE001 - a fault of ours must reach the supervisor
            self.give_up(error)
        self._hearing = False
        self._write()

    def _hear(self, data: bytes) -> int:
        """Take the packets that are whole now; how many messages they are.

        Raises `ConnectionAbortedError` for what is no packet.
        """
        try:
            deliveries, acknowledged, others = self._read(data)
        except ValueError as error:
            raise ConnectionAbortedError(f"the broker sent a malformed packet: {error}") from error
        if acknowledged:
            self._outgoing.acknowledged(packets.numbers(acknowledged))
        for first, body in others:
            self._other(first, body)
        if deliveries:
            self._take(self, deliveries)
        return len(deliveries)

    def _read(self, data: bytes) -> Packets:
        """The packets that are whole now; raises `ValueError`."""
        if self._rest:
            self._rest += data
            if not packets.begins_whole(self._rest):
                return NONE
            data = bytes(self._rest)
            self._rest.clear()
        found, end = packets.read(data, self._link.version)
        if end < len(data):
            self._rest += data[end:]
        return found

    def _other(self, first: int, body: bytes) -> None:
        """Ours are a PUBACK that tells more than that, and why the broker leaves; all others are gmqtt's."""
        if first == _DISCONNECT and body:  # MQTT 5, 3.14.2.1
            self.give_up(ConnectionAbortedError(f"the broker: {reason(body[0], self._link.client_id)}"))
            return
        if first != PUBACK:
            self._client._connection.put_package(Package(first, body))
            return
        number, code = int.from_bytes(body[:2], "big"), body[2] if len(body) > 2 else 0
        if code >= 0x80:  # MQTT 5, 3.4.2.1
            self._outgoing.refused(number, code)
        else:
            self._outgoing.acknowledged((number,))

    def _waker(self) -> Coalescing:
        if self._wake is None:
            link = self._client._connection._transport.get_extra_info("socket")
            self._wake = Coalescing(link, self._loop)
        return self._wake


async def _first(connecting: Coroutine[Any, Any, None], lost: asyncio.Event) -> None:
    """Wait until it is connected, which gmqtt does for ever where the connection is lost meanwhile."""
    tasks = asyncio.ensure_future(connecting), asyncio.ensure_future(lost.wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            why = "see client_id, username and password_file"
            raise ConnectionResetError(f"the broker closed the connection without an answer: {why}")
        tasks[0].result()
    finally:
        for one in tasks:
            one.cancel()
