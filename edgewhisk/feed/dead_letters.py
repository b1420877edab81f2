"""Messages that cannot become events: kept with the reason, so that a person can look and retry.

Without this a poison message would go round in circles at QoS 1, or be lost silently.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from edgewhisk.spi import Change, Clock, Shelf

COLLECTION: Final = "dead-letters"
MOST: Final = 500  # kept; the oldest go first
ROOM: Final = 4 << 20  # characters of all payloads together, as base64; the oldest go first
LARGEST: Final = 65_536  # bytes kept of one
PER_MINUTE: Final = 60  # that are written down; the rest is counted: garbage must not wear the card


class Letter(NamedTuple):
    """One message that was refused."""

    trigger: str  # "/guest/t"
    source: str  # "mqtt 10.0.0.5:1883"
    topic: str
    reason: str
    payload: bytes
    at: int  # ms since the epoch
    origin: str = ""  # recognises a redelivery by the source
    size: int = 0  # bytes of the whole payload if only its beginning was kept


class DeadLetters:
    """The list, oldest first."""

    def __init__(self, shelf: Shelf, clock: Clock) -> None:
        """Of what `shelf` keeps."""
        self._shelf = shelf
        self._clock = clock
        self._letters = dict(sorted(shelf.read(COLLECTION).items()))
        self._bytes = sum(len(document["payload"]) for document in self._letters.values())
        self._origins = {_identity(document): key for key, document in self._letters.items()}
        self._minute, self._written = -1, 0
        self.unlisted = 0  # refused, counted, but not written down
        self.evicted = 0

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._letters)

    def knows(self, trigger: str, origin: str) -> bool:
        """Whether a message that its source delivers again is on the list, on disk."""
        return bool(origin) and (trigger, origin) in self._origins

    def bury(self, letters: Sequence[Letter]) -> asyncio.Future[None]:
        """Keep `letters`; the future is done when they are on disk, and fails with `StorageError`."""
        written: dict[str, dict[str, Any]] = {}
        for letter in letters:
            minute = int(self._clock.monotonic() // 60)
            if minute != self._minute:
                self._minute, self._written = minute, 0
            if self._written >= PER_MINUTE:
                self.unlisted += 1
                continue
            self._written += 1
            # In order within a millisecond, too.
            key = f"{letter.at:014d}-{self._written:02d}{self._clock.activation_ids(1)[0][:6]}"
            written[key] = _document(letter)
            self._add(key, written[key])
        changes = [Change(COLLECTION, key, document) for key, document in written.items()]
        changes += [Change(COLLECTION, key, None) for key in self._evict()]
        if not changes:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        stored = self._shelf.write(changes)
        stored.add_done_callback(lambda done: self._settled(written, done))
        return stored

    def _add(self, key: str, document: dict[str, Any]) -> None:
        self._letters[key] = document
        self._bytes += len(document["payload"])

    def _remove(self, key: str) -> bool:
        document = self._letters.pop(key, None)
        if document is None:
            return False
        self._bytes -= len(document["payload"])
        if self._origins.get(_identity(document)) == key:
            del self._origins[_identity(document)]
        return True

    def _evict(self) -> Iterator[str]:
        while len(self._letters) > MOST or self._bytes > ROOM:
            oldest = next(iter(self._letters))
            self._remove(oldest)
            self.evicted += 1
            yield oldest

    def _settled(self, written: Mapping[str, dict[str, Any]], done: asyncio.Future[None]) -> None:
        if done.cancelled():
            return
        for key, document in written.items():
            if done.exception() is not None:
                self._remove(key)  # not on disk: its source delivers it again
            elif key in self._letters:
                self._origins[_identity(document)] = key

    def list(self) -> list[dict[str, Any]]:
        """All letters, oldest first, each with its id."""
        return [{"id": key, **document} for key, document in self._letters.items()]

    def find(self, key: str) -> Letter | None:
        """The letter with this id."""
        found = self._letters.get(key)
        return Letter(**{**found, "payload": base64.b64decode(found["payload"])}) if found else None

    async def drop(self, keys: Sequence[str]) -> int:
        """Forget letters; how many there were."""
        gone = [key for key in keys if self._remove(key)]
        await self._shelf.write([Change(COLLECTION, key, None) for key in gone])
        return len(gone)


def _document(letter: Letter) -> dict[str, Any]:
    size = len(letter.payload) if len(letter.payload) > LARGEST else 0
    payload = base64.b64encode(letter.payload[:LARGEST]).decode()
    return {**letter._asdict(), "payload": payload, "size": size}


def _identity(document: Mapping[str, Any]) -> tuple[str, str]:
    return document["trigger"], document.get("origin", "")
