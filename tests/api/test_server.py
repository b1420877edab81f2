"""What is no good request: bytes, slow and many clients, endless bodies; and TLS."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import os
import random
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk.api import server
from tests import stages
from tests.path.gateway import Gateway, until

WEB = [{"key": "web-export", "value": True}]


def exchange(made: Gateway, data: bytes, seconds: float = 10) -> bytes:
    """Send bytes, end the sending, and read until the gateway closes."""
    with socket.create_connection(("127.0.0.1", made.port), timeout=seconds) as client:
        received = b""
        with contextlib.suppress(ConnectionError):
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while piece := client.recv(65536):
                received += piece
        return received


def resident(made: Gateway) -> int:
    assert made.process is not None
    return int(Path(f"/proc/{made.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def parsed(answer: bytes) -> tuple[int, dict[str, str]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_what_is_no_http_is_told(made: Gateway) -> None:
    status, body = parsed(exchange(made, b"\x00\x01nonsense\r\n\r\n"))
    assert (status, sorted(body)) == (400, ["code", "error"])


def test_a_body_that_is_no_http_ends_the_request_it_belongs_to(made: Gateway) -> None:
    key = base64.b64encode(made.auth.encode())
    for path in (b"actions/a", b"packages/p"):  # by both doors
        head = b"PUT /api/v1/namespaces/_/" + path + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
        head += b"Expect: 100-continue\r\nAuthorization: Basic " + key + b"\r\n\r\n"
        answer = exchange(made, head + b"5\r\nab\r\nzz").removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert (answer.count(b"HTTP/1.1 "), parsed(answer)[0]) == (1, 400)
    assert b"Traceback" not in (made.folder / "log").read_bytes()


def test_endless_headers_are_refused(made: Gateway) -> None:
    before = resident(made)
    line = b"X-Long: " + b"x" * 1000 + b"\r\n"
    status, body = parsed(exchange(made, b"GET /ping HTTP/1.1\r\n" + line * 5000))
    assert (status, "larger than" in body["error"]) == (431, True)
    assert parsed(exchange(made, b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\n\r\n"))[0] == 414
    assert resident(made) - before < 20 << 20


@given(st.binary(max_size=400) | st.lists(st.sampled_from([
    b"GET / HTTP/1.1\r\n", b"POST /api/v1/namespaces/_/actions/a HTTP/1.1\r\n", b"\r\n", b"Host: x\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n", b"zz\r\n",
    b"3\r\nabc\r\n", b"\0",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"PRI * HTTP/2.0\r\n", b"GET /api/v1/web/%zz HTTP/1.1\r\n",
    b"GET /api/v1/web/guest/default/\xff HTTP/1.1\r\n",
    b"GET //x?%00 HTTP/1.1\r\n", b"Authorization: Basic \xff\r\n",
])).map(b"".join))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_random_bytes_do_no_harm(made: Gateway, data: bytes) -> None:
    answer = exchange(made, data)
    assert b" 500 " not in answer.split(b"\r\n")[0]
    assert b"Traceback" not in answer
    assert made.call("GET", "/ping", Authorization="").status == 200


def test_an_endless_body_without_length_is_refused_and_not_kept(made: Gateway) -> None:
    key = base64.b64encode(made.auth.encode())
    head = (b"POST /api/v1/namespaces/_/actions/a?blocking=true HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: application/json\r\nAuthorization: Basic " + key + b"\r\n\r\n")  # fmt: skip
    before = resident(made)
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    answer = exchange(made, head + piece * 500 + b"0\r\n\r\n", 30)
    status, body = parsed(answer)
    assert (status, "Request larger than allowed" in body["error"]) == (413, True)
    assert resident(made) - before < 24 << 20


def test_idle_clients_leave_room_for_others(made: Gateway) -> None:
    idle: list[socket.socket] = []
    try:
        for _ in range(1000):
            client = socket.create_connection(("127.0.0.1", made.port), timeout=10)
            client.sendall(b"GET /ping HTTP/1.1\r\n")
            idle.append(client)
            if len(idle) % 100 == 0:
                assert made.call("GET", "/ping", Authorization="").status == 200
        assert made.status()["http"]["connections"] <= server.MAX_CONNECTIONS + 1
    finally:
        for client in idle:
            client.close()
    until(lambda: made.status()["http"]["connections"] < 10, what="they are forgotten")


def test_a_slow_client_does_not_hold_up_others(made: Gateway) -> None:
    request = b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", made.port), timeout=10) as slow:
        for at in range(len(request)):
            slow.sendall(request[at : at + 1])
            if at % 10 == 0:
                assert made.call("GET", "/ping", Authorization="").status == 200
        assert slow.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", ["/ping", "/api/v1", "/api/v1/web/guest/default/half.json"])
def test_a_client_that_ends_its_side_gets_its_answers(made: Gateway, path: str) -> None:
    """`printf ... | nc -N`: the end of the request comes with it, or while the action runs."""
    wait = "new Promise(done => setTimeout(() => done({a: 1}), 200))"
    made.action("half", f"function main() {{ return {wait} }}", annotations=WEB)
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    assert exchange(made, request).startswith(b"HTTP/1.1 200")
    assert exchange(made, request * 3).count(b"HTTP/1.1 200") == 3
    assert exchange(made, b"GET /ping HTTP/1.1\r\nHo") == b""
    until(lambda: made.status()["http"]["connections"] < 10, what="they are forgotten")


class Talk:
    """A server of its own with little patience, and a client that says what it likes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "READ_TIMEOUT", 0.3)
        monkeypatch.setattr(server, "LEAST", 0.05)

    async def until_closed(self, head: bytes, piece: bytes, answer: int) -> None:
        """Send `head`, and `piece` every 20 ms until the server closes; the answer has so many bytes."""

        async def app(_scope: Any, receive: Any, send: Any) -> None:
            while (await receive()).get("more_body"):
                pass
            length = (b"content-length", str(answer).encode())
            await send({"type": "http.response.start", "status": 200, "headers": [length]})
            await send({"type": "http.response.body", "body": b"x" * answer})

        listener = server.bind("127.0.0.1", 0)
        served = server.HttpServer(app)
        task = asyncio.create_task(served.serve([listener]))
        client = socket.create_connection(listener.getsockname())
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(20):
                await loop.sock_sendall(client, b"POST / HTTP/1.1\r\nHost: x\r\n")
                await stages.until(lambda: bool(served.connections))
                await loop.sock_sendall(client, head)
                while served.connections:
                    with contextlib.suppress(ConnectionError):
                        await loop.sock_sendall(client, piece)
                    await asyncio.sleep(0.02)
        finally:
            client.close()
            served.stop()
            await task
            listener.close()


@pytest.mark.parametrize(
    ("head", "piece", "answer"),
    [
        (b"", b"X: y\r\n", 2),
        (b"Content-Length: 9999\r\n\r\n", b"x", 2),
        (b"", b"", 2),
        (b"Content-Length: 0\r\n\r\n", b"", 1 << 25),
    ],
    ids=["headers for ever", "a body for ever", "nothing more", "takes no answer"],
)
def test_a_client_that_comes_to_no_end_is_parted_from(
    monkeypatch: pytest.MonkeyPatch, head: bytes, piece: bytes, answer: int
) -> None:
    asyncio.run(Talk(monkeypatch).until_closed(head, piece, answer))


def test_memory_stays_flat_under_refusals(made: Gateway) -> None:
    def refuse() -> None:
        for _ in range(100):
            made.call("POST", f"_/actions/{random.getrandbits(64)}?blocking=true", {"x": "y" * 1000})
            made.call("GET", f"/{random.getrandbits(64)}")

    refuse()
    before = resident(made)
    threads = [threading.Thread(target=refuse) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert resident(made) - before < 8 << 20


# -- TLS -------------------------------------------------------------------------------------------


def make_certificate(folder: Path, *more: str) -> dict[str, str]:
    command = [sys.executable, "-m", "edgewhisk", "tls", "self-signed", "--out", str(folder), "--json", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def serial_number(port: int, trusted: str) -> str:
    """The certificate that a verifying client gets."""
    context = ssl.create_default_context(cafile=trusted)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        certificate = client.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Gateway, dict[str, str]]]:
    files = make_certificate(tmp_path / "tls")
    settings_ = '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n[buffer]\n[cloud]\n'
    made = Gateway(tmp_path / "g", settings_)
    text = made.config.read_text().replace(
        "[api]\n",
        f'[api]\naccess_log = true\ntls_cert = "{files["tls_cert"]}"\ntls_key = "{files["tls_key"]}"\n',
    )
    made.config.write_text(text)
    try:
        yield made.start(), files
    finally:
        made.stop()


def test_tls_and_its_renewal(secure: tuple[Gateway, dict[str, str]]) -> None:
    made, files = secure
    assert os.stat(files["tls_key"]).st_mode & 0o777 == 0o600  # noqa: PTH116
    first = serial_number(made.port, files["tls_cert"])
    context = ssl.create_default_context(cafile=files["tls_cert"])
    with (
        socket.create_connection(("127.0.0.1", made.port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as kept,
    ):
        make_certificate(Path(files["tls_cert"]).parent, "--force")
        until(lambda: _changed(made.port, files["tls_cert"], first), what="new connections get the new one")
        kept.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept.recv(1000).startswith(b"HTTP/1.1 200")
    command = [sys.executable, "-m", "edgewhisk", "namespace", "list", "--config", str(made.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "namespaces\nguest\n"), done.stderr
    assert "/api/v1/namespaces 200" in (made.folder / "log").read_text()


def _changed(port: int, trusted: str, first: str) -> bool:
    try:
        return serial_number(port, trusted) != first
    except ssl.SSLError:
        return False  # the old one still, which the new file does not vouch for


def test_a_damaged_certificate_leaves_the_old_one(
    secure: tuple[Gateway, dict[str, str]], tmp_path: Path
) -> None:
    made, files = secure
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(Path(files["tls_cert"]).read_bytes())
    first = serial_number(made.port, str(trusted))
    Path(files["tls_cert"]).write_text("nonsense")
    until(lambda: "the old certificate stays" in (made.folder / "log").read_text(), what="it is told")
    assert serial_number(made.port, str(trusted)) == first


def test_plain_http_beyond_this_machine_must_be_asked_for(tmp_path: Path) -> None:
    made = Gateway(tmp_path)
    made.config.write_text(made.config.read_text().replace("[api]\n", '[api]\nhost = "0.0.0.0"\n'))
    command = [sys.executable, "-m", "edgewhisk", "run", "--config", str(made.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "api.tls_cert" in done.stderr, "plain_http" in done.stderr) == (2, True, True)
    made.config.write_text(
        made.config.read_text().replace("[api]\n", "[api]\nplain_http = true\n")
        + '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n'
    )
    try:
        assert made.start().call("GET", "/ping", Authorization="").body == "pong"
    finally:
        made.stop()


@pytest.mark.parametrize("damage", [None, b"nonsense", b""])
def test_a_certificate_that_is_none_lets_nobody_in_until_it_is_one(
    damage: bytes | None, tmp_path: Path
) -> None:
    pair = make_certificate(tmp_path / "tls")
    files = {key: Path(pair[key]) for key in ("tls_cert", "tls_key")}
    right = files["tls_cert"].read_bytes()
    files["tls_cert"].unlink() if damage is None else files["tls_cert"].write_bytes(damage)
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(right)
    made = Gateway(tmp_path / "g", '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n')
    keys = f'tls_cert = "{files["tls_cert"]}"\ntls_key = "{files["tls_key"]}"\n'
    made.config.write_text(made.config.read_text().replace("[api]\n", f"[api]\n{keys}"))
    try:
        made.start()
        assert "nobody can connect to the API" in (made.folder / "log").read_text()
        assert not _served(made.port, str(trusted))
        with pytest.raises((ConnectionError, http.client.BadStatusLine, urllib.error.URLError)):
            made.call("GET", "/ping")  # never in clear instead
        files["tls_cert"].write_bytes(right)
        until(lambda: _served(made.port, str(trusted)), what="it is taken without a restart")
    finally:
        made.stop()


def _served(port: int, trusted: str) -> bool:
    try:
        return bool(serial_number(port, trusted))
    except (ssl.SSLError, OSError):
        return False
