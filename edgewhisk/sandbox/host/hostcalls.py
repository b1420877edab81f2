"""What every guest may ask of the host: time, a pause, and the one door to capabilities.

`edgewhisk.ask(request, size) -> size of the answer`, then `edgewhisk.take(where)` copies the answer
into the guest: two steps, so that the guest finds the room itself.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import wasmtime

from edgewhisk.clock.busy import waiting
from edgewhisk.sandbox.host.zones import FOLDER, zone
from edgewhisk.sandbox.outcome import OutOfTime
from edgewhisk.sandbox.wasmtime_ffi import HostFunctions, as_double, double, read, write
from edgewhisk.spi import LARGEST_REQUEST, Answer

MODULE: Final = "edgewhisk"
_MOST_RANDOM: Final = 1 << 20  # bytes in one call
_LONGEST_NAME: Final = 1024  # bytes of a library module's name
_NONE: Final = 0xFFFFFFFF  # -1


class GuestFault(Exception):
    """A guest gave an address that is not in its memory."""


class CallContext:
    """The call that a thread's guest is busy with."""

    def __init__(
        self, until: float, view: Callable[[], tuple[int, int]], ask: Callable[[bytes], Answer]
    ) -> None:
        """`until`: monotonic seconds; `view`: address and size of the guest's memory now."""
        self.until = until
        self.inline = False  # see `Engine.begin`
        self.view = view
        self._ask = ask
        self.answer = b""
        self._base = self._end = 0
        self.done: Callable[[], int] = int  # how many calls of a batch came before this one
        self.wrote: Callable[[int, int], None] = _ignore  # told where the host wrote, and how much
        self.refusals: list[tuple[int, str]] = []  # (call of the batch, what was not granted)

    def ask(self, request: bytes) -> Answer:
        """What the one door to capabilities answers."""
        with waiting():
            return self._ask(request)

    def get(self, at: int, size: int) -> bytes:
        """Bytes of the guest's memory; raises `GuestFault`."""
        if at + size > self._end:
            self._look(at + size)
        return read(self._base + at, size)

    def put(self, at: int, data: bytes) -> None:
        """Write into the guest's memory; raises `GuestFault`."""
        if at + len(data) > self._end:
            self._look(at + len(data))
        write(self._base + at, data)
        self.wrote(at, len(data))

    def _look(self, end: int) -> None:
        """Memories never move, but may have grown; raises `GuestFault` if this one ends before `end`."""
        self._base, self._end = self.view()
        if end > self._end:
            raise GuestFault


class HostCalls:
    """The functions, linked once for all guests of an engine; `serving` tells them whose they are."""

    def __init__(
        self, linker: wasmtime.Linker, now: Callable[[], float], library: Mapping[str, bytes]
    ) -> None:
        """Define them in `linker`; `now` gives ms since the epoch."""
        self._library = library
        self.functions = HostFunctions(linker)
        self._now = now
        self._thread = threading.local()
        self.functions.define(MODULE, "now", "", "d", self._tell)
        self.functions.define(MODULE, "sleep", "d", "", self._sleep)
        self.functions.define(MODULE, "random", "ii", "", self._random)
        self.functions.define(MODULE, "ask", "ii", "i", self._ask)
        self.functions.define(MODULE, "library", "ii", "i", self._find)
        self.functions.define(MODULE, "take", "i", "", self._take)

    @property
    def current(self) -> Any:
        """What this thread's guest is busy with: a `CallContext`."""
        return self._thread.serving

    @contextmanager
    def serving(self, serving: CallContext) -> Iterator[CallContext]:
        """Run guests of this thread for `serving` inside the block."""
        self.enter(serving)
        try:
            yield serving
        finally:
            self.leave()

    def enter(self, serving: CallContext) -> None:
        """Guests of this thread run for `serving`, until `leave`."""
        self._thread.serving = serving

    def leave(self) -> None:
        """Nothing runs on this thread."""
        self._thread.serving = None

    def _tell(self, values: Any) -> None:
        values[0] = double(self._now())

    def _sleep(self, values: Any) -> None:
        pause(self.current, as_double(values[0]) / 1000)

    def _random(self, values: Any) -> str | None:
        size = min(_u32(values[2]), _MOST_RANDOM)
        try:
            self.current.put(_u32(values[0]), os.urandom(size))
        except GuestFault:
            return "random: the place is not in the guest's memory"
        return None

    def _find(self, values: Any) -> str | None:
        serving = self.current
        try:
            size = min(_u32(values[2]), _LONGEST_NAME)
            name = serving.get(_u32(values[0]), size).decode(errors="replace")
        except GuestFault:
            return "library: the name is not in the guest's memory"
        found = self._library.get(name)
        if found is None and name.startswith(FOLDER):
            found = zone(name.removeprefix(FOLDER))
        serving.answer = found or b""
        values[0] = _NONE if found is None else len(found)
        return None

    def _ask(self, values: Any) -> str | None:
        serving = self.current
        try:
            size = min(_u32(values[2]), LARGEST_REQUEST + 1)  # one more is refused, and not copied whole
            answer = serving.ask(serving.get(_u32(values[0]), size))
        except GuestFault:
            return "ask: the request is not in the guest's memory"
        if answer.refusal:
            serving.refusals.append((serving.done(), answer.refusal))
        serving.answer = answer.text
        values[0] = len(serving.answer)
        return None

    def _take(self, values: Any) -> str | None:
        serving = self.current
        try:
            serving.put(_u32(values[0]), serving.answer)
        except GuestFault:
            return "take: the answer does not fit into the guest's memory there"
        serving.answer = b""
        return None


def _ignore(_at: int, _size: int) -> None:
    """Nobody keeps count of what is written."""


def pause(serving: CallContext, seconds: float) -> None:
    """Sleep; raises `OutOfTime` at the end of the call's time."""
    left = serving.until - time.monotonic()
    if seconds > 0:  # false for NaN, too
        with waiting():
            time.sleep(max(0.0, min(seconds, left)))
        if seconds >= left:
            raise OutOfTime


def _u32(value: int) -> int:
    return value & 0xFFFFFFFF
