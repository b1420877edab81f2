"""One broker for the life of the gateway: connecting again and again, for all who read and publish there.

MQTT 3.1.1 or 5 with a persistent session, so the broker keeps what arrives while the gateway is away.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

from edgewhisk.base.backoff import Backoff
from edgewhisk.base.wakeable import wakeable_sleep
from edgewhisk.errors import StorageError
from edgewhisk.spi import Clock
from edgewhisk.transport.mqtt.codec import Delivery, Message, Publication
from edgewhisk.transport.mqtt.connection import Grant, MqttConnection, MqttLink
from edgewhisk.transport.mqtt.disconnects import Disconnects
from edgewhisk.transport.mqtt.limits import AHEAD
from edgewhisk.transport.mqtt.outbound import Failed, Told
from edgewhisk.transport.tls_errors import reason

_log = logging.getLogger(__name__)

_PATIENCE: Final = 10.0  # seconds for the broker to answer a connect


class BrokerConnection(Protocol):
    """A connection to a broker; `MqttConnection` says what the methods do."""

    ahead: int

    @property
    def unanswered(self) -> str: ...  # noqa: D102

    async def open(self) -> None: ...  # noqa: D102

    async def lost(self) -> None: ...  # noqa: D102

    async def close(self) -> None: ...  # noqa: D102

    def publish(self, messages: Sequence[Message]) -> asyncio.Future[Failed]: ...  # noqa: D102

    def publish_alike(  # noqa: D102
        self, what: Publication, payloads: Sequence[bytes], told: Told
    ) -> None: ...

    def subscribe(self, pattern: str, qos: int) -> None: ...  # noqa: D102

    def unsubscribe(self, pattern: str) -> None: ...  # noqa: D102

    def expect_release(self, packet_id: bytes) -> None: ...  # noqa: D102

    def acknowledge(self, packet_ids: Collection[bytes]) -> None: ...  # noqa: D102

    def give_up(self, error: BaseException) -> None: ...  # noqa: D102

    def pause(self) -> None: ...  # noqa: D102

    def resume(self) -> None: ...  # noqa: D102


Take = Callable[[BrokerConnection, Sequence[Delivery]], None]
Connect = Callable[[MqttLink, Take, dict[str, Grant]], BrokerConnection]


class SessionReader(Protocol):
    """Who takes what a broker sends; called on the event loop."""

    def opened(self) -> None:
        """There is a connection: subscribe on it."""
        ...

    def take(self, connection: BrokerConnection, deliveries: Sequence[Delivery]) -> None:
        """Take all that one chunk brought, in order."""
        ...


class BrokerSession:
    """The session at one broker, over many connections."""

    def __init__(self, link: MqttLink, clock: Clock) -> None:
        """Nothing is connected until `run`."""
        self.link = link
        self._clock = clock
        self._connection: BrokerConnection | None = None
        self._backoff = Backoff()
        self._disconnects = Disconnects(link)
        self._told = asyncio.Event()  # try again now
        self.reader: SessionReader | None = None
        self.grants: dict[str, Grant] = {}  # filters about which something is odd
        self.connected: Callable[[], None] = lambda: None  # called after each connect
        self.connect: Connect = MqttConnection
        self.state = "connecting"
        self.last_error = ""
        self.connects = 0

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"{self.link.host}:{self.link.port}"

    @property
    def ahead(self) -> int:
        """How many QoS 1 messages the broker sends before it waits for the first to be acknowledged."""
        return AHEAD if self._connection is None else self._connection.ahead

    @property
    def problem(self) -> str:
        """What ended the connection before, while the present one may end for the same reason."""
        return self._disconnects.problem(self._clock.monotonic())

    def publish(self, messages: Sequence[Message]) -> asyncio.Future[Failed]:
        """See `MqttConnection.publish`; raises `ConnectionError` while the broker is away."""
        if self._connection is None:
            reason = f": {self.last_error}" if self.last_error else ""
            raise ConnectionError(f"there is no connection to the broker {self.address}{reason}")
        return self._connection.publish(messages)

    def publish_alike(self, what: Publication, payloads: Sequence[bytes], told: Told) -> bool:
        """See `MqttConnection.publish_alike`; false while the broker is away."""
        if self._connection is None:
            return False
        self._connection.publish_alike(what, payloads, told)
        return True

    def subscribe(self, filter_: str, qos: int) -> None:
        """Subscribe, if there is a connection that survives it."""
        if self._connection is None:
            return
        if problem := self._disconnects.avoid(filter_):
            self.grants[filter_] = Grant(False, problem)
        else:
            self._connection.subscribe(filter_, qos)

    def unsubscribe(self, filter_: str) -> None:
        """Unsubscribe, if there is a connection."""
        if self._connection is not None:
            self._connection.unsubscribe(filter_)

    def forgive(self, filter_: str) -> None:
        """Try a filter again that ended connections."""
        self._disconnects.forgive(filter_)

    def retry_now(self) -> None:
        """Try again now if the broker is away: what kept it away may be over."""
        self._told.set()

    async def run(self) -> None:
        """Stay connected until cancelled."""
        ended = self._disconnects
        while True:
            try:
                await self._serve()
                self.last_error = ended.closed(self._clock.monotonic())
            except (OSError, TimeoutError, StorageError) as error:
                self.last_error = reason(error)
                ended.failed(error, self.last_error, self._clock.monotonic())
            self.state = "waiting"
            if ended.steady(self._clock.monotonic()):
                self._backoff.reset()
            pause = self._backoff.pause(random.random())  # noqa: S311 - jitter
            _log.warning("MQTT %s: %s; again in %.0f s", self.address, self.last_error, pause)
            await wakeable_sleep(pause, self._told)

    async def _serve(self) -> None:
        """One connection, until it is lost."""
        self.state = "connecting"
        self.grants.clear()
        self._disconnects.begin(self._clock.monotonic())
        link = self._disconnects.link(await asyncio.to_thread(self.link.opened))
        take = self.reader.take if self.reader is not None else _nobody
        connection = self.connect(link, take, self.grants)
        try:
            async with asyncio.timeout(_PATIENCE):
                await connection.open()
            self._connection = connection
            self.connects += 1
            self.state = "running"
            self.last_error = ""
            if self.reader is not None:
                self.reader.opened()
            self.connected()
            try:
                await connection.lost()
            finally:
                self._disconnects.ended(connection.unanswered)
        finally:
            self._connection = None
            await connection.close()


def _nobody(connection: BrokerConnection, deliveries: Sequence[Delivery]) -> None:
    """Nothing was asked for."""
