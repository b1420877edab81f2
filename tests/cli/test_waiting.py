"""Whoever waits at a terminal sees it, and what for."""

from __future__ import annotations

import http.server
import os
import pty
import re
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from edgewhisk import jsontext
from edgewhisk.cli.waiting import why

COMPILING = {"sandboxes": {"python:3": {"state": "compiling", "compiling_seconds": 23.4}, "memory": 5}}


class SlowServer(http.server.ThreadingHTTPServer):
    """An API that answers an invoke when `done` is set, and says meanwhile what `account` is."""

    daemon_threads = True
    account: Any = COMPILING

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.done = threading.Event()


class _Answers(http.server.BaseHTTPRequestHandler):
    server: SlowServer

    def do_GET(self) -> None:
        self._send(200 if self.server.account else 404, self.server.account or {"error": "no", "code": "x"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.done.wait(60)
        self._send(200, {"ok": True})

    def _send(self, status: int, document: Any) -> None:
        body = jsontext.dumps(document)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def slow() -> Iterator[SlowServer]:
    server = SlowServer()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.done.set()
    server.shutdown()
    thread.join()
    server.server_close()


def invoke(server: SlowServer) -> list[str]:
    where = f"http://127.0.0.1:{server.server_port}"
    words = ["action", "invoke", "hello", "--result", "--apihost", where, "--auth", "a:b"]
    return [sys.executable, "-m", "edgewhisk", *words]


@pytest.mark.parametrize(
    ("account", "text"),
    [
        (COMPILING, r"waiting for \d+ s: python:3 is being compiled for this device, once, 23 s so far"),
        (None, r"waiting for \d+ s"),
        ([1], r"waiting for \d+ s"),
    ],
)
def test_a_terminal_shows_what_is_waited_for(slow: SlowServer, account: Any, text: str) -> None:
    slow.account = account
    leader, follower = pty.openpty()
    process = subprocess.Popen(invoke(slow), stdout=subprocess.PIPE, stderr=follower, text=True)
    os.close(follower)
    shown = b""
    while not re.search(text, shown.decode()) and select.select([leader], [], [], 30)[0]:
        shown += os.read(leader, 1 << 16)
    assert re.search(text, shown.decode()), shown
    slow.done.set()
    assert process.stdout is not None
    assert process.stdout.read() == '{\n    "ok": true\n}\n'
    assert process.wait(30) == 0
    process.stdout.close()
    os.close(leader)


def test_a_script_sees_nothing_of_it(slow: SlowServer) -> None:
    timer = threading.Timer(3, slow.done.set)
    timer.start()
    done = subprocess.run(invoke(slow), capture_output=True, text=True, check=True)
    timer.join()
    assert done.stderr == ""


@pytest.mark.parametrize(
    "odd", [None, [], {}, {"sandboxes": None}, {"sandboxes": {"a": 5, "b": {"state": 5}}}]
)
def test_an_odd_account_says_nothing(odd: Any) -> None:
    assert why(odd) == ""
