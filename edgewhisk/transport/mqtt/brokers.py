"""The brokers of the configuration, for feeds, actuators and capabilities alike."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from edgewhisk.errors import CapabilityError, Undelivered
from edgewhisk.spi import Clock
from edgewhisk.transport.mqtt.codec import Message, Publication
from edgewhisk.transport.mqtt.connection import MqttLink
from edgewhisk.transport.mqtt.limits import AHEAD
from edgewhisk.transport.mqtt.outbound import Failed, Told
from edgewhisk.transport.mqtt.session import BrokerSession


class MqttBrokers:
    """A session for each broker. Called on the event loop."""

    def __init__(self, links: Mapping[str, MqttLink], clock: Clock) -> None:
        """`links` by broker, the one of `[mqtt]` under ""."""
        self.sessions = {name: BrokerSession(link, clock) for name, link in links.items()}

    @property
    def ahead(self) -> int:
        """The fewest messages that one of the brokers sends before it waits for an acknowledgement."""
        return min([session.ahead for session in self.sessions.values()], default=AHEAD)

    def session(self, broker: str) -> BrokerSession:
        """The session of a broker; raises `CapabilityError` when there is none of the name."""
        session = self.sessions.get(broker)
        if session is None:
            raise CapabilityError(f"mqtt.publish: there is no [brokers.{broker}]")
        return session

    def publish(self, broker: str, messages: Sequence[Message]) -> asyncio.Future[Failed]:
        """See `MqttConnection.publish`.

        Raises `Undelivered` while the broker is away, `CapabilityError` when there is none of the name.
        """
        try:
            return self.session(broker).publish(messages)
        except ConnectionError as error:
            raise Undelivered(f"mqtt.publish: {error}") from error

    def publish_alike(self, broker: str, what: Publication, payloads: Sequence[bytes], told: Told) -> bool:
        """See `MqttConnection.publish_alike`; false while the broker is away or unknown."""
        session = self.sessions.get(broker)
        return session is not None and session.publish_alike(what, payloads, told)

    def retry_now(self) -> None:
        """Try again now where a broker is away."""
        for session in self.sessions.values():
            session.retry_now()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for session in self.sessions.values():
                tasks.create_task(session.run())
