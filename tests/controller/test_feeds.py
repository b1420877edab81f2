"""Feeds over real sources: what a lifecycle event leaves behind when it fails, and over a pause."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.buffer.artifacts import Artifacts
from edgewhisk.buffer.shelf import Shelf
from edgewhisk.clock import SystemClock
from edgewhisk.controller.entities import Entities
from edgewhisk.controller.feeds import Feeds
from edgewhisk.controller.triggers import Triggers
from edgewhisk.entity.identity import AuthKey, Identity
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import FeedError
from edgewhisk.feed.couchdb import CouchFeed
from edgewhisk.feed.cron import AlarmsFeed
from edgewhisk.feed.serial import SerialFeed
from edgewhisk.feed.shaped import ShapedFire
from edgewhisk.settings import Serial
from edgewhisk.spi import Feed
from tests.fakes.fire import RecordingFire

GUEST = Identity("guest", "guest", AuthKey("0" * 8 + "-0000-0000-0000-" + "0" * 12, "k" * 64))
ONE, OTHER = (parse_name(f"/guest/{name}", "_") for name in ("one", "other"))


class Made:
    """Feeds on a directory, and the triggers `one` and `other`."""

    def __init__(self, folder: Path) -> None:
        clock = SystemClock()
        self.artifacts, self.shelf = Artifacts.open(folder / "entities"), Shelf.open(folder / "shelf")
        self.entities = Entities(self.artifacts)
        self.entities.load()
        self.fire = RecordingFire()
        shaped = ShapedFire(self.fire, clock, self.shelf)
        self.alarms = AlarmsFeed(shaped, clock, self.shelf)
        self.serial = SerialFeed({"bus": Serial("/dev/none")}, shaped, clock)
        sources: list[Feed] = [self.alarms, self.serial, CouchFeed(shaped, clock, self.shelf)]
        self.feeds = Feeds(self.entities, sources, shaped)
        self.triggers = Triggers(self.entities, Limits(), clock, self.feeds.stop)

    async def ask(self, event: str, feed: str, trigger: str = "one", **given: Any) -> Mapping[str, Any]:
        asked = {"lifecycleEvent": event, "triggerName": trigger, **given}
        return await self.feeds.invoke(GUEST, feed, asked)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Made]:
    made = Made(folder)
    for name in (ONE, OTHER):
        if made.entities.triggers.find(name) is None:
            await made.triggers.put(GUEST, name, {}, overwrite=False)
    try:
        yield made
    finally:
        await made.shelf.close()
        made.artifacts.close()


def play(folder: Path, *lives: Callable[[Made], Awaitable[None]]) -> None:
    async def run() -> None:
        for life in lives:
            async with opened(folder) as made:
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
        await made.ask("CREATE", "alarms/once", date="2026-01-01T00:00:00Z")
        await made.alarms.look()
        assert len(made.fire.events) == 1
        told = await made.ask("PAUSE", "alarms/once")
        assert told["status"] == {"state": "paused"}

    async def second(made: Made) -> None:
        assert await made.feeds.restore() == []
        assert [one["state"] for one in made.feeds.describe()] == ["paused"]
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
            *made.feeds.describe(),
        ]
        assert "secret" not in str(told)
        assert made.entities.feeds["guest/one"]["parameters"]["password"] == "secret"

    play(tmp_path, scene)
