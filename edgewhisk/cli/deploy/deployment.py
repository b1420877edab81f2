"""Deployment files: inputs and annotations for what a manifest describes, kept apart from it. Pure.

`deployment.yaml` beside the manifest is taken by itself, as wskdeploy does. What it says goes over what the
manifest says; what it names and the manifest does not is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edgewhisk.errors import BadRequest

NAMES: Final = ("deployment.yaml", "deployment.yml")
_VALUES: Final = ("inputs", "parameters", "annotations")
_INSIDE: Final = ("actions", "sequences", "triggers")
_PROJECT: Final = frozenset({"name", "packages", "namespace", "credential", "apiHost", "version", "inputs"})


def merged(path: Path, manifest: Any, deployment: Any) -> Any:
    """The manifest with what the deployment file `path` says; raises `BadRequest`."""
    if not isinstance(manifest, dict) or deployment is None:
        return manifest
    own = "project" if isinstance(manifest.get("project"), dict) and "packages" not in manifest else ""
    found = manifest[own] if own else manifest
    wanted = _packages(path, deployment)
    packages = dict(_table(path, "packages of the manifest", found.get("packages")))
    for name, values in wanted.items():
        where = f"packages.{name}"
        if name not in packages:
            raise BadRequest(f"{path}: {where} is not in the manifest")
        packages[name] = _package(path, where, packages[name], values)
    found = {**found, "packages": packages}
    if inputs := _project(path, deployment).get("inputs"):
        if own == "" and not isinstance(found.get("project"), dict):
            raise BadRequest(f"{path}: project.inputs needs a project in the manifest")
        project = _over(path, "project", found if own else found["project"], {"inputs": inputs})
        found = project if own else {**found, "project": project}
    return {**manifest, own: found} if own else found


def _project(path: Path, deployment: Any) -> Mapping[str, Any]:
    found = _table(path, "(file)", deployment)
    return _table(path, "project", found.get("project", found.get("application")))


def _packages(path: Path, deployment: Any) -> Mapping[str, Any]:
    found, project = _table(path, "(file)", deployment), _project(path, deployment)
    for where, given, known in (
        ("", found, {"project", "application", "packages"}),
        ("project.", project, _PROJECT),
    ):
        if unknown := sorted(set(given) - known):
            raise BadRequest(f"{path}: {where}{unknown[0]} is not a key of a deployment file")
    return _table(path, "packages", project.get("packages", found.get("packages")))


def _package(path: Path, where: str, package: Any, values: Any) -> dict[str, Any]:
    found = dict(_table(path, f"{where} of the manifest", package))
    given = _table(path, where, values)
    _check(path, where, given, {*_VALUES, *_INSIDE})
    for collection in _INSIDE:
        inside = dict(_table(path, f"{where}.{collection} of the manifest", found.get(collection)))
        for name, own in _table(path, f"{where}.{collection}", given.get(collection)).items():
            place = f"{where}.{collection}.{name}"
            if name not in inside:
                raise BadRequest(f"{path}: {place} is not in the manifest")
            entity = _table(path, place, own)
            _check(path, place, entity, set(_VALUES))
            inside[name] = _over(path, place, inside[name], entity)
        if inside:
            found[collection] = inside
    return _over(path, where, found, given)


def _over(path: Path, where: str, entity: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """An entity with other inputs and annotations; an input's type stays the manifest's."""
    found = dict(_table(path, f"{where} of the manifest", entity))
    for key in _VALUES:
        if key not in values:
            continue
        kept = "parameters" if key == "inputs" and "parameters" in found else key
        kept = "inputs" if key == "parameters" and "inputs" in found else kept
        old = _table(path, f"{where}.{key} of the manifest", found.get(kept))
        new = _table(path, f"{where}.{key}", values[key])
        found[kept] = {**old, **{name: _typed(old.get(name), one) for name, one in new.items()}}
    return found


def _typed(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and "type" in old and not isinstance(new, dict):
        return {**old, "value": new}
    return new


def _check(path: Path, where: str, given: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(given) - known):
        raise BadRequest(f"{path}: {where}.{unknown[0]} is not a key of a deployment file")


def _table(path: Path, where: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"{path}: {where} must be a mapping of names")
    return value
