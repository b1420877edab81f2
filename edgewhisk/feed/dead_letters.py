"""Messages that cannot become events: kept with the reason, so that a person can look and retry.

Without this a poison message would go round in circles at QoS 1, or be lost silently.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from edgewhisk.spi import Change, Clock, Shelf

COLLECTION: Final = "dead-letters"
MOST: Final = 500  # kept; the oldest go first
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


class DeadLetters:
    """The list, oldest first."""

    def __init__(self, shelf: Shelf, clock: Clock) -> None:
        """Of what `shelf` keeps."""
        self._shelf = shelf
        self._clock = clock
        self._letters = dict(sorted(shelf.read(COLLECTION).items(), key=lambda item: _number(item[0])))
        self._minute, self._written = -1, 0
        self._last = max((_number(key) for key in self._letters), default=0)
        self.unlisted = 0  # refused, counted, but not written down
        self.evicted = 0

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._letters)

    def bury(self, letters: Sequence[Letter]) -> asyncio.Future[None]:
        """Keep `letters`; the future is done when they are on disk."""
        changes: list[Change] = []
        for letter in letters:
            minute = int(self._clock.monotonic() // 60)
            if minute != self._minute:
                self._minute, self._written = minute, 0
            if self._written >= PER_MINUTE:
                self.unlisted += 1
                continue
            self._written += 1
            self._last += 1
            key = str(self._last)
            document = {**letter._asdict(), "payload": base64.b64encode(letter.payload[:LARGEST]).decode()}
            self._letters[key] = document
            changes.append(Change(COLLECTION, key, document))
        while len(self._letters) > MOST:
            oldest = next(iter(self._letters))
            del self._letters[oldest]
            self.evicted += 1
            changes.append(Change(COLLECTION, oldest, None))
        if not changes:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        return self._shelf.write(changes)

    def list(self) -> list[dict[str, Any]]:
        """All letters, oldest first, each with its id."""
        return [{"id": key, **document} for key, document in self._letters.items()]

    def find(self, key: str) -> Letter | None:
        """The letter with this id."""
        found = self._letters.get(key)
        return Letter(**{**found, "payload": base64.b64decode(found["payload"])}) if found else None

    async def drop(self, keys: Sequence[str]) -> int:
        """Forget letters; how many there were."""
        gone = [key for key in keys if self._letters.pop(key, None) is not None]
        await self._shelf.write([Change(COLLECTION, key, None) for key in gone])
        return len(gone)


def _number(key: str) -> int:
    """Order of burial, which no clock decides. Ids of old were longer."""
    return int(key.partition("-")[0])
