"""Brokers that limit, refuse, close and keep sessions of others: told by name, no loops, the others go on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gmqtt
import orjson
import pytest
from gmqtt.mqtt.constants import MQTTv311
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.loader import load
from edgewhisk.errors import ConfigError, FeedError
from edgewhisk.feed.mqtt.feed import MqttFeed
from edgewhisk.store.dead_letters import DeadLetters
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.transport.mqtt.brokers import MqttBrokers
from edgewhisk.transport.mqtt.codec import Message, Publication
from edgewhisk.transport.mqtt.config import mqtt_links, own_id
from edgewhisk.transport.mqtt.connection import MqttLink
from edgewhisk.transport.mqtt.disconnects import BLAMED, STEADY, Disconnects
from edgewhisk.transport.mqtt.limits import BrokerLimits, Refused, reason, refusal
from tests.fakes.fire import RecordingFire
from tests.feed.mqtt.scripted import PUBLISH, SUBSCRIBE, UNSUBSCRIBE, Answer, Scripted, Talk, text
from tests.feed.mqtt.test_feed import OTHER, TRIGGER, needs_mosquitto, with_mosquitto
from tests.feed.running import running
from tests.path.gateway import mosquitto
from tests.path.publisher import publish


@contextlib.asynccontextmanager
async def gateway(
    tmp_path: Path, fire: RecordingFire, links: dict[str, MqttLink], **topics: str
) -> AsyncIterator[MqttFeed]:
    """A feed with a trigger for each topic, on the broker of the name."""
    shelf = LogDocumentStore.open(tmp_path / "shelf")
    made = MqttFeed(
        MqttBrokers(links, SystemClock()),
        fire,
        SystemClock(),
        DeadLetters(shelf, SystemClock()),
        [],
        lambda *_: True,
    )
    for trigger, (broker, topic) in zip((TRIGGER, OTHER), topics.items(), strict=False):
        wish = {"topic": topic, **({} if broker in ("main", "also") else {"broker": broker})}
        await made.add(trigger, "mqtt/message", made.check("mqtt/message", wish))
    async with running(made, made.brokers, shelf):
        yield made


async def true(condition: Callable[[], Any], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - real sockets
            await asyncio.sleep(0.01)


Test = Callable[[MqttFeed, Scripted, RecordingFire], Awaitable[None]]


def play(
    tmp_path: Path,
    answer: Answer,
    test: Test,
    connack: bytes = b"",
    version: int = 5,
    topic: str = "t/a",
    other: str = "",
    **link: Any,
) -> None:
    """Run a feed from a scripted broker."""

    async def playing() -> None:
        broker, fire = Scripted(answer, connack), RecordingFire()
        async with broker.serving() as port:
            links = {"": MqttLink("127.0.0.1", port, "me", version=version, **link)}
            topics = {"main": topic, **({"also": other} if other else {})}
            async with gateway(tmp_path, fire, links, **topics) as made:
                await test(made, broker, fire)

    asyncio.run(playing())


def nothing(_talk: Talk, _first: int, _body: bytes) -> bool:
    return False


@pytest.mark.parametrize(
    ("version", "connack", "own", "ahead"),
    [(5, b"\x21\x00\x08", 200, 8), (5, b"\x21\x03\xe8", 200, 200), (5, b"", 30, 30), (4, b"", 200, 20)],
)
def test_what_a_broker_sends_ahead_is_the_least_that_either_side_said(
    tmp_path: Path, version: int, connack: bytes, own: int, ahead: int
) -> None:
    async def test(made: MqttFeed, _broker: Scripted, _fire: RecordingFire) -> None:
        await true(lambda: made.brokers.sessions[""].state == "running")
        assert made.brokers.ahead == ahead

    play(tmp_path, nothing, test, connack, version, receive_maximum=own)


# -- sessions and their client ids -----------------------------------------------------------------


def config(tmp_path: Path, sections: str) -> Any:
    file = tmp_path / "edgewhisk.toml"
    file.write_text(f'state_dir = "{tmp_path}/state"\n{sections}')
    (tmp_path / "state").mkdir(exist_ok=True)
    return load(file, {})


@needs_mosquitto
def test_two_sections_of_one_broker_do_not_throw_each_other_out(tmp_path: Path) -> None:
    async def playing(port: int) -> None:
        sections = (
            f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n[brokers.other]\nurl = "mqtt://localhost:{port}"\n'
        )
        links, _ = mqtt_links(config(tmp_path, sections))
        assert links[""].client_id == (tmp_path / "state" / "client_id").read_text()  # as it always was
        fire = RecordingFire()
        async with gateway(tmp_path, fire, links, main="b/1", other="b/2") as made:
            sessions = made.sessions.values()
            await true(lambda: all(one.broker.state == "running" for one in sessions))
            for topic in ("b/1", "b/2"):
                await publish(port, topic, 30, 0)
            await fire.count(60)
            assert [one.broker.connects for one in sessions] == [1, 1]
            assert sum(one.counts["unrouted"] for one in sessions) == 0

    with_mosquitto(tmp_path, playing)


@given(st.text(st.sampled_from("abcxyz019-_"), min_size=1, max_size=64))
def test_client_ids_of_sections_are_their_own_and_short_enough(name: str) -> None:
    made = own_id("edgewhisk-01234567", name)
    assert made.startswith("edgewhisk-01234567-")
    assert len(made) <= 23
    assert made == own_id("edgewhisk-01234567", name)


@pytest.mark.parametrize("other", ["mqtt://127.0.0.1:1884", "mqtt://localhost:1884", "mqtt://[::1]:1884"])
def test_sections_with_one_client_id_at_one_broker_are_refused(tmp_path: Path, other: str) -> None:
    mine = '[mqtt]\nurl = "mqtt://127.0.0.1:1884"\nclient_id = "x"\n'
    with pytest.raises(ConfigError, match=r"brokers.b.client_id.*'x' is the client id of \[mqtt\], too"):
        config(tmp_path, f'{mine}[brokers.b]\nurl = "{other}"\nclient_id = "x"\n')
    config(tmp_path, f'{mine}[brokers.b]\nurl = "mqtt://10.0.0.7"\nclient_id = "x"\n')  # at another broker


def test_a_client_id_that_cannot_be_said_is_refused(tmp_path: Path) -> None:
    for odd in ("a\\u0000b", "x" * 70_000):
        with pytest.raises(ConfigError, match="client_id: must not hold NUL"):
            config(tmp_path, f'[mqtt]\nclient_id = "{odd}"\n')


def test_what_is_wanted_again_is_not_unsubscribed_when_the_connection_begins_anew(tmp_path: Path) -> None:
    async def test(made: MqttFeed, broker: Scripted, _fire: RecordingFire) -> None:
        await true(lambda: made.sessions[""].broker.state == "running")
        await made.remove(TRIGGER)
        await made.add(TRIGGER, "mqtt/message", made.check("mqtt/message", {"topic": "t/a"}))
        await true(lambda: any(first & 0xF0 == UNSUBSCRIBE for first, _ in broker.heard))
        broker.heard.clear()
        connection = made.sessions[""].broker._connection
        assert connection is not None
        connection.give_up(ConnectionResetError("by the test"))
        await true(lambda: any(first & 0xF0 == SUBSCRIBE for first, _ in broker.heard))
        assert not any(first & 0xF0 == UNSUBSCRIBE for first, _ in broker.heard)

    play(tmp_path, nothing, test)


def test_a_configured_client_id_that_is_the_gateways_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "client_id").write_text("edgewhisk-abc")
    sections = '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n[brokers.b]\nurl = "mqtt://127.0.0.1:1"\n'
    with pytest.raises(ConfigError, match="edgewhisk-abc"):
        mqtt_links(config(tmp_path, f'{sections}client_id = "edgewhisk-abc"\n'))


def test_a_session_that_another_client_takes_over_is_told_by_name_without_a_storm(tmp_path: Path) -> None:
    def answer(talk: Talk, first: int, _body: bytes) -> bool:
        if first & 0xF0 == SUBSCRIBE:
            talk.send(0xE0, b"\x8e\0")
            talk.close()
            return True
        return False

    async def test(made: MqttFeed, broker: Scripted, _fire: RecordingFire) -> None:
        await true(lambda: broker.connects >= 2)
        for _ in range(2):  # while it waits, and while it is connected again
            told = made.describe(TRIGGER)["last_error"]
            assert "another client took over the session: it has the client id me, too (code 0x8e)" in told
            await true(lambda: made.sessions[""].broker.state == "waiting")
        assert made.sessions[""].broker._backoff.pause(0.999) > 2  # they get longer

    play(tmp_path, answer, test)


def test_with_mqtt_3_1_1_the_client_id_is_suspected_when_it_happens_again(tmp_path: Path) -> None:
    def answer(talk: Talk, first: int, body: bytes) -> bool:
        if first & 0xF0 == SUBSCRIBE:
            talk.send(0x90, body[:2] + b"\1")
            talk.close()
            return True
        return False

    async def test(made: MqttFeed, _broker: Scripted, _fire: RecordingFire) -> None:
        await true(
            lambda: "does another client have the client id me, too?" in made.describe(TRIGGER)["last_error"]
        )

    play(tmp_path, answer, test, version=4)


def test_a_broker_that_closes_instead_of_answering_is_told_at_once(tmp_path: Path) -> None:
    def answer(talk: Talk, _first: int, _body: bytes) -> bool:
        talk.close()
        return True

    async def test(made: MqttFeed, _broker: Scripted, _fire: RecordingFire) -> None:
        await true(
            lambda: "closed the connection without an answer" in made.describe(TRIGGER)["last_error"], 8
        )

    play(tmp_path, answer, test)


async def leave(port: int, topic: str, qos: int) -> None:
    """Another program's session under the client id."""
    client = gmqtt.Client("edge", clean_session=False)
    await client.connect("127.0.0.1", port, version=MQTTv311)
    granted = asyncio.Event()
    client.on_subscribe = lambda *_: granted.set()
    client.subscribe(topic, qos=qos)
    await asyncio.wait_for(granted.wait(), 10)
    await client.disconnect()


async def put(port: int, topic: str, payload: bytes, qos: int) -> None:
    client = gmqtt.Client("putter")
    await client.connect("127.0.0.1", port, version=MQTTv311)
    client.publish(topic, payload, qos=qos)
    await asyncio.wait_for(client._persistent_storage.wait_empty(), 10)
    await client.disconnect()


@needs_mosquitto
@pytest.mark.parametrize("qos", [1, 2])
def test_what_a_session_of_an_earlier_program_brings_is_a_dead_letter_and_the_feeds_go_on(
    tmp_path: Path, qos: int
) -> None:
    async def playing(port: int) -> None:
        await leave(port, "old/#", qos)
        fire = RecordingFire()
        async with gateway(tmp_path, fire, {"": MqttLink("127.0.0.1", port, "edge")}, main="t/a") as made:
            session = made.sessions[""]
            await true(lambda: session.broker.state == "running")
            for number in range(30):  # more than mosquitto has under way at once
                await put(port, "old/x", b'{"old":%d}' % number, qos)
            await publish(port, "t/a", 5, 0)
            await fire.count(5)
            await true(lambda: len(made.dead.list()) == 30)
            assert (session.broker.connects, session.counts["unrouted"]) == (1, 30)
            letter = made.dead.list()[0]
            assert (letter["trigger"], letter["topic"]) == ("", "old/x")
            assert "no trigger is fed from it" in letter["reason"]
            found = made.dead.find(letter["id"])
            assert found is not None
            with pytest.raises(FeedError, match="no trigger is fed from old/x"):
                await made.retry(found)
            await made.add(OTHER, "mqtt/message", made.check("mqtt/message", {"topic": "old/+"}))
            await made.retry(found)
            assert orjson.loads(fire.payloads[-1]) == {"topic": "old/x", "old": 0}

    with_mosquitto(tmp_path, playing)


@needs_mosquitto
def test_a_trigger_that_went_while_the_broker_was_away_is_unsubscribed(tmp_path: Path) -> None:
    async def playing(port: int) -> None:
        fire = RecordingFire()
        async with gateway(
            tmp_path, fire, {"": MqttLink("127.0.0.1", port, "edge")}, main="t/a", also="t/b"
        ) as made:
            session = made.sessions[""]
            await true(lambda: session.broker.state == "running")
            await publish(port, "t/b", 1, 0)
            await fire.count(1)
            assert session.broker._connection is not None
            session.broker._connection.give_up(ConnectionResetError("by the test"))
            await true(lambda: session.broker._connection is None)
            await made.remove(OTHER)
            await true(lambda: session.broker.connects == 2)
            await publish(port, "t/b", 1, 0)
            await publish(port, "t/a", 1, 0)
            await fire.count(2)
            assert (session.counts["unrouted"], made.dead.list()) == (0, [])

    with_mosquitto(tmp_path, playing)


@needs_mosquitto
def test_what_is_announced_with_wildcards_is_served_until_it_is_taken_away(tmp_path: Path) -> None:
    async def playing(port: int) -> None:
        fire = RecordingFire()
        async with gateway(tmp_path, fire, {"": MqttLink("127.0.0.1", port, "edge")}, main="unused") as made:
            session = made.sessions[""]
            wish = made.check("mqtt/message", {"profile": "homeassistant/discovery"})
            await made.add(OTHER, "mqtt/message", wish)
            await true(lambda: session.broker.state == "running")
            config = "homeassistant/sensor/lac/config"
            await put(
                port, config, b'{"stat_t": "+/rf/Lac/102", "val_tpl": "{{ value_json.t | is_defined }}"}', 1
            )
            await true(lambda: "+/rf/Lac/102" in made.describe(OTHER)["topic"])
            await put(port, "home/rf/Lac/102", b'{"t": 7.4}', 1)
            await fire.count(1)
            assert orjson.loads(fire.payloads[0])["lac"] == 7.4
            await put(port, "home/rf/Lac/102", b'{"model": "x"}', 1)
            await true(lambda: made.describe(OTHER)["without_event"] == 2)  # the announcement is one, too
            await put(port, config, b"", 1)
            await fire.count(2)
            assert orjson.loads(fire.payloads[1])["errors"] == {"lac": "its announcement was taken away"}
            assert "+/rf/Lac/102" not in made.describe(OTHER)["topic"]
            await put(port, "home/rf/Lac/102", b'{"t": 7.4}', 1)
            await publish(port, config.replace("lac", "end"), 1, 0)  # is no announcement: told
            await true(lambda: made.describe(OTHER)["without_event"] + made.describe(OTHER)["garbage"] == 3)
            assert (len(fire.payloads), session.counts["unrouted"]) == (2, 0)

    with_mosquitto(tmp_path, playing)


@needs_mosquitto
def test_status_tells_of_each_message_what_became_of_it_and_of_silence(tmp_path: Path) -> None:
    """A feed on a wrong topic, or whose messages are none, is not just running."""

    async def playing(port: int) -> None:
        await put(port, "tele/old/SENSOR", b"{}", 1)
        fire = RecordingFire()
        async with gateway(tmp_path, fire, {"": MqttLink("127.0.0.1", port, "edge")}, main="wrong") as made:
            wish = {"profile": "tasmota/energy", "topic": "tele/{id}/SENSOR"}
            await made.add(OTHER, "mqtt/message", made.check("mqtt/message", wish))
            await true(lambda: made.sessions[""].broker.state == "running")
            for data in (b'{"Switch1":"ON"}', b"{", b'{"ENERGY":{"Power":5}}'):
                await put(port, "tele/a/SENSOR", data, 1)
            await fire.count(1)
            wrong, found = made.describe(TRIGGER), made.describe(OTHER)
            assert (found["delivered"], found["without_event"], found["bad"]) == (1, 1, 1)
            assert found["last_event"] == fire.events[0].at
            assert (wrong["state"], wrong["delivered"], wrong["last_event"]) == ("running", 0, None)
            assert 0 < found["silent_seconds"] + 0.1 <= wrong["silent_seconds"] + 0.1
            await true(lambda: made.describe(TRIGGER)["silent_seconds"] > wrong["silent_seconds"])

    with_mosquitto(tmp_path, playing)


# -- what a broker does not do ---------------------------------------------------------------------


def subscribed(broker: Scripted) -> list[bytes]:
    """Filters that were asked for, in order (MQTT 5)."""
    return [body[5:-1] for first, body in broker.heard if first & 0xF0 == SUBSCRIBE]


@pytest.mark.parametrize(
    ("limit", "topic", "problem"),
    [
        (b"\x28\0", "t/#", "takes no filters with"),
        (b"\x28\0", "+/x", "takes no filters with"),
        (b"\x2a\0", "$share/g/t", "has no shared subscriptions"),
    ],
)
def test_a_filter_that_the_broker_says_it_does_not_take_is_not_asked_for(
    tmp_path: Path, limit: bytes, topic: str, problem: str
) -> None:
    async def test(made: MqttFeed, broker: Scripted, _fire: RecordingFire) -> None:
        await true(lambda: made.describe(TRIGGER).get("state") == "refused")
        assert problem in made.describe(TRIGGER)["last_error"]
        await true(lambda: subscribed(broker) == [b"t/plain"])
        assert (made.describe(OTHER)["state"], made.describe(OTHER)["last_error"]) == ("running", "")

    play(tmp_path, nothing, test, limit, topic=topic, other="t/plain")


@pytest.mark.parametrize(
    ("code", "words"), [(0x87, "not authorized"), (0x97, "quota"), (0x8F, "filter"), (0x80, "ACL")]
)
def test_why_a_filter_is_not_granted_is_told(tmp_path: Path, code: int, words: str) -> None:
    def answer(talk: Talk, first: int, body: bytes) -> bool:
        if first & 0xF0 == SUBSCRIBE and b"t/no" in body:
            talk.send(0x90, body[:2] + b"\0" + bytes((code,)))
            return True
        return False

    async def test(made: MqttFeed, broker: Scripted, _fire: RecordingFire) -> None:
        await true(lambda: made.describe(TRIGGER).get("state") == "refused")
        told = made.describe(TRIGGER)["last_error"]
        assert f"{code:#x}" in told
        assert words in told
        assert (made.describe(OTHER)["state"], broker.connects) == ("running", 1)

    play(tmp_path, answer, test, topic="t/no", other="t/plain")


def test_a_broker_that_grants_less_is_told_and_goes_on(tmp_path: Path) -> None:
    def answer(talk: Talk, first: int, body: bytes) -> bool:
        if first & 0xF0 == SUBSCRIBE:
            talk.send(0x90, body[:2] + b"\0\0")
            talk.send(0x30, text("t/a") + b"\0" + b'{"n":1}')
            return True
        return False

    async def test(made: MqttFeed, _broker: Scripted, fire: RecordingFire) -> None:
        await fire.count(1)
        told = made.describe(TRIGGER)
        assert (told["state"], told["delivered"]) == ("running", 1)
        assert "grants t/a at QoS 0 only" in told["last_error"]

    play(tmp_path, answer, test, b"\x24\0")


@pytest.mark.parametrize("version", [4, 5])
def test_a_filter_for_which_the_broker_closes_is_found_and_the_others_are_served(
    tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS IoT does so; else it would close for ever, and no feed of the session would get anything."""

    def answer(talk: Talk, first: int, body: bytes) -> bool:
        if first & 0xF0 == SUBSCRIBE and b"a/forbidden" in body:
            talk.close()
            return True
        if first & 0xF0 == SUBSCRIBE:
            talk.send(0x90, body[:2] + (b"\0" if version == 5 else b"") + b"\1")
            talk.send(0x30, text("t/fine") + (b"\0" if version == 5 else b"") + b'{"n":1}')
            return True
        return False

    async def test(made: MqttFeed, broker: Scripted, fire: RecordingFire) -> None:
        monkeypatch.setattr(made.sessions[""].broker, "_backoff", _Quick())
        await fire.count(1)
        assert broker.connects == BLAMED + 1
        told = made.describe(TRIGGER)
        assert told["state"] == "refused"
        assert "closes the connection when it is asked for a/forbidden" in told["last_error"]
        assert made.describe(OTHER)["state"] == "running"

    play(tmp_path, answer, test, version=version, topic="a/forbidden", other="t/fine")


class _Quick:
    def pause(self, _random: float) -> float:
        return 0.01

    def reset(self) -> None:
        pass


@pytest.mark.parametrize(
    ("limit", "message", "problem"),
    [
        (b"\x24\0", Message("a", b"x", 1), "takes QoS 0 at most, not 1"),
        (b"\x25\0", Message("a", b"x", 0, retain=True), "keeps no messages"),
        (b"\x27\0\0\0\x40", Message("a", b"x" * 80, 0), "takes packets of 64 bytes at most"),
    ],
)
def test_what_the_broker_does_not_take_is_not_published(
    tmp_path: Path, limit: bytes, message: Message, problem: str
) -> None:
    async def test(made: MqttFeed, broker: Scripted, _fire: RecordingFire) -> None:
        await true(lambda: made.sessions[""].broker.state == "running")
        failed = await made.brokers.publish("", [message, Message("a", b"small")])
        assert (list(failed), problem in str(failed[0])) == ([0], True)
        await true(lambda: any(first & 0xF0 == PUBLISH and b"small" in body for first, body in broker.heard))
        assert not any(first & 0xF0 == PUBLISH and message.payload in body for first, body in broker.heard)

    play(tmp_path, nothing, test, limit)


@pytest.mark.parametrize("limit", [b"\x24\0", b"\x25\0"])
def test_the_status_topic_says_no_more_than_the_broker_takes(tmp_path: Path, limit: bytes) -> None:
    async def test(_made: MqttFeed, broker: Scripted, _fire: RecordingFire) -> None:
        await true(lambda: any(b"online" in body and first & 0xF0 == PUBLISH for first, body in broker.heard))
        (first,) = (first for first, body in broker.heard if b"online" in body and first & 0xF0 == PUBLISH)
        assert first == (0x31 if limit[0] == 0x24 else 0x32)

    play(tmp_path, nothing, test, limit, status_topic="gateways/a")


@pytest.mark.parametrize("code", [0x9A, 0x9B])
def test_a_broker_that_takes_no_will_is_connected_without_and_told(tmp_path: Path, code: int) -> None:
    def answer(talk: Talk, first: int, body: bytes) -> bool:
        if first == 0x10 and body[7] & 0x04:  # a will
            talk.send(0x20, bytes((0, code, 0)))
            talk.close()
            return True
        return False

    async def test(made: MqttFeed, broker: Scripted, _fire: RecordingFire) -> None:
        await true(lambda: made.sessions[""].broker.state == "running")
        assert "takes no status_topic" in made.describe(TRIGGER)["last_error"]
        assert broker.connects == 2

    play(tmp_path, answer, test, status_topic="gateways/a")


@needs_mosquitto
@pytest.mark.parametrize("settings", ["max_qos 0", "retain_available false", "max_packet_size 200"])
def test_a_mosquitto_that_limits_is_served(tmp_path: Path, settings: str) -> None:
    async def playing(port: int) -> None:
        fire = RecordingFire()
        link = MqttLink("127.0.0.1", port, "edge", version=5, status_topic="gateways/edge")
        async with gateway(tmp_path, fire, {"": link}, main="t/a") as made:
            session = made.sessions[""]
            await true(lambda: session.broker.state == "running")
            messages = [
                Message("t/a", b'{"n":1}', qos, retain=keep) for qos in (0, 1) for keep in (False, True)
            ]
            failed = await made.brokers.publish("", [*messages, Message("t/a", b"[" + b" " * 300 + b"]")])
            await fire.count(5 - len(failed))
            assert failed
            assert session.broker.state == "running"
            assert session.broker.connects == 1

    with mosquitto(tmp_path, f"allow_anonymous true\n{settings}") as port:
        asyncio.run(playing(port))


@given(st.integers(0, 255))
def test_every_code_has_words(code: int) -> None:
    assert f"{code:#x}" in reason(code, "me")
    assert refusal(code, "me")
    assert "{" not in reason(code, "me") + refusal(code, "me")


@given(st.integers(0, 2), st.booleans(), st.integers(0, 100), st.binary(max_size=100))
def test_limits_are_kept(qos: int, kept: bool, packet: int, payload: bytes) -> None:
    for most in (0, 1, 2):
        for retains in (False, True):
            told = BrokerLimits(most, retains, packet).refuse(Publication("t", qos, kept))
            assert bool(told) == (qos > most or (kept and not retains))
    assert bool(BrokerLimits(packet=packet).too_large(Publication("t"), payload)) == (
        0 < packet < len(payload) + 17
    )


_ENDS = st.sampled_from(["", "a", "b", "steady"])


@given(st.lists(_ENDS, max_size=30))
def test_a_filter_is_avoided_only_after_it_was_blamed_in_a_row(ends: list[str]) -> None:
    strife, now, row = Disconnects(MqttLink("h", 1, "me")), 0.0, {"a": 0, "b": 0}
    for end in ends:
        strife.begin(now)
        unanswered = end if end in row else ""
        if unanswered and strife.avoid(unanswered):
            unanswered = ""  # it was not asked for
        now += STEADY + 1 if end == "steady" else 0.1
        strife.ended(unanswered)
        told = strife.closed(now)
        assert ("client id me" in told) <= (end != "steady" and not unanswered)
        assert (unanswered in told) or not unanswered
        if unanswered:
            row = {key: times if times >= BLAMED or key == unanswered else 0 for key, times in row.items()}
            row[unanswered] += 1
        else:
            row = dict.fromkeys(row, 0)
        assert {key: bool(strife.avoid(key)) for key in row} == {key: n >= BLAMED for key, n in row.items()}


def test_what_was_refused_is_forgiven_when_it_is_asked_for_anew() -> None:
    strife = Disconnects(MqttLink("h", 1, "me", status_topic="s"))
    for _ in range(BLAMED):
        strife.ended("a")
    assert strife.avoid("a")
    strife.forgive("a")
    assert not strife.avoid("a")
    strife.failed(Refused(0x9A, "no will"), "no will", 1.0)
    assert strife.link(MqttLink("h", 1, "me", status_topic="s")) == replace(MqttLink("h", 1, "me"))
