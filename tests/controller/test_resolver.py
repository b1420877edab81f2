"""What annotations of triggers, actions and parts of sequences come to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.controller.entities import Entities
from edgewhisk.controller.resolver import Resolver
from edgewhisk.entity.action import Action
from edgewhisk.entity.annotations.delivery import Priority
from edgewhisk.entity.exec import CodeExec, Exec, SequenceExec
from edgewhisk.entity.limits import ActionLimits, Limits
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.trigger import Trigger
from edgewhisk.entity.version import SemVer
from edgewhisk.errors import MalformedContent
from edgewhisk.store.documents.entity_store import EntityStore


def name(text: str) -> FullyQualifiedName:
    return parse_name(f"/guest/{text}", "_")


def action(text: str, code: Exec = CodeExec("nodejs:20", "x"), **notes: str) -> Action:  # noqa: B008
    annotations = Parameters.of({f"edge-{key}": value for key, value in notes.items()})
    return Action(name(text), code, Parameters(), ActionLimits.default(Limits()), annotations, SemVer(), 0)


@pytest.fixture
def resolver(tmp_path: Path) -> Resolver:
    entities = Entities(EntityStore.open(tmp_path))
    actions = [
        action("plain"),
        action("low", priority="low"),
        action("valve", delivery="at-most-once"),
        action("safe", SequenceExec((name("plain"), name("low")))),
        action("outer", SequenceExec((name("plain"), name("inner")))),
        action("inner", SequenceExec((name("valve"), name("missing"), name("outer")))),
    ]
    urgent = Trigger(name("t"), Parameters(), Parameters.of({"edge-priority": "high"}), SemVer(), 0)

    async def fill() -> None:
        async with entities.changing():
            await entities.write(*(("actions", one.name.key, one) for one in actions))
            await entities.write(("triggers", urgent.name.key, urgent))

    asyncio.run(fill())
    return Resolver(entities)


@pytest.mark.parametrize(
    ("what", "trigger", "expected"),
    [
        ("plain", "", Priority.NORMAL),
        ("low", "", Priority.LOW),
        ("low", "/guest/t", Priority.HIGH),  # the trigger's counts first
        ("low", "/guest/unknown", Priority.LOW),
        ("gone", "", Priority.NORMAL),
    ],
)
def test_priorities(resolver: Resolver, what: str, trigger: str, expected: Priority) -> None:
    assert resolver.priority(name(what), "", trigger) is expected


@pytest.mark.parametrize(
    ("sources", "feed", "said", "expected"),
    [
        ((), "", None, (False, False)),
        (("fire",), "mqtt/message", None, (False, True)),
        (("alarms", "changes/couchdb"), "alarms/once", None, (True, False)),
        (("alarms", "changes/couchdb"), "changes/couchdb", None, (True, False)),
        (("alarms", "changes/couchdb"), "changes/file", None, (False, False)),
        (("alarms", "fire"), "alarms/once", False, (False, False)),
        ((), "mqtt/message", True, (True, True)),
    ],
)
def test_a_firing_is_recorded_as_the_setting_and_before_it_the_annotation_says(
    tmp_path: Path, sources: tuple[str, ...], feed: str, said: bool | None, expected: tuple[bool, bool]
) -> None:
    entities = Entities(EntityStore.open(tmp_path))
    notes = Parameters.of({} if said is None else {"edge-record": said})
    trigger = Trigger(name("t"), Parameters(), notes, SemVer(), 0)
    stored: tuple[str, str, Any] = ("feeds", trigger.name.key, {"feed": feed, "parameters": {}})
    fed = [stored] if feed else []

    async def fill() -> None:
        async with entities.changing():
            await entities.write(("triggers", trigger.name.key, trigger), *fed)

    asyncio.run(fill())
    found = Resolver(entities, sources).plan(trigger.name)
    assert found is not None
    assert (found.recorded, found.fires_recorded) == expected


@pytest.mark.parametrize(
    ("what", "once"),
    [("plain", False), ("valve", True), ("safe", False), ("inner", True), ("outer", True)],
)
def test_a_sequence_with_a_part_that_must_not_repeat_must_not_repeat(
    resolver: Resolver, what: str, once: bool
) -> None:
    bound = resolver.bound(name(what), "")
    assert bound is not None
    assert bound.once is once
    assert not (bound.pure and once)


def test_annotations_that_mean_nothing_are_refused() -> None:
    wrong = Trigger(name("t"), Parameters(), Parameters.of({"edge-priority": 1}), SemVer(), 0)
    with pytest.raises(MalformedContent, match="must be high, normal, low, not 1"):
        _ = wrong.priority


def test_what_was_updated_at_the_same_time_is_listed_with_and_without_a_package(tmp_path: Path) -> None:
    entities = Entities(EntityStore.open(tmp_path))
    made = [action("plain"), action("other")]
    made += [replace(made[0], name=parse_name("/guest/p/plain", "_"))]
    entities.provide(made)
    assert [one.name.key for one in entities.actions.within("guest")] == [
        "guest/plain", "guest/p/plain", "guest/other"
    ]  # fmt: skip
