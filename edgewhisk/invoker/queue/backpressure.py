"""Who must wait for room in the queue: sources hold back, callers are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from edgewhisk.base.room import Room, full, roomy, scarce
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.invoker.queue.queue import Queue


class HeldBack(NamedTuple):
    """A source that waits for room."""

    resume: Callable[[], None]
    triggers: Sequence[str]


class Backpressure:
    """Called on the event loop."""

    def __init__(self, queue: Queue, bound: int) -> None:
        """`bound` places for what waits in the queue and what the event loop has run."""
        self._queue = queue
        self._bound = bound
        self._loop = asyncio.get_running_loop()
        self._held_back: list[HeldBack] = []
        self.under_way = Room()  # what each trigger's events take that ran on the loop and are not on disk

    def __len__(self) -> int:
        """How many sources wait."""
        return len(self._held_back)

    def full(self, triggers: Iterable[FullyQualifiedName]) -> bool:
        """Whether the source of these triggers must hold back: one of them has its part of the room."""
        taken = self._taken
        return scarce(taken, self._bound) and any(
            full(self._taken_by(str(trigger)), taken, self._bound) for trigger in triggers
        )

    def on_room(self, resume: Callable[[], None], triggers: Iterable[FullyQualifiedName]) -> None:
        """Call `resume` once, on the event loop, when all of these triggers have room again."""
        self._held_back.append(HeldBack(resume, tuple(map(str, triggers))))
        self.make_room()

    def make_room(self) -> None:
        """Let sources go on whose triggers have room."""
        if not self._held_back:
            return
        taken, waiting = self._taken, self._held_back
        self._held_back = []
        for one in waiting:
            if all(roomy(self._taken_by(trigger), taken, self._bound) for trigger in one.triggers):
                self._loop.call_soon(one.resume)
            else:
                self._held_back.append(one)

    @property
    def _taken(self) -> int:
        """Places of all triggers."""
        return self._queue.room.taken + self.under_way.taken

    def _taken_by(self, trigger: str) -> int:
        return self._queue.room.of(trigger) + self.under_way.of(trigger)
