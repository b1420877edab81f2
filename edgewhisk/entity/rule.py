"""Rules: which action a trigger starts. Whether a rule is active is kept in its trigger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgewhisk.entity.action import (
    json_object,
    name_of,
    optional_bool,
    optional_parameters,
    optional_version,
)
from edgewhisk.entity.names import FullyQualifiedName, parse_reference
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.version import SemVer
from edgewhisk.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Rule:
    """A stored rule."""

    name: FullyQualifiedName
    trigger: FullyQualifiedName
    action: FullyQualifiedName
    annotations: Parameters
    version: SemVer
    updated: int
    publish: bool = False

    def to_json(self) -> dict[str, Any]:
        """The stored document: a rule without its status."""
        return {
            "namespace": self.name.path,
            "name": self.name.name,
            "version": str(self.version),
            "publish": self.publish,
            "trigger": self.trigger.to_json(),
            "action": self.action.to_json(),
            "annotations": self.annotations.to_json(),
            "updated": self.updated,
        }

    def to_listing(self) -> dict[str, Any]:
        """The item of a list; OpenWhisk leaves the status out there."""
        return self.to_json()

    def with_status(self, *, active: bool) -> dict[str, Any]:
        """The document of the REST API."""
        return {**self.to_json(), "status": "active" if active else "inactive"}

    @classmethod
    def from_document(cls, value: Mapping[str, Any]) -> Rule:
        """Read what `to_json` wrote."""
        return cls(
            name=name_of(value),
            trigger=parse_reference(value["trigger"], "_"),
            action=parse_reference(value["action"], "_"),
            annotations=Parameters.from_json(value["annotations"], "annotations"),
            version=SemVer.parse(value["version"]),
            updated=value["updated"],
            publish=value["publish"],
        )


@dataclass(frozen=True, slots=True)
class RulePut:
    """What the body of `PUT rules/NAME` says; a `status` in it is ignored."""

    trigger: FullyQualifiedName | None
    action: FullyQualifiedName | None
    annotations: Parameters | None
    version: SemVer | None
    publish: bool | None

    @classmethod
    def from_json(cls, value: object, namespace: str) -> RulePut:
        """Read a body; raises `MalformedContent`."""
        body = json_object(value)
        optional_parameters(body, "parameters")  # a rule keeps none, but wrong ones are refused
        return cls(
            _reference(body.get("trigger"), namespace),
            _reference(body.get("action"), namespace),
            optional_parameters(body, "annotations"),
            optional_version(body),
            optional_bool(body, "publish"),
        )

    def create(self, name: FullyQualifiedName, now: int) -> Rule:
        """A new rule; raises `BadRequest` unless it has both ends."""
        if self.trigger is None or self.action is None:
            raise BadRequest("rule requires a valid trigger and a valid action")
        return Rule(
            name,
            self.trigger,
            self.action,
            self.annotations or Parameters(),
            self.version or SemVer(),
            now,
            bool(self.publish),
        )

    def update(self, old: Rule, now: int) -> Rule:
        """`old` changed by this body; annotations are replaced."""
        return Rule(
            old.name,
            self.trigger or old.trigger,
            self.action or old.action,
            old.annotations if self.annotations is None else self.annotations,
            self.version or old.version.bumped(),
            now,
            old.publish if self.publish is None else self.publish,
        )


def _reference(value: object, namespace: str) -> FullyQualifiedName | None:
    return None if value is None else parse_reference(value, namespace)
