"""The loop that keeps the cloud up to date: a thin shell around `uplink`."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

from edgewhisk import jsontext
from edgewhisk.base.wakeable import wakeable_sleep
from edgewhisk.errors import UNREADABLE, CloudError, StorageError
from edgewhisk.spi import ActivationStore, Clock, Cloud, SyncBatch
from edgewhisk.sync import batch as batches
from edgewhisk.sync.client import Busy, CloudRefusal, TooMuch, Unfit
from edgewhisk.sync.doubt import Doubt
from edgewhisk.sync.uplink import Effect, Event, UplinkState, step

_log = logging.getLogger(__name__)

PAUSE: Final = (1.0, 300.0)  # seconds after a failure: first, longest
PAUSE_LONG: Final = 60.0  # seconds between probes while a person is needed
MINUTE: Final = 60_000  # ms


async def _at_once() -> None:
    """Nothing has to settle."""


class Sync:
    """Sends what the store has not had confirmed, in order, one batch at a time."""

    def __init__(
        self,
        store: ActivationStore,
        cloud: Cloud,
        clock: Clock,
        *,
        interval: float,
        longest_pause: float = PAUSE[1],
        settled: Callable[[], Awaitable[None]] = _at_once,
        key_ends: Callable[[], datetime | None] = lambda: None,
    ) -> None:
        """`interval`: seconds between two batches at least, for the cloud's rate limit.

        `settled` is waited for whenever the cloud is there again, before anything is sent: the clock.
        `key_ends`: when the key that is in use does, if that is known.
        """
        self._key_ends = key_ends
        self._store = store
        self._cloud = cloud
        self._clock = clock
        self._interval = interval
        self._longest_pause = longest_pause
        self._settled = settled
        self._ready = False  # whether it has been waited for since the cloud was away
        self._pause = 0.0
        self._size = batches.MAX_BATCH_BYTES  # bytes of a batch
        self._most = batches.MAX_BATCH_RECORDS  # records of one
        self._doubt = Doubt()
        self._asked: set[str] = set()  # epochs of which this life knows what the cloud has
        self._sent = -interval  # monotonic seconds of the last request
        self._news = asyncio.Event()
        self._told = asyncio.Event()  # try again now
        self._next: float | None = None  # seconds to pause, when the cloud said so
        self.state = UplinkState.OFFLINE
        self.last_error = ""
        self.last_success: int | None = None  # ms since the epoch
        self.batches = self.records = 0
        self.last_refused = ""  # activation id of the record that was refused last

    def wake(self) -> None:
        """There is something new; call on the event loop."""
        self._news.set()

    def retry_now(self) -> None:
        """Try again now: what kept the cloud away may be over."""
        self._told.set()

    def describe(self) -> dict[str, Any]:
        """For `status`."""
        return {
            "state": self.state.value,
            "last_error": self.last_error,
            "last_success": self.last_success,
            "batches": self.batches,
            "records": self.records,
            "last_refused": self.last_refused,
            "in_doubt": [_id_of(one) for one in self._doubt.passed],
            **({"key_ends": int(ends.timestamp() * 1000)} if (ends := self._key_ends()) else {}),
        }

    async def run(self) -> None:
        """Serve until cancelled."""
        self.state, effect = step(UplinkState.OFFLINE, Event.PAUSE_OVER)
        while True:
            self.state, effect = step(self.state, await self._do(effect))

    async def _do(self, effect: Effect) -> Event:
        if effect in (Effect.PAUSE, Effect.PAUSE_LONG):
            await wakeable_sleep(
                PAUSE_LONG if effect is Effect.PAUSE_LONG else self._next_pause(), self._told
            )
            return Event.PAUSE_OVER
        if effect is Effect.WAIT:
            await self._news.wait()
            return Event.BUFFERED
        try:
            return await (self._ask() if effect is Effect.ASK else self._send())
        except CloudRefusal as error:
            return self._failed(Event.REFUSED, error.advice)
        except Busy as error:
            left = (MINUTE - self._clock.now() % MINUTE) / 1000 if error.after is None else error.after
            self._next = left + random.uniform(0, min(10, 1 + left / 2))  # noqa: S311 - jitter
            return self._failed(Event.FAILED, str(error))
        except (CloudError, StorageError) as error:
            return self._failed(Event.FAILED, str(error))

    async def _ask(self) -> Event:
        """What does the cloud have? It may be more than we were told: an answer got lost."""
        pending = await asyncio.to_thread(self._store.pending, 1, 1)
        have = await self._request(pending._replace(records=()))
        if pending.records and have >= pending.first:
            believed = await self._believed(have, pending)
            await asyncio.to_thread(self._store.confirm, pending.epoch, believed)
        if pending.epoch not in self._asked:  # what an earlier life doubted is tried again
            await asyncio.to_thread(self._store.pass_over, pending.epoch, ())
            self._asked.add(pending.epoch)
        return Event.ANSWERED

    async def _believed(self, have: int, sent: SyncBatch) -> int:
        """How far the cloud is, of what can have been sent; raises `CloudRefusal` for a mark beyond that.

        It would have records taken for synced that are not. More than `sent` may be there: one batch, of
        the largest size, may have lost its answer.
        """
        if have <= sent.last:
            return have
        largest = await asyncio.to_thread(
            self._store.pending, batches.MAX_BATCH_RECORDS, batches.MAX_BATCH_BYTES
        )
        if largest.epoch != sent.epoch:  # something more urgent came meanwhile
            return sent.last
        if have <= largest.last:
            return have
        raise CloudRefusal(
            f"the cloud says that it has records up to {have}, but can have been sent up to {largest.last} "
            "at most; none is taken for synced by that",
            hint="its ingest action is wrong, or the state of this gateway is an old copy: then delete the "
            "files named identity in its buffer, for new numbers",
        )

    async def _send(self) -> Event:
        self._news.clear()
        pending = await asyncio.to_thread(self._store.pending, self._most, self._size)
        if not pending.records:
            self._pause = 0.0
            return Event.EMPTY
        if not self._ready:
            await self._settled()
            self._ready = True
            return Event.ANSWERED  # what is pending may read otherwise now
        if pending.epoch not in self._asked:
            return await self._ask()
        try:
            if self._doubt.passed and await self._taken_now(self._doubt.passed[0]):
                return Event.ANSWERED
            have = await self._request(pending)
        except Unfit as error:
            return await self._narrow(pending, error)
        if have < pending.first:
            raise CloudError(f"the cloud has records up to {have}, but was sent from {pending.first} on")
        believed = min(await self._believed(have, pending), pending.last)
        await self._settle()
        await asyncio.to_thread(self._store.confirm, pending.epoch, believed)
        self._most = min(batches.MAX_BATCH_RECORDS, self._most * 2)
        self._pause = 0.0  # only now: a cloud may answer questions and take nothing
        self.batches += 1
        self.records += len(pending.records)
        return Event.ANSWERED

    async def _narrow(self, sent: SyncBatch, error: Unfit) -> Event:
        """Look for the record for which a batch was refused; pass over one that is refused alone for long."""
        text = error.advice
        if (count := len(sent.records)) > 1:
            if isinstance(error, TooMuch):
                self._size = sum(map(len, sent.records)) // 2
            else:
                self._most = count // 2
            return self._failed(Event.DIVIDED, text)
        self._size = batches.MAX_BATCH_BYTES
        told = f"{text}: activation {_id_of(sent)} alone"
        if not self._doubt.refused(sent, self._clock.monotonic()):
            return self._failed(Event.REFUSED, told)
        if self._doubt.general:
            await self._withdraw()
            return self._failed(Event.REFUSED, f"{told}, as all before it: none is set aside")
        await asyncio.to_thread(self._store.pass_over, sent.epoch, self._doubt.of(sent.epoch))
        return self._failed(Event.DIVIDED, told)

    async def _taken_now(self, first: SyncBatch) -> bool:
        """Whether the cloud takes the first in doubt now; then it was at fault, and nothing is in doubt."""
        try:
            have = await self._request(first)
        except Unfit:
            return False
        await self._withdraw()
        if have >= first.first:
            await asyncio.to_thread(self._store.confirm, first.epoch, first.first)
        return True

    async def _withdraw(self) -> None:
        for epoch in {one.epoch for one in self._doubt.settle()}:
            await asyncio.to_thread(self._store.pass_over, epoch, ())

    async def _settle(self) -> None:
        """The cloud takes others: what is in doubt is refused for good."""
        for one in self._doubt.settle():
            await asyncio.to_thread(self._store.confirm, one.epoch, one.first)
            self.last_refused = _id_of(one)
            _log.warning("the cloud refuses activation %s for good: it is kept here only", self.last_refused)

    async def _request(self, batch: SyncBatch) -> int:
        wait = self._sent + self._interval - self._clock.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        self._sent = self._clock.monotonic()
        have = await self._cloud.send(self._store.device, batch.epoch, batch)
        self.last_success = self._clock.now()
        self.last_error = ""
        return have

    def _failed(self, event: Event, text: str) -> Event:
        self._ready = False
        if text != self.last_error:
            _log.warning("cloud: %s", text)
        self.last_error = text
        return event

    def _next_pause(self) -> float:
        """Growing, with jitter, unless the cloud said how long."""
        told, self._next = self._next, None
        if told is not None:
            return max(told, PAUSE[0])
        first = PAUSE[0]
        grown = max(first, min(self._longest_pause, self._pause * 3))
        self._pause = first + (grown - first) * random.random() if self._pause else first  # noqa: S311
        return self._pause


def _id_of(alone: SyncBatch) -> str:
    """The activation id of a batch's record, for a person."""
    try:
        return str(jsontext.loads(alone.records[0])["activationId"])
    except UNREADABLE:
        return f"number {alone.first}"
