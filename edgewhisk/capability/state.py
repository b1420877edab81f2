"""State of actions: a little that one call leaves for the next. Implements the `state.*` operations.

Each operation is atomic and seen at once by other calls of the same action; it is durable before the
activation that made it has a record. Values are JSON. All of it is in memory too: quotas bound it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

from edgewhisk import jsontext
from edgewhisk.capability.dispatcher import CapabilityRequest, Perform, ungranted
from edgewhisk.entity.action import Action
from edgewhisk.errors import CapabilityError, StorageError
from edgewhisk.spi import ArtifactStore, Change

LONGEST_KEY: Final = 256  # characters


class _Kept:
    """The state of one action."""

    def __init__(self, values: dict[str, bytes]) -> None:
        self.values = values  # key -> JSON
        self.changed: set[str] = set()
        self.by: set[int] = set()  # threads whose calls changed something that is not on disk
        self.lost: set[int] = set()  # those whose changes were taken back with another's
        self.lock = threading.Lock()  # held while it is written: others do not wait for that
        self.gone = False


class Store(ArtifactStore, Protocol):
    """What keeps the state."""

    def collections(self) -> list[str]:
        """The names of all collections that hold something."""
        ...


class ActionState:
    """The state of all actions."""

    def __init__(self, store: Store) -> None:
        """Keep it in `store`: a collection for each action, a document for each key."""
        self._store = store
        self._lock = threading.Lock()  # guards the table; never held over the disk
        self._kept: dict[str, _Kept] = {}  # by action

    @property
    def operations(self) -> Mapping[str, Perform]:
        """What `CapabilityDispatcher` offers."""
        return {
            "state.get": self._get,
            "state.set": self._set,
            "state.delete": self._delete,
            "state.compare_and_set": self._compare_and_set,
            "state.keys": self._keys,
        }

    def settle(self, action: Action) -> None:
        """Write what calls of `action` changed; raises `StorageError`, and then it is as before them."""
        kept = self._kept.get(action.name.key)
        if kept is None or not (kept.changed or kept.lost):
            return
        with self._of(action.name.key) as kept:
            own = threading.get_ident()
            if own in kept.lost:
                kept.lost.discard(own)
                raise StorageError("the disk refused it together with what another call changed")
            self._write(action.name.key, kept, own)

    def forget(self, name: str) -> None:
        """The action ("guest/pkg/a") was deleted: so is its state. Raises `StorageError`."""
        with self._of(name) as kept:
            if keys := list(self._store.read(name)):
                self._store.write([Change(name, key, None) for key in keys])
            kept.gone = True
            with self._lock:
                del self._kept[name]

    def forget_all(self, namespace: str) -> None:
        """The same for all actions of a namespace, also for those that are gone. Raises `StorageError`."""
        for name in {*self._store.collections(), *list(self._kept)}:
            if name.startswith(namespace + "/"):
                self.forget(name)

    @contextmanager
    def _of(self, name: str) -> Iterator[_Kept]:
        """The state of one action, for one thread at a time."""
        while True:
            kept = self._kept.get(name)
            if kept is None:
                stored = self._store.read(name, _check)
                found = {key: jsontext.kept(document["value"]) for key, document in stored.items()}
                with self._lock:
                    kept = self._kept.setdefault(name, _Kept(found))
            with kept.lock:
                if not kept.gone:
                    yield kept
                    return

    def _write(self, name: str, kept: _Kept, own: int) -> None:
        """Write what was changed; taken back where the disk refuses it. The action's lock is held."""
        changes = [Change(name, key, _document(kept.values.get(key))) for key in sorted(kept.changed)]
        by, kept.by, kept.changed = kept.by, set(), set()
        try:
            self._store.write(changes)
        except StorageError:
            kept.lost |= by - {own}
            stored = self._store.read(name, _check)
            kept.values = {key: jsontext.kept(document["value"]) for key, document in stored.items()}
            raise

    def _get(self, request: CapabilityRequest) -> Any:
        key = _key(request)
        with self._of(request.asker.action.name.key) as kept:
            return _fragment(kept.values.get(key))

    def _set(self, request: CapabilityRequest) -> None:
        key, value = _key(request), _value(request)
        with self._of(request.asker.action.name.key) as kept:
            _put(request, kept, key, value)

    def _delete(self, request: CapabilityRequest) -> bool:
        key = _key(request)
        with self._of(request.asker.action.name.key) as kept:
            existed = key in kept.values
            if existed:
                _put(request, kept, key, None)
            return existed

    def _compare_and_set(self, request: CapabilityRequest) -> bool:
        key, value = _key(request), _value(request)
        with self._of(request.asker.action.name.key) as kept:
            present = kept.values.get(key)
            if (jsontext.loads(present) if present else None) != request.fields.get("expected"):
                return False
            _put(request, kept, key, value)
            return True

    def _keys(self, request: CapabilityRequest) -> list[str]:
        _granted(request)
        with self._of(request.asker.action.name.key) as kept:
            return sorted(kept.values)


def _put(request: CapabilityRequest, kept: _Kept, key: str, value: bytes | None) -> None:
    """Change one value within the quota. The action's lock is held."""
    used = sum(len(k) + len(v) for k, v in kept.values.items() if k != key)
    if value is not None and used + len(key) + len(value) > request.grants.quota:
        raise CapabilityError(
            f"{request.op}: {key!r} would make {used + len(key) + len(value)} bytes; "
            f"the quota is {request.grants.quota}"
        )
    if value is None:
        kept.values.pop(key, None)
    else:
        kept.values[key] = value
    kept.changed.add(key)
    kept.by.add(threading.get_ident())


def _granted(request: CapabilityRequest) -> None:
    if not request.grants.quota:
        raise ungranted("this action has no state", state=True)


def _key(request: CapabilityRequest) -> str:
    _granted(request)
    key = request.text("key")
    if not 0 < len(key) <= LONGEST_KEY:
        raise CapabilityError(f"{request.op}: 'key' must have 1 to {LONGEST_KEY} characters, not {len(key)}")
    return key


def _value(request: CapabilityRequest) -> bytes | None:
    """JSON of the new value; null deletes."""
    return None if request.fields.get("value") is None else request.json("value")


def _check(_key: str, document: Mapping[str, Any]) -> object:
    return document["value"]  # one without is left out, and told


def _fragment(value: bytes | None) -> Any:
    return None if value is None else jsontext.Fragment(value)


def _document(value: bytes | None) -> dict[str, Any] | None:
    return None if value is None else {"value": jsontext.Fragment(value)}
