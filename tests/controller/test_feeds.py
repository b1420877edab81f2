"""Feeds over real sources: what a lifecycle event leaves behind when it fails, and over a pause."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import FileConfig, GrantsConfig, SerialConfig
from edgewhisk.controller.entities import Entities
from edgewhisk.controller.feeds import FULL, MOST_SHOWN, Feeds
from edgewhisk.controller.triggers import Triggers
from edgewhisk.entity.identity import AuthKey, Identity
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import FeedError, NotGranted, ServiceError
from edgewhisk.feed.alarms.feed import AlarmsFeed
from edgewhisk.feed.changes.couchdb import CouchFeed
from edgewhisk.feed.changes.file import FileFeed
from edgewhisk.feed.http import HttpFeed
from edgewhisk.feed.modbus.feed import ModbusFeed
from edgewhisk.feed.mqtt.feed import MqttFeed
from edgewhisk.feed.serial.feed import SerialFeed
from edgewhisk.feed.shaping.shaping_stage import ShapingStage
from edgewhisk.spi import Feed
from edgewhisk.store.dead_letters import DeadLetters
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.store.documents.entity_store import EntityStore
from edgewhisk.transport.modbus.buses import ModbusBuses
from edgewhisk.transport.mqtt.brokers import MqttBrokers
from edgewhisk.transport.mqtt.connection import MqttLink
from edgewhisk.transport.serial.ports import SerialPorts
from tests.fakes.fire import RecordingFire

GUEST = Identity("guest", "guest", AuthKey("0" * 8 + "-0000-0000-0000-" + "0" * 12, "k" * 64))
PLANT = Identity("plant", "plant", GUEST.auth)
ITS = parse_name("/plant/one", "_")
ONE, OTHER = (parse_name(f"/guest/{name}", "_") for name in ("one", "other"))


class Made:
    """Feeds on a directory, and the triggers `one` and `other`."""

    def __init__(self, folder: Path, grants: Mapping[str, GrantsConfig]) -> None:
        clock = SystemClock()
        self.artifacts, self.shelf = (
            EntityStore.open(folder / "entities"),
            LogDocumentStore.open(folder / "shelf"),
        )
        self.entities = Entities(self.artifacts)
        self.entities.load()
        self.fire = RecordingFire()
        shaped = ShapingStage(self.fire, clock, self.shelf)
        self.alarms = AlarmsFeed(shaped, clock, self.shelf)
        self.serial = SerialFeed(SerialPorts({"bus": SerialConfig("/dev/none")}, clock), shaped, clock)
        links, dead = {"": MqttLink("127.0.0.1", 1, "x")}, DeadLetters(self.shelf, clock)
        sources: list[Feed] = [
            self.alarms,
            self.serial,
            CouchFeed(shaped, clock, self.shelf),
            MqttFeed(MqttBrokers(links, clock), shaped, clock, dead, [], lambda _subject, _topic: False),
            ModbusFeed(ModbusBuses({}, clock), shaped, clock),
            FileFeed({"log": FileConfig(folder / "log.sqlite")}, shaped, clock, self.shelf),
            HttpFeed(shaped, clock),
        ]
        self.feeds = Feeds(self.entities, sources, shaped, grants)
        self.triggers = Triggers(self.entities, Limits(), clock, self.feeds.stop)

    async def ask(self, event: str, feed: str, trigger: str = "one", **given: Any) -> Mapping[str, Any]:
        return await self.ask_as(GUEST, event, feed, trigger, **given)

    async def ask_as(
        self, caller: Identity, event: str, feed: str, trigger: str = "one", **given: Any
    ) -> Mapping[str, Any]:
        asked = {"lifecycleEvent": event, "triggerName": trigger, **given}
        return await self.feeds.invoke(caller, feed, asked)


@asynccontextmanager
async def opened(folder: Path, grants: Mapping[str, GrantsConfig]) -> AsyncIterator[Made]:
    made = Made(folder, grants)
    for owner, name in ((GUEST, ONE), (GUEST, OTHER), (PLANT, ITS)):
        if made.entities.triggers.find(name) is None:
            await made.triggers.put(owner, name, {}, overwrite=False)
    try:
        yield made
    finally:
        await made.shelf.close()
        made.artifacts.close()


Life = Callable[[Made], Awaitable[None]]


def play(folder: Path, *lives: Life, **grants: GrantsConfig) -> None:
    """One life after the other, on what the one before left; `grants` by subject."""
    play_granted(folder, *((life, grants) for life in lives))


def play_granted(folder: Path, *lives: tuple[Life, Mapping[str, GrantsConfig]]) -> None:
    async def run() -> None:
        for life, grants in lives:
            async with opened(folder, grants) as made:
                await life(made)

    asyncio.run(run())


def test_what_cannot_be_served_is_not_stored(tmp_path: Path) -> None:
    async def scene(made: Made) -> None:
        await made.ask("CREATE", "serial/reading", port="bus", profile="nova/sds011")
        with pytest.raises(FeedError, match="is read as nova/sds011 already"):
            await made.ask("CREATE", "serial/reading", "other", port="bus", profile="arduino/dht")
        assert set(made.entities.feeds) == {"guest/one"}
        assert made.feeds.feeds["serial/reading"][0].describe(OTHER) == {}
        await made.ask("CREATE", "serial/reading", "other", port="bus", profile="nova/sds011")
        with pytest.raises(FeedError, match="already"):
            await made.ask("UPDATE", "serial/reading", "other", profile="arduino/dht")
        assert made.entities.feeds["guest/other"]["parameters"]["profile"] == "nova/sds011"
        assert made.serial.describe(OTHER)["profile"] == "nova/sds011"  # it goes on as it was

    play(tmp_path, scene)


def test_a_pause_keeps_how_far_a_feed_is_over_a_restart(tmp_path: Path) -> None:
    async def first(made: Made) -> None:
        await made.ask("CREATE", "alarms/once", date=int(time.time() * 1000) + 200)
        async with asyncio.timeout(30):
            while not made.fire.events:  # noqa: ASYNC110 - `look` tells for how long
                await asyncio.sleep(await made.alarms.look() or 0)
        told = await made.ask("PAUSE", "alarms/once")
        assert told["status"] == {"state": "paused"}

    async def second(made: Made) -> None:
        assert await made.feeds.restore() == []
        assert [one["state"] for one in (await made.feeds.survey())["feeds"]] == ["paused"]
        told = await made.ask("UNPAUSE", "alarms/once")
        assert told["status"]["state"] == "finished"
        await made.alarms.look()
        assert made.fire.events == []
        await made.ask("DELETE", "alarms/once")
        assert made.shelf.read("alarms") == {}

    play(tmp_path, first, second)


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    async def scene(made: Made) -> None:
        wish = {"url": "http://h", "db": "d", "username": "u", "password": "secret"}
        told = [
            await made.ask("CREATE", "changes/couchdb", **wish),
            await made.ask("READ", "changes/couchdb"),
            await made.ask("UPDATE", "changes/couchdb", db="e"),
            *(await made.feeds.survey())["feeds"],
        ]
        assert "secret" not in str(told)
        assert made.entities.feeds["guest/one"]["parameters"]["password"] == "secret"

    play(tmp_path, scene)


PROFILE = "homeassistant/discovery"
METER = "eastron/sdm120"


@pytest.mark.parametrize(
    ("feed", "given", "kind", "name", "within"),
    [
        ("mqtt/message", {"topic": "plant/#"}, "mqtt", "plant/#", "plant/#"),
        ("mqtt/message", {"topic": "$share/g/plant/{line}/t"}, "mqtt", "plant/+/t", "plant/#"),
        ("mqtt/message", {"topic": "plant/a", "profile": PROFILE}, "mqtt", "plant/a", "plant/+"),
        ("mqtt/message", {"profile": PROFILE}, "mqtt", "homeassistant/+/+/config", "homeassistant/#"),
        ("serial/reading", {"port": "bus", "profile": "nova/sds011"}, "serial", "bus", "bus"),
        ("serial/reading", {"port": "/dev/none", "profile": "nova/sds011"}, "serial", "/dev/none",
         "/dev/none"),
        ("modbus/reading", {"host": "10.0.0.5:1502", "profile": METER}, "modbus", "10.0.0.5:1502",
         "10.0.0.5:1502"),
        ("modbus/reading", {"port": "/dev/none", "profile": METER}, "modbus", "/dev/none", "/dev/none"),
        ("changes/file", {"file": "log", "table": "t"}, "files", "log", "log"),
        ("changes/couchdb", {"url": "http://DB.example.com:5984", "db": "d"}, "http", "db.example.com",
         "db.example.com"),
    ],
)  # fmt: skip
def test_a_subject_feeds_only_from_what_is_granted(
    tmp_path: Path, feed: str, given: Mapping[str, Any], kind: str, name: str, within: str
) -> None:
    def refused(made: Made, event: str = "CREATE") -> Awaitable[Mapping[str, Any]]:
        return made.ask_as(PLANT, event, feed, **given)

    async def without(made: Made) -> None:
        with pytest.raises(NotGranted) as caught:
            await refused(made)
        assert caught.value.message == f"{kind} {name} is not granted to plant"
        assert caught.value.hint == f'[grants.plant]  {kind} = ["{name}"]'
        assert made.entities.feeds == {}
        assert made.feeds.feeds[feed][0].describe(ITS) == {}
        await made.ask("CREATE", feed, **given)  # guest may everything
        await made.ask("DELETE", feed)

    async def granted(made: Made) -> None:
        told = await made.ask_as(PLANT, "CREATE", feed, **given)
        assert told["status"]["state"] != "failed"
        assert set(made.entities.feeds) == {"plant/one"}

    held = dict.fromkeys(("mqtt", "serial", "modbus", "http", "files"), ("else",))
    play_granted(
        tmp_path,
        (without, {}),
        (without, {"plant": GrantsConfig(**held)}),
        (without, {"plant": GrantsConfig(**{**held, kind: ()}), "other": GrantsConfig(**{kind: (within,)})}),
        (granted, {"plant": GrantsConfig(**{kind: (within,)})}),
    )


def test_each_topic_of_a_profile_must_be_granted(tmp_path: Path) -> None:
    async def scene(made: Made) -> None:
        with pytest.raises(NotGranted, match=r"mqtt homeassistant/\+/\+/\+/config is not granted to plant"):
            await made.ask_as(PLANT, "CREATE", "mqtt/message", profile=PROFILE)

    play(tmp_path, scene, plant=GrantsConfig(mqtt=("homeassistant/+/+/config",)))


def test_what_reaches_nothing_needs_no_grant(tmp_path: Path) -> None:
    async def scene(made: Made) -> None:
        await made.ask_as(PLANT, "CREATE", "http/post")
        await made.ask_as(PLANT, "DELETE", "http/post")
        await made.ask_as(PLANT, "CREATE", "alarms/interval", minutes=5)

    play(tmp_path, scene)


def test_guest_is_held_to_a_section_of_its_own(tmp_path: Path) -> None:
    async def scene(made: Made) -> None:
        await made.ask("CREATE", "mqtt/message", topic="a/b")
        with pytest.raises(NotGranted, match="mqtt c is not granted to guest"):
            await made.ask("CREATE", "mqtt/message", "other", topic="c")

    play(tmp_path, scene, guest=GrantsConfig(mqtt=("a/#",)))


def test_an_update_to_what_is_not_granted_changes_nothing(tmp_path: Path) -> None:
    async def scene(made: Made) -> None:
        await made.ask_as(PLANT, "CREATE", "mqtt/message", topic="plant/a")
        for paused in (False, True):
            if paused:
                await made.ask_as(PLANT, "PAUSE", "mqtt/message")
            with pytest.raises(NotGranted):
                await made.ask_as(PLANT, "UPDATE", "mqtt/message", topic="office/a")
            assert made.entities.feeds["plant/one"]["parameters"]["topic"] == "plant/a"
        told = await made.ask_as(PLANT, "UNPAUSE", "mqtt/message")
        assert told["status"]["topic"] == "plant/a"

    play(tmp_path, scene, plant=GrantsConfig(mqtt=("plant/#",)))


@pytest.mark.parametrize("paused", [False, True])
def test_a_stored_feed_that_is_not_granted_any_more_is_told(tmp_path: Path, paused: bool) -> None:
    why = 'mqtt plant/a is not granted to plant ([grants.plant]  mqtt = ["plant/a"])'
    failed = {"state": "failed", "last_error": why}

    async def first(made: Made) -> None:
        await made.ask_as(PLANT, "CREATE", "mqtt/message", topic="plant/a")
        await made.ask("CREATE", "mqtt/message", topic="plant/a")
        if paused:
            await made.ask_as(PLANT, "PAUSE", "mqtt/message")

    async def second(made: Made) -> None:
        mqtt = made.feeds.feeds["mqtt/message"][0]
        assert await made.feeds.restore() == [f"feed of trigger /plant/one: {why}"]
        told = {one["trigger"]: one for one in (await made.feeds.survey())["feeds"]}
        assert told["/plant/one"] == {"trigger": "/plant/one", "feed": "mqtt/message", **failed}
        assert told["/guest/one"]["topic"] == "plant/a"
        for event in ("UPDATE", "UNPAUSE"):
            with pytest.raises(NotGranted, match="mqtt plant/a"):
                await made.ask_as(PLANT, event, "mqtt/message", qos=0)
            assert mqtt.describe(ITS) == {}
            assert (await made.ask_as(PLANT, "READ", "mqtt/message"))["status"] == failed
        with pytest.raises(NotGranted, match="mqtt cellar is not granted"):
            await made.ask_as(PLANT, "UPDATE", "mqtt/message", topic="cellar")
        changed = await made.ask_as(PLANT, "UPDATE", "mqtt/message", topic="office/a")
        assert changed["status"]["state"] == ("paused" if paused else "connecting")
        await made.ask_as(PLANT, "UNPAUSE", "mqtt/message")
        assert mqtt.describe(ITS)["topic"] == "office/a"

    async def third(made: Made) -> None:
        await made.feeds.restore()
        await made.ask_as(PLANT, "DELETE", "mqtt/message")
        assert set(made.entities.feeds) == {"guest/one"}
        assert [one["trigger"] for one in (await made.feeds.survey())["feeds"]] == ["/guest/one"]

    play_granted(
        tmp_path,
        (first, {"plant": GrantsConfig(mqtt=("plant/#",))}),
        (second, {"plant": GrantsConfig(mqtt=("office/#",))}),
        (third, {}),
    )


@pytest.mark.parametrize("kind", ["alarms/alarm", "alarms/interval", "alarms/once"])
def test_an_alarm_whose_definition_is_damaged_is_read_and_made_again(tmp_path: Path, kind: str) -> None:
    async def scene(made: Made) -> None:
        await made.entities.write(("feeds", ONE.key, {"feed": kind, "parameters": {}}))
        assert len(await made.feeds.restore()) == 1
        told = await made.ask("READ", "alarms/alarm")
        assert (told["status"]["state"], told["status"]["active"]) == ("failed", False)
        with pytest.raises(ServiceError):
            await made.ask("UPDATE", kind, trigger_payload={"a": 1})
        assert (await made.ask("CREATE", "alarms/interval", minutes=1))["status"] == "success"
        assert (await made.ask("READ", "alarms/once"))["status"]["active"] is True

    play(tmp_path, scene)


def test_a_source_that_is_held_back_is_told_to_be_full(tmp_path: Path) -> None:
    async def scene(made: Made) -> None:
        await made.ask("CREATE", "alarms/interval", minutes=1)
        await made.ask("CREATE", "alarms/interval", "other", minutes=1)
        made.fire.fill(ONE)
        assert (await made.ask("READ", "alarms/interval"))["status"]["state"] == "full"
        told = (await made.feeds.survey())["feeds"]
        states = {one["trigger"]: (one["state"], one.get("last_error")) for one in told}
        assert states[str(ONE)] == ("full", FULL)
        assert states[str(OTHER)][0] == "running"
        made.fire.make_room()
        assert (await made.ask("READ", "alarms/interval"))["status"]["state"] == "running"

    play(tmp_path, scene)


def test_of_many_feeds_those_in_trouble_are_told_first_and_the_loop_goes_on(tmp_path: Path) -> None:
    async def scene(made: Made) -> None:
        for number in range(MOST_SHOWN + 2):
            await made.triggers.put(GUEST, parse_name(f"/guest/t{number}", "_"), {}, overwrite=False)
            await made.ask("CREATE", "alarms/interval", f"t{number}", minutes=1)
        await made.ask("CREATE", "mqtt/message", topic="cold")  # a broker that is not there
        turns, asked = 0, asyncio.ensure_future(made.feeds.survey())
        while not asked.done():
            turns += 1
            await asyncio.sleep(0)
        told = asked.result()
        assert turns > MOST_SHOWN // 100
        assert (len(told["feeds"]), told["feeds_left_out"]) == (MOST_SHOWN, 3)
        assert [one["trigger"] for one in told["feeds"] if one["state"] != "running"] == [str(ONE)]
        assert told["feeds"][0]["trigger"] == str(ONE)

    play(tmp_path, scene)
