"""What could not be delivered: kept with the reason, so that a person can look and retry.

Messages of a source that cannot become events: without this list a poison message would go round in
circles at QoS 1, or be lost silently. And events that were accepted but are not run: the gateway died
in their run again and again, their action fails always, or must not be run twice.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from edgewhisk.entity.invocation.message import ActivationMessage
from edgewhisk.entity.names import parse_name
from edgewhisk.spi import Change, Clock, DocumentStore

COLLECTION: Final = "dead-letters"
MAX_LETTERS: Final = 500  # kept; the oldest go first
MAX_TOTAL_SIZE: Final = 8 << 20  # characters of all payloads together, as base64; the oldest go first
MAX_KEPT_BYTES: Final = 65_536  # bytes kept of a message; events, which are to be run yet, are kept whole
PER_MINUTE: Final = 60  # that are written down; the rest is counted: garbage must not wear the card


class Letter(NamedTuple):
    """One message or event that was not delivered."""

    trigger: str  # "/guest/t"; of an event that no trigger started ""
    source: str  # "mqtt 10.0.0.5:1883", "queue"
    topic: str  # of an event the action
    reason: str
    payload: bytes
    at: int  # ms since the epoch
    origin: str = ""  # recognises a redelivery by the source
    size: int = 0  # bytes of the whole payload if only its beginning was kept
    event: Mapping[str, str] | None = None  # of an event what else is needed to run it

    @classmethod
    def of(cls, message: ActivationMessage, reason: str) -> Letter:
        """The letter of an event."""
        event = {
            "activation_id": message.activation_id,
            "namespace": message.namespace,
            "subject": message.subject,
            "binding": message.binding,
        }
        action = str(message.action)
        return cls(message.trigger, "queue", action, reason, message.payload, message.at, event=event)

    def message(self, activation_id: str, now: int) -> ActivationMessage | None:
        """The event once more, under another id; None if this is no event's letter."""
        if self.event is None:
            return None
        return ActivationMessage(
            activation_id,
            parse_name(self.topic, "_"),
            self.event["namespace"],
            self.event["subject"],
            self.payload,
            now,
            self.trigger,
            self.event["binding"],
            durable=True,
        )


class DeadLetters:
    """The list, oldest first. Called on the event loop."""

    def __init__(self, documents: DocumentStore, clock: Clock) -> None:
        """Of what `documents` keeps."""
        self._documents = documents
        self._clock = clock
        self._letters = dict(
            sorted(documents.read(COLLECTION, _check).items(), key=lambda item: _number(item[0]))
        )
        self._bytes = sum(map(_size, self._letters.values()))
        self._origins = {_identity(document): key for key, document in self._letters.items()}
        self._minute, self._written = -1, 0
        self._last = max((_number(key) for key in self._letters), default=0)
        self.unlisted = 0  # refused, counted, but not written down
        self.evicted = 0
        self.refused = 0  # by the disk; what its source does not deliver again is lost

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._letters)

    def knows(self, trigger: str, origin: str) -> bool:
        """Whether a message that its source delivers again is on the list, on disk."""
        return bool(origin) and (trigger, origin) in self._origins

    def bury(self, letters: Sequence[Letter], *, rare: bool = False) -> asyncio.Future[None]:
        """Keep `letters`; `rare` ones are always written down.

        The future is done when they are on disk, and fails with `StorageError`.
        """
        written: dict[str, dict[str, Any]] = {}
        for letter in letters:
            if not rare and not self._may():
                self.unlisted += 1
                continue
            self._last += 1
            key = str(self._last)
            written[key] = self._letters[key] = _document(letter)
            self._bytes += _size(written[key])
        changes = [Change(COLLECTION, key, document) for key, document in written.items()]
        changes += [Change(COLLECTION, key, None) for key in self._evict()]
        if not changes:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        stored = self._documents.write(changes)
        stored.add_done_callback(lambda done: self._settled(written, done))
        return stored

    def list(self) -> list[dict[str, Any]]:
        """All letters, oldest first, each with its id."""
        return [{"id": key, **document} for key, document in self._letters.items()]

    def find(self, key: str) -> Letter | None:
        """The letter with this id."""
        found = self._letters.get(key)
        return _letter(found) if found else None

    async def drop(self, keys: Sequence[str]) -> int:
        """Forget letters; how many there were."""
        gone = [key for key in keys if self._remove(key)]
        await self._documents.write([Change(COLLECTION, key, None) for key in gone])
        return len(gone)

    def describe(self) -> dict[str, int]:
        """For `status`."""
        return {
            "kept": len(self),
            "bytes": self._bytes,
            "unlisted": self.unlisted,
            "evicted": self.evicted,
            "refused": self.refused,
        }

    def _may(self) -> bool:
        """Whether one more may be written down in this minute."""
        minute = int(self._clock.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._written = minute, 0
        self._written += 1
        return self._written <= PER_MINUTE

    def _remove(self, key: str) -> bool:
        document = self._letters.pop(key, None)
        if document is None:
            return False
        self._bytes -= _size(document)
        if self._origins.get(_identity(document)) == key:
            del self._origins[_identity(document)]
        return True

    def _evict(self) -> Iterator[str]:
        while len(self._letters) > MAX_LETTERS or self._bytes > MAX_TOTAL_SIZE:
            oldest = next(iter(self._letters))
            self._remove(oldest)
            self.evicted += 1
            yield oldest

    def _settled(self, written: Mapping[str, dict[str, Any]], done: asyncio.Future[None]) -> None:
        if done.cancelled():
            return
        for key, document in written.items():
            if done.exception() is not None:
                self.refused += self._remove(key)
            elif key in self._letters:
                self._origins[_identity(document)] = key


def _document(letter: Letter) -> dict[str, Any]:
    """What is stored; a message that is too large is cut."""
    whole = len(letter.payload)
    most = MAX_KEPT_BYTES if letter.event is None else whole
    payload = base64.b64encode(letter.payload[:most]).decode()
    return {**letter._asdict(), "payload": payload, "size": whole if whole > most else 0}


def _check(key: str, document: dict[str, Any]) -> None:
    _number(key)
    letter = _letter(document)
    hash((letter.trigger, letter.origin))
    if letter.event is not None:
        letter.message(key, letter.at)


def _letter(document: Mapping[str, Any]) -> Letter:
    """What `_document` gave."""
    return Letter(**{**document, "payload": base64.b64decode(document["payload"])})


def _identity(document: Mapping[str, Any]) -> tuple[str, str]:
    return document["trigger"], document.get("origin", "")


def _size(document: Mapping[str, Any]) -> int:
    return len(document["payload"])


def _number(key: str) -> int:
    """Order of burial, which no clock decides. Ids of old were longer."""
    return int(key.partition("-")[0])
