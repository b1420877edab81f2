"""The MQTT feed: triggers fed by the topics of any number of brokers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

from edgewhisk.device import library
from edgewhisk.device.decode import Decode, Parts, Undecodable, learner
from edgewhisk.device.profile import Profile
from edgewhisk.device.reading import Reading
from edgewhisk.device.topics import Pattern, pattern
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.errors import FeedError, shown
from edgewhisk.feed.mqtt.session import Session
from edgewhisk.feed.mqtt.sparkplug_rebirth import Rebirths, command
from edgewhisk.feed.mqtt.subscription import Subscription
from edgewhisk.feed.parameters import asked
from edgewhisk.feed.payload import FORMATS
from edgewhisk.spi import Clock, FeedAction, Fire, Resource
from edgewhisk.store.dead_letters import DeadLetters, Letter
from edgewhisk.transport.mqtt.brokers import MqttBrokers
from edgewhisk.transport.mqtt.codec import Message

_KNOWN: Final = {
    "topic": "topic filter with +, #, or {name} for a level that becomes a parameter; also $share/GROUP/...",
    "qos": "0 or 1 (default 1: acknowledged when the event is on disk)",
    "format": f"{', '.join(FORMATS)} (default json: the object's keys become parameters)",
    "broker": "name of a [brokers.NAME] section (default: [mqtt])",
    "profile": "vendor/model of the devices; tells topic and format",
    "retained": "whether retained messages fire it too (default true; the event says retained)",
    "properties": "whether the event tells MQTT 5 properties as `mqtt` (default false)",
}


class MqttFeed:
    """`spi.Feed` over one session for each broker."""

    actions: ClassVar[Sequence[FeedAction]] = (
        FeedAction("mqtt", "message", "Fires the trigger with each message of an MQTT topic.", _KNOWN),
    )

    def __init__(
        self,
        brokers: MqttBrokers,
        fire: Fire,
        clock: Clock,
        dead: DeadLetters,
        origins: Sequence[str],
        may_read: Callable[[str, str], bool],
    ) -> None:
        """Over `brokers`, which somebody else runs.

        `may_read`: whether a subject may read a topic that a device announced.
        """
        self.brokers = brokers
        self.dead = dead
        self._may_read = may_read
        self._clock = clock
        self.sessions = {
            name: Session(name, broker, fire, clock, dead, origins)
            for name, broker in brokers.sessions.items()
        }

    def check(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `spi.Feed`."""
        del action
        with asked(parameters, _KNOWN) as given:
            qos, kind = given.choice("qos", 1, (0, 1)), given.text("format", "json", tuple(FORMATS))
            checked: dict[str, Any] = {"qos": qos, "format": kind}
            for key, usual in (("retained", True), ("properties", False)):
                if (wanted := given.flag(key, usual)) is not usual:
                    checked[key] = wanted
            if broker := given.text("broker"):
                checked["broker"] = broker
            if broker not in self.sessions:
                known = ", ".join(name for name in self.sessions if name) or "none"
                given.fault("broker", f"{shown(broker)} is no [brokers.NAME] section; there are: {known}")
            if "profile" in parameters:
                checked["profile"] = library.of_transport(parameters["profile"], "mqtt").name
            if "topic" in parameters or "profile" not in parameters:
                pattern(parameters.get("topic"))
                checked["topic"] = parameters["topic"]
            return checked

    def required_grants(self, action: str, parameters: Mapping[str, Any]) -> Sequence[Resource]:
        """See `spi.Feed`."""
        del action
        profile = library.of_transport(parameters["profile"], "mqtt") if "profile" in parameters else None
        return [Resource("mqtt", one.plain) for one in _patterns(parameters, profile)]

    async def add(self, trigger: FullyQualifiedName, action: str, parameters: Mapping[str, Any]) -> None:
        """See `spi.Feed`."""
        del action
        await self.remove(trigger)
        session = self.sessions.get(parameters.get("broker", ""))
        if session is None:
            raise FeedError(f"broker {parameters['broker']!r} is not configured any more")
        profile = library.of_transport(parameters["profile"], "mqtt") if "profile" in parameters else None
        decode, learn = learner(profile) if profile else (None, frozenset)
        if decode is not None and profile is not None and profile.decoding == "sparkplug":
            decode = self._reborn(session, decode)
        session.add(
            Subscription(
                trigger,
                _patterns(parameters, profile),
                parameters["qos"],
                parameters["format"],
                parameters.get("retained", True),
                parameters.get("properties", False),
                profile,
                decode,
                learn,
                partial(self._may_read, trigger.namespace),
            )
        )

    async def remove(self, trigger: FullyQualifiedName, *, keep: bool = False) -> None:
        """See `spi.Feed`. What is published meanwhile is not kept by the broker."""
        del keep
        for session in self.sessions.values():
            session.remove(trigger)

    def _reborn(self, session: Session, decode: Decode) -> Decode:
        """The same, that asks a node to say again what its aliases stand for."""
        rebirths = Rebirths()

        def decoding(frame: bytes, parts: Parts, topic: str) -> tuple[Reading, ...]:
            if parts.get("kind", "").endswith("CMD"):
                return ()  # what is told to a node is no reading, least of all our own question
            try:
                return decode(frame, parts, topic)
            except Undecodable:
                where = rebirths.wanted(topic, self._clock.monotonic())
                if where:
                    with contextlib.suppress(ConnectionError):  # a dead letter that is retried meanwhile
                        session.broker.publish([Message(where, command(self._clock.now()))])
                raise

        return decoding

    async def retry(self, letter: Letter) -> None:
        """Take a dead letter once more; raises `FeedError` if it still is none of the feed's."""
        if letter.size:
            kept = len(letter.payload)
            raise FeedError(f"{letter.topic}: only the first {kept} of {letter.size} bytes were kept")
        taken = []
        for trigger in self._fed(letter):
            session = next((one for one in self.sessions.values() if one.find(trigger)), None)
            if session is None:
                raise FeedError(f"nothing feeds {trigger} any more")
            again = session.retry(letter, trigger)
            if isinstance(again, str):
                raise FeedError(f"{letter.topic}: {again}")
            taken.append(again)
        if not taken:
            raise FeedError(f"no trigger is fed from {letter.topic}")
        await asyncio.gather(*taken)

    def _fed(self, letter: Letter) -> Sequence[FullyQualifiedName]:
        """The trigger of a letter; of a message that nobody had asked for, those that ask for it now."""
        if letter.trigger:
            return [parse_name(letter.trigger, "_")]
        return [
            trigger
            for one in self.sessions.values()
            if letter.source == f"mqtt {one.broker.address}"
            for trigger in one.fed_from(letter.topic)
        ]

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """See `spi.Feed`."""
        return next((found for one in self.sessions.values() if (found := one.describe(trigger))), {})

    async def run(self) -> None:
        """See `spi.Feed`."""
        await asyncio.Event().wait()


def _patterns(parameters: Mapping[str, Any], profile: Profile | None) -> tuple[Pattern, ...]:
    """What is subscribed to."""
    topics = [parameters["topic"]] if "topic" in parameters else profile.topics if profile else ()
    return tuple(pattern(topic) for topic in topics)
