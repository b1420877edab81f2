"""The gateway's own REST API for actions: what `require('openwhisk')` and `import openwhisk` speak to.

A request goes in the caller's name, as one over HTTP with the key in `__OW_API_KEY` would: the annotation
`provide-api-key` grants all that the key can do. Without it an action reaches what `edge-capabilities` names
under `invoke` and `fire`, and nothing else.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from edgewhisk.capability.dispatcher import CapabilityRequest, ungranted
from edgewhisk.entity.names import DEFAULT_NAMESPACE
from edgewhisk.errors import CapabilityError, NotGranted

OP: Final = "api"
LARGEST_ANSWER: Final = 8 << 20  # bytes; an action that wants more asks for pages
_METHODS: Final = ("GET", "PUT", "POST", "DELETE")
_PATH: Final = re.compile(r"/namespaces(/[!\"$-.0->@-~]+)*/?")  # each segment as it is escaped
_QUERY: Final = re.compile(r"[!-~]{0,4096}", re.ASCII)
_KEY: Final = "provide-api-key"
_STARTS: Final = {"actions": "invoke", "triggers": "fire"}  # what a POST to a collection does


class RestRequest(NamedTuple):
    """A request of an action to the API."""

    method: str
    path: str  # below /api/v1, escaped
    query: str
    body: bytes

    @property
    def waits(self) -> bool:
        """Whether it is an invoke that is waited for."""
        return self.method == "POST" and "blocking=true" in self.query

    @classmethod
    def of(cls, request: CapabilityRequest) -> RestRequest:
        """What an action asked for; raises `CapabilityError`, `NotGranted` for what it may not do."""
        method, path = request.text("method"), request.text("path")
        query = request.text("query") if "query" in request.fields else ""
        if method not in _METHODS:
            raise CapabilityError(f"{OP}: 'method' must be one of {', '.join(_METHODS)}, not {method[:40]!r}")
        parts = unquote(path).split("/")[1:]
        if not _PATH.fullmatch(path) or {"", ".", ".."} & set(parts[:-1]) or parts[-1] in (".", ".."):
            raise CapabilityError(f"{OP}: 'path' must begin with /namespaces, not {path[:80]!r}")
        if not _QUERY.fullmatch(query):
            raise CapabilityError(f"{OP}: 'query' must be what stands behind ? in a URL, not {query[:80]!r}")
        _check(request, method, path, parts)
        return cls(method, path, query, request.json("body") if "body" in request.fields else b"")


def _check(request: CapabilityRequest, method: str, path: str, parts: list[str]) -> None:
    """Raise `NotGranted` unless the action has the key, or `edge-capabilities` names what it starts."""
    if request.asker.action.annotations.truthy(_KEY):
        return
    own = request.asker.namespace
    _, namespace, collection, *name = [*parts, "", ""] if len(parts) < 3 else parts
    op = _STARTS.get(collection) if method == "POST" else None
    if op is None:
        raise NotGranted(f"{OP}: {method} {path} is not granted", hint=f"the annotation '{_KEY}' (true)")
    full = "/".join((own if namespace == DEFAULT_NAMESPACE else namespace, *name))
    if not request.grants.allows_name(op, full, own):
        wanted: dict[str, Any] = {op: [f"/{full}"]}
        raise ungranted(f"{op} of /{full} is not granted", **wanted)
