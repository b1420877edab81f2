"""What every route reads of a request: caller, names, page, body; and how it answers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import orjson
from quart import Response, current_app, request

from edgewhisk.api.asking import JSON, Ask, Reply, check_json, too_large
from edgewhisk.api.services import Services
from edgewhisk.entity.identity import Identity
from edgewhisk.entity.names import DEFAULT_NAMESPACE, FullyQualifiedName, entity_name, namespace_name
from edgewhisk.errors import BadRequest, MalformedContent

_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})
DEFAULT_PAGE: Final = 30
LARGEST_PAGE: Final = 200


class Page(NamedTuple):
    """A part of a list."""

    limit: int
    skip: int
    counted: bool  # only the number is wanted


def services() -> Services:
    """The gateway's verbs."""
    found: Services = current_app.config["SERVICES"]
    return found


def caller() -> Identity:
    """Who sends this request; raises `Unauthorized`."""
    return services().subjects.authorize(request.headers.get("Authorization", ""))


def full_name(
    identity: Identity, namespace: str, name: str, package: str | None = None
) -> FullyQualifiedName:
    """The entity that the path names; raises `BadRequest` for illegal names."""
    return _full_name(identity.namespace, namespace, name, package)


@lru_cache(maxsize=4096)
def _full_name(own: str, namespace: str, name: str, package: str | None) -> FullyQualifiedName:
    return FullyQualifiedName(
        own if namespace == DEFAULT_NAMESPACE else namespace_name(namespace),
        None if package is None else entity_name(package),
        entity_name(name),
    )


def flag(key: str, *, default: bool = False) -> bool:
    """A boolean of the query; raises `BadRequest`."""
    return boolean(key, request.args.get(key), default=default)


def boolean(key: str, text: str | None, *, default: bool = False) -> bool:
    """A boolean that a query gives as `text`; raises `BadRequest`."""
    if text is None:
        return default
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise BadRequest(f"The query parameter '{key}' was malformed:\n'{text}' is not a valid Boolean value")


def page(collection: str) -> Page:
    """`limit`, `skip` and `count` of the query; raises `BadRequest`."""
    limit = _number("limit", DEFAULT_PAGE, collection)
    if not 0 <= limit <= LARGEST_PAGE:
        raise BadRequest(
            "The query parameter 'limit' was malformed:\n"
            f"The value '{limit}' is not in the range of 0 to {LARGEST_PAGE} for {collection}."
        )
    skip = _number("skip", 0, collection)
    if skip < 0:
        raise BadRequest(
            "The query parameter 'skip' was malformed:\n"
            f"The value '{skip}' is not greater than or equal to 0 for {collection}."
        )
    return Page(limit or LARGEST_PAGE, skip, flag("count"))


def _number(key: str, default: int, collection: str) -> int:
    text = request.args.get(key)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise BadRequest(
            f"The query parameter '{key}' was malformed:\n"
            f"The value '{text}' is not an integer for {collection}."
        ) from None


async def document(*, required: bool = True) -> Any:
    """The body as JSON, or None where it may be absent; raises with OpenWhisk's texts."""
    data = await _body()
    if not data:
        if required:
            raise BadRequest("Request entity expected but not supplied")
        return None
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MalformedContent(str(error)) from None


async def _body() -> bytes:
    data = cast("bytes", await request.get_data(as_text=False))
    if data:
        check_json(request.content_type or "")
    return data


def asked() -> Ask:
    """The current request as the other door would see it."""
    scope = request.scope
    return Ask(request.method, scope["query_string"], list(scope["headers"]), _read)


async def _read(allowed: int) -> bytes:
    data = bytearray()
    async for chunk in request.body:
        data += chunk
        if len(data) > allowed:
            raise too_large(len(data), allowed)
    return bytes(data)


def answer(value: Any, status: int = 200) -> Response:
    """A JSON response."""
    return Response(orjson.dumps(value), status, content_type=JSON)


def sent(reply: Reply) -> Response:
    """A reply as Quart sends it."""
    response = Response(reply.body, reply.status, content_type=reply.content_type or None)
    if not reply.content_type:
        response.headers.pop("Content-Type", None)
    response.headers.extend(reply.headers)
    return response


def listed(items: list[dict[str, Any]], collection: str) -> Response:
    """The asked-for page of a list, or its count."""
    wanted = page(collection)
    if wanted.counted:
        return answer({collection: max(0, len(items) - wanted.skip)})
    return answer(items[wanted.skip : wanted.skip + wanted.limit])
