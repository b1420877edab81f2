"""Each feed tells when it last gave an event, how long it is silent, and how much of what came was bad."""

from __future__ import annotations

import asyncio
import os
import tty
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.cli.gateway.status import _feed
from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import FileConfig
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import BadRequest
from edgewhisk.feed.alarms.feed import AlarmsFeed
from edgewhisk.feed.changes.couchdb import CouchFeed
from edgewhisk.feed.changes.file import FileFeed
from edgewhisk.feed.http import HttpFeed
from edgewhisk.feed.modbus.feed import ModbusFeed
from edgewhisk.feed.serial.feed import SerialFeed
from edgewhisk.spi import Feed
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.transport.modbus.buses import ModbusBuses
from edgewhisk.transport.serial.ports import SerialPorts
from tests.fakes.fire import RecordingFire
from tests.feed.running import running

T = parse_name("/guest/t", "_")
WISHES: dict[str, tuple[str, dict[str, Any]]] = {
    "serial": ("serial/reading", {"port": "/dev/absent", "profile": "arduino/dht"}),
    "modbus": ("modbus/reading", {"host": "127.0.0.1:1", "profile": "eastron/sdm120"}),
    "alarms": ("alarms/interval", {"seconds": 3600, "startDate": "2199-01-01"}),
    "couchdb": ("changes/couchdb", {"url": "http://127.0.0.1:1", "db": "d"}),
    "file": ("changes/file", {"file": "f", "table": "t"}),
    "http": ("http/post", {}),
}


def _made(kind: str, shelf: LogDocumentStore, fire: RecordingFire) -> Feed:
    clock = SystemClock()
    made: dict[str, Feed] = {
        "serial": SerialFeed(SerialPorts({}, clock), fire, clock),
        "modbus": ModbusFeed(ModbusBuses({}, clock), fire, clock),
        "alarms": AlarmsFeed(fire, clock, shelf),
        "couchdb": CouchFeed(fire, clock, shelf),
        "file": FileFeed({"f": FileConfig(Path("/nowhere/f"))}, fire, clock, shelf),
        "http": HttpFeed(fire, clock),
    }
    return made[kind]


@pytest.mark.parametrize("kind", list(WISHES))
def test_a_feed_that_never_gave_an_event_says_for_how_long(kind: str, tmp_path: Path) -> None:
    async def play() -> None:
        shelf = LogDocumentStore.open(tmp_path)
        made, (action, wish) = _made(kind, shelf, RecordingFire()), WISHES[kind]
        await made.add(T, action, made.check(action, wish))
        told = made.describe(T)
        assert (told["last_event"], told["bad"]) == (None, 0)
        assert 0 <= told["silent_seconds"] < 600  # not since the boot
        assert ", no event for " in _feed({"trigger": "t", "feed": action, **told})
        await shelf.close()

    asyncio.run(play())


def test_good_and_bad_frames_of_a_port_are_told() -> None:
    async def play() -> None:
        master, slave = os.openpty()
        tty.setraw(slave)
        fire = RecordingFire()
        ports = SerialPorts({}, SystemClock())
        made = SerialFeed(ports, fire, SystemClock())
        wish = {"port": os.ttyname(slave), "profile": "arduino/dht"}
        await made.add(T, "serial/reading", made.check("serial/reading", wish))
        async with running(made, ports):
            async with asyncio.timeout(10):
                while made.describe(T)["state"] != "running":  # noqa: ASYNC110 - a real port
                    await asyncio.sleep(0.01)
            os.write(master, b'no JSON\n{"temperature": 20, "humidity": 40}\n')
            (event,) = await fire.count(1)
            told = made.describe(T)
        assert (told["bad"], told["last_event"]) == (1, event.at)
        assert told["silent_seconds"] < 600
        line = _feed({"trigger": "t", "feed": "serial/reading", **told})
        assert ", 1 refused, last event " in line
        os.close(master)
        os.close(slave)

    asyncio.run(play())


def test_what_a_device_posts_is_told() -> None:
    async def play() -> None:
        fire = RecordingFire()
        made = HttpFeed(fire, SystemClock())
        await made.add(T, "http/post", {})
        with pytest.raises(BadRequest):
            await made.post(T, "d", b"no JSON")
        assert (made.describe(T)["bad"], made.describe(T)["last_event"]) == (1, None)
        await made.post(T, "d", b'{"n": 1}')
        assert made.describe(T)["last_event"] >= fire.events[0].at

    asyncio.run(play())


def test_a_reading_is_answered_though_its_trigger_is_removed_meanwhile() -> None:
    async def play() -> None:
        fire = RecordingFire()
        made = HttpFeed(fire, SystemClock())
        await made.add(T, "http/post", {})
        fire.hold()
        taking = asyncio.ensure_future(made.post(T, "d", b'{"n": 1}'))
        await fire.wait_for(lambda _: bool(fire.held))
        await made.remove(T)
        fire.commit()
        assert await taking == 1
        assert made.describe(T) == {}

    asyncio.run(play())
