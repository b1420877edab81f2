"""Sends HTTP requests for actions."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from edgewhisk.actuator.request import Command
from edgewhisk.errors import CapabilityError, Undelivered
from edgewhisk.transport.tls_errors import reason

PATIENCE: Final = 15.0  # seconds for the whole request
_SHOWN: Final = 4096  # bytes of the answer that are told; no more is read
_LATER: Final = frozenset({408, 425, 429})  # besides 5xx: the server may take it later
_ONCE: Final = frozenset({"POST", "PATCH"})  # a second delivery does it twice, unless the server knows better


class HttpRequests:
    """One connection pool for all commands."""

    def __init__(self) -> None:
        """Nothing is connected until the first request."""
        self._client: Any = None

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
