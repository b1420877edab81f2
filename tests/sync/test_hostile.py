"""A cloud that lies, over real HTTP: nothing is lost, the sync goes on, and status says what was wrong."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import resource
import tempfile
import time
import uuid
from collections.abc import Iterator
from email.utils import formatdate
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk.clock.system import SystemClock
from edgewhisk.entity.identity import AuthKey
from edgewhisk.spi import Query
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.sync import client as client_module
from edgewhisk.sync import key_file
from edgewhisk.sync import sync as module
from edgewhisk.sync.client import CloudClient, retry_after
from edgewhisk.sync.credential import Credential, Scheme
from edgewhisk.sync.dialects import dialect
from edgewhisk.sync.sync import Sync
from edgewhisk.sync.uplink import UplinkState
from tests.store.activations.test_activations import commit, open_store, record
from tests.sync.cloud import DRIP, KEY, OK, HttpCloud, whole

RECORDS = 5


def lying(store: ActivationLog, replies: list[bytes]) -> HttpCloud:
    """Gives the replies first, then those of a real ingest."""
    return HttpCloud(store, lambda _: replies.pop(0) if replies else None, hangs_up=True)


async def told(replies: list[bytes], folder: Path) -> list[str]:
    """Sync past `replies`; what status said on the way. All records arrive, each once."""
    edge, far = open_store(folder / "edge"), open_store(folder / "cloud")
    errors: list[str] = []
    try:
        await asyncio.to_thread(commit, edge, *(record(n) for n in range(1, RECORDS + 1)))
        left = list(replies)
        async with lying(far, left).door() as door:
            sync = Sync(edge, door, SystemClock(), interval=0)
            task = asyncio.create_task(sync.run())
            try:
                async with asyncio.timeout(30):
                    while left or edge.stats().unsynced or sync.state is not UplinkState.IDLE:
                        errors += [sync.last_error] if sync.last_error not in ["", *errors[-1:]] else []
                        assert not task.done(), task.exception()
                        await asyncio.sleep(0.001)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        found = [one["start"] for one in far.list(Query("guest", limit=100))]
        assert found == list(range(RECORDS, 0, -1))
    finally:
        edge.close()
        far.close()
    return errors


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAUSE", (0.01, 0.01))
        patch.setattr(module, "PAUSE_LONG", 0.01)
        patch.setattr(module, "MINUTE", 20)
        patch.setattr(random, "uniform", lambda *_: 0.0)
        patch.setattr(client_module, "ANSWER", 0.5 - 60)  # behind the minute of a blocking call
        patch.setattr(client_module, "LONGEST", 0.02)
        yield


LIES = {
    "a mark of 10^15": (whole(b'{"have": 1000000000000000}'), "can have been sent up to"),
    "a mark of 10^30": (whole(b'{"have": 1%b}' % (b"0" * 30)), "answered"),
    "a mark one too high": (whole(b'{"have": 6}'), "can have been sent up to 5"),
    "NaN": (whole(b'{"have": NaN}'), "no JSON"),
    "nested": (whole(b'{"have":' + b"[" * 5000 + b"]" * 5000 + b"}"), "no JSON"),
    "nothing": (whole(b""), "no JSON"),
    "HTML": (whole(b"<html>Log in to the hotel's network"), "Log in to the hotel"),
    "two of the same": (whole(b'{"have": 1, "have": -5}'), "answered"),
    "no UTF-8": (whole(b'{"have": "\xff\xfe"}'), "no JSON"),
    "a redirect": (whole(b"", b"Location: http://127.0.0.1:1/", status=b"302 Found"), "moved to http://127"),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", "answered 204"),
    "no such encoding": (whole(b"x", b"Content-Encoding: br"), "which was not asked for"),
    "not what it says": (whole(b"x" * 50, b"Content-Encoding: gzip"), "cannot be unpacked"),
    "large": (whole(b" " * (1 << 20)), "more than 65536 bytes"),
    "half a reply": (OK + b"Content-Length: 100\r\n\r\n{", "peer closed"),
    "half a head": (b"HTTP/1.1 200", "disconnected"),
    "nothing at all": (b"", "disconnected"),
    "no HTTP": (b"\x00\xff" * 100 + b"\r\n\r\n", "illegal"),
    "large head": (OK + b"X: " + b"x" * (1 << 20), "too long"),
    "a body that drips": (DRIP + OK + b"Content-Length: 60000\r\n\r\n", "in time"),
    "a head that drips": (DRIP + OK + b"X: ", "in time"),
    "only news of processing": (DRIP + b"HTTP/1.1 102 Processing\r\n\r\n" * 50 + OK + b"X: ", "in time"),
    "late without an id": (whole(b"[]", status=b"202 Accepted"), "without an activation id"),
    "busy": (whole(b'{"error": "busy"}', b"Retry-After: 0", status=b"503 Service Unavailable"), "busy"),
    "throttled": (whole(b"", b"Retry-After: soon", status=b"429 Too Many Requests"), "answered 429"),
}


@pytest.mark.parametrize("lie", LIES)
def test_no_reply_stops_the_sync_or_loses_a_record_and_each_is_told(lie: str, tmp_path: Path) -> None:
    reply, text = LIES[lie]
    for number, replies in enumerate(([reply], [whole(b'{"have": 0}'), reply])):  # asked, and sent to
        errors = asyncio.run(told(replies, tmp_path / str(number)))
        assert any(text in error for error in errors), errors


def test_a_reply_that_unpacks_to_gigabytes_costs_no_memory(tmp_path: Path) -> None:
    bomb = gzip.compress(gzip.compress(b"\0" * (1 << 30), 1), 9)
    packed = gzip.decompress(bomb)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    errors = asyncio.run(told([whole(packed, b"Content-Encoding: gzip")] * 2, tmp_path))
    assert any("more than 65536 bytes" in error for error in errors), errors
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


def test_the_cloud_says_how_long_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "LONGEST", 3600.0)
    busy = whole(b"", b"Retry-After: 1", status=b"503 Service Unavailable")
    begun = time.monotonic()
    asyncio.run(told([busy], tmp_path))
    assert time.monotonic() - begun >= 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": " 7 "}, 7),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "9" * 60}, 3600),
        ({"Retry-After": "9" * 6000}, 3600),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "1.5"}, None),
        ({"Retry-After": "\u0663"}, None),
        ({"Retry-After": formatdate(30, usegmt=True), "Date": formatdate(0, usegmt=True)}, 30),
        ({"Retry-After": formatdate(0, usegmt=True), "Date": formatdate(30, usegmt=True)}, 0),
        ({"Retry-After": formatdate(10**9, usegmt=True), "Date": formatdate(0, usegmt=True)}, 3600),
        ({"Retry-After": formatdate(30, usegmt=True)}, None),
        ({"Retry-After": "Fri, 99 Foo 2026"}, None),
        ({}, None),
    ],
)
def test_how_long(headers: dict[str, str], seconds: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "LONGEST", 3600.0)
    assert retry_after(headers) == seconds


# No number from 1 to 5: a cloud that says that it has what it was sent is believed, who else.
NUMBERS = st.integers(RECORDS + 1, 10**20) | st.integers(-(10**20), 0)
KEYS = st.sampled_from(["have", "result", "error", "activationId"])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
BODIES = st.one_of(
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=200),
    st.integers(0, 10**4).map(lambda depth: b'{"have":' + b"[" * depth),
    VALUES.map(lambda value: gzip.compress(json.dumps(value).encode())),
)
LINES = (
    b"Content-Encoding: gzip,Content-Encoding: zstd,Transfer-Encoding: chunked,Content-Length: 5,"
    b"Content-Length: -1,Retry-After: 0,Retry-After: x,Set-Cookie: a=b,Connection: close,Location: ///,"
    b"Location: \xff,Content-Type: \xff,Broken,: x,Date: x"
).split(b",")
STATUSES = [100, 101, 199, 200, 201, 202, 204, 206, 300, 301, 304, 307, 400, 401, 403, 404, 408, 409, 413]
STATUSES += [425, 429, 500, 502, 503, 504, 599, 999]


def reply(status: int, headers: list[bytes], body: bytes, sized: bool) -> bytes:
    lines = [*headers, *([b"Content-Length: %d" % len(body)] if sized else [])]
    return b"HTTP/1.1 %d X\r\n%b\r\n%b" % (status, b"".join(line + b"\r\n" for line in lines), body)


REPLIES = st.builds(
    reply, st.sampled_from(STATUSES), st.lists(st.sampled_from(LINES), max_size=3), BODIES, st.booleans()
)


@settings(max_examples=60, deadline=None)
@given(st.lists(REPLIES | st.binary(max_size=100), min_size=1, max_size=4))
def test_any_replies(replies: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_module, "POLLS", 0)
        asyncio.run(told(replies, Path(folder)))


def test_a_damaged_key_keeps_the_cloud_away_until_it_is_put_right(tmp_path: Path) -> None:
    edge, far = open_store(tmp_path / "edge"), open_store(tmp_path / "cloud")
    path, other = tmp_path / "key", AuthKey(str(uuid.uuid4()), "o" * 64)
    commit(edge, record(1))

    async def play() -> None:
        replies = list[bytes]()
        async with lying(far, replies).serving() as url:
            spoken = dialect("openwhisk", url)
            door = CloudClient(spoken, url, partial(key_file.read, path, spoken.schemes), ingest="i/i")
            sync = Sync(edge, door, SystemClock(), interval=0)
            task = asyncio.create_task(sync.run())
            async with asyncio.timeout(30):
                for damage in (None, b"", b"\xff", b"a b", b"[" * 5000):
                    path.unlink(missing_ok=True) if damage is None else path.write_bytes(damage)
                    sync.last_error = ""
                    while "[cloud] auth_file" not in sync.last_error:  # noqa: ASYNC110 - a real loop
                        await asyncio.sleep(0.002)
                path.write_text(other.compact)  # a wrong one, which the cloud refuses
                replies += [whole(b"{}", status=b"401 Unauthorized")] * 2
                while replies:  # noqa: ASYNC110 - a real loop
                    await asyncio.sleep(0.002)
                path.write_text(KEY.compact)
                while edge.stats().unsynced:  # noqa: ASYNC110 - a real loop
                    await asyncio.sleep(0.002)
            assert door.credential == Credential(Scheme.BASIC, KEY.compact)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await door.close()

    asyncio.run(play())
    edge.close()
    far.close()
