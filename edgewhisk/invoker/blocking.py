"""Calls that somebody waits for and that run on the event loop: gathered, so that they share a write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgewhisk.entity.activation import Record
from edgewhisk.entity.invocation.message import ActivationMessage
from edgewhisk.errors import StorageError

Waiter = asyncio.Future[Record]


class Call(NamedTuple):
    """One of them."""

    message: ActivationMessage
    waiter: Waiter


class BlockingCalls:
    """Called on the event loop.

    What comes in one turn of the loop is run in the next one. While the records of the last ones are being
    written, what arrives waits: it could not be on disk before the next write anyway, and goes along
    with it in one.
    """

    def __init__(self, release: Callable[[Sequence[Call]], None]) -> None:
        """`release` gets the calls of a turn."""
        self._release = release
        self._loop = asyncio.get_running_loop()
        self._gathered: list[Call] = []
        self._writing = 0  # batches whose records are on their way to the disk

    def __len__(self) -> int:
        """How many wait."""
        return len(self._gathered)

    def add(self, call: Call) -> None:
        """Run a call in the next turn, with others that come in this one."""
        if not self._gathered and not self._writing:
            self._loop.call_soon(self._next)
        self._gathered.append(call)

    def writes(self) -> None:
        """The records of a batch are on their way to the disk."""
        self._writing += 1

    def wrote(self) -> None:
        """They are on disk, or refused."""
        self._writing -= 1
        if self._gathered and not self._writing:
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        if not self._writing:
            calls, self._gathered = self._gathered, []
            self._release(calls)


def deliver(waiters: Sequence[Waiter | None], records: Sequence[Record], error: StorageError | None) -> None:
    """Give records to those who wait."""
    for waiter, record in zip(waiters, records, strict=True):
        if waiter is None or waiter.done():
            continue
        if error is None:
            waiter.set_result(record)
        else:
            waiter.set_exception(error)
