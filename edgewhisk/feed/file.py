"""Rows that are added to a SQLite database or a TinyDB file of this machine.

The file is watched, not polled; it is looked at every `LOOK` seconds anyway, for file systems that tell
nothing. Reading is done in a thread, the database opened for reading only.
"""

from __future__ import annotations

import asyncio
import base64
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import orjson

from edgewhisk.entity.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import FeedError, StorageError
from edgewhisk.feed.watch import Watch
from edgewhisk.settings import File
from edgewhisk.spi import Change, Clock, FeedAction, Fire, Shelf

COLLECTION: Final = "files"
LOOK: Final = 10.0  # seconds
_ROWS: Final = 500  # read at once
_LARGEST: Final = 64 << 20  # bytes of a TinyDB file: it is read whole
_SQLITE: Final = b"SQLite format 3\0"


class Row(dict[str, Any]):
    """Columns of a row, or keys of a document."""


@dataclass(slots=True)
class Source:
    """One table that feeds a trigger."""

    trigger: FullyQualifiedName
    name: str
    path: Path
    table: str
    asked: Mapping[str, Any]  # as `check` gave it
    last: int | None  # number of the last row that was taken; None: begin with what comes now
    state: str = "running"
    last_error: str = ""
    delivered: int = 0


class FileFeed:
    """`spi.Feed` over the databases of `[files.NAME]`."""

    actions: ClassVar[Sequence[FeedAction]] = (
        FeedAction(
            "changes",
            "file",
            "Fires the trigger with each row that is added to a SQLite or TinyDB file.",
            {
                "file": "name of a [files.NAME] section",
                "table": "the table (of TinyDB default: _default)",
                "since": "now (default) or 0: with what is there already",
            },
        ),
    )

    def __init__(self, sections: Mapping[str, File], fire: Fire, clock: Clock, shelf: Shelf) -> None:
        """`sections`: the files that may be read."""
        self._sections = sections
        self._fire = fire
        self._clock = clock
        self._shelf = shelf
        self._sources: dict[FullyQualifiedName, Source] = {}
        self._changed = asyncio.Event()

    def check(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `spi.Feed`."""
        del action
        if unknown := sorted(set(parameters) - {"file", "table", "since"}):
            raise FeedError(f"unknown parameter {unknown[0]!r}; known are file, table and since")
        name, table, since = (
            parameters.get("file"),
            parameters.get("table", ""),
            parameters.get("since", "now"),
        )
        if name not in self._sections:
            known = ", ".join(self._sections) or "none"
            raise FeedError(f"file {name!r} is no [files.NAME] section; there are: {known}")
        if not isinstance(table, str):
            raise FeedError(f"table must be text, not {table!r}")
        if since not in ("now", 0, "0"):
            raise FeedError(f"since must be now or 0, not {since!r}")
        return {"file": name, "table": table, "since": str(since)}

    async def add(self, trigger: FullyQualifiedName, action: str, parameters: Mapping[str, Any]) -> None:
        """See `spi.Feed`."""
        del action
        section = self._sections.get(parameters["file"])
        if section is None:
            raise FeedError(f"[files.{parameters['file']}] is not configured any more")
        kept = self._shelf.read(COLLECTION).get(trigger.key)
        last = kept["last"] if kept is not None and kept["of"] == dict(parameters) else None
        if last is None and parameters["since"] == "0":
            last = 0
        self._sources[trigger] = Source(
            trigger, parameters["file"], section.path, parameters["table"], parameters, last
        )
        self._changed.set()

    async def remove(self, trigger: FullyQualifiedName, *, keep: bool = False) -> None:
        """See `spi.Feed`."""
        self._sources.pop(trigger, None)
        if not keep and trigger.key in self._shelf.read(COLLECTION):
            await self._shelf.write([Change(COLLECTION, trigger.key, None)])

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """See `spi.Feed`."""
        found = self._sources.get(trigger)
        if found is None:
            return {}
        return {
            "state": found.state,
            "file": str(found.path),
            "last": found.last,
            "delivered": found.delivered,
            "last_error": found.last_error,
        }

    async def run(self) -> None:
        """See `spi.Feed`."""
        watch, loop = Watch(), asyncio.get_running_loop()

        def changed() -> None:
            watch.changed()
            self._changed.set()

        loop.add_reader(watch.fileno(), changed)
        try:
            while True:
                self._changed.clear()
                watch.follow(str(source.path) for source in self._sources.values())
                for source in list(self._sources.values()):
                    await self._look(source)
                try:
                    async with asyncio.timeout(LOOK):
                        await self._changed.wait()
                except TimeoutError:
                    continue
        finally:
            loop.remove_reader(watch.fileno())
            watch.close()

    async def _look(self, source: Source) -> None:
        """Take what was added."""
        try:
            while self._sources.get(source.trigger) is source:
                rows, end = await asyncio.to_thread(_rows, source.path, source.table, source.last)
                if rows:
                    await self._take(source, rows)
                if end == source.last and not rows:
                    break
                source.last = end
                await self._keep(source)
            source.state, source.last_error = "running", ""
        except (OSError, sqlite3.Error, StorageError, ValueError) as error:
            source.state, source.last_error = "waiting", str(error)

    async def _take(self, source: Source, rows: Sequence[Row]) -> None:
        while self._fire.full():
            room = asyncio.Event()
            self._fire.on_room(room.set)
            await room.wait()
        now = self._clock.now()
        head = {"file": source.name, "table": source.table}
        await self._fire(
            [
                TriggerEvent(source.trigger, orjson.dumps({**head, **row}, default=_plain), now, durable=True)
                for row in rows
            ]
        )
        source.delivered += len(rows)

    async def _keep(self, source: Source) -> None:
        document = {"last": source.last, "of": dict(source.asked)}
        await self._shelf.write([Change(COLLECTION, source.trigger.key, document)])


def _rows(path: Path, table: str, last: int | None) -> tuple[list[Row], int]:
    """Rows after `last`, and the number of the last one of them, or of all if `last` is None.

    Raises `OSError`, `sqlite3.Error`, `ValueError`.
    """
    with path.open("rb") as file:
        head = file.read(len(_SQLITE))
    return _sqlite(path, table, last) if head == _SQLITE else _tinydb(path, table, last)


def _sqlite(path: Path, table: str, last: int | None) -> tuple[list[Row], int]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
    try:
        connection.row_factory = sqlite3.Row
        name = '"' + table.replace('"', '""') + '"'
        newest: int = connection.execute(f"SELECT coalesce(max(rowid), 0) FROM {name}").fetchone()[0]  # noqa: S608
        if last is None or newest < last:  # begins now, or the table was made anew
            return [], newest
        query = f"SELECT rowid AS _row, * FROM {name} WHERE rowid > ? ORDER BY rowid LIMIT {_ROWS}"  # noqa: S608
        found = [Row(row) for row in map(dict, connection.execute(query, (last,)))]
        return found, found[-1]["_row"] if found else last
    finally:
        connection.close()


def _tinydb(path: Path, table: str, last: int | None) -> tuple[list[Row], int]:
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path} is larger than {_LARGEST} bytes: use SQLite for that")
    try:
        document = orjson.loads(path.read_bytes() or b"{}")
        rows = {int(key): row for key, row in document.get(table or "_default", {}).items()}
    except (orjson.JSONDecodeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is neither SQLite nor TinyDB: {error}") from error
    newest = max(rows, default=0)
    if last is None or newest < last:
        return [], newest
    numbers = sorted(number for number in rows if number > last)[:_ROWS]
    return [Row({"_row": number, **rows[number]}) for number in numbers], numbers[-1] if numbers else last


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
