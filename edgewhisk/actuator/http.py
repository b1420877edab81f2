"""Sends HTTP requests for actions."""

from __future__ import annotations

import base64
from typing import Any, Final

from edgewhisk.actuator.request import Command
from edgewhisk.errors import CapabilityError, Undelivered

_PATIENCE: Final = 15.0  # seconds for the whole request
_SHOWN: Final = 4096  # bytes of the answer that are told
_LATER: Final = frozenset({408, 425, 429})  # besides 5xx: the server may take it later


class HttpRequests:
    """One connection pool for all commands."""

    def __init__(self) -> None:
        """Nothing is connected until the first request."""
        self._client: Any = None

    async def send(self, command: Command) -> dict[str, Any]:
        """Send a request; raises `Undelivered` or, when it never will be taken, `CapabilityError`."""
        import httpx  # heavy: a gateway that sends no requests never loads it

        if self._client is None:
            self._client = httpx.AsyncClient(timeout=_PATIENCE, trust_env=False)
        body = command.body
        url = body["url"]
        try:
            answer = await self._client.request(
                body["method"], url, headers=body["headers"], content=base64.b64decode(body["payload"])
            )
        except (httpx.TransportError, httpx.TooManyRedirects) as error:
            raise Undelivered(f"http.request {url}: {error or type(error).__name__}") from error
        except (httpx.InvalidURL, ValueError) as error:
            raise CapabilityError(f"http.request {url}: {error}") from error
        text = answer.text[:_SHOWN]
        if answer.status_code >= 500 or answer.status_code in _LATER:
            raise Undelivered(f"http.request {url}: it answers {answer.status_code}")
        if answer.status_code >= 400:
            raise CapabilityError(f"http.request {url}: it answers {answer.status_code}: {text}")
        return {"status": answer.status_code, "body": text}

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
