"""The artifact store: packages, actions, triggers, rules and feeds as TinyDB documents on a log.

Each collection is a table, each entity a document `{"key", "document"}`. All documents are small
enough to be held in memory as text, so reading never touches the disk. Space of what was replaced
or deleted is reclaimed by writing what lives into a new segment and dropping the old ones.
"""

from __future__ import annotations

import threading
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from edgewhisk import jsontext
from edgewhisk.errors import UNREADABLE, StorageError
from edgewhisk.spi import Change, Check
from edgewhisk.store.documents.tinydb_storage import LogDB, LogStorage
from edgewhisk.store.log.disk import Disk, RealDisk
from edgewhisk.store.log.frames import FORMAT, Frame, Scan
from edgewhisk.store.log.log import HEADER, Log, Segment

WRITTEN: Final = "D"  # a document; number is its id; text is {"t": table, "d": document}
REMOVED: Final = "R"  # number is its id; text is the table's name as JSON
_KEPT: Final = "K"  # a table that is there even if it is empty; text is its name as JSON
BASE: Final = "Z"  # all that lives stands from the segment on whose serial is the number
_DROPPED: Final = "X"  # such a table is not kept any more
SPARE: Final = 4 << 20  # bytes of garbage that are tolerated
_MOST_SEGMENTS: Final = 64


class EntityStore:
    """`spi.ArtifactStore` on a directory."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        """Use `open`, which recovers."""
        self.incidents: list[str] = []
        self._log = Log(disk, directory)
        self._lock = threading.RLock()  # of who writes; held over the disk's work
        self._memory = threading.Lock()  # of what is in memory; the event loop may wait for it
        self._texts: dict[str, dict[int, bytes]] = {}  # table -> id -> document
        self._last = 0  # the highest document id
        self._base: int | None = None  # serial of the first segment that is needed; None: nobody knows
        self._live = 0  # bytes of all documents
        self._next: dict[str, int] = {}  # table -> its next document id
        self._kept: set[str] = set()  # tables that are there even if they are empty
        self._ids: dict[tuple[str, str], int | None] = {}  # (collection, key) -> document id
        self.db = LogDB(self._tables, self._table, storage=LogStorage)

    @classmethod
    def open(cls, directory: Path, disk: Disk | None = None) -> EntityStore:
        """Recover what is there, or begin anew; raises `StorageError`."""
        store = cls(directory, disk or RealDisk())
        store._recover()
        return store

    def close(self) -> None:
        """Close the files."""
        self.db.close()
        self._log.close()

    def read(self, collection: str, check: Check | None = None) -> dict[str, dict[str, Any]]:
        """See `spi.ArtifactStore`."""
        with self._memory:
            texts = sorted(self._texts.get(collection, {}).items())
        return dict(self._documents(collection, texts, check))

    def _documents(
        self, collection: str, texts: Sequence[tuple[int, bytes]], check: Check | None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Keys and documents; what is none is told once and left where it is."""
        for doc_id, text in texts:
            try:
                entry = jsontext.loads(text)
                key, document = str(entry["key"]), dict(entry["document"])
                if check is not None:
                    check(key, document)
            except UNREADABLE as error:
                what = f"{self._log.directory}: {collection}, document {doc_id} ({_key(text)})"
                line = f"{what} cannot be read and is left out until it is written anew: {error!r}"
                if line not in self.incidents:
                    self.incidents.append(line)
            else:
                yield key, document

    def collections(self) -> list[str]:
        """The names of all collections that hold something."""
        with self._memory:
            return [name for name, texts in self._texts.items() if texts]

    def write(self, changes: Sequence[Change]) -> None:
        """See `spi.ArtifactStore`."""
        with self._lock:
            frames: list[Frame] = []
            ids = ChainMap({}, self._ids)  # with those that these changes make
            for change in changes:
                place = change.collection, change.key
                doc_id = ids.get(place)
                if change.document is None:
                    if doc_id is not None:
                        frames.append(_removed(change.collection, doc_id))
                        ids[place] = None
                    continue
                if doc_id is None:
                    doc_id = ids[place] = self._take_id(change.collection)
                entry = {"key": change.key, "document": change.document}
                frames.append(_written(change.collection, doc_id, jsontext.dumps(entry)))
            self._commit(frames)
            for collection in {change.collection for change in changes}:
                self.db.table(collection).clear_cache()

    def _tables(self) -> list[str]:
        return [name for name, texts in self._texts.items() if texts or name in self._kept]

    def _table(self, name: str) -> _Table:
        return _Table(self, name)

    def _take_id(self, table: str) -> int:
        found = self._next.get(table, 1)
        self._next[table] = found + 1
        return found

    def _commit(self, frames: Sequence[Frame]) -> None:
        """Make frames durable as one group, then visible. The lock is held."""
        if not frames:
            return
        self._reclaim()
        try:
            self._append(frames)
        except StorageError:
            self._append(frames)  # the segment was given up; a full disk refuses the new one too
        with self._memory:
            for frame in frames:
                self._apply(frame)

    def _append(self, frames: Sequence[Frame]) -> None:
        if self._log.full:
            self._roll()
        self._log.append(frames)

    def _roll(self) -> None:
        base = self._base
        if not self._log.segments:
            base = self._base = self._log.next_serial
        self._log.roll(self._last + 1, {"format": FORMAT, "last": self._last, "base": base})

    def _reclaim(self) -> None:
        """Move what lives to a new segment when most of the log is garbage."""
        crowded = len(self._log.segments) > _MOST_SEGMENTS
        if self._log.held <= 2 * self._live + SPARE and not crowded:
            return
        old = list(self._log.segments)
        self._roll()
        moved = [
            _written(name, doc_id, text)
            for name, texts in self._texts.items()
            for doc_id, text in texts.items()
        ]
        moved += [Frame(_KEPT, 0, jsontext.dumps(name)) for name in self._kept]
        base = Frame(BASE, self._log.segments[-1].serial, b"0")
        self._log.append([*moved, base])
        self._apply(base)
        for segment in old:  # oldest first: a removal must never be dropped before what it removes
            self._log.drop(segment)

    def _recover(self) -> None:
        """Replay all; what cannot be read is set aside and named, and what is gone."""
        begun = {segment.serial: self._log.before(segment)[0] for segment in self._log.segments}
        for segment in list(self._log.segments):
            found = self._scan(segment)
            if found is None or not found.frames:
                done = self._log.set_aside(segment)
                self.incidents.append(f"{segment.path}: nothing in it is readable; {done}")
                continue
            if found.corrupt:
                self.incidents.append(f"{segment.path}: {found.corrupt} damaged line(s) skipped")
            for frame in found.frames:
                self._again(frame, segment)
        self._missing(begun)
        if self._log.segments:
            self._log.cut(self._log.segments[-1])

    def _again(self, frame: Frame, segment: Segment) -> None:
        """Replay a frame; one that cannot be read is told, and stays where it is."""
        try:
            self._replay(frame)
        except _LaterFormat:
            raise
        except UNREADABLE as error:
            self.incidents.append(
                f"{segment.path}: a line at {frame.start} is whole but cannot be read; left out: {error!r}"
            )

    def _missing(self, begun: Mapping[int, int]) -> None:
        """Tell of segments that are gone; `begun`: which was the newest when each was begun."""
        witness, newest, gone = self._log.witness, max(begun, default=0), set[int]()
        if witness is not None and witness.serial > newest:
            gone.add(witness.serial)
        for last in self._log.segments[-1:]:
            if witness is not None and witness.serial == last.serial and witness.size > last.size:
                self.incidents.append(f"{last.path} was cut short; what stood at its end is lost")
        if self._base is not None:
            gone |= {before for before in begun.values() if before >= self._base and before not in begun}
        for serial in sorted(gone):
            told = f"{self._log.directory}: segment {serial} is gone; what was written there is lost"
            self.incidents.append(f"{told}, or as it was before")

    def _scan(self, segment: Segment) -> Scan | None:
        try:
            return self._log.scan(segment)
        except StorageError as error:
            self.incidents.append(str(error))
            return None

    def _replay(self, frame: Frame) -> None:
        if frame.op != HEADER:
            self._apply(frame)
            return
        header: Mapping[str, Any] = jsontext.loads(frame.text)
        if header["format"] > FORMAT:
            raise _LaterFormat(
                f"{self._log.directory} has format {header['format']}, this version reads up to {FORMAT}",
                hint="install the version that wrote it, or a later one",
            )
        self._last = max(self._last, int(header["last"]))
        self._base = header.get("base")

    def _apply(self, frame: Frame) -> None:
        if frame.op == BASE:
            self._base = frame.number
            return
        self._last = max(self._last, frame.number)
        value = jsontext.loads(frame.text)
        if frame.op == REMOVED:
            self._forget(value, frame.number)
        elif frame.op == WRITTEN:
            table, text = value["t"], jsontext.kept(value["d"])
            self._forget(table, frame.number)
            self._texts.setdefault(table, {})[frame.number] = text
            self._ids[table, _key(text)] = frame.number
            self._next[table] = max(self._next.get(table, 1), frame.number + 1)
            self._live += len(text)
        elif frame.op == _KEPT:
            self._texts.setdefault(value, {})
            self._kept.add(value)
        elif frame.op == _DROPPED:
            self._kept.discard(value)

    def _forget(self, table: str, doc_id: int) -> None:
        text = self._texts.get(table, {}).pop(doc_id, None)
        if text is not None:
            self._live -= len(text)
            if self._ids.get((table, key := _key(text))) == doc_id:
                del self._ids[table, key]


class _LaterFormat(StorageError):
    """A later version wrote the log."""


class _Table:
    """`tinydb_storage.Documents` of one table."""

    def __init__(self, store: EntityStore, name: str) -> None:
        self._store = store
        self._name = name

    def ids(self) -> Iterator[int]:
        return iter(sorted(self._store._texts.get(self._name, {})))

    def text(self, doc_id: int) -> bytes | None:
        return self._store._texts.get(self._name, {}).get(doc_id)

    def next_id(self) -> int:
        with self._store._lock:
            return self._store._take_id(self._name)

    def restart(self) -> None:
        with self._store._lock:
            if not self._store._texts.get(self._name):
                self._store._next.pop(self._name, None)

    def keep(self, *, empty: bool) -> None:
        with self._store._lock:
            if empty != (self._name in self._store._kept):
                self._store._commit([Frame(_KEPT if empty else _DROPPED, 0, jsontext.dumps(self._name))])

    def apply(self, changes: Mapping[int, bytes | None]) -> None:
        with self._store._lock:
            self._store._commit(
                [
                    _removed(self._name, doc_id) if text is None else _written(self._name, doc_id, text)
                    for doc_id, text in changes.items()
                ]
            )


def _written(table: str, doc_id: int, text: bytes) -> Frame:
    return Frame(WRITTEN, doc_id, b'{"t":%b,"d":%b}' % (jsontext.dumps(table), text))


def _removed(table: str, doc_id: int) -> Frame:
    return Frame(REMOVED, doc_id, jsontext.dumps(table))


def _key(text: bytes) -> str:
    with suppress(ValueError):
        value = jsontext.loads(text)
        return str(value.get("key", "")) if isinstance(value, dict) else ""
    return ""
