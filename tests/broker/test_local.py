"""The gateway's own connection: what devices publish goes to a feed in the same process, and is as safe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.broker.local import LocalConnection
from edgewhisk.broker.server import BrokerServer
from edgewhisk.clock.system import SystemClock
from edgewhisk.errors import StorageError
from edgewhisk.transport.mqtt.brokers import MqttBrokers
from edgewhisk.transport.mqtt.codec import Delivery, Message, properties
from edgewhisk.transport.mqtt.connection import MqttLink
from edgewhisk.transport.mqtt.session import BrokerConnection
from tests.broker.bench import connect, publish
from tests.broker.serving import serving
from tests.broker.test_server import Client


class Reader:
    """`SessionReader` that subscribes to everything."""

    def __init__(self, brokers: MqttBrokers) -> None:
        self.session = brokers.sessions[""]
        self.session.reader = self
        self.chunks: list[list[Delivery]] = []
        self.connection: BrokerConnection | None = None

    def opened(self) -> None:
        self.session.subscribe("#", 1)

    def take(self, connection: BrokerConnection, deliveries: Sequence[Delivery]) -> None:
        self.connection = connection
        self.chunks.append(list(deliveries))

    @property
    def payloads(self) -> list[bytes]:
        return [one.payload for chunk in self.chunks for one in chunk]

    def acknowledge(self) -> None:
        assert self.connection is not None
        self.connection.acknowledge(
            [one.packet_id for chunk in self.chunks for one in chunk if one.packet_id]
        )


@asynccontextmanager
async def gateway(server: BrokerServer, **link: Any) -> AsyncIterator[tuple[MqttBrokers, Reader]]:
    brokers = MqttBrokers({"": MqttLink("127.0.0.1", 0, "gateway", **link)}, SystemClock())
    brokers.sessions[""].connect = partial(LocalConnection, server)
    reader = Reader(brokers)
    running = asyncio.create_task(brokers.run())
    try:
        await true(lambda: brokers.sessions[""].state == "running")
        yield brokers, reader
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def true(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - of another's state
            await asyncio.sleep(0.01)


async def device(port: int) -> Client:
    made = Client(*await asyncio.open_connection("127.0.0.1", port))
    assert await made.say(connect("device")) == b"\x20\2\0\0"
    return made


def test_a_device_is_answered_when_the_feed_has_acknowledged(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (port, server), gateway(server) as (_, reader):
            one = await device(port)
            one.writer.write(publish("t/a", b"1", 1, 7) + publish("t/b", b"2", 0))
            await true(lambda: reader.payloads == [b"1", b"2"])
            assert len(reader.chunks) == 1  # what comes together is handed over together
            reader.acknowledge()
            assert await one.say(b"") == b"\x40\2\0\7"
            one.writer.close()

    asyncio.run(run())


def test_what_was_not_acknowledged_comes_again_after_the_feed_gave_up(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (port, server), gateway(server) as (_, reader):
            one = await device(port)
            one.writer.write(publish("t/a", b"1", 1, 7))
            await true(lambda: reader.chunks)
            assert reader.connection is not None
            reader.connection.give_up(StorageError("the disk is full"))
            await true(lambda: len(reader.chunks) == 2)
            assert [(chunk[0].payload, chunk[0].again) for chunk in reader.chunks] == [
                (b"1", False),
                (b"1", True),
            ]
            assert reader.session.connects == 2
            reader.acknowledge()
            assert await one.say(b"") == b"\x40\2\0\7"
            one.writer.close()

    asyncio.run(run())


def test_a_feed_without_room_leaves_what_comes_to_the_broker(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (port, server), gateway(server) as (_, reader):
            one = await device(port)
            one.writer.write(publish("t/a", b"0"))
            await true(lambda: reader.chunks)
            assert reader.connection is not None
            reader.connection.pause()
            for number in range(1, 301):
                # On the broker's disk, as the feed does not take it.
                one.writer.write(publish("t/a", b"%d" % number, 1, number))
            for number in range(1, 301):
                assert await one.say(b"") == b"\x40\2" + number.to_bytes(2, "big")
            for _ in range(2000):
                one.writer.write(publish("t/b", b"x"))
            await true(lambda: server.describe()["dropped"] > 900)
            reader.connection.resume()
            while len(reader.payloads) < 300 or b"300" not in reader.payloads:
                reader.acknowledge()
                await asyncio.sleep(0.01)
            kept = [payload for payload in reader.payloads if payload != b"x"]
            assert kept == [b"%d" % number for number in range(301)]
            one.writer.close()

    asyncio.run(run())


def test_a_burst_at_qos_0_is_whole_while_there_is_room(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (port, server), gateway(server) as (_, reader):
            one = await device(port)
            one.writer.write(b"".join(publish("t", b"%d" % number) for number in range(5000)))
            await true(lambda: len(reader.payloads) == 5000)
            assert server.describe()["dropped"] == 0
            one.writer.close()

    asyncio.run(run())


def test_what_the_gateway_publishes_reaches_devices(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            serving(tmp_path) as (port, server),
            gateway(server, status_topic="gw", version=5) as (brokers, reader),
        ):
            await true(lambda: reader.payloads == [b"online"])
            reader.acknowledge()
            sent = brokers.publish("", [Message("cmd/a", b"on", 1, True, 60), Message("a\0b", b"", 0)])
            await true(lambda: len(reader.payloads) == 2)
            assert not sent.done()
            reader.acknowledge()
            failed = await sent
            assert list(failed) == [1]
            assert "control characters" in str(failed[1])
            assert properties(reader.chunks[-1][0].properties)["expiry"] in (59, 60)
            one = await device(port)
            assert await one.say(b"\x82\x0a\0\1\0\5cmd/+\0", 5) == b"\x90\3\0\1\0"
            assert await one.say(b"", 11) == b"\x31\x09\0\5cmd/aon"
            one.writer.close()
        assert server.describe()["retained"] == 2

    asyncio.run(run())


def test_two_of_one_client_id_are_told(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (port, server), gateway(server, version=5) as (brokers, _):
            thief = Client(*await asyncio.open_connection("127.0.0.1", port))
            await thief.say(connect("gateway"))
            await true(lambda: "client id gateway" in brokers.sessions[""].last_error)
            thief.writer.close()

    asyncio.run(run())


@pytest.mark.parametrize("version", [4, 5])
def test_exactly_once_to_the_gateway(tmp_path: Path, version: int) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (port, server), gateway(server, version=version) as (brokers, reader):
            brokers.sessions[""].subscribe("x", 2)
            one = await device(port)
            assert await one.say(publish("x", b"1", 2, 5)) == b"\x50\2\0\5"
            await true(lambda: reader.chunks)
            ((delivery,),) = reader.chunks
            assert delivery.first & 6 == 4
            assert reader.connection is not None
            reader.connection.expect_release(delivery.packet_id)
            reader.acknowledge()
            assert await one.say(b"\x62\2\0\5") == b"\x70\2\0\5"
            await true(lambda: server.describe()["queued"] == 0)
            one.writer.close()

    asyncio.run(run())
