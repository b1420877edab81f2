"""Actions: what runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edgewhisk.entity.exec import CodeExec, Exec, SequenceExec, exec_from_document, exec_from_json
from edgewhisk.entity.limits import ActionLimits, ActionLimitsPut, Limits
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.entity.parameters import Parameter, Parameters, check_size
from edgewhisk.entity.version import SemVer
from edgewhisk.errors import BadRequest, MalformedContent, TooLarge, shown

Revision = tuple[str, str, int]  # name, version and time of the update
MEGABYTE: Final = 1 << 20
_LIGHT: Final = 2000  # bytes of an action without its code


@dataclass(frozen=True, slots=True)
class Action:
    """A stored action."""

    name: FullyQualifiedName
    exec: Exec
    parameters: Parameters
    limits: ActionLimits
    annotations: Parameters
    version: SemVer
    updated: int  # ms since the epoch
    publish: bool = False
    # Equal only for the same stored code: what a sandbox may key its images by. Made once, since
    # every call asks for it.
    revision: Revision = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Make the revision."""
        object.__setattr__(self, "revision", (self.name.key, str(self.version), self.updated))

    @property
    def weight(self) -> int:
        """About the bytes that it keeps in memory. It takes as long as to write its parameters as JSON."""
        return _LIGHT + len(getattr(self.exec, "code", "")) + self.parameters.weight + self.annotations.weight

    def to_json(self, *, code: bool = True) -> dict[str, Any]:
        """The document of the REST API, which is also what is stored."""
        return {
            "namespace": self.name.path,
            "name": self.name.name,
            "version": str(self.version),
            "publish": self.publish,
            "exec": self.exec.to_json(code=code),
            "parameters": self.parameters.to_json(),
            "limits": self.limits.to_json(),
            "annotations": self.annotations.to_json(),
            "updated": self.updated,
        }

    def to_listing(self) -> dict[str, Any]:
        """The item of a list: no code, no parameters."""
        document = self.to_json(code=False)
        del document["parameters"]
        document["exec"] = {"binary": getattr(self.exec, "binary", False)}
        return document

    @classmethod
    def from_document(cls, value: Mapping[str, Any]) -> Action:
        """Read what `to_json` wrote."""
        return cls(
            name=name_of(value),
            exec=exec_from_document(value["exec"]),
            parameters=Parameters.from_json(value["parameters"]),
            limits=ActionLimits(**value["limits"]),
            annotations=Parameters.from_json(value["annotations"], "annotations"),
            version=SemVer.parse(value["version"]),
            updated=value["updated"],
            publish=value["publish"],
        )


@dataclass(frozen=True, slots=True)
class ActionPut:
    """What the body of `PUT actions/NAME` says; None where it is silent."""

    exec: Exec | None
    parameters: Parameters | None
    limits: ActionLimitsPut
    annotations: Parameters | None
    del_annotations: tuple[str, ...]
    version: SemVer | None
    publish: bool | None

    @classmethod
    def from_json(
        cls, value: object, *, kinds: Mapping[str, str], namespace: str, limits: Limits
    ) -> ActionPut:
        """Read a body, in OpenWhisk's order.

        Raises `MalformedContent`, `TooLarge`, and `BadRequest` for limits that are not allowed.
        """
        body = json_object(value)
        given = body.get("exec")
        executable = None if given is None else exec_from_json(given, kinds, namespace)
        parameters, annotations = (optional_parameters(body, key) for key in ("parameters", "annotations"))
        _check_code(executable, limits)
        check_size("parameters", parameters, limits)
        check_size("annotations", annotations, limits)
        wanted = cls(
            exec=executable,
            parameters=parameters,
            limits=ActionLimitsPut.from_json(body.get("limits")),
            annotations=annotations,
            version=optional_version(body),
            publish=optional_bool(body, "publish"),
            del_annotations=_names(body.get("delAnnotations") or []),
        )
        wanted.limits.check(limits)
        return wanted

    def create(self, name: FullyQualifiedName, limits: Limits, now: int) -> Action:
        """A new action from this body. Raises `BadRequest` when it has no code."""
        if self.exec is None:
            raise BadRequest("exec undefined")
        annotations = self.annotations or Parameters()
        if "provide-api-key" not in annotations:
            annotations = annotations.merged(Parameters.of({"provide-api-key": False}))
        return Action(
            name=name,
            exec=self.exec,
            parameters=_own_parameters(self.exec, self.parameters or Parameters()),
            limits=self.limits.over(ActionLimits.default(limits)),
            annotations=_stamped(annotations, self.exec),
            version=self.version or SemVer(),
            updated=now,
            publish=bool(self.publish),
        )

    def update(self, old: Action, now: int) -> Action:
        """`old` changed by this body: annotations merge, parameters are replaced."""
        executable = self.exec or old.exec
        kept = old.annotations.without(self.del_annotations)
        parameters = old.parameters if self.parameters is None else self.parameters
        if isinstance(old.exec, SequenceExec) and self.exec and self.parameters is None:
            parameters = Parameters()
        return Action(
            name=old.name,
            exec=executable,
            parameters=_own_parameters(executable, parameters),
            limits=self.limits.over(old.limits),
            annotations=_stamped(kept.merged(self.annotations or Parameters()), executable),
            version=self.version or old.version.bumped(),
            updated=now,
            publish=old.publish if self.publish is None else self.publish,
        )


def _check_code(executable: Exec | None, limits: Limits) -> None:
    """Raise `TooLarge` for more code than an action may have."""
    if isinstance(executable, CodeExec):
        size, allowed = len(executable.code.encode()), limits.max_action_code * MEGABYTE
        if size > allowed:
            raise TooLarge(f"exec larger than allowed: {size} > {allowed} bytes.")


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(key, str) for key in value):
        raise MalformedContent("delAnnotations malformed!")
    return tuple(value)


def _stamped(annotations: Parameters, executable: Exec) -> Parameters:
    """OpenWhisk forces the annotation `exec` on every PUT; clients show it as the kind."""
    return annotations.merged(Parameters((Parameter("exec", executable.kind),)))


def _own_parameters(executable: Exec, parameters: Parameters) -> Parameters:
    """A sequence's parameters are its components, whatever the caller gave."""
    if isinstance(executable, SequenceExec):
        return Parameters.of({"_actions": [str(name) for name in executable.components]})
    return parameters


def name_of(value: Mapping[str, Any]) -> FullyQualifiedName:
    """The name that a stored document carries in `namespace` and `name`."""
    namespace, _, package = value["namespace"].partition("/")
    return FullyQualifiedName(namespace, package or None, value["name"])


def json_object(value: object) -> dict[str, Any]:
    """`value` if it is a JSON object; raises `MalformedContent`."""
    if not isinstance(value, dict):
        raise MalformedContent("Object expected")
    return value


def optional_parameters(body: Mapping[str, Any], key: str) -> Parameters | None:
    """Parameters at `key` of a body, or None where it is silent."""
    return None if body.get(key) is None else Parameters.from_json(body[key], key)


def optional_version(body: Mapping[str, Any]) -> SemVer | None:
    """`version` of a body."""
    return None if body.get("version") is None else SemVer.parse(body["version"])


def optional_bool(body: Mapping[str, Any], key: str) -> bool | None:
    """A boolean of a body; raises `MalformedContent` for anything else."""
    value = body.get(key)
    if value is not None and not isinstance(value, bool):
        raise MalformedContent(f"'{key}' must be true or false, not {shown(value)}")
    return value
