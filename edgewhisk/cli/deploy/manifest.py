"""Manifests as `wskdeploy` takes them: what they describe, as entities to be made.

Understood: packages (also inside `project`), version, inputs, annotations, public, actions, sequences,
triggers with feeds, rules, dependencies on other packages as bindings, `$NAME` and `${NAME}` from the
environment in names and values (`$${NAME}` is the text `${NAME}`), the package `default`, which stands for
none, and a deployment file. What is not understood is an error that names it, never skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgewhisk import jsontext
from edgewhisk.cli.arguments import executable, keyed, qualified
from edgewhisk.cli.deploy.deployment import merged
from edgewhisk.cli.deploy.inputs import nothing, typed
from edgewhisk.entity.names import entity_name, parse_name
from edgewhisk.entity.version import SemVer
from edgewhisk.errors import BadRequest, MalformedContent

_VARIABLE: Final = re.compile(r"\$(?:\$(?=[\w{])|(\w+)|\{(\w+)\})")
_DEFAULT: Final = "default"
_SWITCHES: Final = ("true", "yes", "on", "false", "no", "off")
_LIMITS: Final = {"timeout": "timeout", "memorySize": "memory", "logSize": "logs",
                  "concurrentActivations": "concurrency"}  # fmt: skip
_RUNTIMES: Final = {"nodejs": "nodejs:default", "python": "python:default", "wasm": "wasm:default"}
_KNOWN: Final[Mapping[str, frozenset[str]]] = {
    "manifest": frozenset({"packages", "project"}),
    "project": frozenset({"name", "packages", "namespace", "version", "credential", "apiHost", "config"}),
    "package": frozenset({"version", "license", "inputs", "parameters", "annotations", "public", "publish",
                          "actions", "sequences", "triggers", "rules", "dependencies", "feeds", "apis",
                          "namespace", "description"}),
    "action": frozenset({"version", "function", "location", "code", "runtime", "main", "inputs", "parameters",
                         "outputs", "annotations", "limits", "web", "web-export", "web-secure", "docker",
                         "native", "raw-http", "final", "conductor", "require-whisk-auth", "description"}),
    "sequence": frozenset({"actions", "web", "web-export", "annotations", "inputs", "description"}),
    "trigger": frozenset({"feed", "source", "inputs", "parameters", "annotations", "description"}),
    "rule": frozenset({"trigger", "action", "status", "annotations", "description"}),
    "dependency": frozenset({"location", "inputs", "parameters", "annotations", "version"}),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ManifestEntity:
    """One thing that a manifest asks for."""

    collection: str  # "actions"
    name: str  # "pkg/hello"
    body: Mapping[str, Any]  # of the PUT
    feed: str = ""  # "/whisk.system/mqtt/message"
    inputs: Mapping[str, Any] | None = None  # of the feed
    active: bool = True  # of a rule


def read(path: Path, environment: Mapping[str, str], deployment: Path | None = None) -> list[ManifestEntity]:
    """The entities in the order in which they can be made; raises `BadRequest`."""
    from edgewhisk.cli.deploy.yaml_text import load  # its library takes 20 ms

    document = load(path)
    if deployment is not None:
        document = merged(deployment, document, load(deployment))
    return list(_Manifest(path, environment).entities(document))


class _Manifest:
    """Reads one file; `where` in errors is the path of keys in it."""

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self._path = path
        self._environment = environment

    def entities(self, document: Any) -> Iterator[ManifestEntity]:
        found = self._table("manifest", "", document)
        if "project" in found:
            found = {**self._table("project", "project", found["project"]), **found}
        packages = {
            name: self._table("package", f"packages.{name}", content)
            for name, content in self._named(found.get("packages"), "packages").items()
        }
        if not packages:
            raise self._wrong("packages", "is missing: there is nothing to deploy")
        for name, package in packages.items():
            if "apis" in package:
                raise self._wrong(
                    f"packages.{name}.apis",
                    "is not supported: a web action has a URL of its own; use web: true",
                )
            if package.get("feeds"):
                raise self._wrong(f"packages.{name}.feeds", "is not supported: a feed is a key of a trigger")
            yield from self._package(name, package)
        makers = (self._dependencies, self._actions, self._sequences, self._triggers, self._rules)
        for make in makers:
            for name, package in packages.items():
                yield from make(name, package)

    def _package(self, name: str, package: Mapping[str, Any]) -> Iterator[ManifestEntity]:
        if name == _DEFAULT:
            return
        where = f"packages.{name}"
        public = package.get("public", package.get("publish", False))
        body: dict[str, Any] = {"publish": self._flag(public, f"{where}.public")}
        self._common(body, package, where)
        yield ManifestEntity("packages", name, body)

    def _dependencies(self, package: str, content: Mapping[str, Any]) -> Iterator[ManifestEntity]:
        for name, given in self._named(
            content.get("dependencies"), f"packages.{package}.dependencies"
        ).items():
            where = f"packages.{package}.dependencies.{name}"
            found = self._table("dependency", where, given)
            location = str(self._filled(found.get("location", f"/whisk.system/{name}"), where))
            parts = location.strip("/").split("/")
            if "://" in location or location.startswith("github.com") or len(parts) != 2:
                problem = (
                    f"must be /NAMESPACE/PACKAGE, not {location!r}; packages from the network are not fetched"
                )
                raise self._wrong(f"{where}.location", problem)
            body: dict[str, Any] = {"binding": {"namespace": parts[0], "name": parts[1]}}
            self._common(body, found, where)
            yield ManifestEntity("packages", name, body)

    def _actions(self, package: str, content: Mapping[str, Any]) -> Iterator[ManifestEntity]:
        for name, given in self._named(content.get("actions"), f"packages.{package}.actions").items():
            where = f"packages.{package}.actions.{name}"
            found = self._table("action", where, given)
            body: dict[str, Any] = {"exec": self._exec(found, where)}
            self._common(body, found, where)
            if limits := self._names(found.get("limits"), f"{where}.limits"):
                unknown = sorted(set(limits) - set(_LIMITS))
                if unknown:
                    raise self._wrong(f"{where}.limits.{unknown[0]}", f"is not one of {', '.join(_LIMITS)}")
                body["limits"] = {
                    _LIMITS[key]: self._whole(value, f"{where}.limits.{key}") for key, value in limits.items()
                }
            yield ManifestEntity("actions", _inside(package, name), body)

    def _sequences(self, package: str, content: Mapping[str, Any]) -> Iterator[ManifestEntity]:
        found = {
            name: self._table("sequence", f"packages.{package}.sequences.{name}", given)
            for name, given in self._named(content.get("sequences"), f"packages.{package}.sequences").items()
        }
        parts: dict[str, list[str]] = {}
        for name, given in found.items():
            actions, where = given.get("actions", ""), f"packages.{package}.sequences.{name}"
            listed = actions if isinstance(actions, list) else str(actions).split(",")
            parts[name] = [
                self._action_name(package, str(self._filled(part, where)).strip(), where)
                for part in listed
                if part
            ]
            if not parts[name]:
                raise self._wrong(f"{where}.actions", "is missing: the actions that run one after the other")
        for name in self._ordered(package, parts):
            body: dict[str, Any] = {"exec": {"kind": "sequence", "components": parts[name]}}
            self._common(body, {**found[name], "inputs": None}, f"packages.{package}.sequences.{name}")
            yield ManifestEntity("actions", _inside(package, name), body)

    def _ordered(self, package: str, parts: Mapping[str, list[str]]) -> list[str]:
        """Sequences after those that they are made of."""
        full = {qualified(_inside(package, name)): name for name in parts}
        done: list[str] = []

        def visit(name: str, path: tuple[str, ...]) -> None:
            if name in path:
                raise self._wrong(f"packages.{package}.sequences.{name}", "refers to itself")
            if name not in done:
                for part in parts[name]:
                    if part in full:
                        visit(full[part], (*path, name))
                done.append(name)

        for name in parts:
            visit(name, ())
        return done

    def _triggers(self, package: str, content: Mapping[str, Any]) -> Iterator[ManifestEntity]:
        for name, given in self._named(content.get("triggers"), f"packages.{package}.triggers").items():
            where = f"packages.{package}.triggers.{name}"
            found = self._table("trigger", where, given)
            feed = str(self._filled(found.get("feed") or found.get("source") or "", where))
            inputs = self._inputs(found, where)
            body: dict[str, Any] = {}
            annotations = dict(self._filled(self._names(found.get("annotations"), where), where))
            if feed:
                annotations["feed"] = feed = str(self._full(qualified(feed), f"{where}.feed"))
            elif inputs:
                body["parameters"] = keyed(inputs)
            body["annotations"] = keyed(annotations)
            yield ManifestEntity("triggers", name, body, feed, inputs if feed else None)

    def _rules(self, package: str, content: Mapping[str, Any]) -> Iterator[ManifestEntity]:
        for name, given in self._named(content.get("rules"), f"packages.{package}.rules").items():
            where = f"packages.{package}.rules.{name}"
            found = self._table("rule", where, given)
            for end in ("trigger", "action"):
                if not found.get(end):
                    raise self._wrong(f"{where}.{end}", "is missing")
            trigger = qualified(str(self._filled(found["trigger"], where)))
            action = str(self._filled(found["action"], where))
            body = {
                "trigger": self._full(trigger, f"{where}.trigger"),
                "action": self._action_name(package, action, f"{where}.action"),
            }
            status = found.get("status", "active")
            if status not in ("active", "inactive"):
                raise self._wrong(f"{where}.status", f"must be active or inactive, not {status!r}")
            yield ManifestEntity("rules", name, body, active=status == "active")

    # -- pieces --------------------------------------------------------------------------------------

    def _exec(self, found: Mapping[str, Any], where: str) -> dict[str, Any]:
        if found.get("docker") or found.get("native"):
            raise self._wrong(f"{where}.docker", "is not supported: there are no containers on this gateway")
        runtime = found.get("runtime")
        kind = _RUNTIMES.get(str(runtime), str(runtime)) if runtime else None
        main = self._text(found["main"], f"{where}.main") if found.get("main") else None
        if found.get("code") is not None:
            if kind is None:
                raise self._wrong(
                    f"{where}.runtime", "is needed with inline code; for example nodejs:default"
                )
            code = self._text(found["code"], f"{where}.code")
            return {"kind": kind, "code": code, **({"main": main} if main else {})}
        function = found.get("function") or found.get("location")
        if not function:
            raise self._wrong(f"{where}.function", "is missing: the file with the code")
        path = self._path.parent / str(self._filled(function, where))
        if not path.exists():
            raise self._wrong(f"{where}.function", f"{path} does not exist")
        return executable(path, kind, main)

    def _common(self, body: dict[str, Any], found: Mapping[str, Any], where: str) -> None:
        """Version, inputs and annotations."""
        if found.get("version") is not None:
            try:
                body["version"] = str(SemVer.parse(str(found["version"])))
            except MalformedContent:
                problem = f"must be one to three numbers, for example 1.0.2, not {found['version']!r}"
                raise self._wrong(f"{where}.version", problem) from None
        body["parameters"] = keyed(self._inputs(found, where))
        annotations = dict(self._filled(self._names(found.get("annotations"), f"{where}.annotations"), where))
        annotations.update(self._web(found, where))
        body["annotations"] = keyed(annotations)

    def _web(self, found: Mapping[str, Any], where: str) -> dict[str, Any]:
        made: dict[str, Any] = {}
        web = found.get("web", found.get("web-export"))
        if web is not None:
            text = str(web).lower()
            if text not in ("true", "yes", "raw", "false", "no"):
                raise self._wrong(f"{where}.web", f"must be true, false or raw, not {web!r}")
            exported = text in ("true", "yes", "raw")
            made |= {"web-export": exported, "raw-http": text == "raw", "final": exported}
        for key in ("web-secure", "require-whisk-auth"):
            if key in found:
                made["require-whisk-auth"] = self._secret(self._filled(found[key], where), f"{where}.{key}")
        for key in ("conductor", "raw-http", "final"):
            if key in found:
                made[key] = self._flag(found[key], f"{where}.{key}")
        if found.get("description") is not None:
            made["description"] = self._filled(found["description"], where)
        return made

    def _secret(self, given: Any, where: str) -> bool | str | int:
        """What keeps strangers away; what cannot do that is an error, never nothing."""
        meant = isinstance(given, bool) or (isinstance(given, int) and given > 0)
        if not meant and not (isinstance(given, str) and given.strip().lower() not in ("", *_SWITCHES)):
            raise self._wrong(where, f"must be true, false or a secret, not {given!r}")
        return given  # type: ignore[no-any-return]

    def _flag(self, given: Any, where: str) -> bool:
        text = str(self._filled(given, where)).lower()
        if not isinstance(given, bool | str) or text not in _SWITCHES:
            raise self._wrong(where, f"must be true or false, not {given!r}")
        return text in ("true", "yes", "on")

    def _whole(self, given: Any, where: str) -> int:
        found = self._filled(given, where)
        if isinstance(found, str) and found.isascii() and found.isdigit() and len(found) < 10:
            found = int(found)
        if isinstance(found, bool) or not isinstance(found, int):
            raise self._wrong(where, f"must be a whole number, not {found!r}")
        return found

    def _text(self, given: Any, where: str) -> str:
        if not isinstance(given, str):
            raise self._wrong(where, f"must be text, not {given!r}")
        return given

    def _inputs(self, found: Mapping[str, Any], where: str) -> dict[str, Any]:
        """`name: value`, or `name: {type, value, default}`."""
        given = self._names(found.get("inputs", found.get("parameters")), f"{where}.inputs")
        return {key: self._input(value, f"{where}.inputs.{key}") for key, value in given.items()}

    def _input(self, given: Any, where: str) -> Any:
        if not (isinstance(given, dict) and given.keys() & {"type", "value", "default"}):
            return given if not isinstance(given, str | list | dict) else self._filled(given, where)
        kind = str(given.get("type"))
        told = (given.get(key) for key in ("value", "default"))
        found = self._filled(next((one for one in told if one is not None), nothing(kind)), where)
        try:
            return typed(kind, found)
        except (ValueError, TypeError, OverflowError):
            raise self._wrong(where, f"must be of type {kind}, not {found!r}") from None

    def _filled(self, value: Any, where: str) -> Any:
        """`value` with variables of the environment put in; a missing one is an error."""
        if isinstance(value, str):
            return _VARIABLE.sub(lambda match: self._variable(match[1] or match[2], where), value)
        if isinstance(value, dict):
            return {key: self._filled(one, where) for key, one in value.items()}
        if isinstance(value, list):
            return [self._filled(one, where) for one in value]
        return value

    def _variable(self, name: str | None, where: str) -> str:
        if name is None:
            return "$"  # of `$$`
        if name not in self._environment:
            raise self._wrong(where, f"${name} is not set in the environment")
        found = self._environment[name]
        if jsontext.sayable(found) != found:
            raise self._wrong(where, f"${name} in the environment is no UTF-8")
        return found

    def _action_name(self, package: str, name: str, where: str) -> str:
        """An action's full name: without a package it is in the manifest's."""
        return self._full(
            name if name.startswith("/") else qualified(name if "/" in name else _inside(package, name)),
            where,
        )

    def _full(self, name: str, where: str) -> str:
        """A full name, if it can be one."""
        try:
            parse_name(name, "_" if name.startswith("/_/") else "x")
        except BadRequest:
            raise self._wrong(where, f"{name!r} can be no name") from None
        return name

    def _named(self, value: Any, where: str) -> dict[str, Any]:
        """A mapping by names of entities, with variables put in."""
        found: dict[str, Any] = {}
        for key, content in self._names(value, where).items():
            name = str(self._filled(key, where))
            try:
                entity_name(name)
            except BadRequest:
                raise self._wrong(f"{where}.{key}", f"{name!r} can be no name") from None
            if name in found:
                raise self._wrong(f"{where}.{key}", f"stands for {name}, which is there twice")
            found[name] = content
        return found

    def _table(self, kind: str, where: str, value: Any) -> dict[str, Any]:
        found = self._names(value, where)
        unknown = sorted(set(found) - _KNOWN[kind])
        if unknown:
            key = f"{where}.{unknown[0]}" if where else unknown[0]
            raise self._wrong(key, f"is not a key of a {kind}; known: {', '.join(sorted(_KNOWN[kind]))}")
        return found

    def _names(self, value: Any, where: str) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self._wrong(where or "(file)", "must be a mapping of names")
        for key in value:
            if not isinstance(key, str):
                raise self._wrong(
                    where, f"has the name {key!r}, which YAML takes for no text: put it in quotes"
                )
        return value

    def _wrong(self, where: str, problem: str) -> BadRequest:
        return BadRequest(f"{self._path}: {where} {problem}")


def _inside(package: str, name: str) -> str:
    return name if package == _DEFAULT else f"{package}/{name}"
