"""`http.fetch` from servers that mean ill: bounded in size and time, and no secrets go elsewhere."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from edgewhisk.capability.dispatcher import CapabilityRequest
from edgewhisk.capability.fetch import Fetch
from edgewhisk.entity.annotations.grants import Grants
from edgewhisk.errors import CapabilityError

DRIP = b"(drip)"
PORTS: set[int] = set()  # that may be fetched from


class Host:
    """Gives one reply after the other, each on a connection of its own; keeps what it was asked."""

    def __init__(self, *replies: bytes) -> None:
        self.replies = list(replies)
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        PORTS.add(self.port)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        while not self.ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            if not (piece := connection.recv(65536)):
                return
            asked += piece
        self.asked.append(asked.decode().lower())
        reply = self.replies.pop(0)
        try:
            connection.sendall(reply.removesuffix(DRIP))
            while reply.endswith(DRIP) and not self.ended.wait(0.05):
                connection.sendall(b"x")
        except OSError:
            return

    def close(self) -> None:
        self.ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.thread.join()


@contextmanager
def hosts(*each: Host) -> Iterator[None]:
    for host in each:
        host.thread.start()
    try:
        yield
    finally:
        for host in each:
            host.close()


def fetch(door: Fetch, url: str, seconds: float = 30, **fields: Any) -> Any:
    grants = Grants(http=tuple(f"{name}:{port}" for name in ("127.0.0.1", "localhost") for port in PORTS))
    asker: Any = SimpleNamespace(until=time.monotonic() + seconds, action=Mock())
    return door(CapabilityRequest("http.fetch", {"url": url, **fields}, grants, asker, lambda *_: None))


@pytest.fixture
def door() -> Iterator[Fetch]:
    made = Fetch(1)
    yield made
    made.close()


def whole(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + DRIP,
        b"HTTP/1.1 200 OK\r\nX: " + DRIP,
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nX: " + DRIP,
        b"" + DRIP,
    ],
)
def test_a_server_that_drips_holds_an_action_no_longer_than_its_time(door: Fetch, reply: bytes) -> None:
    host = Host(reply)
    with hosts(host):
        begun = time.monotonic()
        with pytest.raises(CapabilityError, match=r"in time|timed out"):
            fetch(door, f"http://127.0.0.1:{host.port}/", seconds=0.5)
        assert time.monotonic() - begun < 20  # not until it is done, which is never


def test_what_unpacks_to_gigabytes_costs_no_memory(door: Fetch) -> None:
    bomb = gzip.decompress(gzip.compress(gzip.compress(bytes(300 << 20), 1)))
    host = Host(
        whole(bomb, "Content-Encoding: gzip"), whole(gzip.compress(b"hello"), "Content-Encoding: gzip")
    )
    with hosts(host):
        tracemalloc.start()
        with pytest.raises(CapabilityError, match="more than 1048576 bytes"):
            fetch(door, f"http://127.0.0.1:{host.port}/")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 30 << 20
        assert fetch(door, f"http://127.0.0.1:{host.port}/")["body64"] == "aGVsbG8="


SECRETS = {
    "Authorization": "Bearer secret",
    "COOKIE": "secret=1",
    "Proxy-Authorization": "secret",
    "X-Mine": "yes",
}


@pytest.mark.parametrize("status", ["301 X", "302 X", "303 X", "307 X", "308 X"])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_no_secret_follows_a_redirect_to_another_origin(door: Fetch, status: str, name: str) -> None:
    other = Host(whole(b"there"))
    first = Host(whole(b"", f"Location: http://{name}:{other.port}/x", status=status))
    with hosts(first, other):
        found = fetch(door, f"http://127.0.0.1:{first.port}/", method="POST", body="b", headers=SECRETS)
    assert found["body64"] == "dGhlcmU="
    assert first.asked[0].count("secret") == 3
    assert "secret" not in other.asked[0]
    assert "x-mine: yes" in other.asked[0]


def test_it_stays_where_the_redirect_stays(door: Fetch) -> None:
    host = Host(whole(b"", "Location: /there", "Set-Cookie: mark=1", status="303 X"), whole(b"there"))
    with hosts(host):
        sent = {**SECRETS, "Content-Type": "text/plain"}
        fetch(door, f"http://127.0.0.1:{host.port}/", method="POST", body="b", headers=sent)
    assert host.asked[1].startswith("get /there")
    assert host.asked[1].count("secret") == 3
    assert "text/plain" not in host.asked[1]
    assert "mark=1" not in host.asked[1]
