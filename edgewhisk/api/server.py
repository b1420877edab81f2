"""Serves the ASGI application over HTTP.

uvicorn with httptools: it takes two to three times the requests of hypercorn and 20 MB less memory
under the same Quart application. Quart stays behind ASGI, so the server can be changed here alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import secrets
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from edgewhisk import jsontext
from edgewhisk.base.bare_package import bare_package
from edgewhisk.config.schema import ApiConfig
from edgewhisk.errors import InstanceError

bare_package("uvicorn")  # which would load its command line, with click and multiprocessing: 1.5 MB
bare_package("logging.config")  # for logs of uvicorn's, with socketserver and pickle: 0.6 MB

import uvicorn  # noqa: E402 - after it
from uvicorn.config import Config  # noqa: E402
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol  # noqa: E402
from uvicorn.server import Server  # noqa: E402

vars(uvicorn)["Config"] = Config  # where `uvicorn.lifespan` looks for it
sys.modules.pop("logging.config", None)  # whoever imports it from here on gets it whole

_log = logging.getLogger(__name__)

WHOLE: Final = "edgewhisk.whole"  # name of the ASGI extension below, known to api/router.py
MAX_CONNECTIONS: Final = 512  # connections; systems allow 1024 open files by default
READ_TIMEOUT: Final = 30.0  # seconds that a client may take for the next piece of its request
MIN_BYTES_PER_SECOND: Final = 1024  # bytes a second that a request must come with, after `READ_TIMEOUT`
KEEP_ALIVE: Final = 60  # seconds between two requests of a connection
LARGEST_HEAD: Final = 64 << 10  # bytes of request line and headers
LONGEST_URL: Final = 8192  # bytes, as at OpenWhisk's own door
_LINGER: Final = 1.0  # seconds that a refused client may go on
LEAST: Final = 1.0  # seconds between two looks at a client
_LOOK: Final = 10.0  # seconds between looks at the certificate's files
_PAIR: Final = "both must be PEM and belong together; edgewhisk tls self-signed makes a pair"
_BACKLOG = 256
_GRACE = 5  # seconds that running requests get when the gateway stops


def _most() -> int:
    """How many connections there may be: half of the files that this process may have open are for others."""
    return min(MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; raises `InstanceError` when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY: without, replies wait 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        hint = "another program listens there; set [api] port to a free one, or 0 for any"
        raise InstanceError(f"cannot listen on {host}:{port}: {error.strerror}", hint=hint) from error
    return listener


class HttpConnection(HttpToolsProtocol):
    """One client's connection, with bounds: headers, patience, and how many of them there may be.

    uvicorn 0.54 has none of these for httptools. The names used here that are not documented are
    covered by tests/api/test_server.py.
    """

    def connection_made(self, transport: Any) -> None:
        """Begin; where there are too many, the one that is idle longest goes."""
        super().connection_made(transport)
        self._heard = self.loop.time()
        self._size = self._url = 0
        self._begun: float | None = None  # when the request began that is not here in full
        self._got = 0  # bytes since then
        self._stuck = 0  # bytes of answers that were not taken at the last look
        self._refused = self._odd = False
        self._check = self.loop.call_later(READ_TIMEOUT, self._look)
        if len(self.connections) > _most():
            idle = [one for one in self.connections if one is not self and cast("HttpConnection", one).idle]
            if idle:
                cast("HttpConnection", min(idle, key=lambda one: cast("HttpConnection", one).heard)).part()
            else:
                transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._check.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        self._heard = self.loop.time()
        self._got += len(data)
        if not self._refused:
            super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client sends no more: it still gets the answers to what it asked in full."""
        cycle = self.cycle
        asked = cycle is not None and not cycle.response_complete and not cycle.more_body
        if not asked or self.scheme == "https":  # TLS of asyncio cannot be closed on one side
            return False
        cycle.keep_alive = False
        return True

    def part(self) -> None:
        """End a connection for which nothing is done; what a client does not take is not kept for it."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    @property
    def heard(self) -> float:
        """When the client last sent something, on the loop's clock."""
        return self._heard

    @property
    def idle(self) -> bool:
        """Whether nothing is done for the client: it has asked nothing, or not all of it."""
        cycle = self.cycle
        return self._refused or cycle is None or cycle.response_complete or cycle.more_body

    def _look(self) -> None:
        """Part from a client that sends or takes nothing, or too slowly to come to an end."""
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent == self._stuck:
            self.transport.abort()
            return
        self._stuck = unsent
        rest = READ_TIMEOUT if unsent else self._due() - self.loop.time()
        if rest <= 0 and self.idle:
            self.transport.close()
        else:
            self._check = self.loop.call_later(max(rest, LEAST), self._look)

    def _due(self) -> float:
        """When a client that waits for nothing has had its time, on the loop's clock."""
        quiet = self._heard + READ_TIMEOUT
        return (
            quiet
            if self._begun is None
            else min(quiet, self._begun + READ_TIMEOUT + self._got / MIN_BYTES_PER_SECOND)
        )

    def on_message_complete(self) -> None:
        """A request is here in full."""
        super().on_message_complete()
        self._begun = None

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._begun, self._got, self._size, self._url = self._heard, 0, 0, 0
        self.scope["extensions"] = {WHOLE: partial(self._send_whole, self.scope)}  # type: ignore[dict-item]

    def _send_whole(self, scope: object, status: int, head: bytes, body: bytes) -> bool:
        """Send a response in one piece; false where it must go the usual way.

        An ASGI extension. uvicorn takes 50 us to check the headers of a response and to write it in
        two pieces; ours are right already. Does what `RequestResponseCycle.send` does at its end.
        """
        cycle = self.cycle
        if cycle.scope is not scope or self.pipeline or cycle.disconnected or self.flow.write_paused:
            return False
        cycle.response_started = True
        cycle.waiting_for_100_continue = False
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head + end + body)
        cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def on_url(self, url: bytes) -> None:
        """Part of the request line."""
        self._url += len(url)
        if self._url > LONGEST_URL:
            raise ValueError("a URL is too long")  # ends as a 414
        if b"#" in url:
            self._odd = True
            raise ValueError("a URL has a fragment")  # ends as a 400
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._grow(len(name) + len(value))
        super().on_header(name, value)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > LARGEST_HEAD:
            raise ValueError(f"more than {LARGEST_HEAD} bytes of headers")  # ends as a 431

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as everything else is answered: in JSON, with a code."""
        line, error = self._refusal(msg)
        code = secrets.token_hex(16)
        body = jsontext.dumps({"error": error, "code": code})
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nx-request-id: {code}\r\n"
        self.transport.write(line + b"\r\n" + head.encode() + b"connection: close\r\n\r\n" + body)
        # A client that is cut off while it still sends never sees the answer: hear it out for a moment.
        self._refused = True
        if self.cycle is not None and not self.cycle.response_complete:  # its body turned out to be no HTTP
            self.cycle.disconnected, self.cycle.waiting_for_100_continue = True, False
            self.cycle.message_event.set()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER, self.transport.close)

    def _refusal(self, problem: str) -> tuple[bytes, str]:
        """The status line, and what is told."""
        if self._url > LONGEST_URL:
            return b"HTTP/1.1 414 URI Too Long", f"The URL is longer than {LONGEST_URL} bytes."
        if self._size > LARGEST_HEAD:
            error = f"The headers are larger than {LARGEST_HEAD} bytes."
            return b"HTTP/1.1 431 Request Header Fields Too Large", error
        error = "Illegal request-target: '#' must be written as %23." if self._odd else problem
        return b"HTTP/1.1 400 Bad Request", error


class HttpServer(Server):
    """uvicorn on a socket of ours, without its signal handlers and its ten wake-ups a second."""

    def __init__(self, app: Any, tls: ssl.SSLContext | None = None) -> None:
        """Serve `app`."""
        config = Config(
            app,
            http=HttpConnection,
            loop="none",
            lifespan="off",
            ws="none",
            interface="asgi3",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,  # the router's: it knows whether there is a date to tell
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=_GRACE,
        )
        config.load()
        config.ssl = tls
        super().__init__(config)
        self._stopping = asyncio.Event()

    async def main_loop(self) -> None:
        """Wait for `stop` instead of looking ten times a second."""
        await self._stopping.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the daemon."""
        yield

    def stop(self) -> None:
        """Let `serve` end after the running requests."""
        self.should_exit = True
        self._stopping.set()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self.server_state.connections)


class Certificate:
    """The TLS identity of the API, taken from its files again whenever they change.

    Connections that are open keep theirs; new ones get the new one.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        """Load the files; if they are no certificate with its key, nobody is served until they are.

        Never in clear instead: keys would cross the network.
        """
        self._cert, self._key = cert, key
        self._has = False  # whether there is a certificate to go on with
        self.problem = ""
        self.context = _context()
        self._take()

    async def run(self) -> None:
        """Follow the files until cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Load the files again if they changed or could not be used; `problem` tells what is wrong."""
        if self.problem or self._state() != self._seen:
            self._take()

    def _take(self) -> None:
        self._seen, before = self._state(), self.problem
        try:
            _context().load_cert_chain(self._cert, self._key)  # for a try: what is half loaded serves nobody
            self.context.load_cert_chain(self._cert, self._key)
        except (OSError, ValueError) as error:
            what = "the old certificate stays" if self._has else "nobody can connect to the API"
            self.problem = f"{what}: {self._cert}, {self._key}: {error} ({_PAIR})"
            if self.problem != before:
                _log.warning("TLS: %s", self.problem)
            return
        if self._has or before:
            _log.info("the API has a new certificate from %s", self._cert)
        self.problem, self._has = "", True

    def _state(self) -> tuple[object, ...]:
        return tuple(
            (found.st_ino, found.st_mtime_ns) if (found := _stat(path)) else None
            for path in (self._cert, self._key)
        )


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def certificate_of(api: ApiConfig) -> Certificate | None:
    """The identity that `[api]` names."""
    return Certificate(api.tls_cert, api.tls_key) if api.tls_cert and api.tls_key else None


def url_of(listener: socket.socket, *, tls: bool) -> str:
    """Where this machine reaches the gateway."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - an address to call
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


@contextlib.asynccontextmanager
async def serving(server: HttpServer, listener: socket.socket) -> AsyncIterator[None]:
    """Answer HTTP inside the block."""
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield
    finally:
        server.stop()
        await task
