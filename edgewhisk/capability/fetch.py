"""HTTP for actions: `http.fetch`, to the hosts that the annotation names."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from edgewhisk.capability.dispatcher import CapabilityRequest, ungranted
from edgewhisk.errors import CapabilityError, NotGranted
from edgewhisk.transport.http_body import BadBody, Body
from edgewhisk.transport.tls_errors import reason

if TYPE_CHECKING:
    import httpx  # 10 MB: only a gateway whose actions fetch loads it

    from edgewhisk.capability.patience import Patience

LARGEST_BODY: Final = 1 << 20  # bytes of a response
FETCH_TIMEOUT: Final = 30.0  # seconds for one fetch, if the action has them
_REDIRECTS: Final = 5
_PORTS: Final = {"http": 80, "https": 443}
_WORD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")  # a token of RFC 9110
_MOST_PORT: Final = 65_535
_SECRET: Final = frozenset({"authorization", "cookie", "proxy-authorization"})  # of an origin
_OF_BODY: Final = frozenset({"content-length", "content-type", "content-encoding", "transfer-encoding"})


class Fetch:
    """One connection pool for all actions. Keeps no cookies."""

    def __init__(self, api_port: int) -> None:
        """Nothing is connected until the first fetch; `api_port` is where this gateway's own API is."""
        self._api_port = api_port
        self._opening = threading.Lock()
        self._opened: tuple[httpx.Client, Patience] | None = None

    def __call__(self, request: CapabilityRequest) -> Any:
        """Perform `http.fetch`; `{"status", "url", "headers": [[name, value]], "body64"}`."""
        method = _method(request)
        url, body = request.text("url"), _body(request)
        headers = _headers(request)
        for _ in range(_REDIRECTS + 1):
            target = self._allowed(request, url)
            answer, content = self._send(request, method, target, headers, body)
            location = answer.headers.get("location")
            if answer.status_code not in (301, 302, 303, 307, 308) or not location:
                break
            url = _joined(target, location)
            if answer.status_code in (301, 302, 303) and method != "HEAD":
                method, body = "GET", b""
                headers = _without(headers, _OF_BODY)
            if _origin(url) != _origin(str(target)):
                headers = _without(headers, _SECRET)
        else:
            raise CapabilityError(f"http.fetch {url}: more than {_REDIRECTS} redirects")
        return {
            "status": answer.status_code,
            "url": str(target),
            "headers": [list(pair) for pair in answer.headers.multi_items()],
            "body64": base64.b64encode(content).decode(),
        }

    def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            self._opened[0].close()

    def _allowed(self, request: CapabilityRequest, url: str) -> httpx.URL:
        target, host, port = _read_url(url)
        usual = _PORTS[target.scheme]
        where = host if target.port is None else f"{host}:{port}"
        if not request.grants.allows_host(host, port, usual):
            raise ungranted(f"http.fetch to {where} is not granted", http=[where])
        exact = f"{host}:{port}"
        try:
            request.check_owner("http", exact)
        except NotGranted:
            if port == self._api_port and _is_here(host):  # a host alone does not lend the gateway itself
                raise
            request.check_owner("http", host)
        return target

    def _send(
        self,
        request: CapabilityRequest,
        method: str,
        url: httpx.URL,
        headers: list[tuple[str, str]],
        body: bytes,
    ) -> tuple[httpx.Response, bytes]:
        import httpx

        client, patience = self._open()
        left = request.asker.until - time.monotonic()
        until = time.monotonic() + min(FETCH_TIMEOUT, left)
        if left <= 0:
            raise CapabilityError(f"http.fetch {url}: the action's time is over")
        try:
            outgoing = client.build_request(
                method, url, headers=headers, content=body, timeout=min(FETCH_TIMEOUT, left)
            )
            with patience.until(until):
                answer = client.send(outgoing, stream=True)
                try:
                    content = Body(answer.headers.get("content-encoding", ""), LARGEST_BODY)
                    for raw in answer.iter_raw():
                        content.add(raw)
                finally:
                    answer.close()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, BadBody) as error:
            raise CapabilityError(f"http.fetch {url}: {reason(error)}") from error
        return answer, content.data

    def _open(self) -> tuple[httpx.Client, Patience]:
        """Returns the client for all requests, and who says how long they may take."""
        with self._opening:
            if self._opened is None:
                from http.cookiejar import CookieJar, DefaultCookiePolicy

                import httpcore
                import httpx

                from edgewhisk.capability.patience import Patience

                patience = Patience()
                transport = httpx.HTTPTransport(trust_env=False)
                # There is no public way to give httpx a network of one's own.
                transport._pool = httpcore.ConnectionPool(
                    httpx.create_ssl_context(trust_env=False), network_backend=patience, max_connections=100
                )
                client = httpx.Client(
                    trust_env=False,
                    transport=transport,
                    cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                    headers={"user-agent": "edgewhisk", "accept-encoding": "gzip, deflate"},
                )
                self._opened = client, patience
            return self._opened


def _without(headers: list[tuple[str, str]], names: frozenset[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name.strip().lower() not in names]


def _origin(url: str) -> tuple[str, str, int]:
    """Returns what a secret header is meant for: scheme, host and port (RFC 6454)."""
    target, host, port = _read_url(url)
    return target.scheme, host.lower(), port


def _read_url(url: str) -> tuple[httpx.URL, str, int]:
    """Returns an absolute URL with its host and port; raises `CapabilityError`."""
    import httpx

    try:
        target = httpx.URL(url)
        host, port = target.host, target.port or _PORTS.get(target.scheme, 0)  # reading the host decodes it
    except (httpx.InvalidURL, ValueError) as error:
        raise CapabilityError(f"http.fetch: 'url' {url[:200]!r} is no URL: {error}") from error
    if target.scheme not in _PORTS or not host:
        raise CapabilityError(f"http.fetch: 'url' {url[:200]!r} must begin with http:// or https://")
    if not 0 < port <= _MOST_PORT:
        raise CapabilityError(f"http.fetch: 'url' {url[:200]!r}: a port is 1 to {_MOST_PORT}")
    return target, host, port


def _joined(target: httpx.URL, location: str) -> str:
    """Returns where a redirect leads to; raises `CapabilityError`."""
    import httpx

    try:
        return str(target.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise CapabilityError(f"http.fetch {target}: redirects to {location[:200]!r}: {error}") from error


def _is_here(host: str) -> bool:
    """Whether a name or an address leads to this machine: only to its own addresses can a socket be bound."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return False  # nothing will be reached
    for family, kind, protocol, _, address in found:
        with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
            return True
    return False


def _method(request: CapabilityRequest) -> str:
    """Returns the method, GET by default; raises `CapabilityError`."""
    method = request.fields.get("method") or "GET"
    if not isinstance(method, str) or not _WORD.fullmatch(method):
        raise CapabilityError(f"http.fetch: 'method' must be a word like GET, not {str(method)[:80]!r}")
    return method.upper()


def _headers(request: CapabilityRequest) -> list[tuple[str, str]]:
    headers = request.fields.get("headers") or []
    pairs = list(headers.items()) if isinstance(headers, dict) else headers
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(part, str) for part in pair)
        for pair in pairs
    ):
        raise CapabilityError("http.fetch: 'headers' must be an object of text")
    return [(name, value) for name, value in pairs]


def _body(request: CapabilityRequest) -> bytes:
    body, encoded = request.fields.get("body"), request.fields.get("body64")
    try:
        if isinstance(encoded, str):
            return base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise CapabilityError(f"http.fetch: 'body64' is not base64: {error}") from error
    if body is not None and not isinstance(body, str):
        raise CapabilityError("http.fetch: 'body' must be text")
    return (body or "").encode()
