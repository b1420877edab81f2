"""The routes without a framework's overhead: the ASGI application that the server calls.

A Quart handler costs 180 us of a request that is to take 300; here an invoke costs a dictionary lookup. And
Quart takes 12 MB and 0.2 s to load: it is left what has escapes in its path, HEAD, OPTIONS, and what there is
no route for.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache, partial
from typing import Any, Final, Protocol

from edgewhisk.api.handlers.web import PREFIX, VERBS
from edgewhisk.api.http import (
    CORS,
    DRAINED,
    HttpRequest,
    HttpResponse,
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
_NAME: Final = (re.compile(r"<(\w+)>"), r"(?P<\1>[\\w.@&-]+)")  # in a route's path -> what it matches
_PATH: Final = (re.compile(r"<path:(\w+)>"), r"(?P<\1>[\\w.@&/~-]*)")
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
        try:
            known = find(scope["method"], scope["raw_path"])
            if known is None:
                status, request_id = await self._cold(scope, receive, send)
            else:
                reply, request_id = await self._answer(known, scope, receive)
                status = reply.status
                rest = _is_rest(scope["raw_path"])
                quick = rest and reply.more is None and "extensions" in scope
                whole = scope["extensions"].get(WHOLE) if quick else None
                if whole is None or not whole(status, _head(reply, request_id), reply.body):
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
        seen: list[Any] = [500, ""]

        async def watched(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                seen[0] = message["status"]
                found = (value for key, value in message["headers"] if key.lower() == b"x-request-id")
                seen[1] = next(found, b"").decode("latin-1")
            await send(message)

        await (self._quart or await self._loaded())(scope, receive, watched)
        return seen[0], seen[1]

    async def _loaded(self) -> Application:
        """Quart, loaded by the first who needs it, in a thread: the gateway goes on meanwhile."""
        async with self._loading:
            if self._quart is None:
                self._quart = await asyncio.to_thread(_load, self._services)
            return self._quart


def _load(services: Services) -> Application:
    from edgewhisk.api.quart_adapter import create_app  # 0.2 s and 12 MB, see above

    return create_app(services)


def _patterns() -> dict[str, list[tuple[re.Pattern[bytes], Handler]]]:
    """What the routes of each method match, and who answers."""
    found: dict[str, list[tuple[re.Pattern[bytes], Handler]]] = {}
    for route in ROUTES:
        text = _PATH[0].sub(_PATH[1], _NAME[0].sub(_NAME[1], route.path)) + "/?" * route.slash
        found.setdefault(route.method, []).append((re.compile(text.encode(), re.ASCII), route.handler))
    return found


_PATTERNS: Final = _patterns()


def find(method: str, path: bytes) -> Answering | None:
    """Who answers a request; None if Quart must. Long paths are not remembered."""
    return _found(method, path) if len(path) <= _LONG else _found.__wrapped__(method, path)


@lru_cache(maxsize=512)
def _found(method: str, path: bytes) -> Answering | None:
    for pattern, handler in _PATTERNS.get(method, ()):
        if match := pattern.fullmatch(path):
            return partial(handler, **{key: text.decode("ascii") for key, text in match.groupdict().items()})
    return None


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
    if reply.content_type:
        found.append(("content-type", reply.content_type))
    if reply.status not in BODILESS and reply.more is None:
        found.append(("content-length", str(len(reply.body))))
    return found


def _head(reply: HttpResponse, request_id: str) -> bytes:
    """The headers of a REST reply as they go over the wire."""
    lines = [f"{key}: {value}\r\n" for key, value in _headers(reply, request_id)]
    return _CORS_LINES + "".join(lines).encode("latin-1", "replace")


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
