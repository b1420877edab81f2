"""Names, parameters, actions, rules: what is accepted, what is refused, what survives a round trip."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.entity.action import Action, ActionPut
from edgewhisk.entity.invocation.arguments import bind, check_final, merge_json, without
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import entity_name, parse_name
from edgewhisk.entity.package import Package, PackagePut
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.rule import Rule, RulePut
from edgewhisk.entity.trigger import Trigger, TriggerPut
from edgewhisk.entity.version import SemVer
from edgewhisk.errors import BadRequest, MalformedContent

KINDS = {"nodejs:20": "nodejs:20", "nodejs:default": "nodejs:20"}
OBJECTS = st.dictionaries(st.text(), st.integers(-(2**53), 2**53) | st.text() | st.none(), max_size=5)


def put(body: dict[str, Any]) -> ActionPut:
    return ActionPut.from_json(body, kinds=KINDS, namespace="guest", limits=Limits())


def action(**body: Any) -> Action:
    code = {"exec": {"kind": "nodejs:default", "code": "x"}}
    return put({**code, **body}).create(parse_name("/guest/a", "_"), Limits(), 5)


@pytest.mark.parametrize("name", ["a", "a b", "a@b.c&d-e", "x" * 256, "_x"])
def test_legal_names(name: str) -> None:
    assert entity_name(name) == name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "illegal characters"),
        (" a", "illegal"),
        ("a ", "illegal"),
        ("-a", "illegal"),
        ("a/b", "illegal"),
        ("ä", "illegal"),
        ("a\n", "illegal"),
        ("x" * 257, "Name segement longer than allowed: 257 > 256."),
    ],
)
def test_illegal_names(name: str, text: str) -> None:
    with pytest.raises(BadRequest, match=text):
        entity_name(name)


def test_full_names() -> None:
    assert str(parse_name("/_/t", "guest")) == "/guest/t"
    assert parse_name("ns/pkg/x", "guest") == ("ns", "pkg", "x")
    for text in ("t", "/t", "a/b/c/d", ""):
        with pytest.raises(MalformedContent):
            parse_name(text, "guest")


def test_documents_survive_being_stored() -> None:
    name = parse_name("/guest/x", "_")
    stored: list[Any] = [
        action(parameters=[{"key": "k", "value": [1, None]}], annotations=[{"key": "a", "value": 1}]),
        TriggerPut.from_json({"parameters": [{"key": "p", "value": 1}]}).create(name, 1),
        RulePut.from_json({"trigger": "/_/t", "action": "/_/p/a"}, "guest").create(name, 2),
        PackagePut.from_json({"binding": {"namespace": "_", "name": "p"}}, "guest").create(name, 3),
    ]
    kinds: tuple[Any, ...] = (Action, Trigger, Rule, Package)
    for entity, kind in zip(stored, kinds, strict=True):
        assert kind.from_document(orjson.loads(orjson.dumps(entity.to_json()))) == entity


def test_an_update_merges_annotations_and_replaces_parameters() -> None:
    old = action(parameters=[{"key": "k", "value": 1}], annotations=[{"key": "a", "value": 1}])
    body = {"annotations": [{"key": "b", "value": 2}], "delAnnotations": ["a"], "parameters": []}
    new = put(body).update(old, 6)
    assert new.parameters == Parameters()
    assert new.annotations.arguments() == {"provide-api-key": False, "exec": "nodejs:20", "b": 2}
    assert (str(old.version), str(new.version), new.exec) == ("0.0.1", "0.0.2", old.exec)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ([], "Object expected"),
        ({}, "exec undefined"),
        ({"exec": {}}, "'kind' must be a string"),
        ({"exec": {"kind": "cobol:1", "code": ""}}, "The specified runtime 'cobol:1' is not supported"),
        ({"exec": {"kind": "blackbox", "image": "x"}}, "no container engine"),
        ({"exec": {"kind": "nodejs:20"}}, "'code' must be a string"),
        ({"exec": {"kind": "nodejs:20", "code": "", "main": 1}}, "'main' must be a string"),
        ({"parameters": {}}, "parameters malformed!"),
        ({"parameters": [1]}, "parameters malformed!"),
        ({"annotations": "x"}, "annotations malformed!"),
        ({"delAnnotations": [1]}, "delAnnotations malformed!"),
        ({"limits": {"timeout": 99}}, "duration 99 milliseconds below allowed threshold of 100"),
        ({"limits": {"memory": 99999}}, "memory size 99999 MB exceeds allowed threshold of 512 MB"),
        ({"limits": {"logs": "x"}}, "log limit malformed"),
        ({"limits": {"timeout": 1000.5}}, "time limit must be whole number"),
        ({"limits": []}, "limits malformed"),
        ({"version": "x"}, "semantic version malformed"),
        ({"publish": "yes"}, "publish"),
    ],
)
def test_wrong_bodies_name_what_is_wrong(body: Any, text: str) -> None:
    with pytest.raises(BadRequest, match=text):
        put(body).create(parse_name("/guest/a", "_"), Limits(), 0)


def test_versions() -> None:
    assert str(SemVer.parse("1.0")) == "1.0.0"
    assert str(SemVer.parse("1.2.3").bumped()) == "1.2.4"
    for wrong in ("0.0.0", "1.2.3.4", "v1", "", 1):
        with pytest.raises(MalformedContent):
            SemVer.parse(wrong)


@given(OBJECTS, OBJECTS)
def test_splicing_is_merging(base: dict[str, Any], top: dict[str, Any]) -> None:
    assert orjson.loads(merge_json(orjson.dumps(base), orjson.dumps(top))) == {**base, **top}


def test_final_parameters_may_not_be_overridden() -> None:
    values = [{"key": "k", "value": 1}, {"key": "open", "value": None}]
    bound = bind(action(parameters=values, annotations=[{"key": "final", "value": True}]), (), None)
    check_final(bound, b'{"open":1,"other":2}')
    for payload in (b'{"k":2}', b'{"\\u006b":null}', b"[1]", b'{"k":'):
        with pytest.raises(BadRequest, match="not allowed"):
            check_final(bound, payload)


def test_the_result_of_a_part_leaves_the_final_parameters_of_the_next_as_they_are() -> None:
    final = frozenset({"k"})
    assert without(final, b'{"\\u006b":2,"n":[1]}') == b'{"n":[1]}'
    for untouched in (b'{"n":1}', b"{}", b"[1]", b'{"k":'):
        assert without(final, untouched) == untouched


def test_parameters_go_package_then_action() -> None:
    package = PackagePut.from_json(
        {"parameters": [{"key": "a", "value": 1}, {"key": "b", "value": 1}]}, "guest"
    )
    made = package.create(parse_name("/guest/p", "_"), 0)
    secret = {"key": "e", "value": {"x": 1}, "init": True}
    bound = bind(action(parameters=[{"key": "b", "value": 2}, secret]), (made,), None)
    assert orjson.loads(bound.text) == {"a": 1, "b": 2}
    assert bound.parameters.environment() == {"e": '{"x":1}'}
