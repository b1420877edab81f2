"""Requests for the paths of APIs, `/api/NAMESPACE/...`, for anybody: each is answered by its web action."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs

from edgewhisk.api.handlers import web
from edgewhisk.api.http import HttpRequest, HttpResponse
from edgewhisk.api.services import Services
from edgewhisk.entity.api.api import Api, Backend
from edgewhisk.errors import EdgeWhiskError

_CORS: Final = "access-control-"
_METHODS: Final = "GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS"


async def serve(ask: HttpRequest, verbs: Services, namespace: str, path: str) -> HttpResponse:
    """Answer a request; texts and CORS are those of OpenWhisk's API gateway."""
    found = verbs.apis.find(namespace, f"/{path}")
    if found is None:
        return _problem(404, "Not found.")
    api, resource, rest = found
    if api.cors and ask.method == "OPTIONS":
        wanted = ask.header(b"access-control-request-headers")
        allowed = (("Access-Control-Allow-Headers", wanted),) if wanted else ()
        return HttpResponse(200, b"", _with_cors(api, allowed), "")
    backend = resource.operations.get(ask.method)
    if backend is None:
        return _problem(404, "Whoops. Verb not supported.", api)
    if not _has_key(api, ask):
        return _problem(401, "Unauthorized", api)
    target = web.WebCall(backend.action, backend.extension, f"/{path}" if backend.whole_path else rest)
    try:
        reply = await web.call(_passed_on(ask, backend), verbs, target)
    except EdgeWhiskError as error:
        error.headers = _with_cors(api, error.headers)
        raise
    return reply._replace(headers=_with_cors(api, reply.headers))


def _has_key(api: Api, ask: HttpRequest) -> bool:
    key = api.key
    if key is None:
        return True
    if key.place == "header":
        return key.admits(ask.header(key.name.lower().encode()))
    return key.admits(parse_qs(ask.query.decode("latin-1")).get(key.name, [""])[0])


def _passed_on(ask: HttpRequest, backend: Backend) -> HttpRequest:
    """The request as the web action gets it: what the API sets counts, whatever the client sent."""
    own = [(name.encode(), value.encode()) for name, value in backend.headers]
    names = {name for name, _ in own}
    headers = [(name, value) for name, value in ask.headers if name not in names]
    return ask._replace(method=backend.verb, headers=headers + own)


def _with_cors(api: Api, headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The headers of an answer: those of CORS are the API's to say, if it says anything about it.

    Unlike OpenWhisk's, the answer lets no page use a visitor's credentials: each page could.
    """
    if api.cors is None:
        return headers
    kept = tuple((name, value) for name, value in headers if not name.lower().startswith(_CORS))
    if not api.cors:
        return kept
    allowed = tuple((name, value) for name, value in headers if name.lower() == f"{_CORS}allow-headers")
    origin = ("Access-Control-Allow-Origin", "*"), ("Access-Control-Allow-Methods", _METHODS)
    return (*kept, *origin, *allowed)


def _problem(status: int, message: str, api: Api | None = None) -> HttpResponse:
    """An error as OpenWhisk's API gateway tells it."""
    headers = _with_cors(api, ()) if api else ()
    return HttpResponse.of({"status": status, "message": f"Error: {message}"}, status, headers)
