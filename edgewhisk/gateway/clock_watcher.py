"""Watches the clock: notices that it was set, remembers it for each boot, tells who waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from edgewhisk.clock import age as ages
from edgewhisk.clock.age import Age
from edgewhisk.clock.history import COLLECTION, ClockHistory, ClockTrust
from edgewhisk.clock.system import SystemClock
from edgewhisk.entity.activation import rfc3339
from edgewhisk.errors import StorageError
from edgewhisk.spi import Change, DocumentStore

_log = logging.getLogger(__name__)

LOOK: Final = 1.0  # seconds between two looks at a clock that is about to be set
SELDOM: Final = 5.0  # and at one that is not: an idle gateway should sleep
STEP: Final = 1000  # ms; less is not worth telling
DAY: Final = 86_400_000  # ms
FAR: Final = 365  # days that a clock may be ahead without a person being told
MAX_CLOUD_WAIT: Final = 60.0  # seconds that the cloud is kept waiting for a clock that is about to be set


class ClockWatcher:
    """The clock of this boot, and what is known of those before."""

    def __init__(self, clock: SystemClock, documents: DocumentStore) -> None:
        """What earlier lives learned is on `documents`."""
        kept = sorted(documents.read(COLLECTION, _check).items(), key=lambda item: int(item[1]["number"]))
        self._numbers = {mark: int(document["number"]) for mark, document in kept}
        self.history = ClockHistory(dict(kept))
        self._age = Age(documents.read(ages.COLLECTION).get(ages.KEY))
        self._clock = clock
        self._documents = documents
        self.was_set: list[Callable[[], None]] = []  # called on the event loop
        self.steps = 0
        self.last_error = ""
        self._unsaved: str | None = None  # this boot, if the disk does not know what is known of it

    @property
    def sureness(self) -> ClockTrust:
        """How far the clock is to be believed now."""
        return self.history.sureness(self._clock.timing.boot)

    async def run(self) -> None:
        """Look at the clock until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK if self._doubtful() else SELDOM)

    async def look(self) -> None:
        """Follow the system's clock; on disk on return, unless the disk refuses: then the next look tries."""
        by = self._clock.look()
        stepped = abs(by) >= STEP
        if stepped:
            self.steps += 1
            _log.warning("the clock was set by %+.1f s, to %s", by / 1000, rfc3339(self._clock.now()))
        before = self.sureness
        kept = before is not ClockTrust.KEPT and self._clock.kept()
        mark = self.history.see(self._clock.timing, self._clock.up(), kept=kept)
        self._unsaved = self._unsaved or mark
        if self._unsaved is not None:
            await self._save(self._unsaved)
        await self._look_at_age()
        if stepped or self.sureness is not before:
            for tell in self.was_set:
                tell()

    def earliest(self) -> int:
        """The time by which something is old enough to be dropped, ms; from any thread. See `Age`."""
        return self._age.now(self._clock.up())

    async def _look_at_age(self) -> None:
        boot, up = self._clock.timing.boot, self._clock.up()
        self._age.look(boot, up, self._clock.now())
        if (document := self._age.document(boot, up)) is not None:
            with contextlib.suppress(StorageError):  # an older one does: what is held is held longer
                await self._documents.write([Change(ages.COLLECTION, ages.KEY, document)])

    async def _save(self, mark: str) -> None:
        number = self._numbers.setdefault(mark, max(self._numbers.values(), default=0) + 1)
        changes = [Change(COLLECTION, mark, {"number": number, **self.history.document(mark)})]
        changes += [Change(COLLECTION, gone, None) for gone in self.history.forget()]
        try:
            await self._documents.write(changes)
        except StorageError as error:
            self.last_error = str(error)
        else:
            self._unsaved, self.last_error = None, ""

    async def settled(self) -> None:
        """Wait for a clock that is about to be set, but not for ever.

        With the network comes the time, a moment later than the cloud does: what was stamped before
        must not be sent before it can be told right.
        """
        patience = MAX_CLOUD_WAIT
        while patience > 0 and self._doubtful():
            await asyncio.sleep(LOOK)
            patience -= LOOK

    def describe(self) -> dict[str, Any]:
        """For `status`."""
        now = self._clock.now()
        found = self.history.describe(self._clock.timing.boot)
        return {"now": rfc3339(now), **found, "steps": self.steps, "last_error": self.last_error}

    def problem(self) -> str:
        """What a person should know; empty if the clock is right as far as can be told."""
        if self.sureness is not ClockTrust.UNSET:
            ahead = (self._clock.now() - self.earliest()) // DAY
            if not self._age.doubted or ahead < FAR:
                return ""
            return (
                f"the clock says {rfc3339(self._clock.now())[:10]}, {ahead} days more than have passed as "
                "far as is known: nothing expires by it before it has said so for a day"
            )
        return (
            f"the clock says {rfc3339(self._clock.now())[:10]} and was never set right: activations are "
            "marked edge-clock=unset until it is; give the gateway a network with NTP, or set it with date -s"
        )

    def _doubtful(self) -> bool:
        sureness = self.sureness
        if sureness is ClockTrust.UNSET:
            return True
        return sureness is ClockTrust.UNCONFIRMED and self._clock.expected()


def _check(mark: str, document: Mapping[str, Any]) -> None:
    int(document["number"]), ClockHistory({mark: document})
