"""What a person is told of a cloud, step by step, against real servers."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import pytest

from edgewhisk.sync.client import CloudClient, CloudRoute
from edgewhisk.sync.credential import parse
from edgewhisk.sync.dialects import dialect
from edgewhisk.sync.probe import ProbeStep, probe
from tests.path.gateway import free_port
from tests.sync.cloud import whole
from tests.sync.test_dialects import Asked, server


def steps(url: str, keys: str = "a:b", route: CloudRoute | None = None) -> list[ProbeStep]:
    async def play() -> list[ProbeStep]:
        spoken = dialect("", url)
        client = CloudClient(spoken, url, lambda: parse(keys, spoken.schemes), route=route)
        try:
            proxied = bool(route and route.proxy)
            return [step async for step in probe(client, spoken, url, proxied=proxied)]
        finally:
            await client.close()

    return asyncio.run(play())


def asked(behind: float, ingest: bytes, keys: str) -> list[ProbeStep]:
    """The steps of a cloud whose clock is `behind` seconds behind, and whose ingest answers so."""

    def reply(one: Asked) -> bytes:
        date = b"Date: " + formatdate(time.time() - behind, usegmt=True).encode()
        return whole(b"{}", date) if one.line.startswith("GET") else ingest

    async def play() -> list[ProbeStep]:
        async with server(reply) as (port, _):
            return await asyncio.to_thread(steps, f"http://127.0.0.1:{port}", keys)

    return asyncio.run(play())


def test_all_is_well() -> None:
    found = asked(0, whole(b'{"have": 0}'), "a:b until 2999-01-01")
    assert [step.name for step in found] == ["kind", "name", "connection", "clock", "ingest", "key"]
    assert all(step.good and not step.hint for step in found)


@pytest.mark.parametrize(
    ("behind", "ingest", "keys", "name", "told", "hint"),
    [
        (900, b'{"have": 0}', "a:b", "clock", "s ahead of the cloud's", "NTP"),
        (-86_400, b'{"have": 0}', "a:b", "clock", "s behind the cloud's", "NTP"),
        (0, b"<html>log in</html>", "a:b", "ingest", "what is no JSON", ""),
        (0, b'{"have": 0}', "a:b until 2026-01-01", "key", "ends on 2026-01-01", "a line of its own"),
    ],
)
def test_the_step_that_fails_is_told(
    behind: float, ingest: bytes, keys: str, name: str, told: str, hint: str
) -> None:
    (bad,) = [step for step in asked(behind, whole(ingest), keys) if not step.good]
    assert (bad.name, told in bad.told, hint in bad.hint) == (name, True, True)


@pytest.mark.parametrize(
    ("url", "proxied", "name", "hint"),
    [
        ("https://nobody.invalid", False, "name", "DNS"),
        ("http://127.0.0.1:PORT", False, "connection", "is there a network"),
        ("http://nobody.invalid", True, "connection", "cloud] proxy"),
    ],
)
def test_what_cannot_be_reached(url: str, proxied: bool, name: str, hint: str) -> None:
    port = free_port()  # where nobody listens
    route = CloudRoute(proxy=f"http://127.0.0.1:{port}") if proxied else None
    last = steps(url.replace("PORT", str(port)), route=route)[-1]
    assert (last.name, last.good, hint in last.hint) == (name, False, True)
