"""The MQTT feed on real brokers: when it acknowledges, what it does with redeliveries, how it holds back."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cbor2
import gmqtt
import orjson
import pytest
from gmqtt.mqtt.constants import MQTTv50

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import MqttConfig
from edgewhisk.device.sparkplug import message_type
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import CapabilityError, FeedError
from edgewhisk.feed.mqtt.feed import MqttFeed
from edgewhisk.feed.mqtt.session import ACK_BATCH, Session
from edgewhisk.feed.mqtt.sparkplug_rebirth import REBIRTH_INTERVAL, Rebirths
from edgewhisk.store.dead_letters import DeadLetters
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.transport.mqtt.brokers import MqttBrokers
from edgewhisk.transport.mqtt.codec import Delivery, Message
from edgewhisk.transport.mqtt.config import mqtt_link
from edgewhisk.transport.mqtt.connection import MqttConnection, MqttLink
from tests.broker.serving import serving
from tests.fakes.fire import RecordingFire
from tests.feed.running import running
from tests.path.gateway import MOSQUITTO, mosquitto
from tests.path.publisher import publish
from tests.transport.certificates import Authority

TRIGGER = parse_name("/guest/t", "_")
OTHER = parse_name("/guest/other", "_")
needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto"
)


@asynccontextmanager
async def feed(
    port: int,
    fire: RecordingFire,
    origins: Sequence[str] = (),
    *,
    subscribe: str = "t/+",
    may_read: Callable[[str, str], bool] = lambda _subject, _topic: True,
    **link: Any,
) -> AsyncIterator[Made]:
    with tempfile.TemporaryDirectory() as folder:
        shelf = LogDocumentStore.open(Path(folder))
        links = {"": MqttLink("127.0.0.1", port, link.pop("client_id", "edge-under-test"), **link)}
        dead = DeadLetters(shelf, SystemClock())
        made = MqttFeed(MqttBrokers(links, SystemClock()), fire, SystemClock(), dead, origins, may_read)
        if subscribe:
            kind = "text" if subscribe.startswith("gateways") else "json"
            checked = made.check("mqtt/message", {"topic": subscribe, "format": kind})
            await made.add(TRIGGER, "mqtt/message", checked)
        async with running(made, made.brokers, shelf):
            await state(made.sessions[""], "running")
            yield Made(made, made.sessions[""])


class Made(NamedTuple):
    """A running feed and its only session."""

    feed: MqttFeed
    session: Session

    @property
    def counts(self) -> dict[str, int]:
        return self.session.counts


def unconnected(**more: Any) -> MqttFeed:
    with tempfile.TemporaryDirectory() as folder:
        dead = DeadLetters(LogDocumentStore.open(Path(folder)), SystemClock())
    links = {"": MqttLink("127.0.0.1", 1, "x"), **more}
    return MqttFeed(
        MqttBrokers(links, SystemClock()),
        RecordingFire(),
        SystemClock(),
        dead,
        [],
        lambda _subject, _topic: True,
    )


async def state(made: Session, wanted: str, connects: int = 1) -> None:
    async with asyncio.timeout(20):
        while made.broker.state != wanted or made.broker.connects < connects:  # noqa: ASYNC110 - a real broker
            await asyncio.sleep(0.01)


async def counted(made: Made, name: str, least: int) -> None:
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
@pytest.mark.parametrize("disk", ["takes", "refuses"])
def test_what_comes_again_while_it_is_written_is_acknowledged_when_it_is_on_disk(
    tmp_path: Path, disk: str
) -> None:
    """Else it takes a place of the broker's window for ever: mosquitto has 20."""

    async def play(port: int) -> None:
        fire = RecordingFire()
        async with feed(port, fire) as made:
            fire.hold()
            await publish(port, "t/a", 20, 0)
            await fire.count(20)
            assert made.session.broker._connection is not None
            made.session.broker._connection.give_up(ConnectionResetError("by the test"))
            await state(made.session, "running", 2)
            await counted(made, "duplicates", 20)
            if disk == "takes":
                fire.commit()
            else:
                fire.fail()
                await fire.count(40)  # brought once more
            await publish(port, "t/b", 40, 0)  # they come only if the first are acknowledged
            await fire.wait_for(lambda seen: sum(b"t/b" in one for one in seen.payloads) == 40)
            once = 1 if disk == "takes" else 2
            assert sum(b"t/a" in one for one in fire.payloads) == 20 * once

    with_mosquitto(tmp_path, play)


@needs_mosquitto
def test_of_a_large_chunk_some_are_acknowledged_before_the_last_is_on_disk(tmp_path: Path) -> None:
    async def play(port: int) -> None:
        fire = RecordingFire()
        async with feed(port, fire) as made:
            connection = made.session.broker._connection
            assert connection is not None
            payloads = [b'{"n":%d}' % number for number in range(3 * ACK_BATCH + 1)]
            made.session.take(connection, [Delivery(b"t/a", payload) for payload in payloads])
            assert [len(call) for call in fire.calls] == [ACK_BATCH] * 3 + [1]
            assert [orjson.loads(one)["n"] for one in fire.payloads] == list(range(len(payloads)))

    with_mosquitto(tmp_path, play)


@needs_mosquitto
@pytest.mark.parametrize("version", [4, 5])
def test_a_filter_that_the_broker_does_not_grant_is_told(tmp_path: Path, version: int) -> None:
    plugin = next(Path("/usr/lib").glob("*/mosquitto_dynamic_security.so"), None)
    if plugin is None:
        pytest.skip("mosquitto's dynamic security plugin is not installed")
    acls = [{"acltype": "subscribePattern", "topic": "t/+", "allow": True}]
    rights = {
        "defaultACLAccess": {"publishClientSend": True, "publishClientReceive": True,
                             "subscribe": False, "unsubscribe": True},
        "clients": [], "anonymousGroup": "all",
        "groups": [{"groupname": "all", "roles": [{"rolename": "all"}], "clients": []}],
        "roles": [{"rolename": "all", "acls": acls}],
    }  # fmt: skip
    (tmp_path / "rights.json").write_bytes(orjson.dumps(rights))
    settings = f"allow_anonymous true\nplugin {plugin}\nplugin_opt_config_file {tmp_path}/rights.json"

    async def play(port: int) -> None:
        fire = RecordingFire()
        async with feed(port, fire, version=version) as made:
            wish = {"topic": "secret/#", "qos": 1, "format": "json"}
            await made.feed.add(OTHER, "mqtt/message", wish)
            async with asyncio.timeout(10):
                while made.feed.describe(OTHER)["state"] != "refused":  # noqa: ASYNC110 - a real broker
                    await asyncio.sleep(0.01)
            assert "does not grant secret/#" in made.feed.describe(OTHER)["last_error"]
            assert made.feed.describe(TRIGGER)["state"] == "running"
            await publish(port, "t/a", 1, 0)
            await fire.count(1)

    with mosquitto(tmp_path, settings) as port:
        asyncio.run(play(port))


@needs_mosquitto
def test_a_password_file_of_the_broker(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("edge:secret\n")
    passwords.chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
    settings = f"allow_anonymous false\npassword_file {passwords}"
    given = tmp_path / "password"
    given.write_text("secret\n")
    right = MqttConfig(username="edge", password_file=given)

    async def play(port: int) -> None:
        url = f"mqtt://127.0.0.1:{port}"
        link = mqtt_link("mqtt", replace(right, url=url), "edge-under-test").opened()
        assert "secret" not in repr(link)
        fire = RecordingFire()
        async with feed(port, fire, username=link.username, password=link.password) as made:
            await made.feed.brokers.publish("", [Message("t/self", b'{"let":"in"}', 1)])
            await fire.count(1)
        wrong: dict[str, Any] = {"username": "edge", "password": "no"}
        for version, login in ((4, {}), (5, {}), (4, wrong)):
            stranger = unconnected()
            stranger.sessions[""].broker.link = MqttLink("127.0.0.1", port, "x", version=version, **login)
            task = asyncio.create_task(stranger.brokers.run())
            async with asyncio.timeout(20):
                while stranger.sessions[""].broker.state != "waiting":  # noqa: ASYNC110 - a real socket
                    await asyncio.sleep(0.01)
            assert "see username and password_file" in stranger.sessions[""].broker.last_error
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for damage in (None, b"\xff\xfe"):
            given.unlink() if damage is None else given.write_bytes(damage)
            waiting = unconnected()
            session = waiting.sessions[""]
            session.broker.link = mqtt_link("brokers.barn", replace(right, url=url), "y")
            session.broker._backoff.first = session.broker._backoff.longest = 0.01
            task = asyncio.create_task(waiting.brokers.run())
            async with asyncio.timeout(20):
                while session.broker.state != "waiting":  # noqa: ASYNC110 - a real socket
                    await asyncio.sleep(0.01)
                assert f"[brokers.barn] password_file {given} cannot be read" in session.broker.last_error
                given.write_text("secret\n")  # put right: no restart
                while session.broker.state != "running":  # noqa: ASYNC110 - a real socket
                    await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    with mosquitto(tmp_path, settings) as port:
        asyncio.run(play(port))


@needs_mosquitto
def test_a_message_that_is_too_large_is_a_dead_letter_and_the_next_one_comes(tmp_path: Path) -> None:
    async def play(port: int) -> None:
        fire = RecordingFire()
        async with feed(port, fire) as made:
            large = gmqtt.Message("t/a", b'"' + b"x" * (1 << 20) + b'"', qos=1)
            await send(port, large, gmqtt.Message("t/a", b'{"n":1}', qos=1))
            await fire.count(1)
            assert told(fire) == [{"topic": "t/a", "n": 1}]
            (letter,) = made.feed.dead.list()
            assert "an event takes 1048576 at most" in letter["reason"]
            kept = made.feed.dead.find(letter["id"])
            assert kept is not None
            with pytest.raises(FeedError, match="only the first 65536 of 1048578 bytes were kept"):
                await made.feed.retry(kept)

    with_mosquitto(tmp_path, play)


@needs_mosquitto
def test_the_will_is_told_when_a_gateway_dies(tmp_path: Path) -> None:
    async def play(port: int) -> None:
        watching = RecordingFire()
        async with (
            feed(port, watching, subscribe="gateways/+", client_id="watcher"),
            feed(port, RecordingFire(), status_topic="gateways/two") as made,
        ):
            await watching.count(1)
            connection = made.session.broker._connection
            assert isinstance(connection, MqttConnection)
            connection._client._connection._transport.abort()  # no good-bye
            await watching.count(3)
            assert [found["payload"] for found in told(watching)] == ["online", "offline", "online"]

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
            await state(made.session, "running", 2)
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


def test_overlapping_filters_fire_each_trigger_once_on_the_embedded_broker(tmp_path: Path) -> None:
    async def play() -> None:
        fire = RecordingFire()
        async with serving(tmp_path) as (port, _), feed(port, fire) as made:
            await publish(port, "t/a", 20, 0)
            await fire.count(20)
            await made.feed.add(OTHER, "mqtt/message", {"topic": "t/a", "qos": 1, "format": "base64"})
            await made.feed.remove(TRIGGER)
            await publish(port, "t/a", 20, 0)
            await fire.wait_for(lambda seen: sum(one.trigger == OTHER for one in seen.events) >= 20)
            assert sum(one.trigger == TRIGGER for one in fire.events) == 20

    asyncio.run(play())


@needs_mosquitto
def test_announced_topics_are_read_only_where_they_are_granted(tmp_path: Path) -> None:
    def may_read(subject: str, topic: str) -> bool:
        return subject == "guest" and topic in ("home/a", "{level}/b")

    async def play(port: int) -> None:
        fire = RecordingFire()
        announced = {
            "a": {"stat_t": "home/a"},
            "b": {"stat_t": "secret/x"},
            "c": {"~": "#", "stat_t": "~"},  # would be all topics
            "d": {"stat_t": "$share/g/home/a"},
            "e": {"stat_t": "$share/g"},
            "f": {"stat_t": "{level}/b"},  # no filter with a named level: a topic
        }
        async with feed(port, fire, subscribe="", may_read=may_read) as made:
            wish = made.feed.check("mqtt/message", {"profile": "homeassistant/discovery"})
            await made.feed.add(TRIGGER, "mqtt/message", wish)
            states = [Message(topic, b"5", 1, True) for topic in ("secret/x", "home/a", "z/b")]
            configs = [
                Message(f"homeassistant/sensor/{name}/config", orjson.dumps(config), 1)
                for name, config in announced.items()
            ]
            assert await made.feed.brokers.publish("", [*states, *configs]) == {}
            await fire.count(1)
            await counted(made, "received", len(configs) + 1)
            told = made.feed.describe(TRIGGER)
            own = "homeassistant/+/+/config, homeassistant/+/+/+/config"
            assert told["topic"] == f"{own}, home/a, {{level}}/b"
            assert told["last_error"] == "1 announced topics are not granted, for example secret/x"
            assert told["state"] == "running"
            assert [orjson.loads(one.payload)["topic"] for one in fire.events] == ["home/a"]

    with_mosquitto(tmp_path, play)


def test_garbage_is_counted_and_does_not_come_round(tmp_path: Path) -> None:
    async def play() -> None:
        fire = RecordingFire()
        async with serving(tmp_path) as (port, _), feed(port, fire) as made:
            import gmqtt
            from gmqtt.mqtt.constants import MQTTv311

            client = gmqtt.Client("noise")
            await client.connect("127.0.0.1", port, version=MQTTv311)
            for data in (b"\xff\xfe", b"{", b'{"ok":1}'):
                client.publish("t/x", data, qos=1)
            await fire.count(1)
            await client.disconnect()
            told = made.feed.describe(TRIGGER)
            assert (told["garbage"], told["delivered"], told["state"]) == (2, 1, "running")
            letters = made.feed.dead.list()
            assert [letter["topic"] for letter in letters] == ["t/x", "t/x"]
            assert "not JSON" in letters[0]["reason"]

    asyncio.run(play())


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "topic must be"),
        ({"topic": "a/#/b"}, "'#' must be alone"),
        ({"topic": "a", "qos": 2}, "qos must be 0 or 1, not 2"),
        ({"topic": "a", "qos": True}, "qos must be"),
        ({"topic": "a", "format": "xml"}, "format must be one of json, text, base64"),
        ({"topic": "a", "topik": 1}, "topik is not a key; did you mean 'topic'?"),
        ({"topic": "a", "broker": "b"}, "broker 'b' is no"),
        ({"topic": "a", "retained": "no"}, "retained must be true or false"),
        ({"topic": "a", "properties": 1}, "properties must be true or false"),
        ({"topic": "$share/a"}, "a shared one is"),
        ({"topic": "$share/+/a"}, "a shared one is"),
        ({"profile": "no/thing"}, "there is no profile 'no/thing'"),
        ({"profile": "nova/sds011"}, "use the serial feed"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, Any], text: str) -> None:
    async def play() -> None:
        made = unconnected()
        with pytest.raises(FeedError, match=text):
            made.check("mqtt/message", parameters)

    asyncio.run(play())


def test_an_absent_broker_is_told_and_waited_for() -> None:
    async def play() -> None:
        made = unconnected()
        await made.add(TRIGGER, "mqtt/message", {"topic": "a", "qos": 1, "format": "json"})
        task = asyncio.create_task(made.brokers.run())
        async with asyncio.timeout(20):
            while made.sessions[""].broker.state != "waiting":  # noqa: ASYNC110 - a real socket
                await asyncio.sleep(0.01)
        assert (
            "refused" in made.describe(TRIGGER)["last_error"].lower() or made.sessions[""].broker.last_error
        )
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(play())


async def send(port: int, *messages: gmqtt.Message, version: int = MQTTv50) -> None:
    """Publish at QoS 1 and wait until the broker has all."""
    client = gmqtt.Client("sender")
    await client.connect("127.0.0.1", port, version=version)
    for message in messages:
        client.publish(message)
    await asyncio.wait_for(client._persistent_storage.wait_empty(), 10)
    await client.disconnect()


def told(fire: RecordingFire) -> list[dict[str, Any]]:
    return [orjson.loads(payload) for payload in fire.payloads]


@needs_mosquitto
def test_client_certificates_and_what_is_told_without_them(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("broker")
    mine, my_key = authority.issue("gateway")
    settings = (
        f"cafile {authority.file}\ncertfile {certificate}\nkeyfile {key}\n"
        "require_certificate true\nuse_identity_as_username true\nallow_anonymous false"
    )

    async def play(port: int) -> None:
        trusting = ssl.create_default_context(cafile=str(authority.file))
        trusting.load_cert_chain(mine, my_key)
        fire = RecordingFire()
        async with feed(port, fire, tls=trusting) as made:
            assert await made.feed.brokers.publish("", [Message("t/self", b'{"over":"tls"}', 1)]) == {}
            await fire.count(1)
            assert told(fire) == [{"topic": "t/self", "over": "tls"}]
        for wrong in (ssl.create_default_context(), ssl.create_default_context(cafile=str(authority.file))):
            stranger = unconnected()
            stranger.sessions[""].broker.link = MqttLink("127.0.0.1", port, "x", tls=wrong)
            task = asyncio.create_task(stranger.brokers.run())
            async with asyncio.timeout(20):
                while stranger.sessions[""].broker.state != "waiting":  # noqa: ASYNC110 - a real socket
                    await asyncio.sleep(0.01)
            assert stranger.sessions[""].broker.last_error
            assert stranger.sessions[""].broker.connects == 0
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    with mosquitto(tmp_path, settings) as port:
        asyncio.run(play(port))


@needs_mosquitto
def test_mqtt_5_properties_formats_named_levels_and_retained_messages(tmp_path: Path) -> None:
    async def play(port: int) -> None:
        await send(port, gmqtt.Message("t/old", b'{"kept":1}', qos=1, retain=True))
        fire = RecordingFire()
        async with feed(port, fire, subscribe="t/{line}", version=5, receive_maximum=10) as made:
            await fire.count(1)
            assert told(fire) == [{"topic": "t/old", "line": "old", "retained": True, "kept": 1}]
            wanted = {"topic": "u/{line}", "format": "cbor", "properties": True, "retained": False}
            await made.feed.add(OTHER, "mqtt/message", made.feed.check("mqtt/message", wanted))
            await send(port, gmqtt.Message("u/a", b'{"no":1}', qos=1, retain=True))
            message = gmqtt.Message(
                "u/b",
                cbor2.dumps({"c": 21.5, "raw": b"x"}),
                qos=1,
                content_type="application/cbor",
                message_expiry_interval=60,
                user_property=("site", "north"),
            )
            await send(port, message)
            await fire.wait_for(lambda seen: any(b'"c":21.5' in text for text in seen.payloads))
            found = next(one for one in told(fire) if one.get("c"))
            assert (found["line"], found["raw"]) == ("b", "eA==")
            assert found["mqtt"]["content_type"] == "application/cbor"
            assert 0 < found["mqtt"]["expiry"] <= 60
            assert found["mqtt"]["user"] == {"site": "north"}
            await publish(port, "t/many", 300, 0)  # thirty times the receive maximum
            await fire.wait_for(lambda seen: sum(b'"seq"' in text for text in seen.payloads) == 300)

    with_mosquitto(tmp_path, play)


@needs_mosquitto
def test_there_may_be_more_subscriptions_than_the_broker_takes_messages_at_once(tmp_path: Path) -> None:
    async def play(port: int) -> None:
        fire = RecordingFire()
        async with feed(port, fire, version=5) as made:
            for number in range(40):  # mosquitto takes 20
                wish = {"topic": f"m/{number}", "qos": 1, "format": "json"}
                await made.feed.add(parse_name(f"/guest/m{number}", "_"), "mqtt/message", wish)
            sent = [Message(f"m/{number}", b"{}", 1) for number in range(40)]
            assert await asyncio.wait_for(made.session.broker.publish(sent), 20) == {}
            await fire.count(40)
            assert made.session.broker.connects == 1

    with_mosquitto(tmp_path, play)


@needs_mosquitto
def test_gateways_share_a_subscription_and_a_broker_sees_them_come_and_go(tmp_path: Path) -> None:
    async def play(port: int) -> None:
        one, other, watching = RecordingFire(), RecordingFire(), RecordingFire()
        shared = "$share/plant/s/#"
        async with feed(port, watching, subscribe="gateways/+", client_id="watcher"):
            async with (
                feed(port, one, subscribe=shared, version=5, client_id="one"),
                feed(port, other, subscribe=shared, version=5, status_topic="gateways/two"),
            ):
                await publish(port, "s/x", 100, 0)
                async with asyncio.timeout(20):
                    while len(one.events) + len(other.events) < 100:  # noqa: ASYNC110 - a real broker
                        await asyncio.sleep(0.01)
                assert one.events
                assert other.events
                assert len(one.events) + len(other.events) == 100
            await watching.wait_for(lambda seen: len(seen.events) >= 2)
            assert [found["payload"] for found in told(watching)] == ["online", "offline"]

    with_mosquitto(tmp_path, play)


@needs_mosquitto
def test_a_profile_tells_topics_and_readings_and_a_dead_letter_is_retried(tmp_path: Path) -> None:
    async def play(port: int) -> None:
        fire = RecordingFire()
        async with feed(port, fire, subscribe="") as made:
            checked = made.feed.check("mqtt/message", {"profile": "tasmota/energy"})
            await made.feed.add(TRIGGER, "mqtt/message", checked)
            good = b'{"ENERGY":{"Power":5,"Total":1.5}}'
            await send(
                port,
                gmqtt.Message("tele/plug/SENSOR", b"{", qos=1),
                gmqtt.Message("tele/plug/SENSOR", good, qos=1),
            )
            await fire.count(1)
            event = told(fire)[0]
            assert (event["id"], event["device"], event["power"]) == ("plug", "tasmota/energy", 5)
            (letter,) = made.feed.dead.list()
            assert (letter["trigger"], letter["reason"]) == ("/guest/t", "not JSON")
            kept = made.feed.dead.find(letter["id"])
            assert kept is not None
            with pytest.raises(FeedError, match="not JSON"):
                await made.feed.retry(kept)
            await made.feed.add(
                TRIGGER,
                "mqtt/message",
                made.feed.check("mqtt/message", {"topic": "tele/#", "format": "text"}),
            )
            await made.feed.retry(kept)
            assert told(fire)[-1]["payload"] == "{"
            assert await made.feed.dead.drop([letter["id"]]) == 1
            assert not len(made.feed.dead)
            with pytest.raises(FeedError, match="nothing feeds"):
                await made.feed.retry(kept._replace(trigger="/guest/none"))

    with_mosquitto(tmp_path, play)


@needs_mosquitto
def test_a_sparkplug_node_whose_birth_was_missed_is_asked_to_be_born_again(tmp_path: Path) -> None:
    message = message_type()
    data, birth = message(), message()
    data.metrics.add(alias=1, datatype=9, float_value=21.5)
    birth.metrics.add(name="celsius", alias=1, datatype=9, float_value=20.5)

    async def play(port: int) -> None:
        fire, asked = RecordingFire(), asyncio.Event()
        node = gmqtt.Client("node")
        commands: list[Any] = []

        def commanded(_client: Any, topic: str, payload: bytes, *_: Any) -> int:
            found = message()
            found.ParseFromString(payload)
            commands.append((topic, [(one.name, one.boolean_value, one.datatype) for one in found.metrics]))
            asked.set()
            return 0

        node.on_message = commanded
        await node.connect("127.0.0.1", port, version=MQTTv50)
        node.subscribe("spBv1.0/plant/NCMD/press", qos=1)
        async with feed(port, fire, subscribe="") as made:
            checked = made.feed.check("mqtt/message", {"profile": "eclipse/sparkplug-b"})
            await made.feed.add(TRIGGER, "mqtt/message", checked)
            topic = "spBv1.0/plant/NDATA/press"
            await send(port, *(gmqtt.Message(topic, data.SerializeToString(), qos=1) for _ in range(3)))
            async with asyncio.timeout(10):
                await asked.wait()
            node.publish("spBv1.0/plant/NBIRTH/press", birth.SerializeToString(), qos=1)
            await fire.count(1)
            await send(port, gmqtt.Message(topic, data.SerializeToString(), qos=1))
            await fire.count(2)
            assert [one["celsius"] for one in told(fire)] == [20.5, 21.5]
            assert commands == [("spBv1.0/plant/NCMD/press", [("Node Control/Rebirth", True, 11)])]  # once
            assert "birth" in made.feed.dead.list()[0]["reason"]
        await node.disconnect()

    with_mosquitto(tmp_path, play)


def test_who_is_asked_to_be_born_again() -> None:
    rebirths = Rebirths()
    where = "spBv1.0/g/NCMD/n"
    assert rebirths.wanted("spBv1.0/g/DDATA/n/device", 0.0) == where
    assert rebirths.wanted("spBv1.0/g/NDATA/n", REBIRTH_INTERVAL - 1) == ""
    assert rebirths.wanted("spBv1.0/g/NDATA/n", REBIRTH_INTERVAL) == where
    for useless in ("spBv1.0/g/NBIRTH/x", "spBv1.0/g/NDATA", "spBv1.0", "", "spBv1.0/g/STATE/h"):
        assert rebirths.wanted(useless, 0.0) == ""
    for number in range(5000):
        rebirths.wanted(f"spBv1.0/g/NDATA/{number}", 0.0)
    assert len(rebirths._asked) <= 1024


@needs_mosquitto
def test_published_is_what_the_broker_has_and_nothing_is_while_it_is_away(tmp_path: Path) -> None:
    async def play(port: int) -> None:
        fire = RecordingFire()
        async with feed(port, fire, version=5) as made:
            sent = made.session.broker.publish([Message("t/p", b'{"n":%d}' % n, 1) for n in range(500)])
            assert await asyncio.wait_for(sent, 20) == {}
            await fire.count(500)
            assert [one["n"] for one in told(fire)] == list(range(500))
        with pytest.raises(ConnectionError, match="no connection"):
            made.session.broker.publish([Message("t/p", b"{}", 1)])
        with pytest.raises(CapabilityError, match=r"brokers\.other"):
            made.feed.brokers.publish("other", [Message("t/p", b"{}")])

    with_mosquitto(tmp_path, play)
