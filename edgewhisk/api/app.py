"""The Quart application: routes, request ids, CORS, and errors as OpenWhisk's clients read them."""

from __future__ import annotations

import contextlib
import logging
from typing import Final

from quart import Quart, Response, g, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from edgewhisk.api.handlers.devices import devices
from edgewhisk.api.handlers.entities import entities
from edgewhisk.api.handlers.info import info
from edgewhisk.api.handlers.web import PREFIX
from edgewhisk.api.http import CORS, DRAINED, REQUEST_ID, failure, problem, request_id_of
from edgewhisk.api.quart_adapter import caller, sent, services
from edgewhisk.api.routes import routes
from edgewhisk.api.services import Services
from edgewhisk.errors import EdgeWhiskError, TooLarge, Unauthorized

_log = logging.getLogger(__name__)

_ENVELOPE: Final = 1 << 20  # bytes around the largest code of an action: parameters, JSON quoting
_CLOSED: Final = "/api/v1/"
_NOT_FOUND: Final = "The requested resource could not be found."


def create_app(services: Services) -> Quart:
    """The ASGI application over `services`."""
    app = Quart("edgewhisk", static_folder=None)
    app.url_map.merge_slashes = False  # would redirect, and tell strangers which paths there are
    app.config["SERVICES"] = services
    app.config["MAX_CONTENT_LENGTH"] = services.limits.max_action_code * (1 << 20) * 4 // 3 + _ENVELOPE
    for blueprint in (routes, info, entities, devices):
        app.register_blueprint(blueprint)
    app.before_request(_before)
    app.after_request(_after)
    app.register_error_handler(EdgeWhiskError, _refused)
    app.register_error_handler(HTTPException, _unroutable)
    app.register_error_handler(Exception, _broken)
    return app


def _before() -> Response | None:
    g.request_id = request_id_of(request.headers.get(REQUEST_ID, ""), services().new_id)
    if request.method == "OPTIONS" and not request.path.startswith(PREFIX):
        return Response(status=200)
    return None


def _after(response: Response) -> Response:
    response.headers[REQUEST_ID] = request_id()
    if request.path.startswith("/api/v1") and not request.path.startswith(PREFIX):
        response.headers.update(CORS)
    return response


def request_id() -> str:
    """The id of the current request, which is also the `code` of its errors."""
    found: str = g.get("request_id", "")
    return found


async def _refused(error: EdgeWhiskError) -> Response:
    if error.status == TooLarge.status:
        await _drain()
    if error.status >= 500:
        _log.warning("request %s: %s", request_id(), error)
    return sent(failure(error, request_id()))


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
        return sent(problem("Request larger than allowed.", 413, request_id()))
    status = error.code or 500
    if status in (404, 405):
        try:
            _check_known()
        except Unauthorized as unknown:
            return sent(failure(unknown, request_id()))
        return sent(problem(_NOT_FOUND, 404, request_id()))
    return sent(problem(error.description or error.name, status, request_id()))


def _check_known() -> None:
    """Raise `Unauthorized` for a stranger who tries paths: who asks comes before what is there."""
    if request.path.startswith(_CLOSED) and not request.path.startswith(PREFIX):
        caller()


def _broken(error: Exception) -> Response:
    _log.error("request %s failed", request_id(), exc_info=error)
    return sent(problem("There was an internal server error.", 500, request_id()))
