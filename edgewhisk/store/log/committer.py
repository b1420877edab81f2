"""Group commit: what was queued during one fdatasync goes into the next, all together.

One thread. A lone durable record costs a flash card a whole page, sixty together cost hardly more
than their bytes; so work that nobody waits for waits a little for company, and goes along with the
first that somebody does wait for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from edgewhisk.errors import NoRoom, StorageError
from edgewhisk.spi import Committed
from edgewhisk.store.log.frames import Frame

_log = logging.getLogger(__name__)

MAX_WAITING_BYTES: Final = 64 << 20  # bytes that may wait; beyond, work is refused: the disk does not keep up
ENOUGH_GROUPS: Final = 16  # groups that are company enough: brokers send about 20 messages ahead
_ROUND: Final = 4 << 20  # bytes written with one fdatasync at most


class Work(NamedTuple):
    """One group to be made durable."""

    frames: Sequence[Frame]
    done: Committed
    size: int


Write = Callable[[Sequence[Work]], None]


class Committer:
    """Owns the commit thread."""

    def __init__(self, write: Write, window: float, name: str) -> None:
        """`write` stores a round of work and raises `StorageError` if none of it is stored.

        After `NoRoom` each group of the round is tried alone: small ones, which free space, are taken.

        `window`: seconds that work without urgency may wait.
        """
        self._write = write
        self._window = window
        self._changed = threading.Condition()
        self._waiting: list[Work] = []
        self._bytes = 0
        self._deadline: float | None = None  # monotonic; None while nothing waits
        self._closing = False
        self.refused = 0  # groups refused because too much waited
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def submit(self, frames: Sequence[Frame], done: Committed, *, urgent: bool) -> None:
        """Queue a group; `done` is called once, from the commit thread."""
        size = sum(len(frame.text) + 40 for frame in frames)
        with self._changed:
            refused = self._closing or self._bytes + size > MAX_WAITING_BYTES
            if not refused:
                self._waiting.append(Work(frames, done, size))
                self._bytes += size
                enough = urgent or len(self._waiting) >= ENOUGH_GROUPS
                due = time.monotonic() + (0 if enough else self._window)
                if self._deadline is None or due < self._deadline:
                    self._deadline = due
                    self._changed.notify()
                return
            self.refused += 1
        done(StorageError("the disk does not keep up: too much waits to be written"))

    def close(self) -> None:
        """Write what waits, then end the thread."""
        with self._changed:
            self._closing = True
            self._deadline = 0.0
            self._changed.notify()
        self._thread.join()

    def _serve(self) -> None:
        while round_ := self._next():
            self._store(round_)

    def _store(self, round_: Sequence[Work]) -> None:
        """Write a round and tell those who wait."""
        error: StorageError | None = None
        try:
            self._write(round_)
        except StorageError as refusal:
            if isinstance(refusal, NoRoom) and len(round_) > 1:
                for work in round_:
                    self._store([work])
                return
            error = refusal
        except Exception as fault:  # noqa: BLE001 - supervisor: nobody may wait for ever
            _log.exception("a commit failed")
            error = StorageError(f"a commit failed: {fault!r}")
        for work in round_:
            work.done(error)

    def _next(self) -> list[Work]:
        """The next round; empty when closed and nothing waits."""
        with self._changed:
            while not self._due():
                if self._closing:
                    return []
                pause = None if self._deadline is None else self._deadline - time.monotonic()
                self._changed.wait(pause)
            return self._cut()

    def _due(self) -> bool:
        return self._deadline is not None and bool(self._waiting) and self._deadline <= time.monotonic()

    def _cut(self) -> list[Work]:
        taken, size = 0, 0
        while taken < len(self._waiting) and (not taken or size + self._waiting[taken].size <= _ROUND):
            size += self._waiting[taken].size
            taken += 1
        round_, self._waiting = self._waiting[:taken], self._waiting[taken:]
        self._bytes -= size
        if not self._waiting:
            self._deadline = 0.0 if self._closing else None
        return round_
