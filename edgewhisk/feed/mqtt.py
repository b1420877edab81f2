"""The MQTT feed.

MQTT 3.1.1 with a persistent session, so the broker keeps what arrives while the gateway is away. A
QoS 1 message is acknowledged when its event is on disk, not before; what the broker then delivers
again after a crash or a lost acknowledgement is recognised and not run twice. Everything that came
in one chunk from the network goes to the controller in one call.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, ClassVar, Final

from edgewhisk.entity.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.entity.topics import check_filter, matches
from edgewhisk.errors import CapabilityError, FeedError, StorageError
from edgewhisk.feed.backoff import Backoff
from edgewhisk.feed.garbage import Garbage
from edgewhisk.feed.mqtt_connection import Connection, Delivery, MqttLink
from edgewhisk.feed.payload import FORMATS, MalformedPayload, topic_text
from edgewhisk.spi import Clock, FeedAction, Fire

_log = logging.getLogger(__name__)

WINDOW: Final = 65_536  # remembered deliveries: as many as there are packet identifiers
_ROUTES: Final = 4096  # remembered topics
_PATIENCE: Final = 10.0  # seconds for the broker to answer a connect
_STEADY: Final = 5.0  # seconds a connection must hold before the pauses get short again


@dataclass(slots=True)
class Subscription:
    """One trigger that is fed."""

    pattern: str
    qos: int
    format: str
    delivered: int = 0
    garbage: Garbage = field(default_factory=Garbage)


class MqttFeed:
    """`spi.Feed` over one connection to one broker."""

    actions: ClassVar[Sequence[FeedAction]] = (
        FeedAction(
            "mqtt",
            "message",
            "Fires the trigger with each message of an MQTT topic.",
            {
                "topic": "topic filter, with + and #",
                "qos": "0 or 1 (default 1: acknowledged when the event is on disk)",
                "format": "json (default: the object's keys become parameters), text or base64",
            },
        ),
    )

    def __init__(self, link: MqttLink, fire: Fire, clock: Clock, origins: Sequence[str]) -> None:
        """`origins` of what earlier lives accepted: the broker may deliver it again."""
        self._link = link
        self._fire = fire
        self._clock = clock
        self._subscriptions: dict[FullyQualifiedName, Subscription] = {}
        self._routes: dict[str, tuple[FullyQualifiedName, ...]] = {}
        self._accepted: OrderedDict[str, asyncio.Future[None] | None] = OrderedDict.fromkeys(
            origins[-WINDOW:]
        )
        self._connection: Connection | None = None
        self._backoff = Backoff()
        self.state = "connecting"
        self.last_error = ""
        self.counts = dict.fromkeys(
            ("connects", "received", "duplicates", "unrouted", "pauses", "refused"), 0
        )

    def check(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `spi.Feed`."""
        del action
        if unknown := sorted(set(parameters) - {"topic", "qos", "format"}):
            raise FeedError(f"unknown parameter {unknown[0]!r}; known are topic, qos and format")
        qos, kind = parameters.get("qos", 1), parameters.get("format", "json")
        if qos not in (0, 1) or isinstance(qos, bool):
            raise FeedError(f"qos must be 0 or 1, not {qos!r}")
        if kind not in FORMATS:
            raise FeedError(f"format must be one of {', '.join(FORMATS)}, not {kind!r}")
        return {"topic": check_filter(parameters.get("topic")), "qos": qos, "format": kind}

    async def add(self, trigger: FullyQualifiedName, action: str, parameters: Mapping[str, Any]) -> None:
        """See `spi.Feed`."""
        del action
        await self.remove(trigger)
        wanted = Subscription(parameters["topic"], parameters["qos"], parameters["format"])
        self._subscriptions[trigger] = wanted
        self._routes.clear()
        if self._connection is not None:
            self._connection.subscribe(wanted.pattern, self._qos_of(wanted.pattern))

    async def remove(self, trigger: FullyQualifiedName) -> None:
        """See `spi.Feed`."""
        gone = self._subscriptions.pop(trigger, None)
        self._routes.clear()
        if gone is not None and self._connection is not None and not self._qos_of(gone.pattern) >= 0:
            self._connection.unsubscribe(gone.pattern)

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """Send a message for an action; raises `CapabilityError` while the broker is away."""
        if self._connection is None:
            reason = f": {self.last_error}" if self.last_error else ""
            raise CapabilityError(f"mqtt.publish: there is no connection to the broker{reason}")
        self._connection.publish(topic, payload, qos, retain)

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """See `spi.Feed`."""
        found = self._subscriptions.get(trigger)
        if found is None:
            return {}
        return {
            "state": self.state,
            "broker": f"{self._link.host}:{self._link.port}",
            "topic": found.pattern,
            "delivered": found.delivered,
            "last_error": self.last_error,
            **found.garbage.describe(),
            **self.counts,
        }

    async def run(self) -> None:
        """See `spi.Feed`."""
        while True:
            connected = self._clock.monotonic()
            try:
                await self._serve()
                self.last_error = "the broker closed the connection"
            except (OSError, TimeoutError, StorageError) as error:
                self.last_error = str(error) or type(error).__name__
            self.state = "waiting"
            if self._clock.monotonic() - connected > _STEADY:
                self._backoff.reset()
            pause = self._backoff.pause(random.random())  # noqa: S311 - jitter
            _log.warning(
                "MQTT %s:%s: %s; again in %.0f s", self._link.host, self._link.port, self.last_error, pause
            )
            await asyncio.sleep(pause)

    async def _serve(self) -> None:
        """One connection, until it is lost."""
        self.state = "connecting"
        connection = Connection(self._link, self._take)
        try:
            async with asyncio.timeout(_PATIENCE):
                await connection.open()
            self._connection = connection
            self.counts["connects"] += 1
            self.state = "running"
            self.last_error = ""
            for pattern in {found.pattern for found in self._subscriptions.values()}:
                connection.subscribe(pattern, self._qos_of(pattern))
            await connection.lost()
        finally:
            self._connection = None
            await connection.close()

    def _qos_of(self, pattern: str) -> int:
        """The QoS that the triggers of a filter need together; -1 if there is none any more."""
        return max((one.qos for one in self._subscriptions.values() if one.pattern == pattern), default=-1)

    def _take(self, connection: Connection, deliveries: Sequence[Delivery]) -> None:
        """All that one chunk brought, in order."""
        self.counts["received"] += len(deliveries)
        now = self._clock.now()
        events: list[TriggerEvent] = []
        fresh: list[Delivery] = []  # QoS 1, to be acknowledged when the events are on disk
        known: list[tuple[Delivery, asyncio.Future[None] | None]] = []
        for delivery in deliveries:
            origin = _origin(delivery)
            if delivery.again and origin in self._accepted:
                self.counts["duplicates"] += 1
                known.append((delivery, self._accepted[origin]))
                continue
            events += self._events(delivery, origin, now)
            if delivery.packet_id is not None:
                fresh.append(delivery)
        accepted = self._fire(events)
        for delivery in fresh:
            self._remember(_origin(delivery), accepted)
        accepted.add_done_callback(lambda done: self._settled(connection, fresh, done))
        for delivery, pending in known:
            if pending is None or pending.done():
                connection.acknowledge([delivery])
        if self._fire.full():
            self.counts["pauses"] += 1
            connection.pause()
            self._fire.on_room(connection.resume)

    def _settled(
        self, connection: Connection, deliveries: Sequence[Delivery], done: asyncio.Future[None]
    ) -> None:
        """The events are on disk, or could not be: then the broker must deliver them again."""
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            connection.acknowledge(deliveries)
            for delivery in deliveries:
                self._remember(_origin(delivery), None)
            return
        self.counts["refused"] += len(deliveries)
        for delivery in deliveries:
            self._accepted.pop(_origin(delivery), None)
        if deliveries:
            connection.give_up(error)

    def _events(self, delivery: Delivery, origin: str, now: int) -> list[TriggerEvent]:
        events = []
        triggers = self._route(delivery.topic)
        if not triggers:
            self.counts["unrouted"] += 1  # of a subscription that an earlier life made
        for trigger in triggers:
            found = self._subscriptions[trigger]
            try:
                payload = FORMATS[found.format](topic_text(delivery.topic), delivery.payload)
            except MalformedPayload as error:
                line = found.garbage.add(str(error), delivery.payload, self._clock.monotonic())
                if line is not None:
                    _log.warning("MQTT topic %s: %s", delivery.topic, line)
                continue
            found.delivered += 1
            durable = delivery.packet_id is not None
            events.append(TriggerEvent(trigger, payload, now, durable, origin))
        return events

    def _route(self, topic: str) -> tuple[FullyQualifiedName, ...]:
        """The triggers that a topic's messages fire, each once."""
        found = self._routes.get(topic)
        if found is None:
            if len(self._routes) >= _ROUTES:
                self._routes.clear()
            found = tuple(
                trigger for trigger, one in self._subscriptions.items() if matches(one.pattern, topic)
            )
            self._routes[topic] = found
        return found

    def _remember(self, origin: str, pending: asyncio.Future[None] | None) -> None:
        self._accepted[origin] = pending
        self._accepted.move_to_end(origin)
        if len(self._accepted) > WINDOW:
            self._accepted.popitem(last=False)


def _origin(delivery: Delivery) -> str:
    """Recognises a redelivery: the same packet identifier with the same topic and bytes."""
    if delivery.packet_id is None:
        return ""
    digest = blake2b(delivery.payload, digest_size=8, key=delivery.topic.encode()[:64])
    return f"mqtt:{delivery.packet_id}:{digest.hexdigest()}"
