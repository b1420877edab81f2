"""The contract of `spi.Feed`, over every feed there is, with a source that is away."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import FileConfig, SerialConfig
from edgewhisk.controller.feed_service import FeedService
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import FeedError
from edgewhisk.feed.alarms.feed import AlarmsFeed
from edgewhisk.feed.changes.couchdb import CouchFeed
from edgewhisk.feed.changes.file import FileFeed
from edgewhisk.feed.http import HttpFeed
from edgewhisk.feed.modbus.feed import ModbusFeed
from edgewhisk.feed.mqtt.feed import MqttFeed
from edgewhisk.feed.serial.feed import SerialFeed
from edgewhisk.spi import Feed, Resource
from edgewhisk.store.dead_letters import DeadLetters
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.transport.modbus.buses import ModbusBuses
from edgewhisk.transport.mqtt.brokers import MqttBrokers
from edgewhisk.transport.mqtt.connection import MqttLink
from edgewhisk.transport.serial.ports import SerialPorts
from tests import odd
from tests.contract.suites import Suite, named, play
from tests.fakes.disk import MemoryDisk
from tests.fakes.fire import RecordingFire

ONE, OTHER = (parse_name(f"/guest/{name}", "_") for name in ("one", "other"))
CLOCK = SystemClock()
Make = Callable[[RecordingFire, LogDocumentStore], Feed]


def mqtt(fire: RecordingFire, shelf: LogDocumentStore) -> Feed:
    links = {"": MqttLink("127.0.0.1", 1, "x")}
    return MqttFeed(
        MqttBrokers(links, CLOCK), fire, CLOCK, DeadLetters(shelf, CLOCK), [], lambda _subject, _topic: False
    )


SUITE = Suite(
    Feed,
    {
        AlarmsFeed: lambda fire, shelf: AlarmsFeed(fire, CLOCK, shelf),
        SerialFeed: lambda fire, _: SerialFeed(
            SerialPorts({"bus": SerialConfig("/dev/none")}, CLOCK), fire, CLOCK
        ),
        CouchFeed: lambda fire, shelf: CouchFeed(fire, CLOCK, shelf),
        MqttFeed: mqtt,
        ModbusFeed: lambda fire, _: ModbusFeed(ModbusBuses({}, CLOCK), fire, CLOCK),
        FileFeed: lambda fire, shelf: FileFeed({"log": FileConfig(Path("/none.sqlite"))}, fire, CLOCK, shelf),
        HttpFeed: lambda fire, _: HttpFeed(fire, CLOCK),
    },
)


class Asked(NamedTuple):
    """A feed, one of its actions, and parameters that are right."""

    feed: type
    action: str
    parameters: Mapping[str, Any]


ASKED = [
    Asked(AlarmsFeed, "alarms/alarm", {"cron": "0 0 1 1 *"}),
    Asked(AlarmsFeed, "alarms/interval", {"minutes": 5000}),
    Asked(AlarmsFeed, "alarms/once", {"date": "2050-01-01T00:00:00Z"}),
    Asked(SerialFeed, "serial/reading", {"port": "bus", "profile": "nova/sds011"}),
    Asked(CouchFeed, "changes/couchdb", {"url": "http://127.0.0.1:1", "db": "d"}),
    Asked(MqttFeed, "mqtt/message", {"topic": "plant/{line}/t"}),
    Asked(ModbusFeed, "modbus/reading", {"host": "127.0.0.1:1", "profile": "eastron/sdm120"}),
    Asked(FileFeed, "changes/file", {"file": "log", "table": "t"}),
    Asked(HttpFeed, "http/post", {}),
]
EACH = pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.action)


class Life(NamedTuple):
    """One life of a feed."""

    feed: Feed
    fire: RecordingFire
    asked: Asked

    def check(self) -> dict[str, Any]:
        return self.feed.check(self.asked.action, self.asked.parameters)

    async def add(self, parameters: Mapping[str, Any] | None = None) -> None:
        await self.feed.add(ONE, self.asked.action, self.check() if parameters is None else parameters)


@asynccontextmanager
async def life(asked: Asked) -> AsyncIterator[Life]:
    fire, shelf = RecordingFire(), LogDocumentStore.open(Path("/shelf"), MemoryDisk())
    feed: Feed = SUITE.implementations[asked.feed](fire, shelf)
    task = asyncio.create_task(feed.run())
    yield Life(feed, fire, asked)
    assert not task.done(), "it serves until it is cancelled"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await shelf.close()


@pytest.mark.parametrize("made", SUITE.classes, ids=named)
def test_every_action_is_described_and_tried_here(made: Any) -> None:
    offered = {f"{action.package}/{action.name}" for action in made.actions}
    assert offered == {asked.action for asked in ASKED if asked.feed is made}
    for action in made.actions:
        assert action.description.endswith(".")
        assert all(meaning for meaning in action.parameters.values())


@EACH
def test_what_was_checked_can_be_stored_and_is_served_while_the_source_is_away(asked: Asked) -> None:
    async def scene() -> None:
        async with life(asked) as made:
            stored = json.loads(json.dumps(made.check()))
            assert all(
                isinstance(reach, Resource) for reach in made.feed.required_grants(asked.action, stored)
            )
            await made.add(stored)
            told = made.feed.describe(ONE)
            assert isinstance(told["state"], str)
            json.dumps(told)
            assert made.feed.describe(OTHER) == {}
            assert made.fire.events == []

    play(scene())


@EACH
def test_what_is_asked_again_replaces_and_what_is_removed_is_unknown(asked: Asked) -> None:
    async def scene() -> None:
        async with life(asked) as made:
            await made.feed.remove(ONE)  # unknown: nothing happens
            await made.add()
            first = made.feed.describe(ONE).keys()
            await made.add()
            assert made.feed.describe(ONE).keys() == first
            for keep in (True, False):
                await made.feed.remove(ONE, keep=keep)
                assert made.feed.describe(ONE) == {}
                await made.add()
                assert made.feed.describe(ONE) != {}

    play(scene())


@EACH
def test_a_parameter_that_does_not_exist_is_named(asked: Asked) -> None:
    async def scene() -> None:
        async with life(asked) as made:
            given = {**asked.parameters, "nonesuch": 1}
            if isinstance(made.feed, FeedService):
                made.feed.check(asked.action, given)
                (told,) = made.feed.warnings(asked.action, given, changing=False)
                assert "nonesuch" in told
            else:
                with pytest.raises(FeedError, match="nonesuch"):
                    made.feed.check(asked.action, given)

    play(scene())


@EACH
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_parameters_are_taken_or_refused_with_a_reason(asked: Asked, data: st.DataObject) -> None:
    """What is taken can be stored, shown and served, however odd it is."""
    feed = SUITE.implementations[asked.feed]
    names = next(one.parameters for one in feed_actions(asked))
    known = st.sampled_from(sorted({*names, *asked.parameters}) or ["none"])
    changed = data.draw(st.dictionaries(known, odd.values(), max_size=3))
    dropped = data.draw(st.sets(known, max_size=1))
    wish = {key: value for key, value in {**asked.parameters, **changed}.items() if key not in dropped}

    async def scene() -> None:
        shelf = LogDocumentStore.open(Path("/shelf"), MemoryDisk())
        made: Feed = feed(RecordingFire(), shelf)
        with contextlib.suppress(FeedError):
            stored = made.check(asked.action, wish)
            made.required_grants(asked.action, stored)
            await made.add(ONE, asked.action, stored)
            json.dumps(stored)
            json.dumps(made.describe(ONE))
            await made.remove(ONE)
        await shelf.close()

    play(scene())


def feed_actions(asked: Asked) -> list[Any]:
    """The action that is asked for."""
    made: Any = asked.feed
    return [one for one in made.actions if f"{one.package}/{one.name}" == asked.action]
