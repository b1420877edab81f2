"""Rows that are added to SQLite and TinyDB files."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from tinydb import TinyDB

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import FileConfig
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import FeedError
from edgewhisk.feed.changes.file import PAUSE, FileFeed
from edgewhisk.store.documents.document_store import LogDocumentStore
from tests.fakes.fire import RecordingFire
from tests.feed.running import running

T = parse_name("/guest/t", "_")


def test_rows_of_sqlite_and_tinydb(tmp_path: Path) -> None:
    log, notes = tmp_path / "log.sqlite", tmp_path / "notes.json"
    database = sqlite3.connect(log)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE readings (celsius REAL, raw BLOB, _row TEXT, 'table' TEXT)")

    def insert(*values: float) -> None:
        database.executemany(
            "INSERT INTO readings VALUES (?, ?, 'x', 'y')", [(one, b"\x00") for one in values]
        )
        database.commit()

    insert(1.0)
    documents = TinyDB(notes)
    documents.insert({"text": "old"})

    async def life(fire: RecordingFire, name: str, table: str, since: Any, add: Any, count: int) -> None:
        shelf = LogDocumentStore.open(tmp_path / f"shelf-{name}")
        made = FileFeed({"log": FileConfig(log), "notes": FileConfig(notes)}, fire, SystemClock(), shelf)
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
    first = orjson.loads(fire.payloads[0])
    assert (first["raw"], first["_row"], first["table"]) == ("AA==", 1, "readings")
    assert (first["_row_"], first["table_"]) == ("x", "y")  # columns are called like what the event says
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
        shelf = LogDocumentStore.open(tmp_path / "shelf")
        (tmp_path / "odd").write_bytes(b"\xff\xfe")
        sections = {"odd": FileConfig(tmp_path / "odd"), "away": FileConfig(tmp_path / "away")}
        made = FileFeed(sections, RecordingFire(), SystemClock(), shelf)
        for name, told in (("odd", "neither SQLite nor TinyDB"), ("away", "No such file")):
            await made.add(T, "changes/file", made.check("changes/file", {"file": name}))
            await made._look(made._sources[T])
            assert told in (made.describe(T))["last_error"]
        wrongs: list[tuple[dict[str, Any], str]] = [
            ({}, "no .files.NAME. section"),
            ({"file": "odd", "table": 5}, "table must be"),
            ({"file": "odd", "since": 7}, "since must be"),
            ({"file": "odd", "x": 1}, "x is not a key; known: file, shape, since, table"),
        ]
        for wrong, text in wrongs:
            with pytest.raises(FeedError, match=text):
                made.check("changes/file", wrong)
        await shelf.close()

    asyncio.run(play())


OTHER = parse_name("/guest/other", "_")


@contextlib.asynccontextmanager
async def following(
    shelf: Path | LogDocumentStore, fire: RecordingFire, since: Any = 0, table: str = "", **files: Path
) -> AsyncIterator[FileFeed]:
    """A feed of the trigger `/guest/NAME` for each file; its shelf is open, or in a folder."""
    shelf = shelf if isinstance(shelf, LogDocumentStore) else LogDocumentStore.open(shelf / "shelf")
    made = FileFeed({name: FileConfig(path) for name, path in files.items()}, fire, SystemClock(), shelf)
    for name in files:
        wish = made.check("changes/file", {"file": name, "table": table, "since": since})
        await made.add(parse_name(f"/guest/{name}", "_"), "changes/file", wish)
    async with running(made, shelf):
        yield made


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110 - threads and the kernel
            await asyncio.sleep(0.01)


def sqlite(path: Path, *rows: Any) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE IF NOT EXISTS t (v)")
        database.executemany("INSERT INTO t VALUES (?)", [(row,) for row in rows])
        database.commit()


def values(fire: RecordingFire, name: str = "t") -> list[Any]:
    found = (event for event in fire.events if event.trigger.name == name)
    return [orjson.loads(event.payload)["v"] for event in found]


def test_rows_are_kept_as_taken_after_they_are_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "f"
    sqlite(path, 1, 2)

    async def play() -> None:
        fire = RecordingFire()
        fire.refuse()
        shelf = LogDocumentStore.open(tmp_path / "shelf")
        async with following(shelf, fire, table="t", t=path) as made:
            await until(lambda: "full" in made.describe(T)["last_error"])
            assert shelf.read("files") == {}
            fire.calls.clear()
            fire.refuse(on=False)
            fire.hold()
            await asyncio.to_thread(sqlite, path, 3)
            await fire.count(3)
            assert shelf.read("files") == {}
            fire.commit()
            await until(lambda: shelf.read("files") != {})
            assert shelf.read("files")["guest/t"]["last"] == 3
        again = RecordingFire()
        async with following(tmp_path, again, table="t", t=path):
            await asyncio.to_thread(sqlite, path, 4)
            await again.count(1)
        assert values(again) == [4]

    asyncio.run(play())


def test_a_file_that_is_bad_or_locked_does_not_hold_up_the_others(tmp_path: Path) -> None:
    locked, good, bad = tmp_path / "locked", tmp_path / "good", tmp_path / "bad"
    sqlite(locked, 1)
    sqlite(good)
    bad.write_bytes(b"\x00\xff")

    async def play() -> None:
        fire = RecordingFire()
        holder = sqlite3.connect(locked)
        holder.execute("BEGIN EXCLUSIVE")
        async with following(tmp_path, fire, table="t", locked=locked, bad=bad, good=good) as made:
            for number in range(3):
                await asyncio.to_thread(sqlite, good, number)
                await fire.wait_for(lambda _, least=number: len(values(fire, "good")) > least, 3)  # type: ignore[misc]
            holder.rollback()
            await fire.wait_for(lambda _: values(fire, "locked") == [1])
            assert made.describe(parse_name("/guest/bad", "_"))["state"] == "waiting"
        holder.close()

    asyncio.run(play())


def test_rows_that_are_odd_do_not_stop_the_feed(tmp_path: Path) -> None:
    path, notes = tmp_path / "50% of #1?", tmp_path / "n"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (v, _row)")
        database.execute("INSERT INTO t VALUES (CAST(x'ff41' AS TEXT), 'mine')")
        database.execute("INSERT INTO t VALUES (1e999, x'00')")
        database.commit()
    notes.write_bytes(b'{"t": {"1": 5, "2": {"v": [1]}}}')

    async def play() -> None:
        fire = RecordingFire()
        async with following(tmp_path, fire, table="t", t=path, notes=notes):
            await fire.count(4)
            await asyncio.to_thread(sqlite_into, path)
            await fire.count(5)
        assert values(fire) == ["\ufffdA", None, 3]
        payloads = [orjson.loads(one.payload) for one in fire.events if one.trigger.name == "notes"]
        assert [(one["_row"], one.get("payload"), one.get("v")) for one in payloads] == [
            (1, 5, None),
            (2, None, [1]),
        ]

    def sqlite_into(path: Path) -> None:
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute("INSERT INTO t VALUES (3, 4)")
            database.commit()

    asyncio.run(play())


def test_a_file_that_is_written_anew_is_not_replayed(tmp_path: Path) -> None:
    """As editors and careless programs write: emptied first."""
    path = tmp_path / "f"
    path.write_bytes(b'{"t": {"1": {"v": 1}, "2": {"v": 2}}}')

    async def play() -> None:
        fire = RecordingFire()
        async with following(tmp_path, fire, table="t", t=path) as made:
            await fire.count(2)
            path.write_bytes(b"")
            await until(lambda: "empty" in made.describe(T)["last_error"])
            path.write_bytes(b'{"t": {"1": {"v": 1}, "2"')
            await until(lambda: "neither" in made.describe(T)["last_error"])
            path.write_bytes(b'{"t": {"1": {"v": 1}, "2": {"v": 2}, "3": {"v": 3}}}')
            await fire.count(3)
            path.write_bytes(b'{"t": {}}')
            await until(lambda: made.describe(T)["rewound"] == 1)
            path.write_bytes(b'{"t": {"1": {"v": 4}}}')
            await fire.count(4)
        assert values(fire) == [1, 2, 3, 4]

    asyncio.run(play())


def test_a_folder_that_comes_later_is_found_and_many_rows_come_in_order(tmp_path: Path) -> None:
    path = tmp_path / "usb" / "stick" / "f"

    async def play() -> None:
        fire = RecordingFire()
        async with following(tmp_path, fire, table="t", t=path) as made:
            await until(lambda: made.describe(T)["state"] == "waiting")
            path.parent.mkdir(parents=True)
            await asyncio.to_thread(sqlite, path, *range(1200))
            await fire.count(1200, seconds=15)
            fire.fill()
            await asyncio.to_thread(sqlite, path, "more")
            await until(lambda: bool(fire.waiting))
            fire.make_room()
            await fire.count(1201)
        assert values(fire) == [*range(1200), "more"]

    asyncio.run(play())


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_looking_does_not_wake_itself(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "f"
    sqlite(path, 1)
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA journal_mode = {mode}")

    async def play() -> None:
        fire = RecordingFire()
        async with following(tmp_path, fire, table="t", t=path) as made:
            await fire.count(1)
            await asyncio.sleep(0.5)
            before = made._sources[T].looks
            (tmp_path / "unrelated").write_text("x")
            await asyncio.sleep(5 * PAUSE)
            assert made._sources[T].looks <= before + 1

    asyncio.run(play())
