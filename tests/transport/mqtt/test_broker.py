"""The embedded broker with clients as they are: silent, hostile, old, back before their connection ended."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.transport.mqtt import broker_bounds as bounds
from edgewhisk.transport.mqtt.broker import EmbeddedBroker
from edgewhisk.transport.mqtt.broker_bounds import Malformed, PacketStream, connect_of

ACCEPTED = b"\x20\x02\x00\x00"
PUBACK = b"\x40\x02\x00\x01"


def text(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def packet(first: int, body: bytes) -> bytes:
    assert len(body) < 128
    return bytes([first, len(body)]) + body


def connect(client: bytes, clean: bool = True, will: bytes = b"", head: bytes = b"\0\4MQTT\4") -> bytes:
    flags = 2 * clean + (0x24 if will else 0)  # the will is retained
    more = text(will) + text(b"Offline") if will else b""
    return packet(0x10, head + bytes([flags]) + b"\0\x3c" + text(client) + more)


PUBLISH = packet(0x32, text(b"f/x") + b"\0\1" + b"{}")


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


Scene = Callable[[Callable[[], Awaitable[Client]], Any], Awaitable[None]]


def play(scene: Scene) -> None:
    async def run() -> None:
        broker = EmbeddedBroker("127.0.0.1", 0)
        port = await broker.start()
        made: list[Client] = []

        async def client() -> Client:
            made.append(Client(*await asyncio.open_connection("127.0.0.1", port)))
            return made[-1]

        try:
            await scene(client, broker._broker)
        finally:
            for one in made:
                one.writer.close()
            await broker.stop()

    asyncio.run(run())


def test_a_device_with_a_lasting_session_comes_back_before_its_old_connection_ended() -> None:
    async def scene(client: Callable[[], Awaitable[Client]], _broker: Any) -> None:
        before: list[Client] = []
        for times in range(4):
            device = await client()
            assert (await device.say(connect(b"device", clean=False)))[3] == 0
            assert await device.say(PUBLISH) == PUBACK, times
            for old in before:
                assert await old.ended() == b""
            before = [device]

    play(scene)


def test_who_did_not_subscribe_gets_no_will() -> None:
    async def scene(client: Callable[[], Awaitable[Client]], broker: Any) -> None:
        watcher, plug = await client(), await client()
        assert await watcher.say(connect(b"watcher")) == ACCEPTED
        assert await watcher.say(packet(0x82, b"\0\1" + text(b"tele/+/LWT") + b"\0"), 5) == b"\x90\3\0\1\0"
        assert await plug.say(connect(b"plug", will=b"tele/plug/LWT")) == ACCEPTED
        plug.writer.transport.abort()
        assert b"Offline" in await watcher.say(b"", 24)
        async with asyncio.timeout(20):
            while "tele/plug/LWT" not in broker.retained_messages:  # noqa: ASYNC110 - of the broker's own
                await asyncio.sleep(0.01)
        other = await client()
        assert await other.say(connect(b"other")) == ACCEPTED
        assert await other.say(b"\xc0\0", 2) == b"\xd0\0"  # the answer to a ping is the next that comes
        late = await client()  # and who subscribes later gets it
        await late.say(connect(b"late"))
        assert await late.say(packet(0x82, b"\0\1" + text(b"tele/#") + b"\0"), 5) == b"\x90\3\0\1\0"
        assert b"Offline" in await late.say(b"", 24)

    play(scene)


def test_devices_of_mqtt_3_1_are_served_and_those_of_5_are_told() -> None:
    async def scene(client: Callable[[], Awaitable[Client]], _broker: Any) -> None:
        old, new = await client(), await client()
        assert await old.say(connect(b"old", head=b"\0\6MQIsdp\3")) == ACCEPTED
        assert await old.say(PUBLISH) == PUBACK
        new.writer.write(connect(b"new", head=b"\0\4MQTT\5"))
        assert await new.ended() == b"\x20\x03\x00\x84\x00"

    play(scene)


def test_silent_connections_are_few_and_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SILENT", 5)

    async def scene(client: Callable[[], Awaitable[Client]], broker: Any) -> None:
        silent = [await client() for _ in range(40)]
        good = await client()
        assert await good.say(connect(b"good")) == ACCEPTED
        for one in silent[:30]:
            assert await one.ended() == b""
        assert len(broker._silent) <= 5
        monkeypatch.setattr(bounds, "CONNECT_TIMEOUT", 0.1)
        assert await (await client()).ended() == b""

    play(scene)


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x10\xff\xff\xff\xff\x01",
        b"\x10\xff\xff\xff\x7f",  # a CONNECT of 256 MB
        b"\x10\x04\x00\x04MQ",
        packet(0x10, b"\0\4MQTT\4\2\0\x3c" + text(b"\xff\xfe")),
        packet(0x10, b"\0\4MQTT\4\xff\0\x3c" + b"\xff\xff"),
        packet(0x10, b"\0\4MQTT\x09\2\0\x3c" + text(b"x")),
    ],
)
def test_what_is_no_connect_is_hung_up_on(junk: bytes) -> None:
    async def scene(client: Callable[[], Awaitable[Client]], _broker: Any) -> None:
        one = await client()
        one.writer.write(junk)
        await one.ended()
        good = await client()
        assert await good.say(connect(b"good")) == ACCEPTED

    play(scene)


def test_a_packet_of_256_mb_is_not_waited_for() -> None:
    async def scene(client: Callable[[], Awaitable[Client]], _broker: Any) -> None:
        one = await client()
        assert await one.say(connect(b"one")) == ACCEPTED
        one.writer.write(b"\x32\xff\xff\xff\x7f" + text(b"f/x"))
        assert await one.ended() == b""

    play(scene)


def test_more_clients_than_there_is_room_for_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_CLIENTS", 2)

    async def scene(client: Callable[[], Awaitable[Client]], _broker: Any) -> None:
        first, second, third = await client(), await client(), await client()
        assert await first.say(connect(b"1")) == ACCEPTED
        assert await second.say(connect(b"2")) == ACCEPTED
        third.writer.write(connect(b"3"))
        assert await third.ended() == b"\x20\x02\x00\x03"
        assert await first.say(PUBLISH) == PUBACK

    play(scene)


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=5), st.integers(1, 700))
def test_packets_are_followed_whatever_the_chunks_are(sizes: list[int], chunk: int) -> None:
    stream = b"".join(b"\x30" + bounds._length(size) + bytes(size) for size in sizes)
    followed = PacketStream()
    for at in range(0, len(stream), chunk):
        followed.feed(stream[at : at + chunk])
    assert (followed._left, followed._shift) == (0, None)
    with pytest.raises(Malformed):
        followed.feed(b"\x30" + bounds._length(bounds.MAX_PACKET_BYTES + 1))


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"\0\4MQTT\4" + rest))
def test_any_bytes_are_a_connect_or_none(body: bytes) -> None:
    try:
        found = connect_of(body)
    except Malformed:
        return
    assert found.version == 5 or found.packet.endswith(body[7:])
