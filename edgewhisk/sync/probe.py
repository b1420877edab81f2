"""Asks a cloud step by step, for a person who wants to know where it fails."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from edgewhisk.errors import CloudError
from edgewhisk.spi import SyncBatch
from edgewhisk.sync.client import CloudAnswer, CloudClient
from edgewhisk.sync.dialects import Dialect

_NOBODY: Final = "edgewhisktest"  # a device of which no cloud has a record
_SKEW: Final = 300  # seconds that clocks may differ: signatures and certificates fail beyond
_WEEK: Final = 7


class ProbeStep(NamedTuple):
    """One of them."""

    name: str
    good: bool
    told: str
    hint: str = ""


async def probe(
    client: CloudClient, dialect: Dialect, url: str, *, proxied: bool
) -> AsyncIterator[ProbeStep]:
    """Ask; ends behind the first step that makes the others useless. Nothing is stored at the cloud."""
    things = ", ".join(sorted(dialect.has)) or "no triggers, rules or sequences"
    limits = f"{dialect.calls_per_minute} calls a minute, {dialect.concurrent} at once"
    yield ProbeStep("kind", good=True, told=f"{dialect.kind}: {limits}; {things}")
    if not proxied:  # else the proxy looks for the name
        step = await _named(url)
        yield step
        if not step.good:
            return
    begun = time.perf_counter()
    try:
        said = await client.look()
    except CloudError as error:
        yield ProbeStep("connection", good=False, told=str(error), hint=error.hint or _of_proxy(proxied))
        return
    took = (time.perf_counter() - begun) * 1000
    yield ProbeStep("connection", good=True, told=f"answers after {took:.0f} ms")
    yield _clock(said)
    yield await _login(client)
    if (used := client.credential) and (until := used.until):
        days = (until - datetime.now(UTC)).days
        hint = "put the next one on a line of its own below it" if days < _WEEK else ""
        yield ProbeStep("key", good=days >= _WEEK, told=f"ends on {until:%Y-%m-%d}", hint=hint)


async def _named(url: str) -> ProbeStep:
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        hint = "check [cloud] url, and the DNS server of this machine"
        return ProbeStep("name", good=False, told=f"{host} is not found: {error}", hint=hint)
    return ProbeStep(
        "name", good=True, told=f"{host} is {', '.join(sorted({str(one[4][0]) for one in found}))}"
    )


def _of_proxy(proxied: bool) -> str:
    return "check [cloud] proxy" if proxied else "is there a network, and may this machine leave it?"


def _clock(said: CloudAnswer) -> ProbeStep:
    """Whether the cloud's `Date` is about ours."""
    try:
        skew = (datetime.now(UTC) - parsedate_to_datetime(said.headers.get("Date", ""))).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return ProbeStep("clock", good=True, told="the cloud does not say its time")
    if abs(skew) > _SKEW:
        told = f"this machine's is {abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} the cloud's"
        return ProbeStep(
            "clock", good=False, told=told, hint="give the machine a network with NTP, or set its clock"
        )
    return ProbeStep("clock", good=True, told="as the cloud's, to some seconds")


async def _login(client: CloudClient) -> ProbeStep:
    """Whether the ingest takes our key and answers as it must."""
    begun = time.perf_counter()
    try:
        await client.send(_NOBODY, _NOBODY, SyncBatch(1, (), 0))
    except CloudError as error:
        return ProbeStep("ingest", good=False, told=str(error), hint=error.hint or "")
    took = (time.perf_counter() - begun) * 1000
    return ProbeStep("ingest", good=True, told=f"takes batches: there and back in {took:.0f} ms")
