"""One broker: its subscriptions, what it delivered already, and connecting again and again.

MQTT 3.1.1 or 5 with a persistent session, so the broker keeps what arrives while the gateway is away.
A QoS 1 message is acknowledged when its event is on disk, not before; what the broker then delivers
again after a crash or a lost acknowledgement is recognised and not run twice. Everything that came
in one chunk from the network goes to the controller in one call.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from edgewhisk.dead_letters import DeadLetters, Letter
from edgewhisk.device.decode import Decode, Learn, Undecodable
from edgewhisk.device.decode import payload as decoded
from edgewhisk.device.profile import Profile
from edgewhisk.device.topics import Pattern
from edgewhisk.entity.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.entity.topics import matches
from edgewhisk.errors import StorageError
from edgewhisk.feed import mqtt_packets as packets
from edgewhisk.feed.backoff import Backoff
from edgewhisk.feed.garbage import Garbage
from edgewhisk.feed.mqtt_connection import Connection, Failed, MqttLink
from edgewhisk.feed.mqtt_packets import Delivery, Message
from edgewhisk.feed.payload import FORMATS, MalformedPayload, check_size, members
from edgewhisk.rest import rest
from edgewhisk.spi import Clock, Fire
from edgewhisk.trust import reason

_log = logging.getLogger(__name__)

WINDOW: Final = 65_536  # remembered deliveries: as many as there are packet identifiers
_ROUTES: Final = 4096  # remembered topics
_PATIENCE: Final = 10.0  # seconds for the broker to answer a connect
_STEADY: Final = 1.0  # seconds a connection must hold before the pauses get short again
Settled = Callable[[], None]


@dataclass(slots=True)
class Subscription:
    """One trigger that is fed."""

    trigger: FullyQualifiedName
    patterns: tuple[Pattern, ...]
    qos: int
    format: str
    retained: bool = True  # whether retained messages fire it
    properties: bool = False  # whether the event tells MQTT 5 properties
    profile: Profile | None = None
    decode: Decode | None = None
    learn: Learn = frozenset
    may_read: Callable[[str], bool] = lambda _: False  # whether a learned topic is granted
    ungranted: frozenset[str] = frozenset()  # learned topics that are not
    delivered: int = 0
    garbage: Garbage = field(default_factory=Garbage)


class Route(NamedTuple):
    """Where the messages of one topic go."""

    subscription: Subscription
    head: bytes  # members that the event gets: the topic and its named levels
    pattern: Pattern


class Session:
    """One broker for the life of the gateway."""

    def __init__(
        self, name: str, link: MqttLink, fire: Fire, clock: Clock, dead: DeadLetters, origins: Sequence[str]
    ) -> None:
        """`origins` of what earlier lives accepted: the broker may deliver it again."""
        self.link = link
        self._mark = f"mqtt:{name}:" if name else "mqtt:"
        self._fire = fire
        self._clock = clock
        self._dead = dead
        self._subscriptions: dict[FullyQualifiedName, Subscription] = {}
        self._routes: dict[str, tuple[Route, ...]] = {}
        known = [origin for origin in origins if origin.startswith(self._mark)]
        self._accepted: dict[str, asyncio.Future[None] | None] = dict.fromkeys(known[-WINDOW:])
        self._connection: Connection | None = None
        self._backoff = Backoff()
        self._refused: dict[str, str] = {}  # filters that the broker does not grant, and why
        self._told = asyncio.Event()  # try again now
        self.connected: Settled = lambda: None  # called after each connect
        self.state = "connecting"
        self.last_error = ""
        self.counts = dict.fromkeys(
            ("connects", "received", "duplicates", "unrouted", "pauses", "refused"), 0
        )

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"{self.link.host}:{self.link.port}"

    def add(self, wanted: Subscription) -> None:
        """Feed a trigger."""
        self._subscriptions[wanted.trigger] = wanted
        self._routes.clear()
        if self._connection is not None:
            for one in wanted.patterns:
                self._connection.subscribe(one.filter, self._qos_of(one.filter))

    def remove(self, trigger: FullyQualifiedName) -> None:
        """Feed a trigger no more."""
        gone = self._subscriptions.pop(trigger, None)
        self._routes.clear()
        if gone is None or self._connection is None:
            return
        for one in gone.patterns:
            if self._qos_of(one.filter) < 0:
                self._connection.unsubscribe(one.filter)

    def find(self, trigger: FullyQualifiedName) -> Subscription | None:
        """What feeds a trigger."""
        return self._subscriptions.get(trigger)

    def publish(self, messages: Sequence[Message]) -> asyncio.Future[Failed]:
        """See `Connection.publish`; raises `ConnectionError` while the broker is away."""
        if self._connection is None:
            reason = f": {self.last_error}" if self.last_error else ""
            raise ConnectionError(f"there is no connection to the broker {self.address}{reason}")
        return self._connection.publish(messages)

    def retry(self, letter: Letter, trigger: FullyQualifiedName) -> asyncio.Future[None] | str:
        """Take a refused message once more; why not, if it still cannot be an event."""
        found = self._subscriptions.get(trigger)
        if found is None:
            return f"nothing feeds {trigger} any more"
        fitting = next((one for one in found.patterns if matches(one.plain, letter.topic)), None)
        if fitting is None:
            return f"{trigger} is not fed from {letter.topic} any more"
        delivery = Delivery(letter.topic, letter.payload, None, again=False)
        try:
            text = self._event(_route(found, fitting, letter.topic), delivery, letter.at)
        except (MalformedPayload, Undecodable) as error:
            return str(error)
        found.delivered += 1
        return self._fire([TriggerEvent(trigger, text, letter.at, durable=True)] if text else [])

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """State and counters of a trigger's subscription; `{}` if it is not of this broker."""
        found = self._subscriptions.get(trigger)
        if found is None:
            return {}
        refused = next(
            (self._refused[one.filter] for one in found.patterns if one.filter in self._refused), ""
        )
        return {
            "state": "refused" if refused and self.state == "running" else self.state,
            "broker": self.address,
            "topic": ", ".join(one.filter for one in found.patterns),
            "delivered": found.delivered,
            "last_error": self.last_error or refused or _ungranted(found),
            **found.garbage.describe(),
            **self.counts,
        }

    def hurry(self) -> None:
        """Try again now if the broker is away: what kept it away may be over."""
        self._told.set()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            connected = self._clock.monotonic()
            try:
                await self._serve()
                self.last_error = "the broker closed the connection"
            except (OSError, TimeoutError, StorageError) as error:
                self.last_error = reason(error)
            self.state = "waiting"
            if self._clock.monotonic() - connected > _STEADY:
                self._backoff.reset()
            pause = self._backoff.pause(random.random())  # noqa: S311 - jitter
            _log.warning("MQTT %s: %s; again in %.0f s", self.address, self.last_error, pause)
            await rest(pause, self._told)

    async def _serve(self) -> None:
        """One connection, until it is lost."""
        self.state = "connecting"
        self._refused.clear()
        connection = Connection(self.link, self._take, self._refused)
        try:
            async with asyncio.timeout(_PATIENCE):
                await connection.open()
            self._connection = connection
            self.counts["connects"] += 1
            self.state = "running"
            self.last_error = ""
            patterns = {one.filter for found in self._subscriptions.values() for one in found.patterns}
            for text in sorted(patterns):
                connection.subscribe(text, self._qos_of(text))
            self.connected()
            await connection.lost()
        finally:
            self._connection = None
            await connection.close()

    def _qos_of(self, text: str) -> int:
        """The QoS that the triggers of a filter need together; -1 if there is none any more."""
        wanted = (
            found.qos
            for found in self._subscriptions.values()
            if any(one.filter == text for one in found.patterns)
        )
        return max(wanted, default=-1)

    # -- what arrives ----------------------------------------------------------------------------

    def _take(self, connection: Connection, deliveries: Sequence[Delivery]) -> None:
        """All that one chunk brought, in order."""
        self.counts["received"] += len(deliveries)
        now = self._clock.now()
        events: list[TriggerEvent] = []
        letters: list[Letter] = []
        fresh: list[tuple[Delivery, str]] = []  # QoS 1, to be acknowledged when the events are on disk
        known: list[tuple[Delivery, asyncio.Future[None] | None]] = []
        for delivery in deliveries:
            origin = self._origin(delivery)
            if delivery.again and origin in self._accepted:
                self.counts["duplicates"] += 1
                known.append((delivery, self._accepted[origin]))
                continue
            events += self._events(delivery, origin, now, letters)
            if delivery.packet_id is not None:
                fresh.append((delivery, origin))
        accepted = self._fire(events)
        if letters:
            accepted = asyncio.ensure_future(_both(accepted, self._dead.bury(letters)))
        for _, origin in fresh:
            self._remember(origin, accepted)
        accepted.add_done_callback(lambda done: self._settled(connection, fresh, done))
        for delivery, pending in known:
            if pending is None:
                connection.acknowledge([delivery])
            else:  # delivered again before its event was on disk
                again = partial(self._settled, connection, [(delivery, "")])
                pending.add_done_callback(again)
        if self._fire.full():
            self.counts["pauses"] += 1
            connection.pause()
            self._fire.on_room(connection.resume)

    def _settled(
        self, connection: Connection, deliveries: Sequence[tuple[Delivery, str]], done: asyncio.Future[None]
    ) -> None:
        """The events are on disk, or could not be: then the broker must deliver them again."""
        if done.cancelled() or not deliveries:
            return
        error = done.exception()
        if error is None:
            connection.acknowledge([delivery for delivery, _ in deliveries])
            return
        self.counts["refused"] += len(deliveries)
        for _, origin in deliveries:
            self._accepted.pop(origin, None)
        connection.give_up(error)

    def _events(self, delivery: Delivery, origin: str, now: int, letters: list[Letter]) -> list[TriggerEvent]:
        events = []
        routes = self._route(delivery.topic)
        if not routes:
            self.counts["unrouted"] += 1  # of a subscription that an earlier life made
        for route in routes:
            found = route.subscription
            if delivery.retained and not found.retained:
                continue
            try:
                payload = self._event(route, delivery, now)
            except (MalformedPayload, Undecodable) as error:
                if delivery.again and self._dead.knows(str(found.trigger), origin):
                    continue  # on the list already; only its acknowledgement was lost
                line = found.garbage.add(str(error), delivery.payload, self._clock.monotonic())
                if line is not None:
                    _log.warning("MQTT topic %s: %s", delivery.topic, line)
                letters.append(
                    Letter(
                        str(found.trigger),
                        f"mqtt {self.address}",
                        delivery.topic,
                        str(error),
                        delivery.payload,
                        now,
                        origin,
                    )
                )
                continue
            if payload:
                found.delivered += 1
                durable = delivery.packet_id is not None
                events.append(TriggerEvent(found.trigger, payload, now, durable, origin))
        return events

    def _event(self, route: Route, delivery: Delivery, now: int) -> bytes:
        """The parameters of an event, b"" for none. Raises `MalformedPayload` or `Undecodable`."""
        found = route.subscription
        check_size(delivery.payload)
        if found.profile is not None and found.decode is not None:
            parts = route.pattern.parts(delivery.topic)
            readings = found.decode(delivery.payload, parts, delivery.topic)
            self._learn(found)
            shown = {key: value for key, value in parts.items() if key != "point"}
            return decoded(found.profile, delivery.topic, now, readings, shown) if readings else b""
        head = route.head
        if delivery.retained:
            head += b',"retained":true'
        if found.properties and delivery.properties:
            try:
                head += b"," + members({"mqtt": packets.properties(delivery.properties)})
            except ValueError as error:
                raise MalformedPayload(f"MQTT 5 properties: {error}") from None
        return FORMATS[found.format](head, delivery.payload)

    def _learn(self, found: Subscription) -> None:
        """Subscribe to topics that the devices of a profile announced."""
        learned = found.learn()
        fresh = learned - {one.filter for one in found.patterns} - found.ungranted
        if not fresh:
            return
        granted = {topic for topic in fresh if found.may_read(topic)}
        found.ungranted = (found.ungranted & learned) | (fresh - granted)
        if new := tuple(Pattern(topic, ()) for topic in sorted(granted)):
            found.patterns += new
            self._routes.clear()
            for one in new:
                if self._connection is not None:
                    self._connection.subscribe(one.filter, self._qos_of(one.filter))

    def _route(self, topic: str) -> tuple[Route, ...]:
        """The triggers that a topic's messages fire, each once."""
        routes = self._routes.get(topic)
        if routes is None:
            if len(self._routes) >= _ROUTES:
                self._routes.clear()
            found = []
            for one in self._subscriptions.values():
                fitting = next((each for each in one.patterns if matches(each.plain, topic)), None)
                if fitting is not None:
                    found.append(_route(one, fitting, topic))
            routes = self._routes[topic] = tuple(found)
        return routes

    def _remember(self, origin: str, pending: asyncio.Future[None] | None) -> None:
        self._accepted.pop(origin, None)  # the newest is the last one
        self._accepted[origin] = pending
        if len(self._accepted) > WINDOW:
            del self._accepted[next(iter(self._accepted))]

    def _origin(self, delivery: Delivery) -> str:
        """Recognises a redelivery: the same packet identifier with the same topic and bytes."""
        if delivery.packet_id is None:
            return ""
        digest = blake2b(delivery.payload, digest_size=8, key=delivery.topic.encode()[:64])
        return f"{self._mark}{delivery.packet_id}:{digest.hexdigest()}"


def _route(found: Subscription, fitting: Pattern, topic: str) -> Route:
    return Route(found, members({"topic": topic, **fitting.parts(topic)}), fitting)


def _ungranted(found: Subscription) -> str:
    if not found.ungranted:
        return ""
    return f"{len(found.ungranted)} announced topics are not granted, for example {min(found.ungranted)}"


async def _both(first: asyncio.Future[None], second: asyncio.Future[None]) -> None:
    await asyncio.gather(first, second)
