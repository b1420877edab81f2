"""An API of a namespace: which web action answers which of its paths. Pure.

All is read from the Swagger document when an `Api` is made, so one that exists can be served. Paths are
matched as in OpenWhisk's API gateway (openwhisk-apigateway, routing.lua).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from edgewhisk import jsontext
from edgewhisk.entity.api import swagger
from edgewhisk.entity.names import FullyQualifiedName, entity_name, namespace_name
from edgewhisk.entity.web import split_extension
from edgewhisk.errors import BadRequest, shown

MOST_OPERATIONS: Final = 500  # of an API
DEEPEST: Final = 900  # levels of a document: answers hold it deep inside, and have 1,000
KEYS: Final = "x-edge-keys"  # in a security definition: the keys that are good
SHORTEST_KEY: Final = 16  # characters
_WEB: Final = re.compile(r"https?://[^\s?#]+?/api/v\d+/web/([^/]+)/([^/]+)/([^/?#]+)")
_PATH: Final = re.compile(r"/[^\s?#]*")
_PARAMETER: Final = re.compile(r"\{[^/{}]+\}")
_HEADER: Final = re.compile(r"message\.headers\.([\w!#$%&'*+.^`|~-]+)", re.ASCII)
_KEEP: Final = "keep"
_LIMITS: Final = ("x-ibm-rate-limit", "x-gateway-rate-limit")


class Backend(NamedTuple):
    """The web action behind an operation, and how it is called."""

    action: FullyQualifiedName
    extension: str  # ".json", ".http" ...
    whole_path: bool  # whether it gets the path of the whole request, or what is behind the operation's
    verb: str  # upper case
    headers: tuple[tuple[str, str], ...]  # that the gateway sets


class ApiResource(NamedTuple):
    """One path of an API, with its base path, and what answers there."""

    parts: tuple[str, ...]  # between slashes; one in braces stands for any
    operations: Mapping[str, Backend]  # by verb, upper case

    def fits(self, parts: tuple[str, ...]) -> bool:
        """Whether a request with as many parts is for this path."""
        return all(
            own == given or (own.startswith("{") and given != "")
            for own, given in zip(self.parts, parts, strict=True)
        )

    @property
    def loose(self) -> int:
        """How many of its parts stand for any."""
        return sum(part.startswith("{") for part in self.parts)


class ApiKey(NamedTuple):
    """Where a request must have a key, and which are good."""

    place: str  # "header" or "query"
    name: str
    good: tuple[str, ...]

    def admits(self, given: str) -> bool:
        """Whether `given` is one of the keys."""
        return any(hmac.compare_digest(one.encode(), given.encode()) for one in self.good)


@dataclass(frozen=True, slots=True)
class Api:
    """A stored API."""

    namespace: str
    document: Mapping[str, Any]  # Swagger 2.0
    base_path: str
    title: str
    size: int  # bytes of the document
    cors: bool | None  # whether the gateway answers for CORS; None leaves it to the actions
    key: ApiKey | None
    resources: tuple[ApiResource, ...]
    updated: int

    @classmethod
    def of(cls, namespace: str, document: Mapping[str, Any], updated: int) -> Api:
        """What a document says; raises `BadRequest`."""
        base = document.get("basePath")
        if not isinstance(base, str) or not _PATH.fullmatch(base):
            raise BadRequest(
                f"a base path begins with / and has neither blanks nor ? or #, not {shown(base)}"
            )
        swagger.check_parameters(document)
        for name in _LIMITS:
            if document.get(name):
                raise BadRequest(f"{name} is not served: [limits] web_per_minute bounds a namespace")
        info = document.get("info")
        title = info.get("title") if isinstance(info, dict) else None
        cors = swagger.configuration(document).get("cors")
        enabled = cors.get("enabled") if isinstance(cors, dict) else None
        return cls(
            namespace,
            document,
            base,
            title if isinstance(title, str) else base,
            _size(document),
            enabled if isinstance(enabled, bool) else None,
            _key(document.get("securityDefinitions")),
            _resources(base, document),
            updated,
        )

    @property
    def stored_as(self) -> str:
        """Its key in the store."""
        return self.namespace + self.base_path

    def to_json(self) -> dict[str, Any]:
        """The stored document."""
        return {"namespace": self.namespace, "updated": self.updated, "apidoc": dict(self.document)}

    @classmethod
    def from_document(cls, value: Mapping[str, Any]) -> Api:
        """Read what `to_json` wrote."""
        return cls.of(namespace_name(value["namespace"]), dict(value["apidoc"]), int(value["updated"]))


def _size(document: Mapping[str, Any]) -> int:
    """Bytes of a document; raises `BadRequest` for one that no list could show."""
    try:
        text = jsontext.dumps(document)
    except jsontext.TooDeep:
        text = b""
    if not text or jsontext.is_deeper(text, DEEPEST):
        raise BadRequest(f"the document nests deeper than {DEEPEST} levels")
    return len(text)


class Routing:
    """All paths of a namespace."""

    def __init__(self, apis: Iterable[Api]) -> None:
        """Those of `apis`."""
        self._by_length: dict[int, list[tuple[ApiResource, Api]]] = {}
        for api in apis:
            for resource in api.resources:
                self._by_length.setdefault(len(resource.parts), []).append((resource, api))
        for found in self._by_length.values():
            found.sort(key=lambda one: one[0].loose)

    def find(self, path: str) -> tuple[Api, ApiResource, str] | None:
        """What is at a path ("/a/b"), and the rest of it: the longest path counts that it begins with."""
        parts = parts_of(path)
        for length in range(len(parts), -1, -1):
            for resource, api in self._by_length.get(length, ()):
                if resource.fits(parts[:length]):
                    return api, resource, _rest(path, length)
        return None


def parts_of(path: str) -> tuple[str, ...]:
    """`/a/b` and `/a/b/` are a and b."""
    return tuple(path.removesuffix("/").split("/")[1:])


def _rest(path: str, length: int) -> str:
    """What is behind so many parts: `/c/` of `/a/b/c/` and 2."""
    pieces = path.split("/", length + 1)
    return f"/{pieces[length + 1]}" if len(pieces) > length + 1 else ""


def _resources(base: str, document: Mapping[str, Any]) -> tuple[ApiResource, ...]:
    named = {name: case["execute"] for case in swagger.cases(document) for name in case["operations"]}
    common = [step for step in swagger.steps(document) if "operation-switch" not in step]
    found: dict[str, dict[str, Backend]] = {}
    for path, verb, operation in swagger.operations(document):
        if not _PATH.fullmatch(path):
            raise BadRequest(f"a path begins with / and has neither blanks nor ? or #, not {shown(path)}")
        for part in parts_of(path):
            if not _PARAMETER.fullmatch(part) and ("{" in part or "}" in part):
                raise BadRequest(f"a parameter is all that is between two slashes: {shown(path)}")
        name = operation.get("operationId")
        own = named.get(name, []) if isinstance(name, str) else []
        where = f"{verb} {path}"
        found.setdefault(path, {})[verb.upper()] = _backend([*own, *common], operation, verb.upper(), where)
    if sum(map(len, found.values())) > MOST_OPERATIONS:
        raise BadRequest(f"an API has at most {MOST_OPERATIONS} operations; make two of it")
    return tuple(ApiResource(parts_of(base) + parts_of(path), of) for path, of in found.items())


def _backend(execute: list[dict[str, Any]], operation: Mapping[str, Any], verb: str, where: str) -> Backend:
    own = operation.get("x-openwhisk")
    url = own.get("url") if isinstance(own, dict) else None
    sent, headers = verb, list[tuple[str, str]]()
    invoke = next((step["invoke"] for step in execute if isinstance(step.get("invoke"), dict)), None)
    if invoke is not None:
        url = invoke.get("target-url")
        sent = _verb(invoke.get("verb", _KEEP), verb, where)
    for step in execute:
        if "set-variable" in step:
            headers += _variables(step["set-variable"], where)
    if not isinstance(url, str):
        raise BadRequest(f"{where}: there is neither an invoke with a target-url nor an x-openwhisk.url")
    whole = url.endswith(swagger.WHOLE_PATH)
    action, extension = _web_action(url.removesuffix(swagger.WHOLE_PATH), where)
    return Backend(action, extension, whole, sent, tuple(headers))


def _web_action(url: str, where: str) -> tuple[FullyQualifiedName, str]:
    found = _WEB.fullmatch(url)
    if found is None:
        raise BadRequest(
            f"{where}: an operation leads to a web action of this gateway, https://HOST/api/v1/web/NAMESPACE/"
            f"PACKAGE/ACTION.EXTENSION, not to {shown(url)}"
        )
    namespace, package, named = map(unquote, found.groups())
    name, extension = split_extension(named)
    inside = None if package == swagger.NO_PACKAGE else entity_name(package)
    return FullyQualifiedName(namespace_name(namespace), inside, entity_name(name)), extension


def _verb(value: object, own: str, where: str) -> str:
    if isinstance(value, str) and value.lower() in (_KEEP, *swagger.VERBS):
        return own if value.lower() == _KEEP else value.upper()
    raise BadRequest(f"{where}: invoke.verb must be keep or a verb, not {shown(value)}")


def _variables(value: object, where: str) -> Iterable[tuple[str, str]]:
    for action in swagger.listed(
        value.get("actions") if isinstance(value, dict) else None, f"{where}: set-variable"
    ):
        to, given = action.get("set"), action.get("value")
        name = _HEADER.fullmatch(to) if isinstance(to, str) else None
        text = given if isinstance(given, str) else jsontext.dumps(given).decode()
        if name is None or not text.isprintable() or not text.isascii():
            what = "sets message.headers.NAME to printable ASCII"
            raise BadRequest(f"{where}: set-variable {what}, not {shown(to)} to {shown(given)}")
        yield name[1].lower(), text


def _key(definitions: object) -> ApiKey | None:
    if not definitions:
        return None
    one = (
        next(iter(definitions.values())) if isinstance(definitions, dict) and len(definitions) == 1 else None
    )
    if not isinstance(one, dict) or one.get("type") != "apiKey":
        raise BadRequest("securityDefinitions may have one definition, of the type apiKey")
    place, name, good = one.get("in", "header"), one.get("name", "X-API-Key"), one.get(KEYS)
    if place not in ("header", "query") or not isinstance(name, str) or not name.isascii():
        raise BadRequest("an apiKey has a name, and is in the header or the query")
    if not isinstance(good, list) or not good or not all(map(_is_key, good)):
        raise BadRequest(
            f"an apiKey needs {KEYS}: a list of good keys, each of {SHORTEST_KEY} characters or more"
        )
    return ApiKey(place, name, tuple(good))


def _is_key(value: object) -> bool:
    return isinstance(value, str) and len(value) >= SHORTEST_KEY and value.isascii() and value.isprintable()
