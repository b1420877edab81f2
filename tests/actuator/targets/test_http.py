"""Requests against real servers: what is tried again, what never, what is read of an answer."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.actuator.request import Command
from edgewhisk.actuator.target import read
from edgewhisk.actuator.targets import http
from edgewhisk.actuator.targets.http import HttpTarget
from edgewhisk.errors import CapabilityError, Undelivered
from tests.transport.certificates import Authority

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


def saying(text: bytes) -> Answer:
    async def answer(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(text)

    return answer


def status(line: str, *headers: str, body: bytes = b"") -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {line}", f"Content-Length: {len(body)}", *headers])
    return head.encode() + b"\r\n\r\n" + body


@contextlib.asynccontextmanager
async def server(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that takes any request; its address, and what it got."""
    got: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        gone = (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError)
        with contextlib.suppress(*gone):
            got.append(await reader.readuntil(b"\r\n\r\n"))
            await answer(got[-1], writer)
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    tasks: list[Any] = []
    made = await asyncio.start_server(take, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{made.sockets[0].getsockname()[1]}/x", got
    finally:
        made.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def sent(command: Command) -> dict[str, Any]:
    requests = HttpTarget()
    try:
        return await requests.send(command)
    finally:
        await requests.close()


def command(url: str, **more: Any) -> Command:
    return read(HttpTarget, {"url": url, "payload": {"n": 1}, **more})._replace(id="0123")


@pytest.mark.parametrize(
    ("line", "kind", "told"),
    [
        ("500 Oops", Undelivered, "it answers 500"),
        ("503 Later", Undelivered, "it answers 503"),
        ("429 Slow", Undelivered, "it answers 429"),
        ("408 Timeout", Undelivered, "it answers 408"),
        ("400 Bad", CapabilityError, "it answers 400: why"),
        ("401 Who", CapabilityError, "it answers 401"),
        ("404 Where", CapabilityError, "it answers 404"),
        (
            "301 Moved\r\nLocation: http://elsewhere/",
            CapabilityError,
            "moved to http://elsewhere/: use that url",
        ),
        ("307 Moved\r\nLocation: /y", CapabilityError, "moved to /y"),
    ],
)
def test_what_may_work_later_and_what_never_will(line: str, kind: type[Exception], told: str) -> None:
    async def play() -> None:
        async with server(saying(status(line, body=b"why"))) as (url, got):
            with pytest.raises(CapabilityError, match=told) as caught:
                await sent(command(url))
            assert type(caught.value) is kind
            assert len(got) == 1  # a redirect is not followed to where nothing was granted

    asyncio.run(play())


def test_a_server_that_is_away_or_hangs_or_babbles_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PATIENCE", 0.3)

    async def hang(_request: bytes, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async def trickle(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        for n in range(1000):  # always something, never an end
            writer.write(b"X-%d: y\r\n" % n)
            await writer.drain()
            await asyncio.sleep(0.05)

    async def play() -> None:
        for answer in (hang, trickle):
            async with server(answer) as (url, _):
                with pytest.raises(Undelivered, match="no answer within"):
                    await sent(command(url))
        for nonsense in (b"", b"hello\r\n\r\n"):
            async with server(saying(nonsense)) as (url, _):
                with pytest.raises(Undelivered):
                    await sent(command(url))
        with pytest.raises(Undelivered, match="connection"):
            await sent(command("http://127.0.0.1:1/"))

    asyncio.run(play())


def test_only_the_beginning_of_an_answer_is_read() -> None:
    async def flood(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async def play() -> None:
        async with server(flood) as (url, _):
            found = await sent(command(url))
        assert (found["status"], found["body"]) == (200, "x" * 4096)
        async with server(saying(status("200 OK", "Content-Encoding: gzip", body=b"no gzip"))) as (url, _):
            assert await sent(command(url)) == {"status": 200, "body": "no gzip"}
        async with server(saying(status("204 No Content"))) as (url, _):
            assert await sent(command(url)) == {"status": 204, "body": ""}

    asyncio.run(play())


def test_a_certificate_that_nobody_vouches_for_is_named(tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path).issue("127.0.0.1")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)

    async def play() -> None:
        async with server(saying(status("200 OK")), tls) as (url, got):
            # Tried again: the clock of a gateway without a battery may be wrong, or the certificate renewed.
            with pytest.raises(Undelivered, match="certificate verify failed"):
                await sent(command(url))
            assert got == []

    asyncio.run(play())


def test_a_server_can_tell_a_second_delivery_of_the_same_command() -> None:
    async def play() -> None:
        async with server(saying(status("503 Later"))) as (url, got):
            once, own = command(url), command(url, headers={"idempotency-key": "mine"})
            for one in (once, once, own, command(url, method="PUT")):
                with pytest.raises(Undelivered):
                    await sent(one)
        keys = [
            next((row for row in text.split(b"\r\n") if row.lower().startswith(b"idempotency-key")), b"")
            for text in got
        ]
        assert keys == [b'Idempotency-Key: "0123"'] * 2 + [b"idempotency-key: mine", b""]

    asyncio.run(play())
