"""The routes without a framework's overhead: the ASGI application that the server calls.

A Quart handler costs 180 us of a request that is to take 300; here an invoke costs a dictionary lookup. And
Quart takes 12 MB and 0.2 s to load: it is left HEAD, OPTIONS, and what there is no route for.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from functools import lru_cache, partial
from typing import Any, Final, Protocol
from urllib.parse import unquote_to_bytes

from edgewhisk.api.handlers.web import PREFIX, VERBS
from edgewhisk.api.http import (
    CORS,
    DRAINED,
    PLAIN,
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
from edgewhisk.base.histogram import Histogram
from edgewhisk.entity.web import BODILESS
from edgewhisk.errors import EdgeWhiskError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Application(Protocol):
    """An ASGI application."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        ...


_access = logging.getLogger("edgewhisk.access")
_log = logging.getLogger(__name__)
_REST: Final = b"/api/v1"
_LONG: Final = 1024  # bytes of a path that is not remembered: a request may have 64 KB
_WEB: Final = PREFIX.encode()
_NAME: Final = (re.compile(r"<(\w+)>"), r"(?P<\1>[^/]+)")  # in a route's path -> what it matches
_API: Final = (re.compile(r"<api:(\w+)>"), r"(?P<\1>(?!v1/)[^/]+)")  # `/api/v1/` is the REST API
_PATH: Final = (re.compile(r"<path:(\w+)>"), r"(?P<\1>.*)")
_DOTS: Final = {b".": 1, b"%2E": 1, b"..": 2, b".%2E": 2, b"%2E.": 2, b"%2E%2E": 2}
WHOLE: Final = "edgewhisk.whole"  # ASGI extension of server.py: a response in one piece
_CORS: Final = [(key.lower().encode(), value.encode()) for key, value in CORS.items()]
_CORS_LINES: Final = b"".join(b"%b: %b\r\n" % line for line in _CORS)


Answering = Callable[[HttpRequest, Services], Awaitable[HttpResponse]]


class Router:
    """Answers requests for routes itself, the rest through Quart."""

    def __init__(self, services: Services, *, access_log: bool = False) -> None:
        """`access_log`: one line for each request."""
        self.statuses: Counter[tuple[str, int]] = Counter()  # (method, status) of all requests
        self.latency = Histogram()
        self._quart: Application | None = None
        self._loading = asyncio.Lock()
        self._services = services
        self._access_log = access_log

    @property
    def answered(self) -> int:
        """Requests so far."""
        return sum(self.statuses.values())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        status, request_id = 500, ""
        if b"/." in scope["raw_path"] or b"/%2" in scope["raw_path"]:
            _resolve(scope)
        try:
            known = find(scope["method"], scope["raw_path"])
            if scope["method"] == "HEAD" and _has_body(scope["headers"]):
                known = _no_body
            if known is None:
                status, request_id = await self._cold(scope, receive, send)
            else:
                reply, request_id = await self._answer(known, scope, receive)
                status = reply.status
                rest = _is_rest(scope["raw_path"])
                whole = scope.get("extensions", {}).get(WHOLE) if reply.more is None else None
                body = b"" if scope["method"] == "HEAD" else reply.body
                if whole is None or not whole(status, _head(reply, request_id, rest), body):
                    await _send(send, reply, request_id, rest)
        finally:
            took = time.perf_counter() - began
            self.latency.observe(took)
            self.statuses[scope["method"] if scope["method"] in VERBS else "other", status] += 1
            if self._access_log:
                client = scope["client"] or ("-",)
                _access.info(
                    "%s %s %s %d %.1fms %s",
                    client[0],
                    scope["method"],
                    scope["raw_path"].decode("latin-1"),
                    status,
                    took * 1000,
                    request_id,
                )

    async def _answer(self, known: Answering, scope: Scope, receive: Receive) -> tuple[HttpResponse, str]:
        """The reply, and the id of the request."""
        body = _Body(receive)
        request_id = request_id_of(scope["headers"], self._services.new_id)
        ask = HttpRequest(scope["method"], scope["query_string"], scope["headers"], body.read, request_id)
        try:
            reply = await known(ask, self._services)
        except EdgeWhiskError as error:
            if error.status >= 500:
                _log.warning("request %s: %s", request_id, error)
            await body.drain()
            reply = failure(error, request_id)
        except Exception:  # noqa: BLE001 - supervisor: one broken request never ends its connection
            _log.exception("request %s failed", request_id)
            reply = problem("There was an internal server error.", 500, request_id)
        return reply, request_id

    async def _cold(self, scope: Scope, receive: Receive, send: Send) -> tuple[int, str]:
        seen = _Watched(send, scope)
        await (self._quart or await self._loaded())(scope, receive, seen)
        return seen.status, seen.request_id

    async def _loaded(self) -> Application:
        """Quart, loaded by the first who needs it, in a thread: the gateway goes on meanwhile."""
        async with self._loading:
            if self._quart is None:
                self._quart = await asyncio.to_thread(_load, self._services)
            return self._quart


class _Watched:
    """Hands on what Quart sends: an answer with one piece of body in one piece, though it comes in three."""

    def __init__(self, send: Send, scope: Scope) -> None:
        self.status, self.request_id = 500, ""
        self._send = send
        self._whole = scope.get("extensions", {}).get(WHOLE)
        self._bodiless = scope["method"] == "HEAD"
        self._held: list[MutableMapping[str, Any]] = []

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            found = (value for key, value in message["headers"] if key.lower() == b"x-request-id")
            self.request_id = next(found, b"").decode("latin-1")
        self._held.append(message)
        ended = message["type"] == "http.response.body" and not message.get("more_body", False)
        if (ended and not self._sent_whole()) or len(self._held) > 2:
            await self._hand_on()

    async def _hand_on(self) -> None:
        for message in self._held:
            await self._send(message)
        self._held = []

    def _sent_whole(self) -> bool:
        start, *bodies = self._held
        sized = start["type"] == "http.response.start" and b"content-length" in dict(start["headers"])
        if self._whole is None or not sized:
            return False
        headers = b"".join(b"%b: %b\r\n" % header for header in start["headers"])
        body = b"" if self._bodiless else b"".join(one.get("body", b"") for one in bodies)
        sent = bool(self._whole(self.status, headers, body))
        self._held = [] if sent else self._held
        return sent


async def _no_body(_ask: HttpRequest, _services: Services) -> HttpResponse:
    """The answer to a HEAD request that has a body."""
    return HttpResponse(422, b"HEAD requests must not have a body.", content_type=PLAIN)


def _has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(
        key == b"transfer-encoding" or (key == b"content-length" and value.strip(b"0"))
        for key, value in headers
    )


def _load(services: Services) -> Application:
    from edgewhisk.api.quart_adapter import create_app  # 0.2 s and 12 MB, see above

    return create_app(services)


def _patterns() -> dict[str, list[tuple[re.Pattern[bytes], Handler]]]:
    """What the routes of each method match, and who answers."""
    found: dict[str, list[tuple[re.Pattern[bytes], Handler]]] = {}
    for route in ROUTES:
        text = route.path + "/?" * route.slash
        for place, matched in (_NAME, _API, _PATH):
            text = place.sub(matched, text)
        found.setdefault(route.method, []).append((re.compile(text.encode(), re.DOTALL), route.handler))
    return found


_PATTERNS: Final = _patterns()


def find(method: str, path: bytes) -> Answering | None:
    """Who answers a request; None if Quart must. Long paths are not remembered."""
    return _found(method, path) if len(path) <= _LONG else _found.__wrapped__(method, path)


@lru_cache(maxsize=512)
def _found(method: str, path: bytes) -> Answering | None:
    for pattern, handler in _PATTERNS.get(method, ()):
        if match := pattern.fullmatch(path):
            return partial(handler, **{key: _decoded(text) for key, text in match.groupdict().items()})
    return None


def _resolve(scope: Scope) -> None:
    """Take the dot segments out of the path (RFC 3986, 5.2.4), escaped ones, too, as OpenWhisk does."""
    parts: list[bytes] = []
    first, *rest = scope["raw_path"].split(b"/")
    for at, part in enumerate(rest, 1):
        dots = _DOTS.get(part.upper())
        if dots is None:
            parts.append(part)
            continue
        if dots == 2 and parts:
            parts.pop()
        if at == len(rest):
            parts.append(b"")
    scope["raw_path"] = b"/".join([first, *parts])
    scope["path"] = unquote_to_bytes(scope["raw_path"]).decode(errors="replace")


def _decoded(text: bytes) -> str:
    """A part of a path without escapes: a slash that was escaped is part of a name, which may have none."""
    return (unquote_to_bytes(text) if b"%" in text else text).decode(errors="replace")


def _is_rest(path: bytes) -> bool:
    """Whether the path belongs to the REST API, whose answers all have CORS headers of their own."""
    return path.startswith(_REST) and not path.startswith(_WEB)


class _Body:
    """The body of one request."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._more = True

    async def read(self, allowed: int) -> bytes:
        """All of it; raises `TooLarge`. Of a client that went away, what came counts as all."""
        data = await self._next()
        if self._more:
            data = await self._rest(data, allowed)
        if len(data) > allowed:
            raise too_large(len(data), allowed)
        return data

    async def _rest(self, begin: bytes, allowed: int) -> bytes:
        data = bytearray(begin)
        while self._more and len(data) <= allowed:
            data += await self._next()
        return bytes(data)

    async def drain(self) -> None:
        """Take what is refused: a client that is cut off while it sends never sees why."""
        left = DRAINED
        while self._more and left > 0:
            left -= max(1, len(await self._next()))

    async def _next(self) -> bytes:
        message = await self._receive()
        self._more = message.get("more_body", False)
        data: bytes = message.get("body", b"")
        return data


def _headers(reply: HttpResponse, request_id: str) -> list[tuple[str, str]]:
    """The headers of a reply, less those of CORS, which are made once."""
    found = [("x-request-id", request_id), *reply.headers]
    if (today := date()) and all(key.lower() != "date" for key, _ in reply.headers):  # a web action's counts
        found.append(("date", today))
    if reply.content_type:
        found.append(("content-type", reply.content_type))
    if reply.status not in BODILESS and reply.more is None:
        found.append(("content-length", str(len(reply.body))))
    return found


def _head(reply: HttpResponse, request_id: str, rest: bool) -> bytes:
    """The headers of a reply as they go over the wire; `rest`: it belongs to the REST API."""
    lines = [f"{key}: {value}\r\n" for key, value in _headers(reply, request_id)]
    return (_CORS_LINES if rest else b"") + "".join(lines).encode("latin-1", "replace")


async def _send(send: Send, reply: HttpResponse, request_id: str, rest: bool) -> None:
    headers = [
        (key.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace"))
        for key, value in _headers(reply, request_id)
    ]
    if rest:
        headers += _CORS
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    if reply.more is not None:
        await send({"type": "http.response.body", "body": reply.body, "more_body": True})
        async for piece in reply.more:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"" if reply.more is not None else reply.body})
