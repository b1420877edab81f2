"""Triggers: named events, and the links their rules made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from edgewhisk.entity.action import (
    json_object,
    name_of,
    optional_bool,
    optional_parameters,
    optional_version,
)
from edgewhisk.entity.annotations.delivery import Priority, priority
from edgewhisk.entity.names import FullyQualifiedName, entity_name, parse_reference, segments
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.version import SemVer
from edgewhisk.errors import BadRequest, MalformedContent


@dataclass(frozen=True, slots=True)
class RuleLink:
    """What a trigger knows of one of its rules."""

    action: FullyQualifiedName
    active: bool

    def to_json(self) -> dict[str, Any]:
        """The form inside a trigger document."""
        return {"action": self.action.to_json(), "status": "active" if self.active else "inactive"}


RECORD: Final = "edge-record"
CONCURRENCY: Final = "edge-concurrency"
MOST_CONCURRENT: Final = 8


@dataclass(frozen=True, slots=True)
class Trigger:
    """A stored trigger."""

    name: FullyQualifiedName
    parameters: Parameters
    annotations: Parameters
    version: SemVer
    updated: int
    publish: bool = False
    # Rule key "ns/rule" -> link; None until it has had a rule, which is what clients are shown.
    rules: Mapping[str, RuleLink] | None = None

    @property
    def links(self) -> Mapping[str, RuleLink]:
        """Its rules by their keys ("ns/rule")."""
        return self.rules or {}

    @property
    def feed(self) -> str | None:
        """The feed action that the annotation `feed` names."""
        value = self.annotations.get("feed")
        return value if isinstance(value, str) else None

    @property
    def concurrency(self) -> int:
        """How many batches of its events may be run at once; raises `MalformedContent`."""
        value = self.annotations.get(CONCURRENCY)
        if value is None:
            return 1
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_CONCURRENT:
            problem = f"annotation '{CONCURRENCY}' must be 1 to {MOST_CONCURRENT}, not {value!r}"
            raise MalformedContent(f"{problem}; over 1 the order of readings is not kept")
        return value

    @property
    def recorded(self) -> bool | None:
        """Whether firing it leaves an activation, if it says so; raises `MalformedContent`."""
        value = self.annotations.get(RECORD)
        if value is not None and not isinstance(value, bool):
            raise MalformedContent(f"annotation '{RECORD}' must be true or false, not {value!r}")
        return value

    @property
    def priority(self) -> Priority | None:
        """How urgent its events are, if it says so; raises `MalformedContent`."""
        return priority(self.annotations)

    def to_json(self) -> dict[str, Any]:
        """The document of the REST API, which is also what is stored."""
        document = {
            "namespace": self.name.path,
            "name": self.name.name,
            "version": str(self.version),
            "publish": self.publish,
            "parameters": self.parameters.to_json(),
            "limits": {},
            "annotations": self.annotations.to_json(),
            "updated": self.updated,
        }
        if self.rules is not None:
            document["rules"] = {key: link.to_json() for key, link in self.rules.items()}
        return document

    def to_listing(self) -> dict[str, Any]:
        """The item of a list."""
        document = self.to_json()
        for key in ("parameters", "limits", "rules"):
            document.pop(key, None)
        return document

    @classmethod
    def from_document(cls, value: Mapping[str, Any]) -> Trigger:
        """Read what `to_json` wrote."""
        return cls(
            name=name_of(value),
            parameters=Parameters.from_json(value["parameters"]),
            annotations=Parameters.from_json(value["annotations"], "annotations"),
            version=SemVer.parse(value["version"]),
            updated=value["updated"],
            publish=value["publish"],
            rules=_links(value["rules"]) if "rules" in value else None,
        )


@dataclass(frozen=True, slots=True)
class TriggerPut:
    """What the body of `PUT triggers/NAME` says."""

    parameters: Parameters | None
    annotations: Parameters | None
    version: SemVer | None
    publish: bool | None

    @classmethod
    def from_json(cls, value: object) -> TriggerPut:
        """Read a body; raises `MalformedContent`."""
        body = json_object(value)
        return cls(
            optional_parameters(body, "parameters"),
            optional_parameters(body, "annotations"),
            optional_version(body),
            optional_bool(body, "publish"),
        )

    def create(self, name: FullyQualifiedName, now: int) -> Trigger:
        """A new trigger. Raises `BadRequest` if the annotation `feed` names no possible action."""
        trigger = Trigger(
            name,
            self.parameters or Parameters(),
            self.annotations or Parameters(),
            self.version or SemVer(),
            now,
            bool(self.publish),
        )
        feed = trigger.annotations.get("feed")
        if "feed" in trigger.annotations and not _is_path(feed):
            raise BadRequest("Feed name is not valid")
        return trigger

    def update(self, old: Trigger, now: int) -> Trigger:
        """`old` changed by this body: parameters and annotations are replaced, rules kept."""
        return Trigger(
            old.name,
            old.parameters if self.parameters is None else self.parameters,
            old.annotations if self.annotations is None else self.annotations,
            self.version or old.version.bumped(),
            now,
            old.publish if self.publish is None else self.publish,
            old.rules,
        )


def _links(value: Mapping[str, Any]) -> dict[str, RuleLink]:
    return {
        key: RuleLink(parse_reference(link["action"], "_"), link["status"] == "active")
        for key, link in value.items()
    }


def _is_path(value: object) -> bool:
    """Whether a feed may have this name: one word or several, with slashes between them."""
    if not isinstance(value, str):
        return False
    try:
        return bool([entity_name(one) for one in segments(value)])
    except BadRequest:
        return False
