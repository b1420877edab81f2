"""The gateway's own REST API without a socket: a request of an action, in its caller's name."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import unquote

from edgewhisk import jsontext
from edgewhisk.capability.rest import RestRequest
from edgewhisk.entity.identity import Identity

Event = MutableMapping[str, Any]
Application = Callable[
    [Event, Callable[[], Awaitable[Event]], Callable[[Event], Awaitable[None]]], Awaitable[None]
]
_BASE: Final = "/api/v1"
_JSON: Final = b"application/json"


async def answered(app: Application, identity: Identity, asked: RestRequest) -> tuple[int, bytes]:
    """Status and body, as JSON, that `app`, an ASGI application, answers to `identity`."""
    status, kind, body = 500, b"", bytearray()
    given: list[Event] = [{"type": "http.request", "body": asked.body}]

    async def receive() -> Event:
        if not given:  # the client stays until it has its answer
            await asyncio.get_running_loop().create_future()
        return given.pop()

    async def send(message: Event) -> None:
        nonlocal status, kind
        if message["type"] == "http.response.start":
            status, kind = message["status"], dict(message["headers"]).get(b"content-type", b"")
        body.extend(message.get("body", b""))

    await app(_scope(identity, asked), receive, send)
    if body and not kind.startswith(_JSON):  # "OK"
        return status, jsontext.dumps(body.decode(errors="replace"))
    return status, bytes(body)


def _scope(identity: Identity, asked: RestRequest) -> dict[str, Any]:
    key = base64.b64encode(identity.auth.compact.encode())
    headers = [(b"host", b"localhost"), (b"authorization", b"Basic " + key)]
    if asked.body:
        size = str(len(asked.body)).encode()
        headers += [(b"content-type", _JSON), (b"content-length", size)]
    path = f"{_BASE}{asked.path}"
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": asked.method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": asked.query.encode(),
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": None,
    }
