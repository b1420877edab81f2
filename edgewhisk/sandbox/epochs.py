"""The clock by which calls are stopped: wasmtime's epochs, counted by one thread for all engines."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator
from typing import Final

import wasmtime

TICK: Final = 0.008  # seconds of an epoch: how late a call may be stopped, and what the ticker is late itself
_DOZE: Final = 0.048  # seconds without an epoch while only inline calls run
_LINGER: Final = 1.0  # seconds that the ticker goes on after the last call, for the next one


class Epochs:
    """Counts epochs while a call is under way. Any thread may begin and end one."""

    def __init__(self) -> None:
        """Of no engine yet; the ticker starts with the first call."""
        self._engines: tuple[wasmtime.Engine, ...] = ()
        self._calls = threading.Condition(threading.Lock())
        self._running = 0  # calls that are not inline
        self._idle_since = self._exact_since = 0.0
        self._inline = False  # whether an inline call runs
        self._asleep = self._dozing = False
        self._last = 0.0  # monotonic seconds up to which epochs were counted
        self._closing = False
        self._ticker: threading.Thread | None = None

    @property
    def asleep(self) -> bool:
        """Whether the ticker waits for a call."""
        return self._asleep

    def count_for(self, engine: wasmtime.Engine) -> None:
        """Let epochs pass for `engine`, too."""
        with self._calls:
            self._engines = (*self._engines, engine)

    def upto(self, until: float) -> int:
        """How many epochs from now on a call may go on to the monotonic second `until`: never fewer.

        Counted from the time of the last epoch, so it holds when the ticker is behind. Between `begin` and
        `end` only.
        """
        return max(1, math.ceil((until - self._last) / TICK))

    @contextlib.contextmanager
    def ticking(self) -> Iterator[None]:
        """Let epochs pass inside the block."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def begin(self, *, inline: bool = False) -> None:
        """Let epochs pass until `end`.

        An inline call may be stopped some 50 ms late: a brief action that hangs does that once. Sensors
        that keep one busy would else have the ticker wake 125 times a second for nothing. Such calls come
        from one thread, the event loop's, one at a time, and while the ticker is about they take no lock:
        the ticker looks for one once more after it said that it sleeps.
        """
        if inline:
            self._inline = True
            if self._ticker is not None and not self._asleep:
                return
        with self._calls:
            if not inline:
                self._running += 1
            if self._ticker is None or self._asleep:
                self._last = time.monotonic()
            if self._ticker is None:
                self._ticker = threading.Thread(target=self._tick, name="epochs", daemon=True)
                self._ticker.start()
            elif self._asleep or (self._dozing and not inline):
                self._calls.notify()  # until the ticker says otherwise: it may miss a call this short

    def end(self, *, inline: bool = False) -> None:
        """One call less."""
        if inline:
            self._idle_since = time.monotonic()
            self._inline = False
            return
        with self._calls:
            self._running -= 1
            self._idle_since = self._exact_since = time.monotonic()

    def close(self) -> None:
        """End the ticker."""
        with self._calls:
            self._closing = True
            self._calls.notify()
        if self._ticker is not None:
            self._ticker.join()

    def _tick(self) -> None:
        """Count epochs by the monotonic clock: a thread that slept too long catches up."""
        while not self._closing:
            self._rest()
            while time.monotonic() - self._last >= TICK:
                for engine in self._engines:
                    engine.increment_epoch()  # before `_last`: a reader in between is late, not early
                self._last += TICK

    def _rest(self) -> None:
        """Wait for the next epoch, or while there is no need of one."""
        with self._calls:
            if not self._wanted and time.monotonic() - self._idle_since > _LINGER:
                self._asleep = True
                self._calls.wait_for(lambda: self._wanted or self._closing)
                self._asleep = False
            if not self._running and time.monotonic() - self._exact_since > _LINGER:
                self._dozing = True
                self._calls.wait_for(lambda: self._running or self._closing, _DOZE)
                self._dozing = False
                return
        time.sleep(TICK)

    @property
    def _wanted(self) -> bool:
        return self._inline or self._running > 0
