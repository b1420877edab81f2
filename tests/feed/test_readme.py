"""The events in edgewhisk/feed/README.md are what the feeds of a gateway give; of CouchDB: `test_couchdb`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gmqtt
from gmqtt.mqtt.constants import MQTTv311

from tests.feed.examples import EVENTS, example
from tests.path.gateway import Gateway, free_port, gateway, until

FEEDS: dict[
    str, tuple[str, dict[str, Any], dict[str, Any]]
] = {  # name: feed, parameters, event of the README
    "boiler": (
        "mqtt/message",
        {"topic": "boiler/{boiler}/temperature"},
        example(topic="boiler/1/temperature", boiler="1"),
    ),
    "plug": ("mqtt/message", {"profile": "tasmota/energy"}, example(device="tasmota/energy")),
    "dust": ("serial/reading", {"port": "dust"}, example(device="nova/sds011")),
    "meter": (
        "modbus/reading",
        {"port": "meter", "profile": "eastron/sdm120", "every": 0.5},
        example(device="eastron/sdm120"),
    ),
    "tick": ("alarms/interval", {"seconds": 1, "trigger_payload": {"who": "clock"}}, example(who="clock")),
    "rows": ("changes/file", {"file": "log", "table": "readings", "since": 0}, example(file="log")),
    "posts": ("http/post", {}, example(device="greenhouse-1")),
    "window": (
        "mqtt/message",
        {"topic": "boiler/+/temperature", "shape": {"window": {"count": 2, "values": ["mean", "max"]}}},
        example(window=...),
    ),
    "batch": (
        "mqtt/message",
        {"topic": "boiler/+/temperature", "shape": {"batch": {"count": 2}}},
        example(readings=...),
    ),
}


@contextlib.contextmanager
def playing(profile: str, *where: str) -> Iterator[None]:
    """A simulated device, until the end of the block."""
    words = ["device", "replay", profile, "--loop", "--speed", "5", *where]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgewhisk", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)


@contextlib.contextmanager
def fed(folder: Path) -> Iterator[Gateway]:
    """A gateway with all of `FEEDS`, each with an action that gives its event back, and speaking sources."""
    port = free_port()
    database = sqlite3.connect(folder / "log.sqlite")
    database.execute("CREATE TABLE readings (celsius REAL)")
    database.execute("INSERT INTO readings VALUES (21.5)")
    database.commit()
    database.close()
    settings = (
        f'[mqtt]\nurl = "embedded://127.0.0.1:{port}"\n[files.log]\npath = "{folder}/log.sqlite"\n'
        f'[serial.dust]\nport = "{folder}/dust"\nprofile = "nova/sds011"\n'
        f'[serial.meter]\nport = "{folder}/meter"\nprofile = "eastron/sdm120"\n'
    )
    with (
        playing("nova/sds011", "--link", f"{folder}/dust"),
        playing("eastron/sdm120", "--link", f"{folder}/meter"),
        gateway(folder / "edge", settings) as made,
    ):
        for name, (feed, parameters, _) in FEEDS.items():
            made.action(f"show-{name}", "function main(p) { return p }")
            made.trigger(name, feed)
            made.rule(name, f"show-{name}")  # before the feed: the only row is read at once
            made.connect(name, feed, **parameters)
        until(made.feeds_run, what="all feeds run")
        asyncio.run(_say(port, "boiler/1/temperature", b'{"celsius": 41}', b'{"celsius": 43}'))
        with playing("tasmota/energy", "--broker", f"mqtt://127.0.0.1:{port}"):
            _post(made, "posts", "greenhouse-1", {"celsius": 19})
            yield made


def test_the_events_are_as_shown(tmp_path: Path) -> None:
    with fed(tmp_path) as made:
        for name, (_, _, event) in FEEDS.items():
            shown = _plain(event)
            until(partial(_came, made, name, shown), what=f"{shown} from {name}")


def test_every_event_is_compared() -> None:
    compared = [event for _, _, event in FEEDS.values()]
    assert [event for event in EVENTS if event not in compared] == [example(database="plant")]


def _came(made: Gateway, name: str, shown: dict[str, Any]) -> bool:
    return any(_plain(one["response"]["result"]) == shown for one in made.activations(f"show-{name}"))


def _plain(event: dict[str, Any]) -> dict[str, Any]:
    """Without what differs each time: when it was taken, and what the machine calls a Modbus line."""
    known = {key: value for key, value in event.items() if key != "taken_at"}
    return {**known, "port": ""} if "unit" in known else known


async def _say(port: int, topic: str, *payloads: bytes) -> None:
    client = gmqtt.Client("boiler")
    await client.connect("127.0.0.1", port, version=MQTTv311)
    for payload in payloads:
        client.publish(topic, payload, qos=1)
    await asyncio.wait_for(client._persistent_storage.wait_empty(), 30)
    await client.disconnect()


def _post(made: Gateway, trigger: str, device: str, body: Any) -> None:
    words = [
        "device",
        "token",
        "--trigger",
        trigger,
        "--device",
        device,
        "--config",
        str(made.config),
        "--json",
    ]
    done = subprocess.run([sys.executable, "-m", "edgewhisk", *words], capture_output=True, check=True)
    bearer = f"Bearer {json.loads(done.stdout)['token']}"
    path = f"/api/v1/devices/guest/{trigger}"
    until(
        lambda: made.call("POST", path, body, Authorization=bearer).status == 202, what="the token is known"
    )
