"""HTTP for actions: `http.fetch`, to the hosts that the annotation names."""

from __future__ import annotations

import base64
import binascii
import time
from typing import TYPE_CHECKING, Any, Final

from edgewhisk.capability.capabilities import Request
from edgewhisk.errors import CapabilityError, NotGranted
from edgewhisk.trust import reason

if TYPE_CHECKING:
    import httpx  # 10 MB: only a gateway whose actions fetch loads it

LARGEST_BODY: Final = 1 << 20  # bytes of a response
PATIENCE: Final = 30.0  # seconds for one fetch, if the action has them
_REDIRECTS: Final = 5
_PORTS: Final = {"http": 80, "https": 443}
_CHUNK: Final = 65_536


class Fetch:
    """One connection pool for all actions. Keeps no cookies."""

    def __init__(self) -> None:
        """Nothing is connected until the first fetch."""
        self._client: httpx.Client | None = None

    def __call__(self, request: Request) -> Any:
        """Perform `http.fetch`; `{"status", "url", "headers": [[name, value]], "body64"}`."""
        method = str(request.fields.get("method") or "GET").upper()
        url, body = request.text("url"), _body(request)
        headers = _headers(request)
        for _ in range(_REDIRECTS + 1):
            target = _allowed(request, url)
            answer = self._send(request, method, target, headers, body)
            location = answer.headers.get("location")
            if answer.status_code not in (301, 302, 303, 307, 308) or not location:
                break
            url = str(target.join(location))
            if answer.status_code in (301, 302, 303) and method != "HEAD":
                method, body = "GET", b""
        else:
            raise CapabilityError(f"http.fetch {url}: more than {_REDIRECTS} redirects")
        return {
            "status": answer.status_code,
            "url": str(target),
            "headers": [list(pair) for pair in answer.headers.multi_items()],
            "body64": base64.b64encode(answer.content).decode(),
        }

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    def _send(
        self, request: Request, method: str, url: httpx.URL, headers: list[tuple[str, str]], body: bytes
    ) -> httpx.Response:
        import httpx

        if self._client is None:
            self._client = httpx.Client(trust_env=False, headers={"user-agent": "edgewhisk"})
        left = request.asker.until - time.monotonic()
        until = time.monotonic() + min(PATIENCE, left)
        if left <= 0:
            raise CapabilityError(f"http.fetch {url}: the action's time is over")
        try:
            outgoing = self._client.build_request(
                method, url, headers=headers, content=body, timeout=min(PATIENCE, left)
            )
            answer = self._client.send(outgoing, stream=True)
            try:
                answer._content = _read(answer, until)
            finally:
                answer.close()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise CapabilityError(f"http.fetch {url}: {reason(error)}") from error
        self._client.cookies.clear()
        return answer


def _read(answer: httpx.Response, until: float) -> bytes:
    """The body, within its limits."""
    parts: list[bytes] = []
    size = 0
    for chunk in answer.iter_bytes(_CHUNK):
        size += len(chunk)
        if size > LARGEST_BODY:
            raise CapabilityError(f"http.fetch {answer.url}: the answer is over {LARGEST_BODY} bytes")
        if time.monotonic() > until:
            raise CapabilityError(f"http.fetch {answer.url}: the answer did not come in time")
        parts.append(chunk)
    return b"".join(parts)


def _allowed(request: Request, url: str) -> httpx.URL:
    import httpx

    try:
        target = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise CapabilityError(f"http.fetch: {url!r} is no URL: {error}") from error
    usual = _PORTS.get(target.scheme)
    if usual is None or not target.host:
        raise CapabilityError(f"http.fetch: {url!r} must begin with http:// or https://")
    if not request.grants.allows_host(target.host, target.port or usual, usual):
        where = target.host if target.port is None else f"{target.host}:{target.port}"
        raise NotGranted(f"http.fetch to {where} is not granted", hint=f'{{"http": ["{where}"]}}')
    return target


def _headers(request: Request) -> list[tuple[str, str]]:
    headers = request.fields.get("headers") or []
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(part, str) for part in pair)
        for pair in pairs
    ):
        raise CapabilityError("http.fetch: 'headers' must be an object of text")
    return [(name, value) for name, value in pairs]


def _body(request: Request) -> bytes:
    body, encoded = request.fields.get("body"), request.fields.get("body64")
    try:
        if isinstance(encoded, str):
            return base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise CapabilityError(f"http.fetch: 'body64' is not base64: {error}") from error
    if body is not None and not isinstance(body, str):
        raise CapabilityError("http.fetch: 'body' must be text")
    return (body or "").encode()
