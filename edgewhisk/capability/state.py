"""State of actions: a little that one call leaves for the next. Implements the `state.*` operations.

Each operation is atomic and seen at once by other calls of the same action; it is durable before the
activation that made it has a record. Values are JSON. All of it is in memory too: quotas bound it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final

import orjson

from edgewhisk.capability.capabilities import Perform, Request
from edgewhisk.entity.action import Action
from edgewhisk.errors import CapabilityError, NotGranted, StorageError
from edgewhisk.spi import ArtifactStore, Change

LONGEST_KEY: Final = 256  # characters


class State:
    """The state of all actions."""

    def __init__(self, store: ArtifactStore) -> None:
        """Keep it in `store`: a collection for each action, a document for each key."""
        self._store = store
        self._lock = threading.Lock()
        self._values: dict[str, dict[str, bytes]] = {}  # action -> key -> JSON
        self._changed: dict[str, set[str]] = {}

    @property
    def operations(self) -> Mapping[str, Perform]:
        """What `Doors` offers."""
        return {
            "state.get": self._get,
            "state.set": self._set,
            "state.delete": self._delete,
            "state.compare_and_set": self._compare_and_set,
            "state.keys": self._keys,
        }

    def settle(self, action: Action) -> None:
        """Write what calls of `action` changed; raises `StorageError`, and then it is as before them."""
        if not self._changed:
            return
        name = action.name.key
        if name not in self._changed:
            return
        with self._lock:
            keys = self._changed.pop(name, set())
            values = self._values.get(name, {})
            changes = [Change(name, key, _document(values.get(key))) for key in sorted(keys)]
            try:
                self._store.write(changes)
            except StorageError:
                self._values.pop(name, None)
                raise

    def forget(self, name: str) -> None:
        """The action ("guest/pkg/a") was deleted: so is its state. Raises `StorageError`."""
        with self._lock:
            keys = list(self._of(name))
            self._changed.pop(name, None)
            self._values.pop(name, None)
            if keys:
                self._store.write([Change(name, key, None) for key in keys])

    def _of(self, name: str) -> dict[str, bytes]:
        """The values of one action. The lock is held."""
        found = self._values.get(name)
        if found is None:
            stored = self._store.read(name, lambda _, document: document["value"])
            found = {key: orjson.dumps(document["value"]) for key, document in stored.items()}
            self._values[name] = found
        return found

    def _get(self, request: Request) -> Any:
        key = _key(request)
        with self._lock:
            return _fragment(self._of(request.asker.action.name.key).get(key))

    def _set(self, request: Request) -> None:
        key, value = _key(request), _value(request)
        with self._lock:
            self._put(request, key, value)

    def _delete(self, request: Request) -> bool:
        key = _key(request)
        with self._lock:
            existed = key in self._of(request.asker.action.name.key)
            if existed:
                self._put(request, key, None)
            return existed

    def _compare_and_set(self, request: Request) -> bool:
        key, value = _key(request), _value(request)
        with self._lock:
            present = self._of(request.asker.action.name.key).get(key)
            if (orjson.loads(present) if present else None) != request.fields.get("expected"):
                return False
            self._put(request, key, value)
            return True

    def _keys(self, request: Request) -> list[str]:
        _granted(request)
        with self._lock:
            return sorted(self._of(request.asker.action.name.key))

    def _put(self, request: Request, key: str, value: bytes | None) -> None:
        """Change one value within the quota. The lock is held."""
        name = request.asker.action.name.key
        values = self._of(name)
        used = sum(len(k) + len(v) for k, v in values.items() if k != key)
        if value is not None and used + len(key) + len(value) > request.grants.quota:
            raise CapabilityError(
                f"state: {key!r} would make {used + len(key) + len(value)} bytes; "
                f"the quota is {request.grants.quota}"
            )
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value
        self._changed.setdefault(name, set()).add(key)


def _granted(request: Request) -> None:
    if not request.grants.quota:
        raise NotGranted("this action has no state", hint='{"state": true}')


def _key(request: Request) -> str:
    _granted(request)
    key = request.text("key")
    if not 0 < len(key) <= LONGEST_KEY:
        raise CapabilityError(f"state: a key has 1 to {LONGEST_KEY} characters, not {len(key)}")
    return key


def _value(request: Request) -> bytes | None:
    """JSON of the new value; null deletes."""
    value = request.fields.get("value")
    return None if value is None else orjson.dumps(value)


def _fragment(value: bytes | None) -> Any:
    return None if value is None else orjson.Fragment(value)


def _document(value: bytes | None) -> dict[str, Any] | None:
    return None if value is None else {"value": orjson.Fragment(value)}
