"""A `Fire` that keeps what it is given and lets a test decide when it is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from edgewhisk.entity.invocation.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import StorageError


class RecordingFire:
    """`spi.Fire`. What it gets is on disk at once, unless it was told to `hold`."""

    def __init__(self) -> None:
        """Start empty, with room."""
        self.calls: list[tuple[TriggerEvent, ...]] = []  # one entry for each call, in order
        self.held: list[asyncio.Future[None]] = []  # not yet on disk, in order
        self.resumed = 0  # how many feeds were told that there is room again
        self._holding = False
        self._full = False
        self._crammed: set[FullyQualifiedName] = set()
        self._refusing = False
        self.waiting: list[Callable[[], None]] = []  # feeds that hold back
        self._changed = asyncio.Event()

    @property
    def events(self) -> list[TriggerEvent]:
        """Everything that was fired, in order."""
        return [event for call in self.calls for event in call]

    @property
    def payloads(self) -> list[bytes]:
        """The payload of everything that was fired, in order."""
        return [event.payload for event in self.events]

    def __call__(self, events: Sequence[TriggerEvent]) -> asyncio.Future[None]:
        """Keep `events`, unless the disk would have to and refuses."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._refusing and any(event.durable for event in events):
            future.set_exception(StorageError("the disk is full"))
            return future
        self.calls.append(tuple(events))
        if self._holding:
            self.held.append(future)
        else:
            future.set_result(None)
        self._changed.set()
        return future

    def full(self, triggers: Iterable[FullyQualifiedName]) -> bool:
        """Whether the test said so, of all triggers or of one of these."""
        return self._full or not self._crammed.isdisjoint(triggers)

    def on_room(self, resume: Callable[[], None], triggers: Iterable[FullyQualifiedName]) -> None:
        """Keep `resume` until `make_room`."""
        del triggers
        self.waiting.append(resume)

    def hold(self) -> None:
        """From now on nothing is on disk until `commit` or `fail`."""
        self._holding = True

    def refuse(self, *, on: bool = True) -> None:
        """From now on (or no more) the disk refuses: what is durable starts nothing."""
        self._refusing = on

    def commit(self, count: int | None = None) -> None:
        """Put the oldest `count` held calls on disk; without `count` all, and stop holding."""
        if count is None:
            self._holding = False
        self._settle(count, None)

    def fail(self, count: int | None = None) -> None:
        """Let the disk refuse the oldest `count` held calls; without `count` all, and stop holding."""
        if count is None:
            self._holding = False
        self._settle(count, StorageError("the disk is full"))

    def fill(self, *triggers: FullyQualifiedName) -> None:
        """Have no room from now on: for these triggers, or for any."""
        self._full = not triggers
        self._crammed = set(triggers)

    def make_room(self) -> None:
        """Have room again and tell everybody who asked."""
        self._full = False
        self._crammed.clear()
        waiting, self.waiting = self.waiting, []
        for resume in waiting:
            resume()
            self.resumed += 1

    async def wait_for(self, condition: Callable[[RecordingFire], bool], seconds: float = 20) -> None:
        """Return when `condition` holds, looked at after each call; raises `TimeoutError`."""
        async with asyncio.timeout(seconds):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()

    async def count(self, events: int, seconds: float = 20) -> list[TriggerEvent]:
        """The events, when there are at least that many; raises `TimeoutError`."""
        await self.wait_for(lambda fire: len(fire.events) >= events, seconds)
        return self.events

    def _settle(self, count: int | None, error: StorageError | None) -> None:
        count = len(self.held) if count is None else count
        settled, self.held = self.held[:count], self.held[count:]
        for future in settled:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
