"""Odd values in every field of an entity: taken, and read again as written, or refused with a reason."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from edgewhisk.entity.action import Action, ActionPut
from edgewhisk.entity.annotations.delivery import at_most_once, priority
from edgewhisk.entity.annotations.grants import Grants
from edgewhisk.entity.annotations.lane import lane_of
from edgewhisk.entity.invocation.arguments import bind
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.entity.package import Package, PackagePut
from edgewhisk.entity.rule import Rule, RulePut
from edgewhisk.entity.trigger import Trigger, TriggerPut
from edgewhisk.entity.web import WebAccess
from edgewhisk.errors import EdgeWhiskError
from edgewhisk.feed.alarms import request
from edgewhisk.feed.shaping import spec
from edgewhisk.jsontext import dumps, loads, parse_odd
from tests import odd

NAME = parse_name("/guest/a", "_")
# As they come through the door, and some that are odd in a place rather than as such.
VALUES: list[Any] = [parse_odd(odd.text_of(value).encode()).value for value in odd.SAMPLES.values()]
VALUES += [
    2**63,
    -1,
    0,
    0.5,
    1e300,
    None,
    True,
    [1],
    [{}],
    [["a"]],
    {"a": 1},
    "9" * 5000,
    "1.1." + "9" * 4300,
]
VALUES += ["a" * 3000, "/a/b", "//", "/_/x", {"namespace": "x", "name": "y"}]
CODE = {"kind": "nodejs:20", "code": "x"}
ANNOTATIONS = (
    "final", "conductor", "edge-capabilities", "web-export", "require-whisk-auth", "raw-http", "edge-lane",
    "edge-priority", "edge-delivery", "edge-concurrency", "provide-api-key", "feed", "binding", "exec",
)  # fmt: skip


PLACES = (
    *("exec", "parameters", "limits", "annotations", "delAnnotations", "version", "publish", "trigger"),
    *("action", "binding", "status", "exec.kind", "exec.code", "exec.main", "exec.components"),
    *(f"limits.{key}" for key in ("timeout", "memory", "logs", "concurrency", "instances")),
    *(f"annotation.{key}" for key in ANNOTATIONS),
    *(f"grant.{key}" for key in ("state", "http", "mqtt", "serial", "invoke", "fire")),
)


def body(place: str, value: Any) -> dict[str, Any]:
    """The body of a PUT with a value in a place."""
    outer, _, inner = place.partition(".")
    if outer == "annotation":
        return {
            "annotations": [{"key": inner, "value": value}],
            "parameters": [{"key": inner, "value": value}],
        }
    if outer == "grant":
        return {"annotations": [{"key": "edge-capabilities", "value": {inner: [value]}}]}
    if outer == "exec" and inner:
        return {"exec": {**CODE, "kind": "sequence" if inner == "components" else CODE["kind"], inner: value}}
    return {outer: {inner: value} if inner else value}


@pytest.mark.parametrize("place", PLACES)
def test_entities(place: str) -> None:
    for value in VALUES:
        given = body(place, value)
        with suppress(EdgeWhiskError):
            action({"exec": CODE, **given})
        with suppress(EdgeWhiskError):
            trigger = TriggerPut.from_json(given).create(NAME, 1)
            assert Trigger.from_document(written(trigger)) == trigger
            assert (trigger.concurrency, trigger.priority) is not None
        with suppress(EdgeWhiskError):
            rule = RulePut.from_json({"trigger": "/_/t", "action": "/_/a", **given}, "guest").create(NAME, 1)
            assert Rule.from_document(written(rule)) == rule
        with suppress(EdgeWhiskError):
            package = PackagePut.from_json(given, "guest").create(NAME, 1)
            assert Package.from_document(written(package)) == package


def written(entity: Any) -> Any:
    return loads(dumps(entity.to_json()))


def action(body: dict[str, Any]) -> None:
    wanted = ActionPut.from_json(body, kinds={"nodejs:20": "nodejs:20"}, namespace="guest", limits=Limits())
    made = wanted.create(NAME, Limits(), 1)
    for one in (made, wanted.update(made, 2)):
        assert Action.from_document(written(one)) == one
        assert dumps(one.to_listing())
        assert bind(one, (), None).text
        assert one.parameters.size >= 0
        assert isinstance(WebAccess.of(one.annotations).admits("x", known=True), bool)
        for read in (Grants.of, lane_of, priority, at_most_once):
            with suppress(EdgeWhiskError):
                read(one.annotations)


@pytest.mark.parametrize("key", ["by", "deadband", "onlyChanges", "every", "minInterval", "window", "batch"])
def test_shapes(key: str) -> None:
    for value in VALUES:
        for shape in (
            value,
            {key: value},
            {key: {"count": value}},
            {key: {"seconds": value}},
            {key: {"values": value}},
        ):
            with suppress(EdgeWhiskError):
                spec.read(shape)


@pytest.mark.parametrize(
    ("alarm", "given"),
    [
        ("alarms/alarm", {"cron": "* * * * *"}),
        ("alarms/interval", {"minutes": 5}),
        ("alarms/once", {"date": 1_999_999_999_999}),
    ],
)
def test_alarms(alarm: str, given: dict[str, Any]) -> None:
    keys = ("cron", "timezone", "startDate", "stopDate", "trigger_payload", "minutes", "seconds", "missed")
    for key in (*keys, "maxTriggers", "date", "deleteAfterFire"):
        for value in VALUES:
            with suppress(EdgeWhiskError):
                dumps(request.create(alarm, {**given, key: value}, None))
            with suppress(EdgeWhiskError):
                dumps(request.change(alarm, request.create(alarm, given, None), {key: value}, None))
