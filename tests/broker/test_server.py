"""The broker's sockets with clients as they are: silent, hostile, old, slow, back too soon."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from edgewhisk.broker import packets, server
from edgewhisk.broker.server import BrokerServer
from edgewhisk.config.schema import EmbeddedConfig
from edgewhisk.errors import InstanceError
from tests.broker.bench import connect, publish, subscribe
from tests.broker.serving import serving
from tests.fakes.disk import FaultyDisk
from tests.transport.certificates import Authority

ACCEPTED = b"\x20\x02\x00\x00"
PUBACK = b"\x40\x02\x00\x01"
PUBLISH = publish("f/x", b"{}", 1, 1)
BOUNDS = EmbeddedConfig()


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, data: bytes, answer: int = 4) -> bytes:
        self.writer.write(data)
        async with asyncio.timeout(20):
            return await self.reader.readexactly(answer)

    async def ended(self) -> bytes:
        """What came until the broker closed the connection."""
        async with asyncio.timeout(20):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


Connect = Callable[[], Awaitable[Client]]
Scene = Callable[[Connect, BrokerServer], Awaitable[None]]


def play(folder: Path, scene: Scene, bounds: EmbeddedConfig = BOUNDS, disk: FaultyDisk | None = None) -> None:
    async def run() -> None:
        made: list[Client] = []
        async with serving(folder, bounds, disk=disk) as (port, broker):

            async def client() -> Client:
                made.append(Client(*await asyncio.open_connection("127.0.0.1", port)))
                return made[-1]

            try:
                await scene(client, broker)
            finally:
                for one in made:
                    one.writer.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as the gateway does
        runner.run(run())


async def true(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - of another's state
            await asyncio.sleep(0.01)


def test_a_device_with_a_lasting_session_comes_back_before_its_old_connection_ended(tmp_path: Path) -> None:
    async def scene(client: Connect, _broker: BrokerServer) -> None:
        before: list[Client] = []
        for times in range(4):
            device = await client()
            assert (await device.say(connect("device", clean=False)))[3] == 0
            assert await device.say(PUBLISH) == PUBACK, times
            for old in before:
                assert await old.ended() == b""
            before = [device]

    play(tmp_path, scene)


def test_who_did_not_subscribe_gets_no_will(tmp_path: Path) -> None:
    async def scene(client: Connect, broker: BrokerServer) -> None:
        watcher, plug = await client(), await client()
        assert await watcher.say(connect("watcher")) == ACCEPTED
        assert await watcher.say(subscribe(1, ("tele/+/LWT", 0)), 5) == b"\x90\3\0\1\0"
        assert await plug.say(connect("plug", will=("tele/plug/LWT", b"Offline", 0, True))) == ACCEPTED
        plug.writer.transport.abort()
        assert b"Offline" in await watcher.say(b"", 24)
        other = await client()
        assert await other.say(connect("other")) == ACCEPTED
        assert await other.say(b"\xc0\0", 2) == b"\xd0\0"  # the answer to a ping is the next that comes
        late = await client()  # and who subscribes later gets it
        await late.say(connect("late"))
        assert await late.say(subscribe(1, ("tele/#", 0)), 5) == b"\x90\3\0\1\0"
        assert b"Offline" in await late.say(b"", 24)

    play(tmp_path, scene)


def test_devices_of_all_versions_are_served(tmp_path: Path) -> None:
    async def scene(client: Connect, _broker: BrokerServer) -> None:
        old, new, future = await client(), await client(), await client()
        assert await old.say(connect("old", 3)) == ACCEPTED
        assert await old.say(PUBLISH) == PUBACK
        assert (await new.say(connect("new", 5)))[2:] == b"\0\0"
        future.writer.write(connect("future", 6))
        assert await future.ended() == b"\x20\x02\x00\x01"

    play(tmp_path, scene)


def test_silent_connections_are_few_and_short(tmp_path: Path) -> None:
    async def scene(client: Connect, broker: BrokerServer) -> None:
        silent = [await client() for _ in range(100)]
        good = await client()
        assert await good.say(connect("good")) == ACCEPTED
        for one in silent:
            assert await one.ended() == b""
        told = broker.describe()
        assert told["connections"] == told["clients"] == 1
        assert told["refused"]["silent"] + told["refused"]["connect_timeout"] == 100

    play(tmp_path, scene, replace(BOUNDS, connect_timeout=1.0))


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x10\xff\xff\xff\xff\x01",
        b"\x10\xff\xff\xff\x7f",  # a CONNECT of 256 MB
        b"\x10\x04\x00\x04MQ",
        packets.packet(0x10, b"\0\4MQTT\4\2\0\x3c\0\2\xff\xfe"),
        packets.packet(0x10, b"\0\4MQTT\4\xff\0\x3c\xff\xff"),
    ],
)
def test_what_is_no_connect_is_hung_up_on(tmp_path: Path, junk: bytes) -> None:
    async def scene(client: Connect, _broker: BrokerServer) -> None:
        one = await client()
        one.writer.write(junk)
        assert await one.ended() == b""
        good = await client()
        assert await good.say(connect("good")) == ACCEPTED

    play(tmp_path, scene)


def test_a_packet_of_256_mb_is_not_waited_for(tmp_path: Path) -> None:
    async def scene(client: Connect, _broker: BrokerServer) -> None:
        one = await client()
        assert await one.say(connect("one")) == ACCEPTED
        one.writer.write(b"\x32\xff\xff\xff\x7f")
        assert await one.ended() == b""

    play(tmp_path, scene)


def test_packets_that_are_not_here_in_full_have_a_bound_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_PARTIAL", 10_000)

    async def scene(client: Connect, broker: BrokerServer) -> None:
        one, other = await client(), await client()
        assert await one.say(connect("one")) == ACCEPTED
        assert await other.say(connect("other")) == ACCEPTED
        half = publish("t", bytes(8000))[:-1]
        one.writer.write(half)
        await true(lambda: broker.partial > 7000)
        other.writer.write(half)
        assert await other.ended() == b""
        assert await one.say(b"\0" + PUBLISH) == PUBACK
        await true(lambda: broker.partial == 0)

    play(tmp_path, scene)


def test_a_subscriber_that_reads_nothing_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    async def scene(client: Connect, broker: BrokerServer) -> None:
        stuck, sender, reader = await client(), await client(), await client()
        for one, name in ((stuck, "stuck"), (sender, "sender"), (reader, "reader")):
            assert await one.say(connect(name)) == ACCEPTED
        for one in (stuck, reader):
            await one.say(subscribe(1, ("t", 0)), 5)
        said = publish("t", bytes(100_000))
        for _ in range(200):
            sender.writer.write(said)
            await sender.writer.drain()
            assert await reader.say(b"", len(said)) == said
        assert broker.describe()["dropped"] > 50

    play(tmp_path, scene)


def test_a_client_that_asks_and_does_not_read_is_not_read_either(tmp_path: Path) -> None:
    async def scene(client: Connect, broker: BrokerServer) -> None:
        kept, stuck = await client(), await client()
        assert await kept.say(connect("kept")) == ACCEPTED
        assert await kept.say(publish("r", bytes(300_000), 1, 1, retain=True)) == PUBACK
        assert await stuck.say(connect("stuck")) == ACCEPTED
        asking = asyncio.create_task(flood(stuck.writer, subscribe(1, ("r", 0)) + b"\xc0\0" * 500))
        await true(lambda: broker.describe()["held"] == 1)
        assert await kept.say(b"\xc0\0", 2) == b"\xd0\0"
        reading = asyncio.create_task(stuck.reader.read(-1))  # it reads at last
        await true(lambda: asking.done() and broker.describe()["held"] == 0)
        reading.cancel()
        asking.result()

    play(tmp_path, scene)


async def flood(writer: asyncio.StreamWriter, data: bytes) -> None:
    for _ in range(500):
        writer.write(data)
        await writer.drain()


def test_a_full_disk_acknowledges_nothing_until_there_is_room(tmp_path: Path) -> None:
    disk = FaultyDisk()

    async def scene(client: Connect, broker: BrokerServer) -> None:
        away, device = await client(), await client()
        await away.say(connect("away", clean=False))
        await away.say(subscribe(1, ("f/#", 1)), 5)
        away.writer.close()
        await true(lambda: broker.describe()["clients"] == 0)
        assert await device.say(connect("device")) == ACCEPTED
        disk.full = True
        device.writer.write(PUBLISH)
        await true(lambda: "the disk is full" in broker.describe()["problem"])
        assert await device.say(b"\xc0\0", 2) == b"\xd0\0"
        disk.full = False
        assert await device.say(b"") == PUBACK

    play(tmp_path, scene, disk=disk)


def test_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("broker")
    mine = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    mine.load_cert_chain(certificate, key)

    async def run() -> None:
        theirs = ssl.create_default_context(cafile=str(authority.file))
        async with serving(tmp_path, tls=mine) as (port, _):
            client = Client(*await asyncio.open_connection("127.0.0.1", port, ssl=theirs))
            assert await client.say(connect("a")) == ACCEPTED
            assert await client.say(PUBLISH) == PUBACK
            client.writer.close()

    asyncio.run(run())


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path / "a") as (port, _), serving(tmp_path / "b") as (_, other):
            with pytest.raises(InstanceError, match="the embedded broker cannot listen on"):
                await other.listen("127.0.0.1", port)

    asyncio.run(run())
