"""The routes as a Quart application: for what the router leaves to it, and the only door to Quart.

That is HEAD, OPTIONS, and what there is no route for.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from quart import Quart, Response, current_app, g, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.routing import BaseConverter, PathConverter

from edgewhisk.api.handlers.web import PREFIX
from edgewhisk.api.http import (
    CORS,
    DRAINED,
    PLAIN,
    REQUEST_ID,
    HttpRequest,
    HttpResponse,
    date,
    failure,
    problem,
    request_id_of,
    too_large,
)
from edgewhisk.api.routes import ROUTES, Handler
from edgewhisk.api.services import Services
from edgewhisk.entity.web import BODILESS
from edgewhisk.errors import EdgeWhiskError, TooLarge, Unauthorized

_log = logging.getLogger(__name__)

_CLOSED: Final = "/api/v1/"
_NOT_FOUND: Final = "The requested resource could not be found."


class _Rest(PathConverter):
    """The rest of a path, which may begin with a slash, as in the router."""

    regex = ".+"
    part_isolating = False


class _Api(BaseConverter):
    """A namespace whose APIs stand beside the REST API, as in the router."""

    regex = r"(?!v1(?:/|\Z))[^/]+"


def create_app(services: Services) -> Quart:
    """The ASGI application over `services`."""
    app = Quart("edgewhisk", static_folder=None)
    app.url_map.merge_slashes = False  # would redirect, and tell strangers which paths there are
    app.url_map.converters |= {"path": _Rest, "api": _Api}
    app.config["SERVICES"] = services
    app.config["MAX_CONTENT_LENGTH"] = services.max_document
    for route in ROUTES:
        app.add_url_rule(
            route.path,
            f"{route.method} {route.path}",
            _view(route.handler),
            methods=[route.method],
            strict_slashes=not route.slash,
            provide_automatic_options=False,
        )
    app.before_request(_before)
    app.after_request(_after)
    app.register_error_handler(EdgeWhiskError, _refused)
    app.register_error_handler(HTTPException, _unroutable)
    app.register_error_handler(Exception, _broken)
    return app


def _view(handler: Handler) -> Callable[..., Awaitable[Response]]:
    async def view(**names: str) -> Response:
        return _sent(await handler(_asked(), _services(), **names))

    return view


def _services() -> Services:
    found: Services = current_app.config["SERVICES"]
    return found


def _asked() -> HttpRequest:
    """The current request as the router would see it."""
    scope = request.scope
    return HttpRequest(request.method, scope["query_string"], list(scope["headers"]), _read, _request_id())


async def _read(allowed: int) -> bytes:
    data = bytearray()
    async for chunk in request.body:
        data += chunk
        if len(data) > allowed:
            raise too_large(len(data), allowed)
    return bytes(data)


def _sent(reply: HttpResponse) -> Response:
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


def _before() -> Response | None:
    g.request_id = request_id_of(request.scope["headers"], _services().new_id)
    if request.method == "OPTIONS" and not request.path.startswith(PREFIX):
        return Response("OK", 200, content_type=PLAIN)
    return None


def _after(response: Response) -> Response:
    response.headers[REQUEST_ID] = _request_id()
    if today := date():
        response.headers["Date"] = today
    if request.path.startswith("/api/v1") and not request.path.startswith(PREFIX):
        response.headers.update(CORS)
    elif request.method == "OPTIONS":
        response.headers.update(CORS | {"Access-Control-Allow-Methods": "OPTIONS, GET, POST"})
    return response


def _request_id() -> str:
    """The id of the current request, which is also the `code` of its errors."""
    found: str = g.get("request_id", "")
    return found


async def _refused(error: EdgeWhiskError) -> Response:
    if error.status == TooLarge.status:
        await _drain()
    if error.status >= 500:
        _log.warning("request %s: %s", _request_id(), error)
    return _sent(failure(error, _request_id()))


async def _drain() -> None:
    """Take what is refused: a client that is cut off while it sends never sees why."""
    left = DRAINED
    with contextlib.suppress(RequestEntityTooLarge):
        async for piece in request.body:
            left -= len(piece)
            if left < 0:
                return


def _unroutable(error: HTTPException) -> Response:
    """Unknown paths and methods: OpenWhisk's router answers 404 for both."""
    if isinstance(error, RequestEntityTooLarge):
        return _sent(problem("Request larger than allowed.", 413, _request_id()))
    status = error.code or 500
    if status in (404, 405):
        try:
            _check_known()
        except Unauthorized as unknown:
            return _sent(failure(unknown, _request_id()))
        return _sent(problem(_NOT_FOUND, 404, _request_id()))
    return _sent(problem(error.description or error.name, status, _request_id()))


def _check_known() -> None:
    """Raise `Unauthorized` for a stranger who tries paths: who asks comes before what is there."""
    if request.path.startswith(_CLOSED) and not request.path.startswith(PREFIX):
        _services().caller(_asked())


def _broken(error: Exception) -> Response:
    _log.error("request %s failed", _request_id(), exc_info=error)
    return _sent(problem("There was an internal server error.", 500, _request_id()))
