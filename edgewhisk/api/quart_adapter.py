"""What every route reads of a request: caller, names, page, body; and how it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

from quart import Response, current_app, request

from edgewhisk import jsontext
from edgewhisk.api import query
from edgewhisk.api.http import JSON, HttpRequest, HttpResponse, check_json, too_large
from edgewhisk.api.services import Services
from edgewhisk.entity.identity import Identity
from edgewhisk.entity.web import BODILESS
from edgewhisk.errors import BadRequest, MalformedContent


def services() -> Services:
    """The gateway's verbs."""
    found: Services = current_app.config["SERVICES"]
    return found


def caller() -> Identity:
    """Who sends this request; raises `Unauthorized`."""
    return services().subjects.authorize(request.headers.get("Authorization", ""))


def flag(key: str, *, default: bool = False) -> bool:
    """A boolean of the query; raises `BadRequest`."""
    return query.flag(query.parsed(request.scope["query_string"]), key, default=default)


async def document(*, required: bool = True) -> Any:
    """The body as JSON, or None where it may be absent; raises with OpenWhisk's texts."""
    data = await _body()
    if not data:
        if required:
            raise BadRequest("Request entity expected but not supplied")
        return None
    try:
        return jsontext.parse(data).value
    except jsontext.NotJson as error:
        raise MalformedContent(str(error)) from None


async def _body() -> bytes:
    data = cast("bytes", await request.get_data(as_text=False))
    if data:
        check_json(request.content_type or "")
    return data


def asked() -> HttpRequest:
    """The current request as the other door would see it."""
    scope = request.scope
    return HttpRequest(request.method, scope["query_string"], list(scope["headers"]), _read)


async def _read(allowed: int) -> bytes:
    data = bytearray()
    async for chunk in request.body:
        data += chunk
        if len(data) > allowed:
            raise too_large(len(data), allowed)
    return bytes(data)


def answer(value: Any, status: int = 200) -> Response:
    """A JSON response."""
    return Response(jsontext.dumps(value), status, content_type=JSON)


def sent(reply: HttpResponse) -> Response:
    """A reply as Quart sends it."""
    body = reply.body if reply.more is None else _whole(reply.body, reply.more)
    response = Response(body, reply.status, content_type=reply.content_type or None)
    if not reply.content_type:
        response.headers.pop("Content-Type", None)
    if reply.status in BODILESS:
        response.headers.pop("Content-Length", None)
    response.headers.extend(reply.headers)
    return response


async def _whole(begin: bytes, more: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield begin
    async for piece in more:
        yield piece


def listed(items: list[dict[str, Any]], collection: str) -> Response:
    """The asked-for page of a list, or its count."""
    wanted = query.page(query.parsed(request.scope["query_string"]), collection)
    if wanted.counted:
        return answer({collection: max(0, len(items) - wanted.skip)})
    return answer(items[wanted.skip : wanted.skip + wanted.limit])
