"""What is remembered by a text from outside is not remembered where that is long."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from edgewhisk.actuator.targets import mqtt
from edgewhisk.actuator.targets.mqtt import MqttTarget
from edgewhisk.api import router
from edgewhisk.entity import names
from edgewhisk.errors import EdgeWhiskError
from edgewhisk.feed.mqtt.subscription import Subscriptions, TopicRoutes
from edgewhisk.transport.mqtt import codec
from edgewhisk.transport.mqtt.codec import Message

LONG = "x" * 60_000
DOORS: dict[str, tuple[Any, Callable[[str], Any]]] = {
    "the path of a request": (router._found, lambda text: router.find("GET", b"/" + text.encode())),
    "a topic that is published to": (codec._around, lambda text: codec.write(Message(text, b""), 1, 4)),
    "a command's topic": (mqtt._publication, lambda text: MqttTarget.command({"topic": text, "payload": "1"})),
    "a command's broker": (mqtt._publication, lambda text: MqttTarget.command({"topic": "t", "broker": text})),
    "bound parameters": (mqtt._bound_publication, lambda text: MqttTarget.alike(b'{"topic":"%b"}' % text.encode(), [b"{}"])),
    "a name with blanks around it": (names._parsed, lambda text: names.parse_name(" " * len(text) + "/guest/a", "_")),
}  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
def test_long_texts_are_not_kept(door: str) -> None:
    cached, use = DOORS[door]
    cached.cache_clear()
    for number in range(50):
        with contextlib.suppress(EdgeWhiskError):
            use(LONG + str(number))
    assert cached.cache_info().currsize <= 1


def test_long_topics_that_come_are_not_kept() -> None:
    routes = TopicRoutes(Subscriptions())
    for number in range(50):
        assert routes.all(f"{LONG}{number}".encode()) == ()
    assert not routes._known
    routes.all(b"short")
    assert routes._known
