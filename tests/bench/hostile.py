"""One HTTP server on loopback that is a cloud, a CouchDB and a web host, all of which lie."""

from __future__ import annotations

import gzip
import random
import re
import socket
import socketserver
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import orjson

OK: Final = b"HTTP/1.1 200 OK\r\n"
ENDLESS: Final = b"(endless)"  # goes on until the other side has enough
BOMB: Final = gzip.compress(bytes(64 << 20), 9)
_ENOUGH: Final = 64 << 20  # bytes of what has no end, should the other side take them all


def whole(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """A reply with its length."""
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, lines, len(body), body)


LIES: Final = {
    "gzip bomb": whole(BOMB, b"Content-Encoding: gzip"),
    "bomb in a bomb": whole(gzip.compress(BOMB), b"Content-Encoding: gzip, gzip"),
    "endless body": OK + b"Content-Type: application/json\r\n\r\n" + ENDLESS,
    "endless chunks": OK + b"Transfer-Encoding: chunked\r\n\r\n" + ENDLESS,
    "endless head": OK + b"X: " + ENDLESS,
    "mark 10^30": whole(b'{"have": 1%b}' % (b"0" * 30)),
    "NaN": whole(b'{"have": NaN}'),
    "nested": whole(b'{"have":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "nothing": whole(b""),
    "HTML": whole(b"<html>Log in to the hotel's network" + b" " * 60_000),
    "no UTF-8": whole(b'{"have": "\xff\xfe"}'),
    "large": whole(b" " * (2 << 20)),
    "half": OK + b"Content-Length: 100000\r\n\r\n{",
    "silence": b"",
    "no HTTP": b"\x00\xff" * 5000 + b"\r\n\r\n",
    "cookies": whole(b"[]", *(b"Set-Cookie: c%d=%b" % (n, b"x" * 3000) for n in range(15))),
    "busy": whole(b'{"error": "busy"}', b"Retry-After: 0", status=b"503 Service Unavailable"),
    "error": whole(b'{"error": "%b"}' % (b"e" * 50_000), status=b"500 Internal Server Error"),
}
REDIRECT: Final = whole(b"", b"Location: http://127.0.0.1:1/" + b"x" * 8000, status=b"302 Found")


class Liar(socketserver.ThreadingTCPServer):
    """Below /api it takes batches, below /couch it has databases, elsewhere it is the web."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Talk)
        self.port: int = self.server_address[1]
        self.chance = random.Random(seed)
        self.lying = True
        self.have = Counter[str]()  # number of the last record of each epoch
        self.told = Counter[str]()
        self.changes = 0

    def handle_error(self, *_: object) -> None:
        """Who is lied to hangs up: nothing to tell."""

    def reply(self, path: str, body: bytes) -> bytes:
        if path.startswith("/api"):
            return self._cloud(body)
        return self._couch(path) if path.startswith("/couch") else self._lie("web")

    def _lie(self, who: str) -> bytes:
        name = self.chance.choice([*LIES])
        self.told[f"{who}: {name}"] += 1
        return LIES[name]

    def _cloud(self, body: bytes) -> bytes:
        asked = orjson.loads(body)
        records = asked["records"]
        if self.lying and self.chance.random() < 0.4:
            return self._lie("cloud")
        if records:
            self.have[asked["epoch"]] = asked["first"] + len(records) - 1
        self.told["cloud: took a batch" if records else "cloud: was asked"] += 1
        return whole(orjson.dumps({"have": self.have[asked["epoch"]]}))

    def _couch(self, path: str) -> bytes:
        if self.lying and self.chance.random() < 0.5:
            return self._lie("couch")
        if "_changes" not in path:
            return whole(b'{"update_seq": "%d-x"}' % (self.changes + 10))
        lines = []
        for _ in range(20):
            self.changes += 1
            lines.append(b'{"seq":"%d-x","id":"d","doc":{"v":"%b"}}\n' % (self.changes, b"v" * 2000))
        lines += [
            b"not a change\n",
            b'{"seq":' + b"[" * 2000 + b"\n",
            b'{"seq":"1-x","id":"' + b"x" * 900_000,
        ]
        self.told["couch: changes"] += 1
        return OK + b"Connection: close\r\n\r\n" + b"".join(lines)


class _Talk(socketserver.BaseRequestHandler):
    """One connection: a request is answered, then the next."""

    server: Liar
    request: socket.socket

    def handle(self) -> None:
        self.request.settimeout(60)
        with suppress(OSError):
            while self._answer():
                pass

    def _answer(self) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            if not (piece := self.request.recv(65536)):
                return False
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        found = re.search(rb"(?i)content-length: *(\d+)", head)
        length = int(found[1]) if found else 0
        while len(body) < length:
            if not (piece := self.request.recv(1 << 20)):
                return False
            body += piece
        reply = self.server.reply(head.split(b" ", 2)[1].decode(), body)
        self.request.sendall(reply.removesuffix(ENDLESS))
        if reply.endswith(ENDLESS):
            piece = b"1000\r\n" + b"x" * 0x1000 + b"\r\n" if b"chunked" in reply else b"x" * 65536
            for _ in range(_ENOUGH // len(piece)):
                self.request.sendall(piece)
        return b'"have": ' not in reply and reply.startswith(OK) and b"close" not in reply


@contextmanager
def liar(seed: int) -> Iterator[Liar]:
    """One that serves."""
    with Liar(seed) as made:
        serving: Callable[[], None] = made.serve_forever
        thread = threading.Thread(target=serving, daemon=True)
        thread.start()
        try:
            yield made
        finally:
            made.shutdown()
            thread.join()
