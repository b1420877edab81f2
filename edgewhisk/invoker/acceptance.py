"""Who waits for events to be on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from edgewhisk.entity.message import ActivationMessage
from edgewhisk.errors import StorageError
from edgewhisk.spi import Committed


class Acceptance:
    """When all of a batch that must be on disk is."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Pending once, for who makes it."""
        self.future: asyncio.Future[None] = loop.create_future()
        self.pending = 1
        self._error: StorageError | None = None

    def settle(self, error: StorageError | None = None) -> None:
        """One of the pending writes is on disk, or refused."""
        self.pending -= 1
        self._error = self._error or error
        if self.pending or self.future.done():
            return
        if self._error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(self._error)


class Waiting(NamedTuple):
    """Who waits for events to be on disk."""

    messages: list[ActivationMessage]
    accepted: list[Acceptance]

    def give_up(self) -> Waiting:
        """Who waits; told once."""
        given = Waiting([*self.messages], [*self.accepted])
        self.messages.clear()
        self.accepted.clear()
        return given


def on_loop(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: object) -> Committed:
    """What the commit thread calls to have `callback` called on the loop, with `arguments` and the error."""

    def done(error: StorageError | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(partial(callback, *arguments, error))

    return done
