"""TinyDB on the log: the only door to tinydb.

Stock TinyDB rewrites its whole file for every insert, and one torn write destroys it. Here a table
tells the log only which documents an operation touched; `Query`, `search`, `insert`, `update`,
``upsert`, `remove` and the rest are TinyDB's own. Document ids are not used twice, short of `truncate`.

`_read_table`, `_update_table` and `_get_next_id` are private to TinyDB 4.9: the dependency is pinned
to it. `tests/store/documents/test_tinydb_storage.py` runs TinyDB's own tests against this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, Protocol

from tinydb import Storage, TinyDB
from tinydb.table import Table

from edgewhisk import jsontext

Document = Mapping[str, Any]


class Documents(Protocol):
    """The documents of one table in a log, as JSON texts by their ids."""

    def ids(self) -> Iterator[int]:
        """All ids, rising."""
        ...

    def text(self, doc_id: int) -> bytes | None:
        """One document."""
        ...

    def next_id(self) -> int:
        """An id that was not used since `restart`."""
        ...

    def restart(self) -> None:
        """Begin with the first id again, if there are no documents."""
        ...

    def keep(self, *, empty: bool) -> None:
        """Whether the table is there even if it is empty; durable on return."""
        ...

    def apply(self, changes: Mapping[int, bytes | None]) -> None:
        """Write documents, or (None) remove them; all or none, durable on return."""
        ...


class LogStorage(Storage):
    """What TinyDB reads from and writes to."""

    def __init__(self, tables: Callable[[], list[str]], table: Callable[[str], Documents]) -> None:
        """`tables` names the tables that have documents; `table` gives any by its name."""
        self._tables = tables
        self.table = table

    def read(self) -> dict[str, dict[str, Any]] | None:
        """Every table, read lazily."""
        found: dict[str, Any] = {name: _Stored(self.table(name)) for name in self._tables()}
        return found or None

    def write(self, data: dict[str, dict[str, Any]]) -> None:
        """TinyDB comes here to drop tables only: `LogTable` writes documents."""
        for name in self._tables():
            if name not in data:
                documents = self.table(name)
                documents.apply(dict.fromkeys(documents.ids()))
                documents.keep(empty=False)
                documents.restart()

    def close(self) -> None:
        """The log's owner closes it."""


class LogTable(Table):
    """A table that hands the log only what changed."""

    def __init__(
        self,
        storage: Storage,
        name: str,
        cache_size: int = Table.default_query_cache_capacity,
        persist_empty: bool = False,
    ) -> None:
        """As TinyDB's; `persist_empty`: the table is there from now on, whatever is in it."""
        super().__init__(storage, name, cache_size=cache_size)
        if persist_empty:
            self._documents().keep(empty=True)

    def truncate(self) -> None:
        """Remove all documents; ids begin anew."""
        super().truncate()
        self._documents().restart()

    def _documents(self) -> Documents:
        storage = self._storage
        assert isinstance(storage, LogStorage)
        return storage.table(self.name)

    def _read_table(self) -> dict[str, Mapping[Any, Any]]:
        return _Stored(self._documents())  # type: ignore[return-value]

    def _update_table(self, updater: Callable[[dict[int, Mapping[Any, Any]]], None]) -> None:
        documents = self._documents()
        touched = _Touched(documents)
        updater(touched)  # type: ignore[arg-type]
        if changes := touched.changes():
            documents.apply(changes)
        self.clear_cache()

    def _get_next_id(self) -> int:
        return self._documents().next_id()


class LogDB(TinyDB):
    """A TinyDB over a log."""

    table_class: type[Table] = LogTable


class _Stored(Mapping[str, Document]):
    """Documents by their ids as texts, as TinyDB's storages give them."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def __getitem__(self, key: str) -> Document:
        text = self._documents.text(int(key)) if str(key).isdecimal() else None
        if text is None:
            raise KeyError(key)
        document: Document = jsontext.loads(text)
        return document

    def __iter__(self) -> Iterator[str]:
        return (str(doc_id) for doc_id in self._documents.ids())

    def __len__(self) -> int:
        return sum(1 for _ in self._documents.ids())


class _Touched(MutableMapping[int, Document]):
    """Documents by their ids; remembers which an updater saw, and so may have changed."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._seen: dict[int, Document | None] = {}

    def __getitem__(self, key: int) -> Document:
        if key not in self._seen:
            text = self._documents.text(key)
            if text is None:
                raise KeyError(key)
            self._seen[key] = jsontext.loads(text)
        found = self._seen[key]
        if found is None:
            raise KeyError(key)
        return found

    def __setitem__(self, key: int, document: Document) -> None:
        self._seen[key] = document

    def __delitem__(self, key: int) -> None:
        self[key]
        self._seen[key] = None

    def __iter__(self) -> Iterator[int]:
        for doc_id in self._documents.ids():
            if self._seen.get(doc_id, ...) is not None:
                yield doc_id
        yield from (key for key, found in self._seen.items() if found is not None and self._is_new(key))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def changes(self) -> dict[int, bytes | None]:
        """What is different now."""
        changed: dict[int, bytes | None] = {}
        for key, found in self._seen.items():
            text = None if found is None else jsontext.dumps(dict(found))
            if text != self._documents.text(key):
                changed[key] = text
        return changed

    def _is_new(self, key: int) -> bool:
        return self._documents.text(key) is None
