"""The gateway's own connection to its broker: no socket, no second decode.

For the core it is a link like any other, with a session that lasts, a window and acknowledgements; what a
device publishes goes to the feed in the same turn of the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final

from edgewhisk.base.mqtt_topics import closes
from edgewhisk.broker import packets
from edgewhisk.broker.link import Link, first_byte
from edgewhisk.broker.message import Copy, Promise, PublishedMessage
from edgewhisk.broker.packets import WillMessage
from edgewhisk.broker.properties import NO_PROPERTIES, Property, prop
from edgewhisk.broker.reason import Reason
from edgewhisk.broker.server import BrokerServer
from edgewhisk.transport.mqtt.codec import Delivery, Message, Publication
from edgewhisk.transport.mqtt.connection import Grant, MqttLink
from edgewhisk.transport.mqtt.limits import AHEAD, Refused, reason, refusal
from edgewhisk.transport.mqtt.outbound import ACK_TIMEOUT, LOST, Failed, Told, in_runs

_WINDOW: Final = 1000  # messages that the feed may have to acknowledge: those of many devices
_MOST: Final = 1000  # QoS 0 messages that wait while the feed has no room; beyond, they are dropped


class LocalLink(Link):
    """Has the messages as they are, for a feed, where another link has bytes."""

    def __init__(self, number: int, now: float) -> None:
        """Before CONNECT."""
        super().__init__(number, "", now)
        self.deliveries: list[Delivery] = []
        self.held = False  # the feed has no room
        self.trusted = True

    def publish(self, copy: Copy, now: float) -> bool:
        """See `Link`."""
        message, first = copy.message, first_byte(copy)
        properties = self.properties(copy, now) if self.version >= 5 else b""
        packet_id = copy.packet_id.to_bytes(2, "big") if copy.qos else b""
        self.deliveries.append(
            Delivery(message.topic.encode(), message.payload, packet_id, first, properties)
        )
        self.paused = self.held and len(self.deliveries) >= _MOST
        return True


class LocalConnection:
    """`BrokerConnection` to the embedded broker."""

    def __init__(
        self,
        server: BrokerServer,
        link: MqttLink,
        take: Callable[[LocalConnection, Sequence[Delivery]], None],
        grants: dict[str, Grant],
    ) -> None:
        """`take` gets what one turn brought, `grants` what is odd about a filter."""
        # What ends the flow is how much the devices send ahead, which most clients have as mosquitto has it.
        self.ahead = AHEAD
        self._server = server
        self._link = link
        self._take = take
        self._grants = grants
        self._asked: dict[int, tuple[str, int]] = {}
        self._lost = asyncio.Event()
        self._error: BaseException | None = None
        self._woken = False
        self._exact: set[bytes] = set()
        self._last = 0
        self._code = -1  # of CONNACK
        self._local = LocalLink(server.next_number(), server.now())

    async def open(self) -> None:
        """Connect; raises `OSError`."""
        link, version = self._link, 5 if self._link.version >= 5 else 4
        will = None
        if link.status_topic:
            will = WillMessage(link.status_topic, b"offline", 1, True, NO_PROPERTIES)
        lasting = prop(Property.SESSION_EXPIRY, link.session_expiry) if link.lasting and version >= 5 else b""
        self._server.enter(self, self._local, self)
        self._say(packets.connect(version, link.client_id, not link.lasting, lasting, will))
        if self._code:
            raise Refused(self._code, refusal(self._code, link.client_id))
        self._local.keep_alive, self._local.window = 0.0, _WINDOW
        if link.status_topic:
            self.publish([Message(link.status_topic, b"online", 1, retain=True)])

    async def lost(self) -> None:
        """Wait until the connection is gone; raises what made us give it up."""
        await self._lost.wait()
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Leave; the broker keeps what comes meanwhile."""
        if self._link.status_topic and not self._lost.is_set():
            self.publish([Message(self._link.status_topic, b"offline", 0, retain=True)])
            self._say(bytes((packets.DISCONNECT, 0)))
        self.leave()
        self._server.lost(self._local.number)

    # -- what the broker tells -------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Take what the broker answers."""
        for first, body in packets.split(bytearray(data), len(data)):
            number = int.from_bytes(body[:2], "big")
            if first == packets.CONNACK:
                self._code = body[1]
            elif first == packets.PUBREL:
                self._say(packets.answer(packets.PUBCOMP, number))
            elif first == packets.SUBACK:
                self._granted(number, body[-1])
            elif first == packets.DISCONNECT and body:
                text = f"the broker: {reason(body[0], self._link.client_id)}"
                self.give_up(ConnectionAbortedError(text))

    def leave(self) -> None:
        """The broker closes the connection."""
        self._lost.set()

    def abort(self) -> None:
        """See `leave`."""
        self._lost.set()

    def hold(self, *, on: bool) -> None:
        """Nothing is to be held back: what the gateway publishes has bounds of its own."""

    def wake(self) -> None:
        """Something may have come: it is handed over with all that comes in this turn of the loop."""
        if self._local.deliveries and not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        """Hand over what has come, unless the feed has no room."""
        self._woken, local = False, self._local
        if not local.deliveries or local.held or self._lost.is_set():
            return
        taken, local.deliveries = local.deliveries, []
        try:
            self._take(self, taken)
        except Exception as error:  # noqa: BLE001 - a fault of ours must reach the supervisor
            self.give_up(error)

    def _granted(self, number: int, code: int) -> None:
        pattern, qos = self._asked.pop(number, ("", 0))
        if pattern and code != qos:
            problem = (
                f"the broker does not grant {pattern} (code {code:#x}): {reason(code, self._link.client_id)}"
            )
            self._grants[pattern] = Grant(False, problem)

    def _say(self, data: bytes) -> None:
        """Say something that is no message."""
        self._server.heard(self._local.number, bytearray(data))

    # -- what the gateway asks for ---------------------------------------------------------------

    def subscribe(self, pattern: str, qos: int) -> None:
        """Ask for a filter."""
        self._grants.pop(pattern, None)
        number = self._number()
        self._asked[number] = pattern, qos
        self._say(packets.subscribe(self._local.version, number, pattern, qos))

    @property
    def unanswered(self) -> str:
        """The first filter that was asked for without an answer, "" if there is none."""
        return next(iter(self._asked.values()), ("", 0))[0]

    def unsubscribe(self, pattern: str) -> None:
        """Ask for a filter no more."""
        self._say(packets.unsubscribe(self._local.version, self._number(), pattern))

    def _number(self) -> int:
        self._last = self._last % 65_535 + 1
        return self._last

    def expect_release(self, packet_id: bytes) -> None:
        """The message is of QoS 2: PUBREC acknowledges it."""
        self._exact.add(packet_id)

    def acknowledge(self, packet_ids: Collection[bytes]) -> None:
        """The messages are safe."""
        exact = self._exact.intersection(packet_ids)
        self._exact -= exact
        self._server.acknowledged(self._local, packet_ids, exact)

    def give_up(self, error: BaseException) -> None:
        """Drop the connection, so that the broker delivers again what was not acknowledged."""
        self._error = error
        self._lost.set()

    def pause(self) -> None:
        """Take no more; the broker holds what comes."""
        self._local.held = True

    def resume(self) -> None:
        """Take what came meanwhile, and go on."""
        self._local.held = False
        self._server.core.paused(self._local.number, self._server.now(), on=False)
        self._server.act()

    def publish(self, messages: Sequence[Message]) -> asyncio.Future[Failed]:
        """See `MqttConnection.publish`: done when nothing of it can be lost any more."""
        return in_runs(messages, self.publish_alike)

    def publish_alike(self, what: Publication, payloads: Sequence[bytes], told: Told) -> None:
        """The same for messages that differ in their payload only; `told` once which failed."""
        if self._lost.is_set():
            told(dict.fromkeys(range(len(payloads)), ConnectionResetError(LOST)))
        elif closes(what.topic):
            problem = "a topic with control characters: a broker closes the connection for it"
            told(dict.fromkeys(range(len(payloads)), ConnectionRefusedError(problem)))
        else:
            self._publish(what, payloads, told)

    def _publish(self, what: Publication, payloads: Sequence[bytes], told: Told) -> None:
        now, promise, failed = self._server.now(), Promise(), dict[int, Exception]()
        expires = now + what.expiry if what.expiry else None
        for at, payload in enumerate(payloads):
            message = PublishedMessage(
                what.topic, payload, what.qos, what.retain, b"", expires, self._link.client_id
            )
            code = self._server.core.publish(message, promise, now)
            if code == Reason.QUOTA:
                failed[at] = ConnectionRefusedError(f"the broker refused it: {reason(code, '')}")
        waiting = [told]

        def settle(found: Failed) -> None:
            if waiting:
                waiting.pop()(found)

        if promise.waiting:
            error = TimeoutError(f"no answer within {ACK_TIMEOUT:g} s")
            lost = {**dict.fromkeys(range(len(payloads)), error), **failed}
            late = asyncio.get_running_loop().call_later(ACK_TIMEOUT, settle, lost)
            promise.then(late.cancel)
        promise.then(partial(settle, failed))
        self._server.act()
