"""The pieces of a manifest: names, texts, switches, inputs; what cannot be one is an error with its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from edgewhisk import jsontext
from edgewhisk.cli.deploy.inputs import TYPES, nothing, typed
from edgewhisk.entity.names import entity_name, parse_name
from edgewhisk.errors import BadRequest

_VARIABLE: Final = re.compile(r"\$(?:\$(?=[\w{])|(\w+)|\{(\w+)\})")
_SWITCHES: Final = ("true", "yes", "on", "false", "no", "off")
_LARGEST: Final = (1 << 53) - 1  # JavaScript's largest whole number
_LONG: Final = frozenset({"type", "value", "default", "description", "required", "status", "schema"})
_KNOWN: Final[Mapping[str, frozenset[str]]] = {
    "manifest": frozenset({"packages", "project"}),
    "project": frozenset({"name", "packages", "inputs", "version", "config"}),
    "package": frozenset({"version", "inputs", "parameters", "annotations", "public", "publish", "actions",
                          "sequences", "triggers", "rules", "dependencies", "apis", "description"}),
    "action": frozenset({"version", "function", "location", "code", "runtime", "main", "inputs", "parameters",
                         "annotations", "limits", "web", "web-export", "web-secure", "docker", "native",
                         "raw-http", "final", "conductor", "require-whisk-auth", "description", "include",
                         "exclude"}),
    "sequence": frozenset({"actions", "web", "web-export", "web-secure", "require-whisk-auth", "annotations",
                           "inputs", "description"}),
    "trigger": frozenset({"feed", "source", "inputs", "parameters", "annotations", "description"}),
    "rule": frozenset({"trigger", "action", "status", "annotations", "description"}),
    "dependency": frozenset({"location", "inputs", "parameters", "annotations", "version"}),
    "API method": frozenset({"method", "response"}),
    "limits": frozenset({"timeout", "memorySize", "logSize", "concurrentActivations"}),
}  # fmt: skip
# What wskdeploy reads and makes nothing of, or what tells it where to deploy.
_ELSEWHERE: Final = frozenset({"namespace", "credential", "apiHost", "apigwAccessToken"})
_UNUSED: Final[Mapping[str, frozenset[str]]] = {
    "manifest": frozenset({"filepath"}),
    "project": _ELSEWHERE,
    "package": _ELSEWHERE | {"name", "license", "repositories", "feeds"},
    "action": _ELSEWHERE | {"name", "exposedUrl", "outputs"},
    "trigger": _ELSEWHERE | {"name"},
    "rule": frozenset({"name", "rule"}),
    "limits": frozenset({"userInvocationRate", "codeSize", "parameterSize"}),
}


class ManifestReader:
    """Reads one file; `where` in errors is the path of keys in it."""

    def __init__(self, path: Path, environment: Mapping[str, str], warn: Callable[[str], None]) -> None:
        """`warn` is told of keys that make no difference."""
        self.path = path
        self.environment = environment
        self.lent: Mapping[str, Any] = {}  # inputs that variables may name, too: the package's, the project's
        self.warn = warn

    def secret(self, given: Any, where: str) -> bool | str | int:
        """What keeps strangers away; what cannot do that is an error, never nothing."""
        meant = isinstance(given, bool) or (isinstance(given, int) and 0 < given < _LARGEST)
        if not meant and not (isinstance(given, str) and given.strip().lower() not in ("", *_SWITCHES)):
            raise self.wrong(where, f"must be true, false or a secret, not {given!r}")
        return given  # type: ignore[no-any-return]

    def flag(self, given: Any, where: str) -> bool:
        """A switch."""
        text = str(self.filled(given, where)).lower()
        if not isinstance(given, bool | str) or text not in _SWITCHES:
            raise self.wrong(where, f"must be true or false, not {given!r}")
        return text in ("true", "yes", "on")

    def whole(self, given: Any, where: str) -> int:
        """A whole number."""
        found = self.filled(given, where)
        if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) < 10:
            found = int(found)
        if isinstance(found, bool) or not isinstance(found, int):
            raise self.wrong(where, f"must be a whole number, not {found!r}")
        return found

    def text(self, given: Any, where: str) -> str:
        """Text as it stands there."""
        if not isinstance(given, str):
            raise self.wrong(where, f"must be text, not {given!r}")
        return given

    def inputs(self, found: Mapping[str, Any], where: str) -> dict[str, Any]:
        """`name: value`, or `name: {type, value, default}`."""
        given = self.names(found.get("inputs", found.get("parameters")), f"{where}.inputs")
        return {key: self._input(value, f"{where}.inputs.{key}") for key, value in given.items()}

    def _input(self, given: Any, where: str) -> Any:
        if given is None or (isinstance(given, str) and given in TYPES):
            return nothing(given or "string")  # as wskdeploy has it: a type alone stands for its empty value
        if not (isinstance(given, dict) and given.keys() <= _LONG):
            return given if not isinstance(given, str | list | dict) else self.filled(given, where)
        kind = str(given.get("type", "string"))
        told = (given.get(key) for key in ("value", "default"))
        found = self.filled(next((one for one in told if one is not None), nothing(kind)), where)
        if given.get("required") is True and found in (None, nothing(kind)):
            raise self.wrong(where, "is required and has no value")
        try:
            return typed(kind, found)
        except (ValueError, TypeError, OverflowError):
            raise self.wrong(where, f"must be of type {kind}, not {found!r}") from None

    def filled(self, value: Any, where: str) -> Any:
        """`value` with variables of the environment put in; a missing one is an error."""
        if isinstance(value, str):
            return _VARIABLE.sub(lambda match: self._variable(match[1] or match[2], where), value)
        if isinstance(value, dict):
            return {key: self.filled(one, where) for key, one in value.items()}
        if isinstance(value, list):
            return [self.filled(one, where) for one in value]
        return value

    def _variable(self, name: str | None, where: str) -> str:
        if name is None:
            return "$"  # of `$$`
        if name not in self.environment:
            if isinstance(lent := self.lent.get(name), str):
                return lent
            raise self.wrong(where, f"${name} is not set in the environment")
        found = self.environment[name]
        if jsontext.sayable(found) != found:
            raise self.wrong(where, f"${name} in the environment is no UTF-8")
        return found

    def full(self, name: str, where: str) -> str:
        """A full name, if it can be one."""
        try:
            parse_name(name, "_" if name.startswith("/_/") else "x")
        except BadRequest:
            raise self.wrong(where, f"{name!r} can be no name") from None
        return name

    def named(self, value: Any, where: str) -> dict[str, Any]:
        """A mapping by names of entities, with variables put in."""
        found: dict[str, Any] = {}
        for key, content in self.names(value, where).items():
            name = str(self.filled(key, where))
            try:
                entity_name(name)
            except BadRequest:
                raise self.wrong(f"{where}.{key}", f"{name!r} can be no name") from None
            if name in found:
                raise self.wrong(f"{where}.{key}", f"stands for {name}, which is there twice")
            found[name] = content
        return found

    def table(self, kind: str, where: str, value: Any) -> dict[str, Any]:
        """A mapping with the keys of a kind; of those that make no difference a warning."""
        found, known = self.names(value, where), _KNOWN[kind]
        unused = _UNUSED.get(kind, frozenset()) - known
        for name in sorted(set(found) - known):
            key = f"{where}.{name}" if where else name
            if name not in unused:
                raise self.wrong(key, f"is not a key of a {kind}; known: {', '.join(sorted(known))}")
            if found[name] not in (None, "", [], {}):
                self.warn(f"{self.path}: {key} is ignored")
        return {name: one for name, one in found.items() if name in known}

    def names(self, value: Any, where: str) -> dict[str, Any]:
        """A mapping; nothing is an empty one."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.wrong(where or "(file)", "must be a mapping of names")
        for key in value:
            if not isinstance(key, str):
                raise self.wrong(
                    where, f"has the name {key!r}, which YAML takes for no text: put it in quotes"
                )
        return value

    def wrong(self, where: str, problem: str) -> BadRequest:
        """The error to raise."""
        return BadRequest(f"{self.path}: {where} {problem}")
