"""The MQTT feed on real brokers: when it acknowledges, what it does with redeliveries, how it holds back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.clock import SystemClock
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import FeedError
from edgewhisk.feed.broker import EmbeddedBroker
from edgewhisk.feed.mqtt import MqttFeed
from edgewhisk.feed.mqtt_connection import MqttLink
from tests.fakes.fire import RecordingFire
from tests.path.gateway import MOSQUITTO, mosquitto
from tests.path.publisher import publish

TRIGGER = parse_name("/guest/t", "_")
OTHER = parse_name("/guest/other", "_")
needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto"
)


@asynccontextmanager
async def feed(port: int, fire: RecordingFire, origins: Sequence[str] = ()) -> AsyncIterator[MqttFeed]:
    made = MqttFeed(MqttLink("127.0.0.1", port, "edge-under-test"), fire, SystemClock(), origins)
    await made.add(TRIGGER, "mqtt/message", made.check("mqtt/message", {"topic": "t/+"}))
    task = asyncio.create_task(made.run())
    try:
        await state(made, "running")
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def state(made: MqttFeed, wanted: str, connects: int = 1) -> None:
    async with asyncio.timeout(20):
        while made.state != wanted or made.counts["connects"] < connects:  # noqa: ASYNC110 - a real broker
            await asyncio.sleep(0.01)


async def counted(made: MqttFeed, name: str, least: int) -> None:
    async with asyncio.timeout(20):
        while made.counts[name] < least:  # noqa: ASYNC110 - a real broker
            await asyncio.sleep(0.01)


def with_mosquitto(folder: Path, play: Callable[[int], Awaitable[None]]) -> None:
    with mosquitto(folder) as port:
        asyncio.run(play(port))  # type: ignore[arg-type]


@needs_mosquitto
def test_what_was_on_disk_but_not_acknowledged_is_recognised(tmp_path: Path) -> None:
    async def play(port: int) -> None:
        fire = RecordingFire()
        fire.hold()
        async with feed(port, fire):
            sending = asyncio.create_task(publish(port, "t/a", 5, 0))
            events = await fire.count(5)
            await sending  # the broker has them; the gateway has not acknowledged any
        again = RecordingFire()
        async with feed(port, again, [event.origin for event in events[:3]]) as made:
            await counted(made, "received", 5)
            await again.count(2)
            assert [event.payload for event in again.events] == [event.payload for event in events[3:]]
            assert made.counts["duplicates"] == 3

    with_mosquitto(tmp_path, play)


@needs_mosquitto
def test_what_the_disk_refused_is_delivered_again(tmp_path: Path) -> None:
    async def play(port: int) -> None:
        fire = RecordingFire()
        fire.refuse()
        async with feed(port, fire) as made:
            await publish(port, "t/a", 3, 0)
            await counted(made, "refused", 1)
            fire.refuse(on=False)
            fire.calls.clear()
            await state(made, "running", 2)
            await fire.count(3)
            assert sorted({event.payload for event in fire.events}) == [
                b'{"topic":"t/a","seq":%d}' % seq for seq in (1, 2, 3)
            ]
            assert made.counts["duplicates"] == 0

    with_mosquitto(tmp_path, play)


@needs_mosquitto
def test_a_full_queue_holds_the_broker_back_and_loses_nothing(tmp_path: Path) -> None:
    async def play(port: int) -> None:
        fire = RecordingFire()
        async with feed(port, fire) as made:
            fire.fill()
            await publish(port, "t/a", 3000, 0)
            await counted(made, "pauses", 1)
            before = made.counts["received"]
            assert before < 3000
            fire.make_room()
            await fire.count(3000)
            assert fire.payloads == [b'{"topic":"t/a","seq":%d}' % seq for seq in range(1, 3001)]

    with_mosquitto(tmp_path, play)


def test_overlapping_filters_fire_each_trigger_once_on_the_embedded_broker() -> None:
    async def play() -> None:
        broker = EmbeddedBroker("127.0.0.1", 0)
        port = await broker.start()
        fire = RecordingFire()
        try:
            async with feed(port, fire) as made:
                await publish(port, "t/a", 20, 0)
                await fire.count(20)
                await made.add(OTHER, "mqtt/message", {"topic": "t/a", "qos": 1, "format": "base64"})
                await made.remove(TRIGGER)
                await publish(port, "t/a", 20, 0)
                await fire.wait_for(lambda seen: sum(one.trigger == OTHER for one in seen.events) >= 20)
                assert sum(one.trigger == TRIGGER for one in fire.events) == 20
        finally:
            await broker.stop()

    asyncio.run(play())


def test_garbage_is_counted_and_does_not_come_round(tmp_path: Path) -> None:
    async def play() -> None:
        broker = EmbeddedBroker("127.0.0.1", 0)
        port = await broker.start()
        fire = RecordingFire()
        try:
            async with feed(port, fire) as made:
                made._subscriptions[TRIGGER].format = "json"
                import gmqtt
                from gmqtt.mqtt.constants import MQTTv311

                client = gmqtt.Client("noise")
                await client.connect("127.0.0.1", port, version=MQTTv311)
                for data in (b"\xff\xfe", b"{", b'{"ok":1}'):
                    client.publish("t/x", data, qos=1)
                await fire.count(1)
                await client.disconnect()
                told = made.describe(TRIGGER)
                assert (told["garbage"], told["delivered"], told["state"]) == (2, 1, "running")
        finally:
            await broker.stop()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "topic must be"),
        ({"topic": "a/#/b"}, "'#' must be alone"),
        ({"topic": "a", "qos": 2}, "qos must be 0 or 1, not 2"),
        ({"topic": "a", "qos": True}, "qos must be"),
        ({"topic": "a", "format": "xml"}, "format must be one of json, text, base64"),
        ({"topic": "a", "topik": 1}, "unknown parameter 'topik'"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, Any], text: str) -> None:
    async def play() -> None:
        made = MqttFeed(MqttLink("127.0.0.1", 1, "x"), RecordingFire(), SystemClock(), [])
        with pytest.raises(FeedError, match=text):
            made.check("mqtt/message", parameters)

    asyncio.run(play())


def test_an_absent_broker_is_told_and_waited_for() -> None:
    async def play() -> None:
        made = MqttFeed(MqttLink("127.0.0.1", 1, "x"), RecordingFire(), SystemClock(), [])
        await made.add(TRIGGER, "mqtt/message", {"topic": "a", "qos": 1, "format": "json"})
        task = asyncio.create_task(made.run())
        async with asyncio.timeout(20):
            while made.state != "waiting":  # noqa: ASYNC110 - a real socket
                await asyncio.sleep(0.01)
        assert "refused" in made.describe(TRIGGER)["last_error"].lower() or made.last_error
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(play())
