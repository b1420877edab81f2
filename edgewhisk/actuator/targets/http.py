"""HTTP servers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit
from uuid import uuid4

from edgewhisk.actuator.request import COMMON, Command, expires, payload
from edgewhisk.actuator.target import OneByOne
from edgewhisk.errors import BadRequest, CapabilityError, Undelivered
from edgewhisk.transport.tls_errors import reason

PATIENCE: Final = 15.0  # seconds for the whole request
_OPTIONS: Final = frozenset({"url", "method", "headers", "expires"})
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_SHOWN: Final = 4096  # bytes of the answer that are told; no more is read
_LATER: Final = frozenset({408, 425, 429})  # besides 5xx: the server may take it later
_ONCE: Final = frozenset({"POST", "PATCH"})  # a second delivery does it twice, unless the server knows better


class HttpTarget(OneByOne):
    """The action `http/request`: one connection pool for all commands."""

    kind: ClassVar = "http"
    action: ClassVar = "request"
    description: ClassVar = (
        "Sends an HTTP request; without payload, the other parameters as JSON. After 5xx tried again."
    )
    parameters: ClassVar = {
        "url": "http(s)://HOST/...",
        "method": "default POST",
        "headers": "an object",
        "payload": "text, or anything as JSON",
        "payload64": "bytes as base64 instead",
        **COMMON,
    }

    def __init__(self) -> None:
        """Nothing is connected until the first request."""
        super().__init__()
        self._client: Any = None

    @classmethod
    def command(cls, given: Mapping[str, Any]) -> Command:
        """See `Target`."""
        url, method, headers = given.get("url"), given.get("method", "POST"), given.get("headers", {})
        host, port = _host(url)
        if method not in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            raise BadRequest(f"method must be GET, POST, PUT, PATCH or DELETE, not {method!r}")
        if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
            raise BadRequest("headers must be an object of texts")
        for key, value in headers.items():
            if not _HEADER.fullmatch(key) or not value.isprintable() or not value.isascii():
                raise BadRequest(f"headers: {key!r} is no header that can be sent")
        data = payload(given, _OPTIONS) if method != "GET" else b""
        if data and not any(key.lower() == "content-type" for key in headers) and "payload64" not in given:
            plain = isinstance(given.get("payload"), str)
            headers = {**headers, "Content-Type": "text/plain" if plain else "application/json"}
        body = {"url": url, "method": method, "headers": headers}
        return Command("http", f"http:{host}:{port}", host, body, expires(given), id=uuid4().hex, data=data)

    @classmethod
    def told(cls, command: Command) -> str:
        """See `Target`."""
        parts = urlsplit(command.body["url"])
        return f"{command.body['method']} {parts.scheme}://{parts.hostname}{parts.path}"

    async def send(self, command: Command) -> dict[str, Any]:
        """Send a request; raises `Undelivered` or, when it never will be taken, `CapabilityError`."""
        # Heavy: a gateway that sends no requests never loads them.
        from http.cookiejar import CookieJar, DefaultCookiePolicy

        import httpx

        if self._client is None:
            cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))  # of one action are not for another
            self._client = httpx.AsyncClient(timeout=PATIENCE, trust_env=False, cookies=cookies)
        where = f"http.request {command.body['url']}"
        try:
            async with asyncio.timeout(PATIENCE):
                status, text, told = await self._ask(command)
        except TimeoutError as error:
            raise Undelivered(f"{where}: no answer within {PATIENCE:g} s") from error
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL, ValueError) as error:
            raise CapabilityError(f"{where}: {error}") from error
        except httpx.RequestError as error:
            raise Undelivered(f"{where}: {reason(error)}") from error
        if status >= 500 or status in _LATER:
            raise Undelivered(f"{where}: it answers {status}")
        if status >= 400:
            raise CapabilityError(f"{where}: it answers {status}: {text}")
        if status >= 300 and status != 304:
            # Following it might lead to where the caller may not send.
            raise CapabilityError(f"{where}: it answers {status}, moved to {told}: use that url")
        return {"status": status, "body": text}

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _ask(self, command: Command) -> tuple[int, str, str]:
        """The status, the beginning of the body, and where it sends us."""
        body, headers = command.body, dict(command.body["headers"])
        if command.id and body["method"] in _ONCE and "idempotency-key" not in map(str.lower, headers):
            headers["Idempotency-Key"] = f'"{command.id}"'  # draft-ietf-httpapi-idempotency-key-header
        # What is compressed can be larger than it looks.
        headers.setdefault("Accept-Encoding", "identity")
        content, read = command.data, b""
        async with self._client.stream(
            body["method"], body["url"], headers=headers, content=content
        ) as answer:
            async for piece in answer.aiter_raw(_SHOWN):
                read += piece
                if len(read) >= _SHOWN:
                    break
            return (
                answer.status_code,
                read[:_SHOWN].decode(errors="replace"),
                answer.headers.get("Location", ""),
            )


def _host(url: Any) -> tuple[str, int]:
    """Where a request goes; raises `BadRequest`."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        port = parts.port if parts else None
    except ValueError:
        parts = port = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadRequest(f"url must be http(s)://HOST/..., not {url!r}")
    return parts.hostname, port or (443 if parts.scheme == "https" else 80)
