"""Commands that were accepted and could not be delivered: kept with the reason, so that a person can look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from edgewhisk.actuator.request import Command, Kept
from edgewhisk.spi import Change, DocumentStore

COLLECTION: Final = "lost-commands"
MAX_LOST: Final = 500  # kept; the oldest go first
_LARGEST: Final = 65_536  # bytes of a command that can be tried again; of a larger one the reason is kept


class Lost:
    """The list, oldest first."""

    def __init__(self, documents: DocumentStore) -> None:
        """Of what `documents` keeps."""
        self._documents: dict[str, Mapping[str, Any]] = dict(
            sorted(documents.read(COLLECTION, _check).items())
        )
        self.evicted = 0

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._documents)

    def add(self, one: Kept, state: str, reason: str, at: int) -> Sequence[Change]:
        """Take one onto the list; what has to be written. `at` in ms since the epoch."""
        small = one.size <= _LARGEST
        document = {
            "state": state,
            "target": one.command.target,
            "told": one.told,
            "reason": reason,
            "at": at,
            "command": one.command.document if small else None,
        }
        self._documents[one.key] = document
        changes = [Change(COLLECTION, one.key, document)]
        while len(self._documents) > MAX_LOST:
            oldest = next(iter(self._documents))
            del self._documents[oldest]
            self.evicted += 1
            changes.append(Change(COLLECTION, oldest, None))
        return changes

    def rows(self) -> list[dict[str, Any]]:
        """All, without what was in them."""
        return [
            {"id": key, **{name: value for name, value in one.items() if name != "command"}}
            for key, one in self._documents.items()
        ]

    def command(self, key: str) -> Command | None:
        """The command with this id, if it is still there."""
        found = self._documents.get(key, {}).get("command")
        return Command.of(found) if found else None

    def drop(self, key: str) -> Sequence[Change]:
        """Forget one; what has to be written: nothing if there is none."""
        return [Change(COLLECTION, key, None)] if self._documents.pop(key, None) is not None else []


def _check(_key: str, document: Mapping[str, Any]) -> None:
    if found := document["command"]:
        Command.of(found)
