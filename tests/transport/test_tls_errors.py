"""Servers whose certificate is not valid yet: what a gateway says while its clock is wrong."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from edgewhisk.actuator.request import Command
from edgewhisk.actuator.targets.http import HttpTarget
from edgewhisk.errors import CloudError, Undelivered
from edgewhisk.spi import SyncBatch
from edgewhisk.sync.client import CloudRoute
from edgewhisk.transport.mqtt.connection import MqttLink
from edgewhisk.transport.tls_errors import reason
from tests.feed.mqtt.test_feed import unconnected
from tests.sync.cloud import openwhisk
from tests.transport.certificates import Authority

DAY = 86_400.0


@asynccontextmanager
async def server(
    authority: Authority, begins: float, port: int = 0, trusted: asyncio.Event | None = None
) -> AsyncIterator[int]:
    """Something that speaks TLS and hangs up; its port. `trusted` is set when a client took it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server", begins))

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if trusted is not None:
            trusted.set()
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", port, ssl=context) as made:
        yield made.sockets[0].getsockname()[1]


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    return made


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.file))


def test_the_cloud_and_requests_say_that_it_is_the_clock(authority: Authority) -> None:
    async def scene() -> None:
        async with server(authority, DAY) as port:
            url = f"https://127.0.0.1:{port}"
            cloud = openwhisk(url, route=CloudRoute(ca_file=authority.file))
            with pytest.raises(
                CloudError, match=r"the clock of this gateway says .* is not valid yet: set the"
            ):
                await cloud.send("d", "e", SyncBatch(1, ()))
            await cloud.close()
            requests = HttpTarget()
            requests._client = httpx.AsyncClient(verify=trusting(authority))
            command = Command(
                "http", "http:h", "h", {"method": "GET", "url": url, "headers": {}, "payload": ""}
            )
            with pytest.raises(Undelivered, match="certificate is not valid yet"):
                await requests.send(command)
            await requests.close()

    asyncio.run(scene())


def test_a_broker_is_tried_again_at_once_when_the_clock_is_set(authority: Authority) -> None:
    async def scene() -> None:
        made = unconnected()
        session = made.sessions[""]
        async with server(authority, DAY) as port:
            session.broker.link = MqttLink("127.0.0.1", port, "x", tls=trusting(authority))
            session.broker._backoff.first = session.broker._backoff.longest = 3600.0
            task = asyncio.create_task(made.brokers.run())
            await _until(lambda: session.broker.state == "waiting")
            assert "certificate is not valid yet" in session.broker.last_error
        trusted = asyncio.Event()
        async with server(authority, 0, port, trusted), asyncio.timeout(10):
            made.brokers.retry_now()  # the clock was set: what was in the future is not any more
            await trusted.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scene())


async def _until(condition: object) -> None:
    async with asyncio.timeout(10):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110 - a task of the feed's own
            await asyncio.sleep(0.005)


def test_an_expired_certificate_may_be_the_clock_too() -> None:
    error = ssl.SSLCertVerificationError("certificate verify failed")
    error.verify_code = 10
    assert "has expired, or this gateway's clock is wrong" in reason(error)
    wrapped = OSError("tls")
    wrapped.__cause__ = error
    assert "has expired" in reason(wrapped)


def test_other_errors_are_told_as_they_are() -> None:
    assert reason(TimeoutError()) == "TimeoutError"
    assert reason(OSError("no route")) == "no route"
    round_ = OSError("a")
    round_.__cause__ = round_
    assert reason(round_) == "a"
