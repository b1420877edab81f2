"""What can be known to fail before anything of a manifest is made: names, kinds, limits, what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from edgewhisk.cli.arguments import path_of, qualified
from edgewhisk.cli.client import ApiClient, ApiError
from edgewhisk.cli.deploy.manifest import ManifestEntity
from edgewhisk.errors import BadRequest

_LIMITS: Final = {"timeout": ("duration", 1, "ms"), "memory": ("memory", 1 << 20, "MB"),
                  "logs": ("logs", 1 << 20, "MB")}  # fmt: skip
_FEW: Final = 20  # problems that are told at once


def check(api: ApiClient, entities: Sequence[ManifestEntity]) -> None:
    """Raise `BadRequest` with everything that is known to be refused."""
    problems = [*_twice(entities), *_unfit(api, entities), *_missing(api, entities)]
    if problems:
        rest = len(problems) - _FEW
        shown = [*problems[:_FEW], *([f"and {rest} more"] if rest > 0 else [])]
        raise BadRequest("\n".join(shown), hint="nothing was deployed")


def _twice(entities: Sequence[ManifestEntity]) -> Iterator[str]:
    """All entities of a namespace share one key space."""
    seen: dict[str, str] = {}
    for entity in entities:
        what = f"{entity.kind} {entity.name}"
        if entity.name in seen:
            yield f"{what} is there twice: as {seen[entity.name]} at another place of the manifest"
        seen[entity.name] = what


def _unfit(api: ApiClient, entities: Sequence[ManifestEntity]) -> Iterator[str]:
    about = api.get("/")
    if not isinstance(about, dict):
        return
    kinds = _kinds(about.get("runtimes"))
    limits = about.get("limits")
    for entity in entities:
        if entity.collection != "actions":
            continue
        kind = str(entity.body["exec"]["kind"]).strip().lower()
        if kinds and kind not in kinds:
            named = ", ".join(sorted(kinds))
            yield f"action {entity.name}: there is no runtime {kind!r} here; there are {named}"
        if isinstance(limits, dict):
            yield from _beyond(entity, limits)


def _kinds(runtimes: Any) -> set[str]:
    if not isinstance(runtimes, dict):
        return set()
    found = {str(one.get("kind")) for listed in runtimes.values() for one in listed}
    return {*found, *(f"{family}:default" for family in runtimes), "sequence"} if found else set()


def _beyond(entity: ManifestEntity, limits: Mapping[str, Any]) -> Iterator[str]:
    for key, (noun, scale, unit) in _LIMITS.items():
        value = entity.body.get("limits", {}).get(key)
        low, high = limits.get(f"min_action_{noun}"), limits.get(f"max_action_{noun}")
        if value is not None and isinstance(low, int) and isinstance(high, int):
            low, high = low // scale, high // scale
            if not low <= value <= high:
                yield f"action {entity.name}: its {key} of {value} {unit} is not within {low} to {high}"
    longest, parts = limits.get("sequence_length"), entity.body["exec"].get("components", ())
    if isinstance(longest, int) and len(parts) > longest:
        yield f"action {entity.name}: has {len(parts)} parts; at most {longest} go"


def _missing(api: ApiClient, entities: Sequence[ManifestEntity]) -> Iterator[str]:
    """What is named, and neither there nor to be made."""
    made = {(entity.collection, f"/_/{entity.name}") for entity in entities}
    bound = tuple(f"/_/{entity.name}/" for entity in entities if entity.body.get("binding"))
    seen: set[tuple[str, str]] = set()
    for entity in entities:
        for collection, name in _named(entity):
            if (collection, name) in made or (collection, name) in seen or name.startswith(bound):
                continue
            seen.add((collection, name))
            if not _there(api, collection, name):
                what = f"{entity.kind} {entity.name}"
                yield f"{what}: {collection[:-1]} {name} does not exist, and the manifest does not make it"


def _named(entity: ManifestEntity) -> Iterator[tuple[str, str]]:
    body = entity.body
    if "action" in body.get("apidoc", {}):
        yield "actions", qualified(body["apidoc"]["action"]["name"])
    if entity.collection == "rules":
        yield "triggers", body["trigger"]
        yield "actions", body["action"]
    if entity.feed:
        yield "actions", entity.feed
    if binding := body.get("binding"):
        yield "packages", f"/{binding['namespace']}/{binding['name']}"
    for component in body.get("exec", {}).get("components", ()):
        yield "actions", component


def _there(api: ApiClient, collection: str, name: str) -> bool:
    try:
        return api.find(path_of(name, collection)) is not None
    except ApiError as error:
        if error.code in (403, 409):  # of another, or something else by this name
            return False
        raise
