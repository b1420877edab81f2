"""What is subscribed to at one broker, and what it delivered already.

A QoS 1 message is acknowledged when its event is on disk, not before; what the broker then delivers
again after a crash or a lost acknowledgement is recognised and not run twice. Everything that came
in one chunk from the network goes to the controller in one call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from edgewhisk.device.decode import Undecodable
from edgewhisk.device.topics import Pattern
from edgewhisk.entity.invocation.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.feed.heard import heard, this_moment
from edgewhisk.feed.mqtt.events import Events
from edgewhisk.feed.mqtt.subscription import Subscription, Subscriptions, TopicRoutes
from edgewhisk.feed.payload import MalformedPayload
from edgewhisk.spi import Clock, Fire
from edgewhisk.store.dead_letters import DeadLetters, Letter
from edgewhisk.transport.mqtt.codec import EXACT, Delivery
from edgewhisk.transport.mqtt.redelivery import AcceptedMessages, Fresh, checksum
from edgewhisk.transport.mqtt.session import BrokerConnection, BrokerSession

# Messages that are acknowledged together. A chunk may bring 600, whose results leave long before the last one
# is on disk; a source that sends one more for each result would fill the broker's queue, which drops what is
# over 1,000: seen with 500 under way in every fourth run.
ACK_BATCH: Final = 64


class Session:
    """`SessionReader` of one broker."""

    def __init__(
        self,
        name: str,
        broker: BrokerSession,
        fire: Fire,
        clock: Clock,
        dead: DeadLetters,
        origins: Sequence[str],
    ) -> None:
        """`origins` of what earlier lives accepted: the broker may deliver it again."""
        self.broker = broker
        broker.reader = self
        self._fire = fire
        self._clock = clock
        self._dead = dead
        self._subscriptions = Subscriptions()
        self._routes = TopicRoutes(self._subscriptions)
        self._events = Events(f"mqtt {broker.address}", dead, self._routes, self._learn)
        self._accepted = AcceptedMessages(f"mqtt:{name}:" if name else "mqtt:", origins)
        self.counts = dict.fromkeys(("received", "duplicates", "unrouted", "pauses", "refused"), 0)

    def add(self, wanted: Subscription) -> None:
        """Feed a trigger."""
        wanted.own = frozenset(one.filter for one in wanted.patterns)
        wanted.since = this_moment(self._clock)
        self._subscriptions.add(wanted)
        self._routes.forget()
        for one in wanted.patterns:
            self.broker.forgive(one.filter)
            self._ask(one)

    def remove(self, trigger: FullyQualifiedName) -> None:
        """Feed a trigger no more."""
        gone = self._subscriptions.remove(trigger)
        self._routes.forget()
        if gone is not None:
            self._drop(gone.patterns)

    def find(self, trigger: FullyQualifiedName) -> Subscription | None:
        """What feeds a trigger."""
        return self._subscriptions.find(trigger)

    def fed_from(self, topic: str) -> list[FullyQualifiedName]:
        """The triggers that the messages of a topic fire."""
        return [route.subscription.trigger for route in self._subscriptions.routes(topic)]

    def retry(self, letter: Letter, trigger: FullyQualifiedName) -> asyncio.Future[None] | str:
        """Take a refused message once more; why not, if it still cannot be an event."""
        found = self._subscriptions.find(trigger)
        if found is None:
            return f"nothing feeds {trigger} any more"
        route = found.route(letter.topic)
        if route is None:
            return f"{trigger} is not fed from {letter.topic} any more"
        delivery = Delivery(letter.topic.encode(), letter.payload)
        try:
            text = self._events.event(route, delivery, letter.at)
        except (MalformedPayload, Undecodable) as error:
            return str(error)
        found.delivered += 1
        return self._fire([TriggerEvent(trigger, text, letter.at, durable=True)] if text else [])

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """State and counters of a trigger's subscription; `{}` if it is not of this broker."""
        found = self._subscriptions.find(trigger)
        if found is None:
            return {}
        now, broker = self._clock.monotonic(), self.broker
        odd = [broker.grants[one.filter] for one in found.patterns if one.filter in broker.grants]
        refused = broker.state == "running" and not all(one.served for one in odd)
        problems = (broker.last_error, *(one.problem for one in odd), broker.problem)
        return {
            "state": "refused" if refused else broker.state,
            "broker": broker.address,
            "topic": ", ".join(one.filter for one in found.patterns),
            "delivered": found.delivered,
            "without_event": found.without_event,
            "bad": found.rejects.count,
            **heard(found.last, found.since, now),
            "last_error": next(filter(None, problems), "") or _ungranted(found),
            **found.rejects.describe(),
            "connects": broker.connects,
            **self.counts,
        }

    def opened(self) -> None:
        """See `SessionReader`."""
        for text in self._events.gone:
            self.broker.unsubscribe(text)
        for one in self._subscriptions.filters():
            self._ask(one)

    def _ask(self, pattern: Pattern) -> None:
        """Subscribe, now or with the next connection."""
        self._events.regain(pattern)
        self.broker.subscribe(pattern.filter, self._subscriptions.qos(pattern.filter))

    def _drop(self, patterns: Sequence[Pattern]) -> None:
        """Unsubscribe from what nobody wants any more, now or with the next connection."""
        for one in patterns:
            if self._subscriptions.qos(one.filter) < 0:
                self._events.forsake(one)
                self.broker.unsubscribe(one.filter)

    # -- what arrives ----------------------------------------------------------------------------

    def take(self, connection: BrokerConnection, deliveries: Sequence[Delivery]) -> None:
        """See `SessionReader`. So many are fired at a time as are acknowledged together."""
        full: set[FullyQualifiedName] = set()
        for first in range(0, len(deliveries), ACK_BATCH):
            events = self._take_some(connection, deliveries[first : first + ACK_BATCH])
            if self._fire.full(event.trigger for event in events):
                full.update(event.trigger for event in events)
        if full:
            self.counts["pauses"] += 1
            connection.pause()
            self._fire.on_room(connection.resume, full)

    def _take_some(self, connection: BrokerConnection, deliveries: Sequence[Delivery]) -> list[TriggerEvent]:
        """Fire what so many messages bring; the events."""
        self.counts["received"] += len(deliveries)
        moment = this_moment(self._clock)
        events: list[TriggerEvent] = []
        letters: list[Letter] = []
        fresh: dict[bytes, int] = {}  # to be acknowledged when the events are on disk
        plain = self._events.plain
        for delivery in deliveries:
            topic, payload, packet_id, first, _ = delivery
            origin = ""
            if packet_id:
                check = checksum(topic, payload)
                if first & EXACT:
                    connection.expect_release(packet_id)
                if delivery.again and self._accepted.knows(packet_id, check):
                    self._acknowledge_again(connection, packet_id, check)
                    continue
                fresh[packet_id] = check
                origin = self._accepted.origin(packet_id, check)
            event = plain(delivery, origin, moment)
            if event is not None:
                events.append(event)
            else:
                events += self._events.of(delivery, origin, moment, letters)
                self.counts["unrouted"] = self._events.unrouted
        accepted = self._fire(events)
        if letters:
            accepted = asyncio.ensure_future(_both(accepted, self._dead.bury(letters)))
        if fresh:
            self._accepted.add(fresh, accepted)
            accepted.add_done_callback(partial(self._settled, connection, fresh))
        return events

    def _acknowledge_again(self, connection: BrokerConnection, packet_id: bytes, check: int) -> None:
        """What is delivered again is acknowledged when its event is on disk."""
        self.counts["duplicates"] += 1
        pending = self._accepted.pending(packet_id, check)
        if pending is None:
            connection.acknowledge([packet_id])
        else:
            pending.add_done_callback(partial(self._settled, connection, {packet_id: check}))

    def _settled(self, connection: BrokerConnection, fresh: Fresh, done: asyncio.Future[None]) -> None:
        """The events are on disk, or could not be: then the broker must deliver them again."""
        if done.cancelled():
            return
        error = done.exception()
        self._accepted.settle(fresh, done, refused=error is not None)
        if error is None:
            connection.acknowledge(fresh.keys())
        else:
            self.counts["refused"] += len(fresh)
            connection.give_up(error)

    def _learn(self, found: Subscription) -> None:
        """Subscribe to the topics that the devices of a profile announced, and no more to those of before."""
        learned, before = found.learn(), found.learned
        if learned is before:
            return
        found.learned = learned
        fresh = learned - before - found.own
        granted = {topic for topic in fresh if found.may_read(topic)}
        found.ungranted = (found.ungranted & learned) | (fresh - granted)
        gone = before - learned - found.own
        dropped = [one for one in found.patterns if one.filter in gone]
        new = tuple(Pattern(topic, ()) for topic in sorted(granted))
        if dropped or new:
            kept = tuple(one for one in found.patterns if one.filter not in gone)
            self._subscriptions.change(found, kept + new)
            self._routes.forget()
            self._drop(dropped)
            for one in new:
                self._ask(one)


def _ungranted(found: Subscription) -> str:
    if not found.ungranted:
        return ""
    return f"{len(found.ungranted)} announced topics are not granted, for example {min(found.ungranted)}"


async def _both(first: asyncio.Future[None], second: asyncio.Future[None]) -> None:
    await asyncio.gather(first, second)
