"""Every MQTT and Modbus profile over its real transport: in whole, byte by byte, late, and with parts lost.

Those of serial ports have it in `tests/device/test_profiles.py`, framer by framer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tty
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from edgewhisk.base import resources
from edgewhisk.clock.system import SystemClock
from edgewhisk.device.checksum import crc16_reflected
from edgewhisk.entity.names import parse_name
from edgewhisk.feed.modbus.feed import ModbusFeed
from edgewhisk.feed.mqtt.feed import MqttFeed
from edgewhisk.store.dead_letters import DeadLetters
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.transport.modbus.buses import ModbusBuses
from edgewhisk.transport.mqtt.brokers import MqttBrokers
from edgewhisk.transport.mqtt.codec import Message
from edgewhisk.transport.mqtt.connection import MqttConnection, MqttLink
from tests.device.test_profiles import MODBUS, OVER_MQTT, golden
from tests.fakes.fire import RecordingFire
from tests.feed.running import running
from tests.path.gateway import MOSQUITTO, mosquitto

TRIGGER = parse_name("/guest/t", "_")
DELIVERIES = ["whole", "byte by byte", "late", "too late", "lossy"]
ENVELOPE = {"device", "port", "topic", "unit", "taken_at"}


class Slave:
    """Answers on a pseudo terminal as it was recorded."""

    def __init__(self, answers: dict[bytes, bytes], delivery: str) -> None:
        self._answers = answers
        self._delivery, self._asked, self._count = delivery, b"", 0
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self._tasks: list[asyncio.Task[None]] = []
        asyncio.get_running_loop().add_reader(self._master, self._hear)

    def _hear(self) -> None:
        self._asked += os.read(self._master, 256)
        for question, answer in self._answers.items():
            if self._asked.endswith(question):
                self._asked = b""
                self._tasks.append(asyncio.create_task(self._say(answer)))

    async def _say(self, answer: bytes) -> None:
        self._count += 1
        if self._delivery == "late":
            await asyncio.sleep(0.05)
        if self._delivery == "too late" and self._count % 3 == 0:
            await asyncio.sleep(0.25)  # another question was asked meanwhile
        if self._delivery == "lossy" and self._count % 3:
            at = self._count * 7 % len(answer)
            answer = answer[:at] + answer[at + 1 :]
        for piece in [answer] if self._delivery != "byte by byte" else [bytes([byte]) for byte in answer]:
            os.write(self._master, piece)
            await asyncio.sleep(0)

    async def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        await asyncio.gather(*self._tasks)
        os.close(self._master)
        os.close(self._slave)


def recorded(name: str) -> dict[bytes, bytes]:
    said = golden(name)[0]
    return {question.data: answer.data for question, answer in zip(said[::2], said[1::2], strict=True)}


def frame(text: str) -> bytes:
    body = bytes.fromhex(text)
    return body + crc16_reflected(body).to_bytes(2, "little")


def test_a_late_answer_is_not_taken_for_that_to_the_next_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where both ask for as much: nothing in an RTU answer says of which register it is."""
    folder = tmp_path / "devices" / "mine"
    folder.mkdir(parents=True)
    (folder / "pair.toml").write_text(
        '[modbus]\n[points.a]\nunit = "V"\nat = 0\n[points.b]\nunit = "V"\nat = 1000\n'
    )
    monkeypatch.setattr(resources, "_own", tmp_path)
    answers = {frame("010400000001"): frame("0104020001"), frame("010403e80001"): frame("0104020002")}

    async def play() -> None:
        fire, slave = RecordingFire(), Slave(answers, "too late")
        feed = ModbusFeed(ModbusBuses({}, SystemClock()), fire, SystemClock())
        async with running(feed):
            asked = {"profile": "mine/pair", "port": slave.port, "every": 0.05, "timeout": 0.2}
            await feed.add(TRIGGER, "modbus/reading", feed.check("modbus/reading", asked))
            await fire.count(12)
        await slave.close()
        found = [orjson.loads(event.payload) for event in fire.events]
        assert {one["a"] for one in found} <= {1, None}
        assert {one["b"] for one in found} <= {2, None}
        assert {(one["a"], one["b"]) for one in found} >= {(1, 2)}

    asyncio.run(play())


@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("name", MODBUS)
def test_modbus_profiles_over_a_line(name: str, delivery: str) -> None:
    """What is lost is asked again or told as an error; no wrong value ever comes."""
    (expected,) = golden(name)[1]

    async def play() -> None:
        fire, slave = RecordingFire(), Slave(recorded(name), delivery)
        feed = ModbusFeed(ModbusBuses({}, SystemClock()), fire, SystemClock())
        async with running(feed):
            asked = {"profile": name, "port": slave.port, "every": 0.05, "timeout": 0.2}
            await feed.add(TRIGGER, "modbus/reading", feed.check("modbus/reading", asked))
            await fire.wait_for(
                lambda _: sum("errors" not in orjson.loads(e.payload) for e in fire.events) > 1
            )
        await slave.close()
        for event in (orjson.loads(one.payload) for one in fire.events):
            found = {key: value for key, value in event.items() if key not in ENVELOPE}
            errors = found.pop("errors", {})
            assert found == {key: None if key in errors else value for key, value in expected.items()}
            assert delivery in ("lossy", "too late") or not errors

    asyncio.run(play())


@contextlib.asynccontextmanager
async def slow_wire(port: int, delivery: str) -> AsyncIterator[int]:
    """A way to a broker on which what it sends comes in pieces, or late."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(size):
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(0.05 if delivery == "late" else 0)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        size = 1 if delivery == "byte by byte" else 4096
        tasks.append(asyncio.gather(carry(reader, back, 4096), carry(there, writer, size)))
        await asyncio.wait([tasks[-1]])

    tasks: list[asyncio.Future[Any]] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.wait(tasks)


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto")
@pytest.mark.parametrize("delivery", ["whole", "byte by byte", "late"])
def test_mqtt_profiles_over_a_broker(delivery: str, tmp_path: Path) -> None:
    """All at once on one connection. What Home Assistant's devices announce:
    `tests/feed/mqtt/test_feed.py`.
    """
    names = [name for name in OVER_MQTT if name != "homeassistant/discovery"]
    wanted = {name: [one for one in golden(name)[1] if isinstance(one, dict)] for name in names}
    total = sum(map(len, wanted.values()))

    async def play(port: int) -> list[dict[str, Any]]:
        fire, clock, shelf = RecordingFire(), SystemClock(), LogDocumentStore.open(tmp_path / "shelf")
        async with slow_wire(port, delivery) as wire:
            links, dead = {"": MqttLink("127.0.0.1", wire, "reader")}, DeadLetters(shelf, clock)
            feed = MqttFeed(MqttBrokers(links, clock), fire, clock, dead, [], lambda _subject, _topic: True)
            for name in names:
                trigger = parse_name(f"/guest/{name.replace('/', '-')}", "_")
                await feed.add(trigger, "mqtt/message", feed.check("mqtt/message", {"profile": name}))
            async with running(feed, feed.brokers):
                speaker = MqttConnection(MqttLink("127.0.0.1", port, "speaker"), lambda *_: None)
                await speaker.open()
                # Until the subscriptions are made, what is published comes to nobody.
                while not any(b"probe" in event.payload for event in fire.events):
                    await speaker.publish([Message("tele/probe/LWT", b"Online", 1)])
                    await asyncio.sleep(0.02)
                for name in names:
                    for one in golden(name)[0]:
                        await speaker.publish([Message(one.topic, one.data, 1)])
                await fire.wait_for(lambda _: len(events(fire)) >= total, 60)
                await speaker.close()
        await shelf.close()
        return events(fire)

    def events(fire: RecordingFire) -> list[dict[str, Any]]:
        found = [orjson.loads(one.payload) for one in fire.events]
        return [one for one in found if one.get("id") != "probe" and one["device"] in names]

    with mosquitto(tmp_path) as port:
        found = asyncio.run(play(port))
    for name in names:
        mine = [
            {k: v for k, v in one.items() if k not in ENVELOPE - {"unit"}}
            for one in found
            if one["device"] == name
        ]
        own = {json.dumps(one, sort_keys=True) for one in mine}
        # A topic may be of several profiles: each golden file's own readings are among the events.
        assert {json.dumps(one, sort_keys=True) for one in wanted[name]} <= own, name
