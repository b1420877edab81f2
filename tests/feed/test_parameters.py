"""The parameters of all feeds: everything that is wrong is told at once, whatever it is."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import FileConfig
from edgewhisk.errors import FeedError
from edgewhisk.feed.alarms import request
from edgewhisk.feed.changes.couchdb import CouchFeed
from edgewhisk.feed.changes.file import FileFeed
from edgewhisk.feed.http import HttpFeed
from edgewhisk.feed.modbus.feed import ModbusFeed
from edgewhisk.feed.mqtt.feed import MqttFeed
from edgewhisk.feed.serial.feed import SerialFeed
from edgewhisk.feed.shaping.spec import read
from edgewhisk.transport.modbus.buses import ModbusBuses
from edgewhisk.transport.mqtt.brokers import MqttBrokers
from edgewhisk.transport.serial.ports import SerialPorts
from tests import odd
from tests.fakes.fire import RecordingFire

fire, clock = RecordingFire(), SystemClock()
nothing: Any = None
CHECKS: dict[str, Any] = {
    "mqtt/message": MqttFeed(MqttBrokers({}, clock), fire, clock, nothing, [], lambda _, __: True).check,
    "serial/reading": SerialFeed(SerialPorts({}, clock), fire, clock).check,
    "modbus/reading": ModbusFeed(ModbusBuses({}, clock), fire, clock).check,
    "http/post": HttpFeed(fire, clock).check,
    "changes/file": FileFeed({"log": FileConfig(Path("/log"))}, fire, clock, nothing).check,
    "changes/couchdb": CouchFeed(fire, clock, nothing).check,
    **dict.fromkeys(("alarms/alarm", "alarms/interval", "alarms/once"), partial(request.create, now=None)),
    "shape": lambda _, shape: read(shape),
}
KEYS = ["topic", "qos", "format", "broker", "retained", "profile", "port", "host", "unit", "every", "points",
        "file", "table", "since", "url", "db", "filter", "include_docs", "cron", "timezone", "missed",
        "minutes", "seconds", "date", "startDate", "maxTriggers", "trigger_payload", "by", "deadband",
        "window", "batch", "minInterval"]  # fmt: skip
USUAL = [{"profile": "eastron/sdm120", "host": "h"}, {"profile": "nova/sds011", "port": "/dev/x"},
         {"cron": "* * * * *"}, {"url": "http://h", "db": "d"}, {"file": "log"}, {"topic": "a"}]  # fmt: skip


@pytest.mark.parametrize(
    ("feed", "asked", "faults"),
    [
        ("mqtt/message", {"qos": 2, "retained": 1, "topik": "a"},
         ["topik is not a key; did you mean 'topic'?", "qos must be 0 or 1, not 2",
          "retained must be true or false, not 1", "topic must be an MQTT topic filter"]),
        ("serial/reading", {"port": 5, "profil": "x"},
         ["profil is not a key; did you mean 'profile'?", "port must be text, not 5", "profile is missing"]),
        ("modbus/reading", {"profile": "eastron/sdm120", "unit": 300, "every": "x", "points": [], "port": 1},
         ["unit must be a whole number from 0 to 247, not 300", "every must be a number from 0.05 to 86400",
          "points must be a list of some of voltage", "port must be text"]),
        ("http/post", {"shapes": 1, "x": 1},
         ["shapes is not a key; did you mean 'shape'?", "x is not a key; known: shape"]),
        ("changes/file", {"file": "x", "table": 5, "since": 7},
         ["file 'x' is no [files.NAME] section; there are: log", "table must be text, not 5",
          "since must be now or 0, not 7"]),
        ("changes/couchdb", {"url": "http://[", "include_docs": "yes", "since": []},
         ["url must be http(s)://HOST[:PORT]", "db must be text: name of the database",
          "include_docs must be true or false, not 'yes'", "since must be now, 0 or a sequence token"]),
        ("shape", {"every": 0, "windo": {}, "by": 1},
         ["shape.by must be a list of texts, not 1", "shape.every must be a whole number from 1",
          "shape.windo is not a key; did you mean 'window'?"]),
    ],
)  # fmt: skip
def test_all_that_is_wrong_is_told_at_once(feed: str, asked: dict[str, Any], faults: list[str]) -> None:
    with pytest.raises(FeedError) as caught:
        CHECKS[feed](feed, asked)
    assert [fault for fault in faults if fault not in str(caught.value)] == [], str(caught.value)


@pytest.mark.parametrize("feed", CHECKS)
@pytest.mark.parametrize("value", odd.SAMPLES)
def test_no_value_is_too_odd(feed: str, value: str) -> None:
    for usual in USUAL:
        for key in [*KEYS, "no key", "\ud800\n", "x" * 70_000]:
            try:
                CHECKS[feed](feed, {**usual, key: odd.SAMPLES[value]})
            except FeedError as error:
                assert len(str(error)) < 5_000, (key, str(error)[:100])  # noqa: PT017 - some are taken


def test_of_very_many_unknown_keys_the_first_are_named() -> None:
    with pytest.raises(FeedError) as caught:
        CHECKS["http/post"]("http/post", {f"key{number:05}": 1 for number in range(20_000)})
    assert str(caught.value).endswith("key00050 is not a key, like 19949 others")
