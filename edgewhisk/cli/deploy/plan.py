"""What must be done to make, or to remove, what a manifest describes.

The plan compares with what is there, so that a second deployment changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from edgewhisk.cli.arguments import path_of, valued
from edgewhisk.cli.client import ApiClient, ApiError
from edgewhisk.cli.deploy import api_paths
from edgewhisk.cli.deploy.foresight import check
from edgewhisk.cli.deploy.manifest import ManifestEntity
from edgewhisk.cli.entity.trigger import feed_of, lifecycle

CREATE: Final = "create"
UPDATE: Final = "update"
KEEP: Final = "keep"
DELETE: Final = "delete"
_ORDER: Final = (api_paths.COLLECTION, "rules", "triggers", "actions", "packages")  # of deletion
_SYSTEM: Final = frozenset({"exec", "provide-api-key", "binding"})  # annotations the API makes


class PlanStep(NamedTuple):
    """One thing to do."""

    verb: str
    entity: ManifestEntity

    @property
    def shown(self) -> str:
        """`action tools/hello`."""
        return f"{self.entity.kind} {self.entity.name}"


def to_deploy(api: ApiClient, entities: Sequence[ManifestEntity], *, prune: bool = False) -> list[PlanStep]:
    """Steps that make `entities`; raises `BadRequest` for what is known to be refused.

    `prune`: and then delete what their packages have besides.
    """
    check(api, entities)
    made = [PlanStep(_verb(api, entity), entity) for entity in entities]
    return [*made, *_besides(api, entities)] if prune else made


def _besides(api: ApiClient, entities: Sequence[ManifestEntity]) -> Iterator[PlanStep]:
    named = {entity.name for entity in entities if entity.collection == "actions"}
    for package in entities:
        if package.collection == "packages" and "binding" not in package.body:
            found = api.find(_path(package)) or {}
            for one in [*found.get("actions", []), *found.get("feeds", [])]:
                if (name := f"{package.name}/{one['name']}") not in named:
                    yield PlanStep(DELETE, ManifestEntity("actions", name, {}))


def to_undeploy(api: ApiClient, entities: Sequence[ManifestEntity]) -> list[PlanStep]:
    """Steps that remove those of `entities` that are there, what needs others first."""
    last_first = {(entity.collection, entity.name): entity for entity in entities[::-1]}.values()
    ordered = [one for collection in _ORDER for one in last_first if one.collection == collection]
    return [PlanStep(DELETE, entity) for entity in ordered if _found(api, entity) is not None]


def carry_out(api: ApiClient, steps: Sequence[PlanStep]) -> Iterator[PlanStep]:
    """Do what is to be done; yields each step once it is done."""
    for step in steps:
        if step.verb == DELETE:
            _delete(api, step.entity)
        elif step.verb != KEEP:
            _make(api, step.entity, new=step.verb == CREATE)
        yield step


def _path(entity: ManifestEntity) -> str:
    return path_of(entity.name, entity.collection)


def _found(api: ApiClient, entity: ManifestEntity) -> Any:
    if entity.collection == api_paths.COLLECTION:
        return api_paths.find(api, entity.body)
    query = {"code": True} if entity.collection == "actions" else {}
    return api.find(_path(entity), **query)


def _verb(api: ApiClient, entity: ManifestEntity) -> str:
    found = _found(api, entity)
    if found is None:
        return CREATE
    return KEEP if _same(api, entity, found) else UPDATE


def _same(api: ApiClient, entity: ManifestEntity, found: Mapping[str, Any]) -> bool:
    """Whether what is there is what is wanted."""
    body = entity.body
    if entity.collection == api_paths.COLLECTION:
        return api_paths.is_as_wanted(api, body, found)
    if entity.collection == "rules":
        ends = all(_ends(body[end], found[end]) for end in ("trigger", "action"))
        return ends and found.get("status") == ("active" if entity.active else "inactive")
    if "exec" in body and not _same_exec(body["exec"], found["exec"]):
        return False
    sequence = body.get("exec", {}).get("kind") == "sequence"
    if "parameters" in body and not sequence and valued(body["parameters"]) != _own(api, entity, found):
        return False
    own = {key: value for key, value in valued(found["annotations"]).items() if key not in _SYSTEM}
    wanted = valued(body.get("annotations", []))
    if entity.collection == "actions":  # annotations merge there: others may stay
        own = {key: value for key, value in own.items() if key in wanted}
    if own != wanted or any(found["limits"][key] != value for key, value in body.get("limits", {}).items()):
        return False
    return bool(found["publish"]) == body.get("publish", found["publish"]) and _same_feed(api, entity)


def _same_feed(api: ApiClient, entity: ManifestEntity) -> bool:
    if not entity.feed:
        return True
    try:
        config = lifecycle(api, entity.feed, entity.name, "READ", {}).get("config", {})
    except ApiError:
        return False
    return all(config.get(key) == value for key, value in (entity.inputs or {}).items())


def _same_exec(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    if wanted["kind"] == "sequence":
        parts = [name.split("/", 2)[2] for name in wanted["components"]]
        return found["kind"] == "sequence" and parts == [
            name.split("/", 2)[2] for name in found["components"]
        ]
    family, _, version = wanted["kind"].partition(":")
    alike = (
        found["kind"].partition(":")[0] == family if version == "default" else found["kind"] == wanted["kind"]
    )
    return alike and found.get("code") == wanted["code"] and found.get("main") == wanted.get("main")


def _own(api: ApiClient, entity: ManifestEntity, found: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an entity, without those that its package lends it."""
    values = valued(found["parameters"])
    package, slash, _ = entity.name.rpartition("/")
    if entity.collection == "actions" and slash:
        lent = valued((api.find(path_of(package, "packages")) or {}).get("parameters", []))
        wanted = valued(entity.body.get("parameters", []))
        return {key: value for key, value in values.items() if key in wanted or lent.get(key) != value}
    if found.get("binding"):
        wanted = valued(entity.body.get("parameters", []))
        return {key: value for key, value in values.items() if key in wanted}
    return values


def _ends(wanted: str, found: Mapping[str, str]) -> bool:
    """Whether `/_/pkg/x` is what `{path, name}` says; the namespace may be written `_`."""
    full = f"/{found['path']}/{found['name']}"
    return wanted == full or (wanted.startswith("/_/") and full.split("/", 2)[2] == wanted[3:])


def _make(api: ApiClient, entity: ManifestEntity, *, new: bool) -> None:
    if entity.collection == api_paths.COLLECTION:
        api_paths.make(api, entity.body)
        return
    path = _path(entity)
    body = dict(entity.body)
    if not new and entity.collection != "packages":
        body.pop("version", None)
    api.put(path, body, overwrite=not new)
    if entity.collection == "rules":
        api.post(path, {"status": "active" if entity.active else "inactive"})
    if entity.feed:
        try:
            lifecycle(api, entity.feed, entity.name, "CREATE" if new else "UPDATE", entity.inputs or {})
        except ApiError:
            if new:
                api.delete(path)
                raise
            lifecycle(api, entity.feed, entity.name, "CREATE", entity.inputs or {})


def _delete(api: ApiClient, entity: ManifestEntity) -> None:
    if entity.collection == api_paths.COLLECTION:
        api_paths.remove(api, entity.body)
        return
    path = _path(entity)
    if entity.collection == "triggers" and (feed := feed_of(api.get(path))):
        try:
            lifecycle(api, feed, entity.name, "DELETE", {})
        except ApiError as error:
            if error.code != 502:  # a feed that does not know the trigger need not keep it
                raise
    api.delete(path)
