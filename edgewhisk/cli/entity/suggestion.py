"""Names that were likely meant where there is no such entity."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgewhisk.cli.client import ApiClient, ApiError
from edgewhisk.cli.parser import close

_SYSTEM = "whisk.system"
_COLLECTIONS = ("actions", "triggers", "rules", "packages")
_END = re.compile(r"(trigger|action) /([^/\s]+)/(\S+) does not exist")


def suggestion(api: ApiClient, error: ApiError) -> str:
    """What was likely meant by the entity that an error names, or that its path leads to; "" if unclear."""
    end = _END.search(error.message)  # of a rule
    where = f"{end[2]}/{end[1]}s/{end[3]}" if end else error.where
    namespace, _, rest = where.partition("/")
    collection, _, name = rest.partition("/")
    if collection not in _COLLECTIONS or not name:
        return ""
    try:
        known = list(dict.fromkeys(names(api, collection, namespace)))
    except ApiError:
        return ""
    last: dict[
        str, str
    ] = {}  # both the whole name and the last part of it may have been mistyped, or only that given
    for one in known:
        last.setdefault(one.rpartition("/")[2], one)
        last.setdefault(one.removeprefix(f"/{_SYSTEM}/"), one)
    found = dict.fromkeys(last[one] for one in (*close(name, last), *close(name.rpartition("/")[2], last)))
    return f"did you mean {' or '.join([*found][:3])}?" if found else ""


def names(api: ApiClient, collection: str, namespace: str = "_") -> Iterator[str]:
    """What there is, as people name it; of actions also those of the gateway, feeds among them."""
    if namespace != _SYSTEM:
        for item in api.get(f"{namespace}/{collection}", limit=200, skip=0):
            package = item["namespace"].partition("/")[2]
            own = f"{package}/{item['name']}" if package else str(item["name"])
            yield own if namespace == "_" else f"/{namespace}/{own}"
    if collection in ("actions", "packages"):
        yield from system_names(api, collection)


def system_names(api: ApiClient, collection: str, *, feeds: bool = False) -> Iterator[str]:
    """The packages of `whisk.system`, or the actions in them: all, or the feeds alone."""
    for package in api.get(f"{_SYSTEM}/packages", limit=200, skip=0):
        if collection == "packages":
            yield f"/{_SYSTEM}/{package['name']}"
            continue
        found = api.get(f"{_SYSTEM}/packages/{package['name']}")
        for kind in ("feeds",) if feeds else ("actions", "feeds"):
            yield from (f"/{_SYSTEM}/{package['name']}/{one['name']}" for one in found.get(kind, []))
