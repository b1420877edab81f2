"""Publishing results as they are, many at once: the same comes of it as of reading each."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.actuator.outbox import Outbox
from edgewhisk.actuator.request import Command
from edgewhisk.actuator.target import Failed, Found, read
from edgewhisk.actuator.targets.mqtt import MqttTarget
from edgewhisk.clock.history import ClockHistory
from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import GrantsConfig
from edgewhisk.controller import system
from edgewhisk.entity.action import Action
from edgewhisk.entity.invocation.arguments import ResolvedAction, bind, merge_json
from edgewhisk.entity.invocation.message import BatchResult, Status, UniformResult, outcomes_of
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import BadRequest, CapabilityError, StorageError, Undelivered
from edgewhisk.feed.mqtt.feed import MqttFeed
from edgewhisk.gateway.wiring.actuators import actuators
from edgewhisk.store.dead_letters import DeadLetters
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.transport.mqtt.brokers import MqttBrokers
from edgewhisk.transport.mqtt.connection import MqttConnection, MqttLink
from tests.fakes.disk import MemoryDisk
from tests.fakes.fire import RecordingFire
from tests.feed.running import running
from tests.path.gateway import MOSQUITTO, free_port, mosquitto
from tests.stages import Stages, stages

needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto"
)
TRIGGER = parse_name("/guest/t", "_")


class Published:
    """`/whisk.system/mqtt/publish` of a gateway, and what a subscriber of `out/#` gets."""

    def __init__(self, made: Stages, feed: MqttFeed, outbox: Outbox, heard: RecordingFire) -> None:
        self.outbox, self.heard, self.feed = outbox, heard, feed
        self._stages = made
        publish = next(one for one in made.controller.system.values() if one.package == "mqtt")
        offered = system.entities([publish], Limits())
        self._action = next(one for one in offered if isinstance(one, Action))

    def bound(self, parameters: Mapping[str, Any]) -> ResolvedAction:
        return bind(self._action, (), None)._replace(text=orjson.dumps(parameters))

    def read(self, parameters: Mapping[str, Any], payloads: Sequence[bytes]) -> asyncio.Future[BatchResult]:
        """With a look at each."""
        alone = self._stages.controller._one_by_one(self.bound(parameters), "guest", payloads)
        return asyncio.ensure_future(alone)

    def alike(
        self, parameters: Mapping[str, Any], payloads: Sequence[bytes]
    ) -> asyncio.Future[BatchResult] | None:
        """As they are."""
        return self._stages.controller._alike(self.bound(parameters), "guest", payloads)

    def publish(
        self, parameters: Mapping[str, Any], payloads: Sequence[bytes]
    ) -> asyncio.Future[BatchResult]:
        """In the way that is right for them."""
        return self._stages.controller.native(self.bound(parameters), "guest", payloads)

    async def connects(self, count: int = 1) -> None:
        session = self.feed.sessions[""]
        async with asyncio.timeout(20):
            while session.broker.state != "running" or session.broker.connects < count:  # noqa: ASYNC110 - a broker
                await asyncio.sleep(0.01)


@asynccontextmanager
async def published(
    folder: Path, port: int, *, version: int = 4, grants: Mapping[str, GrantsConfig] | None = None
) -> AsyncIterator[Published]:
    heard = RecordingFire()
    async with stages(folder) as made:
        shelf, dead = (
            LogDocumentStore.open(folder / "outbox"),
            DeadLetters(LogDocumentStore.open(folder / "dead"), made.clock),
        )
        links = {"": MqttLink("127.0.0.1", port, "edge-under-test", version=version)}
        brokers = MqttBrokers(links, made.clock)
        feed = MqttFeed(brokers, heard, made.clock, dead, [], lambda _subject, _topic: True)
        asked = {"topic": "out/#", "format": "text"}
        await feed.add(TRIGGER, "mqtt/message", feed.check("mqtt/message", asked))
        outbox = Outbox(shelf, made.clock, [MqttTarget(brokers)], ClockHistory({}).moment)
        made.controller.system.update((one.fqn, one) for one in actuators(outbox, grants or {}))
        feed.sessions[""].broker.connected = lambda: outbox.wake("mqtt:")
        draining = asyncio.create_task(outbox.run())
        async with running(feed, brokers, shelf):
            yield Published(made, feed, outbox, heard)
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)


def with_mosquitto(folder: Path, play: Callable[[int], Awaitable[None]], settings: str = "") -> None:
    with mosquitto(folder, settings or "allow_anonymous true") as port:
        asyncio.run(play(port))  # type: ignore[arg-type]


def plain(ran: BatchResult) -> list[tuple[Status, Any]]:
    """Without times."""
    return [(one.status, json.loads(one.result)) for one in outcomes_of(ran)]


def heard(fire: RecordingFire) -> list[tuple[str, str]]:
    """Topic and payload of what a subscriber got."""
    return [(one["topic"], one["payload"]) for one in map(orjson.loads, fire.payloads)]


KEYS = st.sampled_from(
    ["seq", "f", "topic", "qos", "expiry", "payload", "payload64", "tópic", "opt\\ion", "°C"]
)
VALUES = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["a", "topic", '"qos"', "\n", "é"])
RESULT = st.dictionaries(KEYS, VALUES, max_size=3)
DUMPS: Sequence[Callable[[Any], bytes]] = (
    orjson.dumps,
    lambda value: json.dumps(value).encode(),  # with white space and escapes, as a module may print it
    lambda value: orjson.dumps(value).replace(b'"topic"', b'"\\u0074opic"'),
)
BOUND = st.fixed_dictionaries(
    {},
    optional={
        "topic": st.sampled_from(["out/a", "out/#", "", 5, ["x"]]),
        "qos": st.sampled_from([0, 1, 2, True]),
        "retain": st.sampled_from([True, "no"]),
        "expiry": st.sampled_from([0, 60]),
        "expires": st.sampled_from([0, 5]),
        "site": st.just("north"),
        "payload": st.just("fixed"),
    },
)


@given(
    BOUND,
    st.lists(RESULT | st.lists(st.integers(-9, 9), max_size=2), max_size=4),
    st.sampled_from(DUMPS),
)
def test_what_need_not_be_read_is_what_would_have_been_read(
    bound: dict[str, Any], results: list[Any], dumps: Callable[[Any], bytes]
) -> None:
    text, payloads = orjson.dumps(bound), [dumps(result) for result in results]
    like = MqttTarget.alike(text, payloads)
    if like is None:
        return
    for payload in payloads:
        command = read(MqttTarget, orjson.loads(merge_json(text, payload)))
        assert orjson.loads(command.data) == orjson.loads(payload)
        assert command._replace(data=b"") == like


def test_usual_results_need_not_be_read() -> None:
    results = [b'{"seq":%d,"f":71.5,"where":"topics"}' % seq for seq in range(20)]
    found = MqttTarget.alike(b'{"topic":"out/a","qos":0}', results)
    assert found is not None
    assert (found.name, found.body["qos"]) == ("out/a", 0)


@pytest.mark.parametrize(
    ("bound", "result"),
    [
        (b'{"topic":"a"}', b"[1]"),
        (b'{"topic":"a"}', b'{"n":"' + b"x" * (1 << 20) + b'"}'),
        (b'{"topic":"a"}', b'{"topic":"b"}'),
        (b'{"topic":"a","payload":1}', b"{}"),
        (b'{"topic":"+"}', b"{}"),
        (b'{"topic":{}}', b"{}"),
        (b"{}", b"{}"),
    ],
)
def test_what_has_to_be_read(bound: bytes, result: bytes) -> None:
    assert MqttTarget.alike(bound, [b"{}", result]) is None
    try:
        read(MqttTarget, orjson.loads(merge_json(bound, result)))
    except (BadRequest, AttributeError):
        return


@needs_mosquitto
@pytest.mark.parametrize("version", [4, 5])
def test_the_same_arrives_in_order_and_the_same_is_told(tmp_path: Path, version: int) -> None:
    results = [b'{"seq":%d}' % seq for seq in range(30)]

    async def play(port: int) -> None:
        async with published(tmp_path / "e", port, version=version) as made:
            await made.connects()
            expected: list[tuple[str, str]] = []
            for qos in (0, 1):
                told = await made.read({"topic": f"out/read{qos}", "qos": qos}, results)
                found = made.alike({"topic": f"out/alike{qos}", "qos": qos}, results)
                assert found is not None
                assert found.done() == (qos == 0)
                uniform = await asyncio.wait_for(found, 10)
                assert isinstance(uniform, UniformResult)
                assert (uniform.start <= uniform.end, set(uniform.results)) == (True, {b'{"delivered":true}'})
                assert plain(uniform) == plain(told)
                for way in ("read", "alike"):
                    expected += [(f"out/{way}{qos}", result.decode()) for result in results]
            await made.heard.count(len(expected))
            assert heard(made.heard) == expected
            assert made.outbox.counts["delivered"] == len(expected)

    with_mosquitto(tmp_path, play)


@needs_mosquitto
def test_an_array_among_objects_is_refused_alone(tmp_path: Path) -> None:
    async def play(port: int) -> None:
        async with published(tmp_path / "e", port) as made:
            await made.connects()
            told = plain(await made.publish({"topic": "out/a"}, [b'{"n":1}', b"[2]", b'{"n":3}']))
            refusal = {"error": "the action takes an object, not an array"}
            delivered = (Status.SUCCESS, {"delivered": True})
            assert told == [delivered, (Status.APPLICATION_ERROR, refusal), delivered]
            await made.heard.count(2)
            assert heard(made.heard) == [("out/a", '{"n":1}'), ("out/a", '{"n":3}')]

    with_mosquitto(tmp_path, play)


@needs_mosquitto
def test_batches_of_all_kinds_keep_their_order_behind_a_full_window(tmp_path: Path) -> None:
    async def play(port: int) -> None:
        async with published(tmp_path / "e", port) as made:
            await made.connects()
            connection = made.feed.sessions[""].broker._connection
            assert isinstance(connection, MqttConnection)
            connection._outgoing.window = 7
            told: list[Awaitable[Any]] = []
            for batch in range(12):
                results = [b'{"n":%d}' % (10 * batch + at) for at in range(10)]
                parameters = {"topic": "out/a", "qos": min(batch % 3, 1)}
                told.append(
                    made.publish(parameters, results) if batch % 4 else made.read(parameters, results)
                )
                await asyncio.sleep(0)
            async with asyncio.timeout(20):
                outcomes = [plain(await one) for one in told]
            assert outcomes == [[(Status.SUCCESS, {"delivered": True})] * 10] * 12
            await made.heard.count(120)
            assert heard(made.heard) == [("out/a", f'{{"n":{n}}}') for n in range(120)]

    with_mosquitto(tmp_path, play)


@needs_mosquitto
def test_while_the_broker_is_away_each_is_kept_and_comes_later_in_order(tmp_path: Path) -> None:
    port = free_port()
    parameters = {"topic": "out/a", "qos": 1}

    async def play() -> None:
        async with published(tmp_path / "e", port) as made:
            assert made.alike(parameters, [b'{"n":0}']) is None
            told = plain(await made.read(parameters, [b'{"n":0}', b'{"n":1}']))
            assert [one["delivered"] for _, one in told] == [False, False]
            with mosquitto(tmp_path, port=port):
                made.feed.brokers.retry_now()
                await made.connects()
                if len(made.outbox):  # behind them nothing is sent as it is
                    assert made.alike(parameters, [b'{"n":2}']) is None
                await made.read(parameters, [b'{"n":2}'])
                await made.heard.count(3)
                async with asyncio.timeout(10):
                    while made.outbox.describe()["waiting"]:  # noqa: ASYNC110 - a task of the outbox's own
                        await asyncio.sleep(0.01)
                found = made.alike(parameters, [b'{"n":3}'])
                assert found is not None
                await found
                await made.heard.count(4)
                assert heard(made.heard) == [("out/a", f'{{"n":{n}}}') for n in range(4)]

    asyncio.run(play())


@needs_mosquitto
@pytest.mark.parametrize("end", ["lost", "silent"])
@pytest.mark.parametrize("way", ["read", "alike"])
def test_what_was_under_way_when_the_broker_went_silent_is_kept(
    tmp_path: Path, end: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if end == "silent":
        monkeypatch.setattr("edgewhisk.transport.mqtt.outbound.ACK_TIMEOUT", 0.1)
    results = [b'{"n":%d}' % n for n in range(5)]
    parameters = {"topic": "out/a", "qos": 1}

    async def play(port: int) -> None:
        async with published(tmp_path / "e", port) as made:
            await made.connects()
            connection = made.feed.sessions[""].broker._connection
            assert isinstance(connection, MqttConnection)
            connection.pause()  # its answers are not read
            told = (made.read if way == "read" else made.alike)(parameters, results)
            assert told is not None
            async with asyncio.timeout(10):
                while not connection._outgoing._flying:  # noqa: ASYNC110 - a task of its own
                    await asyncio.sleep(0)
            if end == "lost":
                connection.give_up(ConnectionResetError("by the test"))
            outcomes = plain(await asyncio.wait_for(told, 10))
            reason = "lost" if end == "lost" else "no answer within 0.1 s"
            assert [status for status, _ in outcomes] == [Status.SUCCESS] * 5
            assert all(not one["delivered"] and reason in one["reason"] for _, one in outcomes)
            assert made.outbox.counts["queued"] == 5
            connection.resume()
            async with asyncio.timeout(20):
                while made.outbox.describe()["waiting"]:
                    made.outbox.retry_now()
                    await asyncio.sleep(0.01)
            await made.heard.wait_for(lambda seen: len(set(seen.payloads)) == 5)

    with_mosquitto(tmp_path, play)


@needs_mosquitto
@pytest.mark.parametrize("way", ["read", "alike"])
def test_what_the_broker_refuses_is_told(tmp_path: Path, way: str) -> None:
    rights = tmp_path / "rights"
    rights.write_text("topic read #\ntopic write out/good\n")

    async def play(port: int) -> None:
        async with published(tmp_path / "e", port, version=5) as made:
            await made.connects()
            for topic in ("out/good", "out/bad"):
                parameters, results = {"topic": topic, "expires": 0}, [b'{"n":1}', b'{"n":2}']
                told = (made.read if way == "read" else made.alike)(parameters, results)
                assert told is not None
                outcomes = plain(await told)
                if topic == "out/good":
                    assert outcomes == [(Status.SUCCESS, {"delivered": True})] * 2
                else:
                    refusal = {"error": "the broker refused it: not authorized: see its ACL (code 0x87)"}
                    assert outcomes == [(Status.APPLICATION_ERROR, refusal)] * 2
            assert (made.outbox.counts["delivered"], made.outbox.counts["refused"]) == (2, 2)

    with_mosquitto(tmp_path, play, f"allow_anonymous true\nacl_file {rights}")


@needs_mosquitto
def test_what_is_not_granted_is_left_to_who_tells_it(tmp_path: Path) -> None:
    async def play(port: int) -> None:
        grants = {"guest": GrantsConfig(mqtt=("out/mine",))}
        async with published(tmp_path / "e", port, grants=grants) as made:
            await made.connects()
            assert made.alike({"topic": "out/yours"}, [b"{}"]) is None
            assert made.alike({"topic": "out/mine"}, [b"{}"]) is not None

    with_mosquitto(tmp_path, play)


def test_a_disk_that_refuses_what_is_to_be_kept_is_told(tmp_path: Path) -> None:
    disk = MemoryDisk()

    class Away(MqttTarget):
        def check(self, _command: Command) -> None:
            return

        async def deliver(self, _commands: Sequence[Command]) -> list[Found]:
            return [Undelivered("away")]

        def deliver_alike(
            self, _like: Command, payloads: Sequence[bytes], told: Callable[[Failed], None]
        ) -> bool:
            told({1: Undelivered("away"), 2: CapabilityError("never")})
            return len(payloads) == 3

    async def play() -> None:
        clock = SystemClock()
        shelf = LogDocumentStore.open(tmp_path, disk)
        outbox = Outbox(shelf, clock, [Away(None)], ClockHistory({}).moment)  # type: ignore[arg-type]
        like = MqttTarget.alike(b'{"topic":"out/a"}', [b"{}"])
        assert like is not None
        disk.refuse["write"] = errno.ENOSPC
        told: asyncio.Future[Mapping[int, Any]] = asyncio.get_running_loop().create_future()
        assert outbox.send_alike(like, [b"{}"] * 3, told.set_result)
        found = await asyncio.wait_for(told, 10)
        assert isinstance(found[1], StorageError)
        assert str(found[2]) == "never"
        counts = outbox.counts  # the one that the disk refused is not kept behind its sender's back
        assert (counts["delivered"], counts["refused"], counts["queued"]) == (1, 2, 0)
        disk.refuse.clear()

    asyncio.run(play())
