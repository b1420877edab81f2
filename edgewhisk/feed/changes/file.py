"""Rows that are added to a SQLite database or a TinyDB file of this machine.

The file is watched, not polled; it is looked at every `LOOK` seconds anyway, for file systems that tell
nothing. Reading is done in a thread, the database opened for reading only. Each source is read by a task of
its own, so that one whose disk is slow or whose database is locked does not hold up the others.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import quote

from edgewhisk import jsontext
from edgewhisk.base.file_watch import Watch
from edgewhisk.base.threads import apart
from edgewhisk.config.schema import FileConfig
from edgewhisk.entity.invocation.facts import beside
from edgewhisk.entity.invocation.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import FeedError, StorageError, shown
from edgewhisk.feed.heard import BEGINNING, Moment, heard, this_moment
from edgewhisk.feed.parameters import asked
from edgewhisk.feed.payload import LEVELS
from edgewhisk.spi import Change, Clock, DocumentStore, FeedAction, Fire, Resource

if TYPE_CHECKING:
    import sqlite3

COLLECTION: Final = "files"
LOOK: Final = 10.0  # seconds
PAUSE: Final = 0.2  # seconds between two looks at least: what was written meanwhile is read at once
_ROWS: Final = 500  # read at once
_LARGEST: Final = 64 << 20  # bytes of a TinyDB file: it is read whole
_SQLITE: Final = b"SQLite format 3\0"


Row = dict[str, Any]  # columns of a row, or keys of a document


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
    rewound: int = 0  # how often there were fewer rows than before
    looks: int = 0
    rooted: bool = False  # its folder was there at the last look
    since: Moment = BEGINNING  # when it was first followed
    latest: Moment | None = None  # when it last gave an event
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


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

    def __init__(
        self, sections: Mapping[str, FileConfig], fire: Fire, clock: Clock, documents: DocumentStore
    ) -> None:
        """`sections`: the files that may be read."""
        self._sections = sections
        self._fire = fire
        self._clock = clock
        self._documents = documents
        self._sources: dict[FullyQualifiedName, Source] = {}
        self._watch: Watch | None = None  # while it runs
        self._tasks: asyncio.TaskGroup | None = None

    def check(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `spi.Feed`."""
        del action
        with asked(parameters, ("file", "table", "since")) as given:
            name, table = given.text("file"), given.text("table")
            if name not in self._sections:
                known = ", ".join(self._sections) or "none"
                given.fault("file", f"{shown(name)} is no [files.NAME] section; there are: {known}")
            since = given.choice("since", "now", ("now", 0)) if parameters.get("since") != "0" else "0"
            return {"file": name, "table": table, "since": str(since)}

    def required_grants(self, action: str, parameters: Mapping[str, Any]) -> Sequence[Resource]:
        """See `spi.Feed`."""
        del action
        return [Resource("files", parameters["file"])]

    async def add(self, trigger: FullyQualifiedName, action: str, parameters: Mapping[str, Any]) -> None:
        """See `spi.Feed`."""
        del action
        section = self._sections.get(parameters["file"])
        if section is None:
            raise FeedError(f"[files.{parameters['file']}] is not configured any more")
        kept = self._documents.read(COLLECTION, lambda _, one: (one["last"], one["of"])).get(trigger.key)
        last = kept["last"] if kept is not None and kept["of"] == dict(parameters) else None
        if last is None and parameters["since"] == "0":
            last = 0
        self._stop(trigger)
        self._sources[trigger] = source = Source(
            trigger, parameters["file"], section.path, parameters["table"], parameters, last
        )
        source.since = this_moment(self._clock)
        if self._tasks is not None:
            self._start(self._tasks, self._sources[trigger])

    async def remove(self, trigger: FullyQualifiedName, *, keep: bool = False) -> None:
        """See `spi.Feed`."""
        self._stop(trigger)
        if not keep and trigger.key in self._documents.read(COLLECTION):
            await self._documents.write([Change(COLLECTION, trigger.key, None)])

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
            "bad": 0,  # a row is never refused
            **heard(found.latest, found.since, self._clock.monotonic()),
            "rewound": found.rewound,
            "last_error": found.last_error,
        }

    async def run(self) -> None:
        """See `spi.Feed`."""
        watch, loop = Watch(writes=True), asyncio.get_running_loop()
        loop.add_reader(watch.fileno(), self._tell, watch)
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._watch = watch
                for source in self._sources.values():
                    self._start(self._tasks, source)
                await asyncio.Event().wait()
        finally:
            self._tasks = self._watch = None
            loop.remove_reader(watch.fileno())
            watch.close()

    def _start(self, tasks: asyncio.TaskGroup, source: Source) -> None:
        source.task = tasks.create_task(self._follow(source), name=f"file {source.trigger}")

    def _stop(self, trigger: FullyQualifiedName) -> None:
        gone = self._sources.pop(trigger, None)
        if gone is not None and gone.task is not None:
            gone.task.cancel()

    def _tell(self, watch: Watch) -> None:
        """Something changed in a folder that is watched."""
        seen = watch.changed()
        for source in self._sources.values():
            name = source.path.name
            # SQLite makes and removes -wal and -shm when we read; into -wal only others write.
            # Of a folder that comes, the name says nothing.
            if not source.rooted or any(
                one.name == name or (one.name == f"{name}-wal" and one.written) for one in seen
            ):
                source.changed.set()

    async def _follow(self, source: Source) -> None:
        while True:
            source.changed.clear()
            source.rooted = source.path.parent.is_dir()
            if self._watch is not None:
                self._watch.follow(str(one.path) for one in self._sources.values())
            await self._look(source)
            await asyncio.sleep(PAUSE)
            try:
                async with asyncio.timeout(LOOK):
                    await source.changed.wait()
            except TimeoutError:
                continue

    async def _look(self, source: Source) -> None:
        """Take what was added."""
        source.looks += 1
        try:
            while True:
                rows, end = await apart("read rows", _rows, source.path, source.table, source.last)
                if rows:
                    await self._take(source, rows)
                if end == source.last:
                    break
                source.rewound += source.last is not None and end < source.last
                await self._keep(source, end)
            source.state, source.last_error = "running", ""
        except (OSError, StorageError, ValueError) as error:
            source.state, source.last_error = "waiting", str(error)

    async def _take(self, source: Source, rows: Sequence[Row]) -> None:
        while self._fire.full([source.trigger]):
            room = asyncio.Event()
            self._fire.on_room(room.set, [source.trigger])
            await room.wait()
        now = self._clock.now()
        head = {"file": source.name, "table": source.table}
        await self._fire(
            [
                TriggerEvent(
                    source.trigger, jsontext.dumps(beside(head, row), default=_plain), now, durable=True
                )
                for row in rows
            ]
        )
        source.delivered += len(rows)
        source.latest = Moment(now, self._clock.monotonic())

    async def _keep(self, source: Source, last: int) -> None:
        document = {"last": last, "of": dict(source.asked)}
        await self._documents.write([Change(COLLECTION, source.trigger.key, document)])
        source.last = last


def _rows(path: Path, table: str, last: int | None) -> tuple[list[Row], int]:
    """Rows after `last`, and the number of the last one of them, or of all if `last` is None.

    Raises `OSError`, `ValueError`.
    """
    with path.open("rb") as file:
        head = file.read(len(_SQLITE))
    if not head:
        raise ValueError(f"{path} is empty: it is being written, or nothing was yet")
    return _sqlite(path, table, last) if head == _SQLITE else _tinydb(path, table, last)


def _sqlite(path: Path, table: str, last: int | None) -> tuple[list[Row], int]:
    import sqlite3  # 1 MB, which few gateways use

    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as connection:
            # Else one text that is no UTF-8 would stop the feed for ever.
            connection.text_factory = lambda data: data.decode(errors="replace")
            return _selected(connection, table, last)
    except sqlite3.Error as error:
        raise ValueError(str(error)) from error


def _selected(connection: sqlite3.Connection, table: str, last: int | None) -> tuple[list[Row], int]:
    name = '"' + table.replace('"', '""') + '"'
    newest: int = connection.execute(f"SELECT coalesce(max(rowid), 0) FROM {name}").fetchone()[0]  # noqa: S608
    if last is None or newest < last:  # begins now, or rows were deleted
        return [], newest
    query = f"SELECT rowid, * FROM {name} WHERE rowid > ? ORDER BY rowid LIMIT {_ROWS}"  # noqa: S608
    cursor = connection.execute(query, (last,))
    columns = [column[0] for column in cursor.description[1:]]
    found = cursor.fetchall()
    rows = [beside({"_row": number}, dict(zip(columns, row, strict=True))) for number, *row in found]
    return rows, found[-1][0] if found else last


def _tinydb(path: Path, table: str, last: int | None) -> tuple[list[Row], int]:
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path} is larger than {_LARGEST} bytes: use SQLite for that")
    try:
        document = jsontext.parse_odd(path.read_bytes(), LEVELS).value
        rows = {int(key): row for key, row in document.get(table or "_default", {}).items()}
    except (jsontext.NotJson, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is neither SQLite nor TinyDB: {error}") from error
    newest = max(rows, default=0)
    if last is None or newest < last:
        return [], newest
    numbers = sorted(number for number in rows if number > last)[:_ROWS]
    found = [beside({"_row": number}, _members(rows[number])) for number in numbers]
    return found, numbers[-1] if numbers else last


def _members(document: Any) -> Row:
    return document if isinstance(document, dict) else {"payload": document}


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
