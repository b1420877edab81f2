"""The Quart application: routes, request ids, CORS, and errors as OpenWhisk's clients read them."""

from __future__ import annotations

import logging
import re
import secrets
from typing import Final

from quart import Quart, Response, g, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from edgewhisk.api.activations import activations
from edgewhisk.api.entities import entities
from edgewhisk.api.info import info
from edgewhisk.api.invoking import invoking
from edgewhisk.api.reading import answer
from edgewhisk.api.services import Services
from edgewhisk.errors import EdgeWhiskError, Throttled, Unauthorized

_log = logging.getLogger(__name__)

REQUEST_ID: Final = "X-Request-ID"
_ACCEPTABLE_ID: Final = re.compile(r"(?!sid_)[\w.-]{1,128}", re.ASCII)
_ENVELOPE: Final = 1 << 20  # bytes around the largest code of an action: parameters, JSON quoting
_CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": (
        "Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent"
    ),
    "Access-Control-Allow-Methods": "GET, DELETE, POST, PUT, HEAD",
}
_CHALLENGE: Final = 'Basic realm="OpenWhisk secure realm",charset=UTF-8'
_NOT_FOUND: Final = "The requested resource could not be found."


def create_app(services: Services) -> Quart:
    """The ASGI application over `services`."""
    app = Quart("edgewhisk", static_folder=None)
    app.config["SERVICES"] = services
    app.config["MAX_CONTENT_LENGTH"] = services.limits.max_action_code * (1 << 20) * 4 // 3 + _ENVELOPE
    for blueprint in (info, entities, invoking, activations):
        app.register_blueprint(blueprint)
    app.before_request(_before)
    app.after_request(_after)
    app.register_error_handler(EdgeWhiskError, _refused)
    app.register_error_handler(HTTPException, _unroutable)
    app.register_error_handler(Exception, _broken)
    return app


def _before() -> Response | None:
    given = request.headers.get(REQUEST_ID, "")
    g.request_id = given if _ACCEPTABLE_ID.fullmatch(given) else secrets.token_hex(16)
    return Response(status=200) if request.method == "OPTIONS" else None


def _after(response: Response) -> Response:
    response.headers[REQUEST_ID] = request_id()
    if request.path.startswith("/api/v1"):
        response.headers.update(_CORS)
    return response


def request_id() -> str:
    """The id of the current request, which is also the `code` of its errors."""
    found: str = g.get("request_id", "")
    return found


def _problem(message: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return answer({"error": message, "code": request_id()}, status, headers)


def _refused(error: EdgeWhiskError) -> Response:
    headers = {}
    if isinstance(error, Unauthorized) and error.challenge:
        headers["WWW-Authenticate"] = _CHALLENGE
    if isinstance(error, Throttled):
        headers["Retry-After"] = "60"
    if error.status >= 500:
        _log.warning("request %s: %s", request_id(), error)
    return _problem(error.message, error.status, headers)


def _unroutable(error: HTTPException) -> Response:
    """Unknown paths and methods: OpenWhisk's router answers 404 for both."""
    if isinstance(error, RequestEntityTooLarge):
        return _problem("Request larger than allowed.", 413)
    status = error.code or 500
    if status in (404, 405):
        return _problem(_NOT_FOUND, 404)
    return _problem(error.description or error.name, status)


def _broken(error: Exception) -> Response:
    _log.error("request %s failed", request_id(), exc_info=error)
    return _problem("There was an internal server error.", 500)
