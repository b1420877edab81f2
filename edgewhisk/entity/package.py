"""Packages of actions, and bindings to packages of another name."""

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
from edgewhisk.entity.names import (
    DEFAULT_NAMESPACE,
    FullyQualifiedName,
    entity_name,
    namespace_name,
)
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.version import SemVer
from edgewhisk.errors import BadRequest, MalformedContent

RESERVED: Final = "default"  # web actions use it for "no package"


@dataclass(frozen=True, slots=True)
class Package:
    """A stored package; with `binding` it stands for a package elsewhere."""

    name: FullyQualifiedName
    binding: FullyQualifiedName | None
    parameters: Parameters
    annotations: Parameters
    version: SemVer
    updated: int
    publish: bool = False

    def to_json(self) -> dict[str, Any]:
        """The document of the REST API, which is also what is stored."""
        return {
            "namespace": self.name.path,
            "name": self.name.name,
            "version": str(self.version),
            "publish": self.publish,
            "binding": _binding_json(self.binding) or {},
            "parameters": self.parameters.to_json(),
            "annotations": self.annotations.to_json(),
            "updated": self.updated,
        }

    def to_listing(self) -> dict[str, Any]:
        """The item of a list."""
        document = self.to_json()
        del document["parameters"]
        document["binding"] = _binding_json(self.binding) or False
        return document

    @classmethod
    def from_document(cls, value: Mapping[str, Any]) -> Package:
        """Read what `to_json` wrote."""
        return cls(
            name=name_of(value),
            binding=_binding(value["binding"], "_"),
            parameters=Parameters.from_json(value["parameters"]),
            annotations=Parameters.from_json(value["annotations"], "annotations"),
            version=SemVer.parse(value["version"]),
            updated=value["updated"],
            publish=value["publish"],
        )


@dataclass(frozen=True, slots=True)
class PackagePut:
    """What the body of `PUT packages/NAME` says."""

    binding: FullyQualifiedName | None
    parameters: Parameters | None
    annotations: Parameters | None
    version: SemVer | None
    publish: bool | None

    @classmethod
    def from_json(cls, value: object, namespace: str) -> PackagePut:
        """Read a body; raises `MalformedContent`."""
        body = json_object(value)
        return cls(
            _binding(body.get("binding", {}), namespace),
            optional_parameters(body, "parameters"),
            optional_parameters(body, "annotations"),
            optional_version(body),
            optional_bool(body, "publish"),
        )

    def create(self, name: FullyQualifiedName, now: int) -> Package:
        """A new package; raises `BadRequest` for the reserved name."""
        if name.name == RESERVED:
            raise BadRequest(f"Package name '{RESERVED}' is reserved.")
        return Package(
            name,
            self.binding,
            self.parameters or Parameters(),
            _bound(self.annotations or Parameters(), self.binding),
            self.version or SemVer(),
            now,
            bool(self.publish),
        )

    def update(self, old: Package, now: int) -> Package:
        """`old` changed by this body: parameters and annotations are replaced."""
        binding = self.binding or old.binding
        annotations = old.annotations if self.annotations is None else self.annotations
        return Package(
            old.name,
            binding,
            old.parameters if self.parameters is None else self.parameters,
            _bound(annotations, binding),
            self.version or old.version.bumped(),
            now,
            old.publish if self.publish is None else self.publish,
        )


def _bound(annotations: Parameters, binding: FullyQualifiedName | None) -> Parameters:
    """The annotation `binding` is the system's; a user's is dropped."""
    kept = annotations.without(["binding"])
    return kept.merged(Parameters.of({"binding": _binding_json(binding)})) if binding else kept


def _binding_json(binding: FullyQualifiedName | None) -> dict[str, str] | None:
    return {"namespace": binding.namespace, "name": binding.name} if binding else None


def _binding(value: object, namespace: str) -> FullyQualifiedName | None:
    """The package that a body names; none for `{}`."""
    if value == {}:
        return None
    if not isinstance(value, dict):
        raise MalformedContent("binding must be an object with namespace and name")
    owner, name = (_member(value, key) for key in ("namespace", "name"))
    owner = namespace if owner == DEFAULT_NAMESPACE else namespace_name(owner)
    return FullyQualifiedName(owner, None, entity_name(name))


def _member(value: Mapping[str, Any], key: str) -> str:
    if key not in value:
        raise MalformedContent(f"Object is missing required member '{key}'")
    if not isinstance(value[key], str):
        raise MalformedContent(f"binding: '{key}' must be text")
    return str(value[key])
