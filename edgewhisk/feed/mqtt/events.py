"""From what a broker delivered to events, dead letters and counters: nothing goes without one of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from edgewhisk.base.mqtt_topics import matches
from edgewhisk.device.decode import Undecodable
from edgewhisk.device.decode import payload as decoded
from edgewhisk.device.topics import Pattern
from edgewhisk.entity.invocation.message import TriggerEvent, trigger_event
from edgewhisk.feed.heard import Moment
from edgewhisk.feed.mqtt.subscription import Subscription, TopicRoute, TopicRoutes
from edgewhisk.feed.payload import FORMATS, MAX_PAYLOAD_BYTES, MalformedPayload, check_size
from edgewhisk.store.dead_letters import DeadLetters, Letter
from edgewhisk.transport.mqtt import codec as packets
from edgewhisk.transport.mqtt.codec import Delivery

_log = logging.getLogger(__name__)

_REMEMBERED: Final = 64  # filters that are not wanted any more
_STRAY: Final = (
    "no trigger is fed from it: its feed failed, or an earlier life or another program asked for it"
)


class Events:
    """Of one broker."""

    def __init__(
        self, source: str, dead: DeadLetters, routes: TopicRoutes, learn: Callable[[Subscription], None]
    ) -> None:
        """`source` is what letters say; `learn` is told that a profile may want other topics by now."""
        self._source = source
        self._dead = dead
        self._routes = routes
        self._learn = learn
        self._gone: dict[str, Pattern] = {}
        self.unrouted = 0  # messages that no trigger is fed from

    @property
    def gone(self) -> list[str]:
        """Filters that are not wanted any more, though the broker may still have them."""
        return list(self._gone)

    def forsake(self, pattern: Pattern) -> None:
        """Nobody wants a filter any more; what still comes of it is counted."""
        self._gone[pattern.filter] = pattern
        if len(self._gone) > _REMEMBERED:
            del self._gone[next(iter(self._gone))]

    def regain(self, pattern: Pattern) -> None:
        """A filter is wanted, perhaps again."""
        self._gone.pop(pattern.filter, None)

    def plain(self, delivery: Delivery, origin: str, moment: Moment) -> TriggerEvent | None:
        """The event of a message as nearly all are; None if it is no such, or cannot become one."""
        plain, text = self._routes.plain.get(delivery.topic), delivery.payload
        if plain is None or delivery.retained or len(text) > MAX_PAYLOAD_BYTES:
            return None
        if plain.properties and delivery.properties:
            return None
        try:
            payload = plain.read(text)
        except MalformedPayload:
            return None
        found = plain.subscription
        found.delivered += 1
        found.last = moment
        return trigger_event((plain.trigger, payload, moment.at, origin != "", origin))

    def of(
        self, delivery: Delivery, origin: str, moment: Moment, letters: list[Letter]
    ) -> list[TriggerEvent]:
        """The events of any message; what cannot become one is added to `letters`."""
        events = []
        routes = self._routes.all(delivery.topic)
        if not routes:
            self._stray(delivery, origin, moment, letters)
        for route in routes:
            found = route.subscription
            if delivery.retained and not found.retained:
                found.without_event += 1
                continue
            try:
                payload = self.event(route, delivery, moment.at)
            except (MalformedPayload, Undecodable) as error:
                if delivery.again and self._dead.knows(str(found.trigger), origin):
                    continue  # on the list already; only its acknowledgement was lost
                line = found.rejects.add(str(error), delivery.payload, moment.monotonic)
                if line is not None:
                    _log.warning("MQTT topic %s: %s", route.topic, line)
                trigger = str(found.trigger)
                letters.append(self._letter(trigger, route.topic, str(error), delivery, moment, origin))
                continue
            if not payload:
                found.without_event += 1
                continue
            found.delivered += 1
            found.last = moment
            events.append(TriggerEvent(found.trigger, payload, moment.at, origin != "", origin))
        return events

    def event(self, route: TopicRoute, delivery: Delivery, now: int) -> bytes:
        """The parameters of an event, b"" for none. Raises `MalformedPayload` or `Undecodable`."""
        found = route.subscription
        check_size(delivery.payload)
        if found.profile is not None and found.decode is not None:
            parts = route.pattern.parts(route.topic)
            try:
                readings = found.decode(delivery.payload, parts, route.topic)
            finally:
                self._learn(found)
            shown = {key: value for key, value in parts.items() if key != "point"}
            return decoded(found.profile, route.topic, now, readings, shown) if readings else b""
        facts: dict[str, Any] = {"retained": True} if delivery.retained else {}
        if found.properties and delivery.properties:
            try:
                facts["mqtt"] = packets.properties(delivery.properties)
            except ValueError as error:
                raise MalformedPayload(f"MQTT 5 properties: {error}") from None
        head = route.head.saying(facts)
        return FORMATS[found.format](head, delivery.payload, mend=found.rejects.mend)

    def _stray(self, delivery: Delivery, origin: str, moment: Moment, letters: list[Letter]) -> None:
        """Count a message that nobody asked for; what the broker kept for us is kept."""
        self.unrouted += 1
        topic = delivery.topic.decode(errors="replace")
        known = delivery.again and self._dead.knows("", origin)
        if origin and not known and not any(matches(one.plain, topic) for one in self._gone.values()):
            letters.append(self._letter("", topic, _STRAY, delivery, moment, origin))

    def _letter(
        self, trigger: str, topic: str, why: str, delivery: Delivery, moment: Moment, origin: str
    ) -> Letter:
        return Letter(trigger, self._source, topic, why, delivery.payload, moment.at, origin)
