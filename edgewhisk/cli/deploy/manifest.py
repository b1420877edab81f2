"""Manifests as `wskdeploy` takes them: what they describe, as entities to be made.

Understood: packages (also inside `project`), version, inputs, annotations, public, actions, sequences,
triggers with feeds, rules, APIs, dependencies on other packages as bindings, `$NAME` and `${NAME}` from the
environment, or the inputs of package and project, in names and values (`$${NAME}` is the text `${NAME}`), the
package `default`, which stands for none, and a deployment file. What wskdeploy ignores is ignored with a
warning; what is not understood is an error that names it, never skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgewhisk.cli.arguments import KINDS, executable, keyed, qualified
from edgewhisk.cli.deploy import api_paths
from edgewhisk.cli.deploy.archive import files_of
from edgewhisk.cli.deploy.deployment import merged
from edgewhisk.cli.deploy.inputs import instead, is_nothing
from edgewhisk.cli.deploy.manifest_reader import ManifestReader
from edgewhisk.entity.version import SemVer
from edgewhisk.errors import MalformedContent

_DEFAULT: Final = "default"
_LIMITS: Final = {"timeout": "timeout", "memorySize": "memory", "logSize": "logs",
                  "concurrentActivations": "concurrency"}  # fmt: skip
_RUNTIMES: Final = {"nodejs": "nodejs:default", "python": "python:default", "wasm": "wasm:default"}
_SECRET: Final = "require-whisk-auth"  # noqa: S105 - the annotation


@dataclass(frozen=True, slots=True)
class ManifestEntity:
    """One thing that a manifest asks for."""

    collection: str  # "actions"
    name: str  # "pkg/hello"
    body: Mapping[str, Any]  # of the PUT
    feed: str = ""  # "/whisk.system/mqtt/message"
    inputs: Mapping[str, Any] | None = None  # of the feed
    active: bool = True  # of a rule

    @property
    def kind(self) -> str:
        """`action`, `trigger`, `api` ..."""
        return self.collection[:-1]


def read(
    path: Path,
    environment: Mapping[str, str],
    deployment: Path | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> list[ManifestEntity]:
    """The entities in the order in which they can be made; raises `BadRequest`. `warn`: what is ignored."""
    from edgewhisk.cli.deploy.yaml_text import load  # its library takes 20 ms

    document = load(path)
    if deployment is not None:
        document = merged(deployment, document, load(deployment))
    return list(_Manifest(path, environment, warn).entities(document, load))


class _Manifest(ManifestReader):
    """Reads what a document describes."""

    def entities(self, document: Any, load: Callable[[Path], Any]) -> Iterator[ManifestEntity]:
        found = self.table("manifest", "", document)
        project = self.table("project", "project", found.get("project"))
        self.lent = self.inputs(project, "project")
        given = self.named(found.get("packages") or project.get("packages"), "packages")
        packages = {
            name: self.table("package", f"packages.{name}", content) for name, content in given.items()
        }
        if not packages and "project" not in found:
            raise self.wrong("packages", "is missing: there is nothing to deploy")
        shared = dict(self.lent)
        lent = {name: self._lent(package, f"packages.{name}", shared) for name, package in packages.items()}
        makers = (
            self._package, self._dependencies, self._actions, self._sequences, self._triggers, self._rules,
            self._apis,
        )  # fmt: skip
        for make in makers:
            for name, package in packages.items():
                self.lent = lent[name]
                yield from make(name, package)
        if project.get("config"):
            yield self._document(str(project["config"]), load)

    def _lent(self, package: Mapping[str, Any], where: str, shared: Mapping[str, Any]) -> dict[str, Any]:
        """The inputs of a package; an empty one is the variable of its name, if there is one."""
        self.lent = shared
        own = self.inputs(package, where)
        for name, value in own.items():
            if is_nothing(value) and name in self.environment:
                try:
                    own[name] = instead(value, self.environment[name])
                except (ValueError, TypeError, OverflowError):
                    raise self.wrong(f"{where}.inputs.{name}", f"cannot be the value of ${name}") from None
        return {**shared, **own}

    def _package(self, name: str, package: Mapping[str, Any]) -> Iterator[ManifestEntity]:
        if name == _DEFAULT:
            return
        where = f"packages.{name}"
        public = package.get("public", package.get("publish", False))
        body: dict[str, Any] = {"publish": self.flag(public, f"{where}.public")}
        self._common(body, {**package, "description": None}, where)  # which wskdeploy does not keep
        body["parameters"] = keyed({key: self.lent[key] for key in self.inputs(package, where)})
        yield ManifestEntity("packages", name, body)

    def _dependencies(self, package: str, content: Mapping[str, Any]) -> Iterator[ManifestEntity]:
        for name, given in self.named(
            content.get("dependencies"), f"packages.{package}.dependencies"
        ).items():
            where = f"packages.{package}.dependencies.{name}"
            found = self.table("dependency", where, given)
            location = str(self.filled(found.get("location", f"/whisk.system/{name}"), where))
            parts = location.strip("/").split("/")
            if "://" in location or location.startswith("github.com") or len(parts) != 2:
                problem = (
                    f"must be /NAMESPACE/PACKAGE, not {location!r}; packages from the network are not fetched"
                )
                raise self.wrong(f"{where}.location", problem)
            body: dict[str, Any] = {"binding": {"namespace": parts[0], "name": parts[1]}}
            self._common(body, found, where)
            yield ManifestEntity("packages", name, body)

    def _actions(self, package: str, content: Mapping[str, Any]) -> Iterator[ManifestEntity]:
        for name, given in self.named(content.get("actions"), f"packages.{package}.actions").items():
            where = f"packages.{package}.actions.{name}"
            found = self._exposed(content, name, self.table("action", where, given), where)
            body: dict[str, Any] = {"exec": self._exec(found, where)}
            self._common(body, found, where)
            if limits := self.table("limits", f"{where}.limits", found.get("limits")):
                body["limits"] = {
                    _LIMITS[key]: self.whole(value, f"{where}.limits.{key}") for key, value in limits.items()
                }
            yield ManifestEntity("actions", _inside(package, name), body)

    def _sequences(self, package: str, content: Mapping[str, Any]) -> Iterator[ManifestEntity]:
        top = f"packages.{package}.sequences"
        found = {
            name: self._exposed(
                content, name, self.table("sequence", f"{top}.{name}", given), f"{top}.{name}"
            )
            for name, given in self.named(content.get("sequences"), top).items()
        }
        parts: dict[str, list[str]] = {}
        for name, given in found.items():
            actions, where = given.get("actions", ""), f"{top}.{name}"
            listed = actions if isinstance(actions, list) else str(actions).split(",")
            parts[name] = [
                self._action_name(package, str(self.filled(part, where)).strip(), where)
                for part in listed
                if part
            ]
            if not parts[name]:
                raise self.wrong(f"{where}.actions", "is missing: the actions that run one after the other")
        for name in self._ordered(package, parts):
            body: dict[str, Any] = {"exec": {"kind": "sequence", "components": parts[name]}}
            self._common(body, {**found[name], "inputs": None}, f"{top}.{name}")
            yield ManifestEntity("actions", _inside(package, name), body)

    def _ordered(self, package: str, parts: Mapping[str, list[str]]) -> list[str]:
        """Sequences after those that they are made of."""
        full = {qualified(_inside(package, name)): name for name in parts}
        done: list[str] = []

        def visit(name: str, path: tuple[str, ...]) -> None:
            if name in path:
                raise self.wrong(f"packages.{package}.sequences.{name}", "refers to itself")
            if name not in done:
                for part in parts[name]:
                    if part in full:
                        visit(full[part], (*path, name))
                done.append(name)

        for name in parts:
            visit(name, ())
        return done

    def _triggers(self, package: str, content: Mapping[str, Any]) -> Iterator[ManifestEntity]:
        for name, given in self.named(content.get("triggers"), f"packages.{package}.triggers").items():
            where = f"packages.{package}.triggers.{name}"
            found = self.table("trigger", where, given)
            feed = str(self.filled(found.get("feed") or found.get("source") or "", where))
            inputs = self.inputs(found, where)
            body: dict[str, Any] = {}
            annotations = dict(self.filled(self.names(found.get("annotations"), where), where))
            if feed:
                body["publish"] = True  # as wskdeploy has it
                annotations["feed"] = feed = str(self.full(qualified(feed), f"{where}.feed"))
            elif inputs:
                body["parameters"] = keyed(inputs)
            body["annotations"] = keyed(annotations)
            yield ManifestEntity("triggers", name, body, feed, inputs if feed else None)

    def _rules(self, package: str, content: Mapping[str, Any]) -> Iterator[ManifestEntity]:
        for name, given in self.named(content.get("rules"), f"packages.{package}.rules").items():
            where = f"packages.{package}.rules.{name}"
            found = self.table("rule", where, given)
            for end in ("trigger", "action"):
                if not found.get(end):
                    raise self.wrong(f"{where}.{end}", "is missing")
            trigger = qualified(str(self.filled(found["trigger"], where)))
            action = str(self.filled(found["action"], where))
            body = {
                "trigger": self.full(trigger, f"{where}.trigger"),
                "action": self._action_name(package, action, f"{where}.action"),
            }
            status = found.get("status", "active")
            if status not in ("active", "inactive"):
                raise self.wrong(f"{where}.status", f"must be active or inactive, not {status!r}")
            yield ManifestEntity("rules", name, body, active=status == "active")

    def _apis(self, package: str, content: Mapping[str, Any]) -> Iterator[ManifestEntity]:
        top = f"packages.{package}.apis"
        for title, bases in self.names(content.get("apis"), top).items():
            for base, paths in self.names(bases, f"{top}.{title}").items():
                for path, actions in self.names(paths, f"{top}.{title}.{base}").items():
                    place = f"{top}.{title}.{base}.{path}"
                    for action, given in self.names(actions, place).items():
                        ends = [str(self.filled(one, place)) for one in (title, base, path, action)]
                        yield self._operation(package, ends, given, f"{place}.{action}")

    def _exposed(
        self, package: Mapping[str, Any], name: str, found: dict[str, Any], where: str
    ) -> dict[str, Any]:
        """An action or sequence; it becomes a web action if an API leads to it, as in wskdeploy."""
        bases = [base for one in self.names(package.get("apis"), where).values() for base in _values(one)]
        named = any(
            isinstance(actions, dict) and name in actions for base in bases for actions in _values(base)
        )
        annotations = self.names(found.get("annotations"), f"{where}.annotations")
        web = found.get("web", found.get("web-export", annotations.get("web-export")))
        if not named or web is not None:
            if named and str(web).lower() in ("false", "no"):
                raise self.wrong(f"{where}.web", "must be true: an API leads to it")
            return found
        self.warn(f"{self.path}: {where} is made a web action: an API leads to it")
        return {**found, "web": True}

    def _operation(self, package: str, ends: list[str], given: Any, where: str) -> ManifestEntity:
        title, base, path, action = ends
        about = {"method": given} if isinstance(given, str) else self.table("API method", where, given)
        verb = self.text(self.filled(about.get("method", ""), where), f"{where}.method")
        response = str(about.get("response") or "json").lower()
        base, path = api_paths.slashed(base), api_paths.slashed(path)
        name = action if "/" in action else _inside(package, action)
        try:
            body = api_paths.operation(title, base, path, verb, name, response)
        except ValueError as error:
            raise self.wrong(where, str(error)) from None
        return ManifestEntity(api_paths.COLLECTION, f"{verb.upper()} {base.rstrip('/')}{path}", body)

    def _document(self, file: str, load: Callable[[Path], Any]) -> ManifestEntity:
        """The API of a Swagger document beside the manifest."""
        document = load(self.path.parent / str(self.filled(file, "project.config")))
        if not isinstance(document, dict) or not isinstance(document.get("basePath"), str):
            raise self.wrong("project.config", f"{file} is no Swagger document with a basePath")
        body = {"apidoc": {"namespace": "_", "swagger": document}}
        return ManifestEntity(api_paths.COLLECTION, document["basePath"], body)

    # -- pieces --------------------------------------------------------------------------------------

    def _exec(self, found: Mapping[str, Any], where: str) -> dict[str, Any]:
        if found.get("docker") or found.get("native"):
            raise self.wrong(f"{where}.docker", "is not supported: there are no containers on this gateway")
        runtime = found.get("runtime")
        kind = _RUNTIMES.get(str(runtime), str(runtime)) if runtime else None
        main = self.text(found["main"], f"{where}.main") if found.get("main") else None
        if found.get("code") is None:
            path = self._function(found, where)
            if kind is None and path.suffix not in KINDS:
                raise self.wrong(
                    f"{where}.runtime", f"is needed with {path.name}; for example nodejs:default"
                )
            return executable(path, kind, main, self._files(path, found, where) if path.is_dir() else None)
        if found.get("function") or found.get("location"):
            raise self.wrong(f"{where}.code", "is there beside a function: which of them runs?")
        if kind is None:
            raise self.wrong(f"{where}.runtime", "is needed with inline code; for example nodejs:default")
        code = self.text(found["code"], f"{where}.code")
        return {"kind": kind, "code": code, **({"main": main} if main else {})}

    def _function(self, found: Mapping[str, Any], where: str) -> Path:
        """The file, or folder, with the code of an action."""
        given = found.get("function") or found.get("location")
        if not given:
            raise self.wrong(f"{where}.function", "is missing: the file with the code")
        function = str(self.filled(given, where))
        if "://" in function:
            raise self.wrong(f"{where}.function", "must be a file: code from the network is not fetched")
        path = self.path.parent / function
        if not path.exists():
            raise self.wrong(f"{where}.function", f"{path} does not exist")
        return path

    def _files(self, folder: Path, found: Mapping[str, Any], where: str) -> Mapping[str, Path]:
        """What goes into the archive of an action that is a folder."""
        include = [self._words(one, f"{where}.include") for one in self._list(found, "include", where)]
        if not all(1 <= len(one) <= 2 for one in include):
            self.warn(f"{self.path}: {where}.include: what has not one or two paths is ignored")
            include = [one for one in include if 1 <= len(one) <= 2]
        exclude = self._words(self._list(found, "exclude", where), f"{where}.exclude")
        try:
            return files_of(folder, self.path.parent, include, exclude)
        except (ValueError, OSError) as error:
            raise self.wrong(f"{where}.include", str(error)) from None

    def _list(self, found: Mapping[str, Any], key: str, where: str) -> list[Any]:
        value = self.filled(found.get(key) or [], f"{where}.{key}")
        if not isinstance(value, list):
            raise self.wrong(f"{where}.{key}", "must be a list of paths")
        return value

    def _words(self, value: Any, where: str) -> list[str]:
        words = value if isinstance(value, list) else [value]
        if not all(isinstance(word, str) and word for word in words):
            raise self.wrong(where, f"must have paths, not {value!r}")
        return words

    def _common(self, body: dict[str, Any], found: Mapping[str, Any], where: str) -> None:
        """Version, inputs and annotations."""
        if found.get("version") is not None:
            try:
                body["version"] = str(SemVer.parse(str(found["version"])))
            except MalformedContent:
                problem = f"must be one to three numbers, for example 1.0.2, not {found['version']!r}"
                raise self.wrong(f"{where}.version", problem) from None
        body["parameters"] = keyed(self.inputs(found, where))
        annotations = dict(self.filled(self.names(found.get("annotations"), f"{where}.annotations"), where))
        if _SECRET in annotations:
            annotations[_SECRET] = self.secret(annotations[_SECRET], f"{where}.annotations.{_SECRET}")
        annotations.update(self._web(found, where))
        body["annotations"] = keyed(annotations)

    def _web(self, found: Mapping[str, Any], where: str) -> dict[str, Any]:
        made: dict[str, Any] = {}
        web = found.get("web", found.get("web-export"))
        if web is not None:
            text = str(web).lower()
            if text not in ("true", "yes", "raw", "false", "no"):
                raise self.wrong(f"{where}.web", f"must be true, false or raw, not {web!r}")
            exported = text in ("true", "yes", "raw")
            made |= {"web-export": exported, "raw-http": text == "raw", "final": exported}
        for key in ("web-secure", _SECRET):
            if key in found:
                made[_SECRET] = self.secret(self.filled(found[key], where), f"{where}.{key}")
        for key in ("conductor", "raw-http", "final"):
            if key in found:
                made[key] = self.flag(found[key], f"{where}.{key}")
        if found.get("description") is not None:
            made["description"] = self.filled(found["description"], where)
        return made

    def _action_name(self, package: str, name: str, where: str) -> str:
        """An action's full name: without a package it is in the manifest's."""
        return self.full(
            name if name.startswith("/") else qualified(name if "/" in name else _inside(package, name)),
            where,
        )


def _values(given: Any) -> list[Any]:
    return list(given.values()) if isinstance(given, dict) else []


def _inside(package: str, name: str) -> str:
    return name if package == _DEFAULT else f"{package}/{name}"
