"""Calls of brief actions that somebody waits for: run on the event loop, together with others of the turn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgewhisk.entity.activation import Record
from edgewhisk.entity.arguments import Bound
from edgewhisk.entity.message import ActivationMessage
from edgewhisk.errors import StorageError
from edgewhisk.invoker.acceptance import on_loop
from edgewhisk.invoker.runner import Runner
from edgewhisk.spi import ActivationStore

_log = logging.getLogger(__name__)

Waiter = asyncio.Future[Record]


class Asked(NamedTuple):
    """A call that somebody waits for."""

    bound: Bound
    message: ActivationMessage
    waiter: Waiter


class Calls:
    """Called on the event loop."""

    def __init__(
        self,
        runner: Runner,
        store: ActivationStore,
        take_call: Callable[[ActivationMessage, Waiter], None],
        busy: Callable[[], bool],
        refused: Callable[[int, StorageError], None],
    ) -> None:
        """`take_call` gives one to the workers, `busy` is whether they are at work; see `Hands`."""
        self._runner = runner
        self._store = store
        self._take_call = take_call
        self._busy = busy
        self._refused = refused
        self._loop = asyncio.get_running_loop()
        self._asked: list[Asked] = []
        self._writing = 0  # turns whose records are on their way to the disk

    def run(self, asked: Asked) -> None:
        """Run a call in the next turn of the loop, together with others that come in this one."""
        if not self._asked and not self._writing:
            self._loop.call_soon(self._answer)
        self._asked.append(asked)

    def _answer(self) -> None:
        """Run what was asked for, if no worker is at it: the sandboxes are free then.

        While the records of the last turn are being written, what arrives waits: it could not be on
        disk before the next write anyway, and goes along with it in one.
        """
        if self._writing:
            return
        asked, self._asked = self._asked, []
        groups: dict[tuple[object, ...], list[Asked]] = {}
        for one in asked:
            message = one.message
            key = (message.action, message.binding, message.namespace, message.subject)
            groups.setdefault(key, []).append(one)
        for group in groups.values():
            records = () if self._busy() else self._records(group[0].bound, [one.message for one in group])
            waited = [(one.waiter, record) for one, record in zip(group, records, strict=False)]
            if waited:
                self._writing += 1
                self._store.record(records, on_loop(self._loop, self._written, waited), urgent=True)
            for one in group[len(records) :]:
                self._take_call(one.message, one.waiter)

    def _records(self, bound: Bound, messages: Sequence[ActivationMessage]) -> Sequence[Record]:
        """Run what can be run here; no record for what a worker must run."""
        if not self._runner.brief(bound):
            return ()
        flight = self._runner.flight(bound, (bound,), messages)
        try:
            return self._runner.records(flight) if self._runner.hurry(flight) else ()
        except Exception:  # noqa: BLE001 - supervisor: those who wait outlive a fault in our own code
            _log.exception("runs of %s could not be written down", bound.action.name)
            return self._runner.failed(flight.messages)

    def _written(self, waited: Sequence[tuple[Waiter, Record]], error: StorageError | None) -> None:
        """The records of a turn are on disk, or refused."""
        self._writing -= 1
        if error is not None:
            self._refused(len(waited), error)
        deliver(waited, error)
        if self._asked and not self._writing:
            self._loop.call_soon(self._answer)


def deliver(waited: Sequence[tuple[Waiter, Record]], error: StorageError | None) -> None:
    """Give records to those who wait."""
    for waiter, record in waited:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(record)
        else:
            waiter.set_exception(error)
