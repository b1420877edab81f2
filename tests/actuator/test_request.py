"""What actuator actions take, and what they refuse."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.actuator.request import Command
from edgewhisk.actuator.target import Target, read
from edgewhisk.actuator.targets.http import HttpTarget
from edgewhisk.actuator.targets.modbus import ModbusTarget
from edgewhisk.actuator.targets.mqtt import MqttTarget
from edgewhisk.actuator.targets.serial import SerialTarget
from edgewhisk.errors import BadRequest

KINDS: list[type[Target]] = [MqttTarget, SerialTarget, ModbusTarget, HttpTarget]
BY_NAME = {f"{one.kind}/{one.action}": one for one in KINDS}


@pytest.mark.parametrize(
    ("action", "given", "problem"),
    [
        ("mqtt/publish", {}, "topic must be a topic"),
        ("mqtt/publish", {"topic": "a/+"}, "topic must be a topic"),
        ("mqtt/publish", {"topic": "a", "qos": 2}, "qos must be 0 or 1, not 2"),
        ("mqtt/publish", {"topic": "a", "payload64": "?"}, "payload64 is not base64"),
        ("mqtt/publish", {"topic": "a", "expiry": -1}, "expiry must be"),
        ("mqtt/publish", {"topic": "a", "broker": 5}, "broker must be"),
        ("mqtt/publish", {"topic": "a", "expires": "soon"}, "expires must be"),
        ("mqtt/publish", {"topic": "a", "payload": "x" * 2_000_000}, "at most"),
        ("serial/write", {}, "port must be"),
        ("serial/write", {"port": "p"}, "one of data"),
        ("serial/write", {"port": "p", "data": "a", "hex": "00"}, "one of data"),
        ("serial/write", {"port": "p", "hex": "0"}, "hex must be bytes"),
        ("serial/write", {"port": "p", "data64": "?"}, "data64 is not base64"),
        ("serial/write", {"port": "p", "data": 5}, "data must be text"),
        ("modbus/write", {}, "either port"),
        ("modbus/write", {"host": "h"}, "either register or coil"),
        ("modbus/write", {"host": "h", "register": 0}, "value, or values"),
        ("modbus/write", {"host": "h", "register": 70000, "value": 1}, "register must be"),
        ("modbus/write", {"host": "h", "register": 0, "value": 70000}, "values must be"),
        ("modbus/write", {"host": "h", "coil": 0, "value": 2}, "values of coils"),
        ("modbus/write", {"host": "h", "coil": 0, "value": 1, "unit": 300}, "unit must be"),
        ("mqtt/publish", {"topic": "a\ud800"}, "half a character"),
        ("mqtt/publish", {"topic": "a", "payload": "\udc00"}, "half a character"),
        ("serial/write", {"port": "p", "data": "\ud800"}, "half a character"),
        ("modbus/write", {"host": "h", "register": 0, "value": float("nan")}, "values must be"),
        ("modbus/write", {"host": "h", "register": 0, "value": float("inf")}, "values must be"),
        (
            "modbus/write",
            {"host": "h", "register": 0, "value": float("nan"), "type": "f32"},
            "values must be",
        ),
        ("modbus/write", {"host": "h", "register": 0, "value": 1e39, "type": "f32"}, "values must be"),
        ("modbus/write", {"host": "h", "register": 0, "value": 10**400}, "values must be"),
        ("http/request", {}, "url must be"),
        ("http/request", {"url": "ftp://x"}, "url must be"),
        ("http/request", {"url": "http://x", "method": "BREW"}, "method must be"),
        ("http/request", {"url": "http://x", "headers": {"a": 1}}, "headers must be"),
    ],
)
def test_wrong_requests_are_named(action: str, given: dict[str, Any], problem: str) -> None:
    with pytest.raises(BadRequest, match=problem):
        read(BY_NAME[action], given)


def test_what_the_action_before_returned_is_the_payload() -> None:
    data = read(BY_NAME["mqtt/publish"], {"topic": "a", "qos": 0, "f": 105.8, "alarm": True}).data
    assert orjson.loads(data) == {"f": 105.8, "alarm": True}
    assert read(BY_NAME["mqtt/publish"], {"topic": "a", "payload": "on"}).data == b"on"
    body = read(BY_NAME["http/request"], {"url": "http://h/x", "n": 1}).body
    assert body["headers"] == {"Content-Type": "application/json"}


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=3),
)
KEYS = st.sampled_from(sorted({key for kind in KINDS for key in kind.parameters}))


@given(st.sampled_from(KINDS), st.dictionaries(KEYS, VALUES))
def test_anything_is_a_command_or_refused(kind: Any, parameters: dict[str, Any]) -> None:
    try:
        command = read(kind, parameters)
    except BadRequest:
        return
    assert Command.of(orjson.loads(orjson.dumps(command.document))) == command  # it can be kept
