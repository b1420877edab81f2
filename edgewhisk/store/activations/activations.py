"""The activation store: accepted events, activations and sync marks, on logs that share commits.

Records are numbered without gaps in each lane; the number is what the cloud counts by. Everything
written goes through the committer, so one fdatasync covers events, records and marks alike.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from heapq import merge
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from edgewhisk import jsontext
from edgewhisk.clock.history import ClockHistory
from edgewhisk.config.schema import BufferConfig
from edgewhisk.config.schema import LaneConfig as Policy
from edgewhisk.entity.activation import Record, index_key
from edgewhisk.entity.annotations.lane import ERRORS, LANES, NORMAL
from edgewhisk.entity.invocation.message import ActivationMessage, Status
from edgewhisk.entity.records.foreign import taken
from edgewhisk.entity.records.record_block import RecordBlock, with_origins
from edgewhisk.entity.records.stats import BufferStats
from edgewhisk.errors import UNREADABLE, MalformedContent, StorageError
from edgewhisk.spi import Clock, Committed, Query, Starts, SyncBatch
from edgewhisk.store.activations.catalog import CatalogMatch
from edgewhisk.store.activations.index import fingerprint
from edgewhisk.store.activations.lane import Lane
from edgewhisk.store.activations.log_state import (
    ABSORBED,
    FINISHED,
    event_frame,
    lost_frame,
    message_of,
    origins_frame,
    passed_frame,
    started_frame,
)
from edgewhisk.store.activations.loss import DAMAGED, EVICTED, EXPIRED, REFUSED, REJECTED, Loss
from edgewhisk.store.activations.outgoing import batch, oldest, passing, refused, straight
from edgewhisk.store.activations.partitions import Partitions
from edgewhisk.store.activations.routes import MARKS, PASSES, RECORDS, SHEAVES
from edgewhisk.store.log.committer import Committer, Work
from edgewhisk.store.log.disk import Disk, RealDisk
from edgewhisk.store.log.frames import Frame

LOSSES: Final = (EVICTED, EXPIRED, REJECTED, DAMAGED, REFUSED)
LOOK: Final = 2.0  # seconds between two tries of a disk that refused
_OP: dict[tuple[str, bool], str] = {
    (lane, succeeded): RECORDS[lane if succeeded else ERRORS] for lane in LANES for succeeded in (True, False)
}


LOOKED: Final = 32  # segments that `patrol` looks through at once: about 32 MB
_TOLD: Final = 100  # incidents among which one is looked for, so as not to be told again


class ActivationLog:
    """`spi.ActivationStore` on a directory."""

    def __init__(self, records: Partitions, clock: Clock, commit_window: float) -> None:
        """Over recovered `records`. Use `open`."""
        self.device = records.normal.device
        self.on_commit: Callable[[], None] = lambda: None
        self._records = records
        self._boots = records.history
        self._clock = clock
        self._lanes = records.lanes
        self._ledger = records.normal.log_state
        self._begun = self._ledger.begun(clock.timing.boot)  # before what this life begins
        self._absorbing = threading.Lock()
        self._looked = 0.0  # monotonic, when a disk that refused was last tried
        self.unreadable = 0  # records and events that were asked for and are whole, but cannot be read
        self._committer = Committer(self._write, commit_window, "commit-activations")

    @classmethod
    def open(
        cls,
        directory: Path,
        settings: BufferConfig,
        clock: Clock,
        *,
        lanes: Mapping[str, Policy] | None = None,
        disk: Disk | None = None,
        others: Callable[[], int] = lambda: 0,
        history: ClockHistory | None = None,
        earliest: Callable[[], int] | None = None,
    ) -> ActivationLog:
        """Recover what is there, or begin anew; raises `StorageError`. Blocks.

        `others`, `boots`, `earliest`: as `Partitions` takes them.
        """
        disk = disk or RealDisk()
        records = Partitions(
            disk, directory, settings, clock, lanes=lanes, others=others, history=history, earliest=earliest
        )
        records.recover()
        return cls(records, clock, settings.commit_window)

    @property
    def incidents(self) -> list[str]:
        """What was odd at start."""
        return [line for lane in self._lanes.values() for line in lane.incidents]

    @property
    def refusal(self) -> str:
        """See `spi.ActivationStore`."""
        found = self._records.refusal
        if found and self._clock.monotonic() >= self._looked + LOOK:
            self._looked = self._clock.monotonic()
            self._committer.submit([], lambda _: None, urgent=True)
        return found

    def close(self) -> None:
        """Write what waits."""
        self._committer.close()
        self._records.close()

    # -- writing -----------------------------------------------------------------------------------

    def accept(self, messages: Sequence[ActivationMessage], done: Committed, *, urgent: bool) -> None:
        """See `spi.ActivationStore`."""
        timing = self._clock.timing
        self._committer.submit([event_frame(message, timing) for message in messages], done, urgent=urgent)

    def record(
        self,
        records: Sequence[Record],
        done: Committed,
        *,
        urgent: bool,
        origins: Sequence[str] = (),
        block: RecordBlock | None = None,
    ) -> None:
        """See `spi.ActivationStore`."""
        success = Status.SUCCESS
        frames = [
            Frame(_OP[lane, status is success], 0, text, 0, 0, (filed, start, key, timing) if filed else None)
            for key, text, status, _, lane, filed, start, timing in records
        ]
        if block is not None:
            text = block.text
            if origins and block.lane == NORMAL:  # 5 us less than a frame of their own
                text, origins = with_origins(text, origins), ()
            frames.append(Frame(SHEAVES[block.lane], 0, text, about=block.gist))
        if origins:
            frames.append(origins_frame(origins))
        self._committer.submit(frames, done, urgent=urgent)

    def begin(self, activation_ids: Sequence[str], done: Committed) -> None:
        """See `spi.ActivationStore`."""
        self._committer.submit([started_frame(activation_ids, self._clock.timing.boot)], done, urgent=True)

    def confirm(self, epoch: str, upto: int) -> None:
        """See `spi.ActivationStore`."""
        for name, lane in self._lanes.items():
            if lane.epoch == epoch:
                upto = min(upto, lane.log_state.last)
                if (loss := refused(lane, upto)) is not None:  # before: a crash must not leave it untold
                    self._commit([lost_frame(loss)])
                self._commit([Frame(MARKS[name], upto, b"")])

    def pass_over(self, epoch: str, numbers: tuple[int, ...]) -> None:
        """See `spi.ActivationStore`."""
        for name, lane in self._lanes.items():
            if lane.epoch == epoch and (passed := passing(lane, numbers)) != lane.log_state.passed:
                self._commit([passed_frame(passed)._replace(op=PASSES[name])])

    def absorb(self, device: str, epoch: str, batch: SyncBatch) -> int:
        """See `spi.ActivationStore`; raises `MalformedContent` for records that are none."""
        sender = f"{device}:{epoch}"
        with self._absorbing:
            have = self._ledger.absorbed.get(sender, batch.first - 1)
            if batch.first > have + 1 and not batch.declares_gap(have):
                return have
            count = len(batch.records) - max(0, have + 1 - batch.first)
            if count <= 0:
                return have
            records = [_taken(text, batch.first + at) for at, text in enumerate(batch.records)]
            fresh = records[-count:]
            known = self._known([found for found, _ in fresh])
            frames = [Frame(RECORDS[NORMAL], 0, text) for found, text in fresh if found not in known]
            self._commit([*frames, Frame(ABSORBED, batch.last, sender.encode())])
            return batch.last

    def tend(self) -> None:
        """See `spi.ActivationStore`."""
        with suppress(StorageError):  # a disk that refuses is told to those who have something to write
            self._commit([])

    # -- reading -----------------------------------------------------------------------------------

    def unfinished(self) -> list[ActivationMessage]:
        """See `spi.ActivationStore`."""
        found: list[ActivationMessage] = []
        lost: list[str] = []
        with self._records.lock:
            now, moment = self._clock.now(), self._boots.moment
            for key, frame in self._ledger.events.items():
                try:
                    found.append(message_of(frame, moment, now))
                except UNREADABLE as error:
                    self._set_aside(f"the accepted event {key}", error)
                    lost.append(key)
        if lost:  # it can never be run: it ends as a loss, which an activation tells
            loss = Loss(NORMAL, DAMAGED, len(lost), now, now)
            ended = [Frame(FINISHED, 0, key.encode()) for key in lost]
            with suppress(StorageError):  # it is found again
                self._commit([lost_frame(loss), *ended])
        return found

    def starts(self) -> dict[str, Starts]:
        """See `spi.ActivationStore`."""
        with self._records.lock:
            return {key: found for key, found in self._begun.items() if key in self._ledger.events}

    def origins(self) -> list[str]:
        """See `spi.ActivationStore`."""
        return list(dict.fromkeys(self._ledger.origins))

    def get(self, activation_id: str) -> dict[str, Any] | None:
        """See `spi.ActivationStore`."""
        for lane in self._used():
            text = lane.catalog.find(activation_id)
            if text is not None and (found := self._read(text)) is not None:
                return found
        return None

    def list(self, query: Query) -> list[dict[str, Any]]:
        """The records that `query` finds, newest first, all of them in memory."""
        return list(self.records(query))

    def records(self, query: Query) -> Iterator[dict[str, Any]]:
        """See `spi.ActivationStore`."""
        found = (self._read(text) for text in self._texts(query))
        return islice((one for one in found if one is not None), query.limit)

    def count(self, query: Query) -> int:
        """See `spi.ActivationStore`."""
        return sum(lane.catalog.count(query) for lane in self._used())

    def pending(self, max_records: int, max_bytes: int) -> SyncBatch:
        """See `spi.ActivationStore`. Ends before a number that is missing (evicted, damaged)."""
        waiting = [lane for name in reversed(LANES) if (lane := self._lanes[name]).unsynced() > 0]
        batches = (
            batch(lane, self._boots, max_records, max_bytes) for lane in chain(waiting, [self._lanes[NORMAL]])
        )
        found = next(batches)
        return found if found.records else next((batch for batch in batches if batch.records), found)

    def patrol(self, most: int = LOOKED) -> int:
        """Look through some of what earlier lives wrote; the log state is told what cannot be read.

        Returns how many segments those were.
        """
        damage, looked = self._records.damage(), 0
        for lane in self._lanes.values():
            for segment in lane.unlooked(most):
                looked += 1
                if (found := lane.look(segment)) is not None and self._ledger.news(found):
                    damage.append(found)
        if damage:
            with suppress(StorageError):  # it is found again
                self._commit([one.frame() for one in damage])
        return looked

    def stats(self) -> BufferStats:
        """See `spi.ActivationStore`."""
        with self._records.lock:
            lanes = {name: self._account(name, lane) for name, lane in self._lanes.items()}
            logs = [lane.log for lane in self._lanes.values()]
            worn, ran = self._records.wear()
            return BufferStats(
                records=sum(told["records"] for told in lanes.values()),
                unsynced=sum(told["unsynced"] for told in lanes.values()),
                unfinished=len(self._ledger.open),
                bytes=sum(told["bytes"] for told in lanes.values()),
                written=sum(log.written for log in logs),
                commits=sum(log.commits for log in logs),
                evicted=sum(told[EVICTED] for told in lanes.values()),
                expired=sum(told[EXPIRED] for told in lanes.values()),
                rejected=sum(told[REJECTED] for told in lanes.values()),
                refused=sum(told[REFUSED] for told in lanes.values()),
                corrupt=sum(lane.corrupt + lane.catalog.damaged for lane in self._lanes.values())
                + self.unreadable,
                repaired=sum(lane.repaired for lane in self._lanes.values()),
                oldest=min(filter(None, map(oldest, self._lanes.values())), default=None),
                worn=self._ledger.worn + worn,
                ran=int(self._ledger.ran + ran),
                lanes=lanes,
            )

    def _account(self, name: str, lane: Lane) -> dict[str, int]:
        lost = {why: self._ledger.lost.get((name, why), 0) for why in LOSSES}
        return {
            "records": lane.log_state.last - lane.oldest + 1,
            "unsynced": lane.unsynced(),
            "bytes": lane.log.held,
            "max_bytes": self._records.policies[name].max_bytes,
            **lost,
        }

    def _used(self) -> Sequence[Lane]:
        return [lane for lane in self._lanes.values() if lane.log.segments]

    def _texts(self, query: Query) -> Iterator[bytes]:
        """What `query` finds behind what it skips; damaged records are left out."""
        used = self._used()

        def matches(lane: Lane) -> Iterator[tuple[Lane, CatalogMatch]]:
            return ((lane, match) for match in lane.catalog.matches(query))

        streams = [matches(lane) for lane in used]
        found = streams[0] if len(used) == 1 else merge(*streams, key=_order, reverse=True)
        for lane, match in islice(found, query.skip, None):
            if (text := lane.catalog.read(match)) is not None:
                yield text

    def _read(self, text: bytes) -> dict[str, Any] | None:
        """A record; None, told and counted, if it is none."""
        try:
            found: dict[str, Any] = jsontext.loads(straight(self._boots, text))
            index_key(found)
        except UNREADABLE as error:
            self._set_aside("an activation", error)
            return None
        return found

    def _set_aside(self, what: str, error: Exception) -> None:
        """Tell of what is whole but cannot be read: it stays where it is; `buffer export` shows it."""
        self.unreadable += 1
        line = f"{self._records.normal.log.directory}: {what} cannot be read and is left out: {error!r}"
        told = self._records.normal.incidents
        if line not in told[-_TOLD:]:
            told.append(line)

    def _known(self, ids: Sequence[str]) -> set[str]:
        """Which of `ids` are here already."""
        marks = {found: int.from_bytes(fingerprint(found), sys.byteorder) for found in ids}
        wanted, suspects = set(marks.values()), set[int]()
        for lane in self._used():
            suspects |= lane.catalog.suspects(wanted)
        return {found for found in ids if marks[found] in suspects and self.get(found)}

    # -- the commit thread -------------------------------------------------------------------------

    def _commit(self, frames: Sequence[Frame]) -> None:
        """Make one group durable and wait for it; raises `StorageError`."""
        finished = threading.Event()
        errors: list[StorageError] = []

        def done(error: StorageError | None) -> None:
            if error is not None:
                errors.append(error)
            finished.set()

        self._committer.submit(frames, done, urgent=True)
        finished.wait()
        if errors:
            raise errors[0]

    def _write(self, round_: Sequence[Work]) -> None:
        """Write a round of groups; one without frames is `tend`."""
        if not all(work.frames for work in round_):
            self._records.tend()
        self._records.write(chain.from_iterable(work.frames for work in round_))
        self.on_commit()


def _order(found: tuple[Lane, CatalogMatch]) -> tuple[int, int]:
    lane, match = found
    return lane.catalog.order(match)


def _taken(text: bytes, number: int) -> tuple[str, bytes]:
    try:
        return taken(jsontext.loads(text))
    except (jsontext.NotJson, MalformedContent) as error:
        raise MalformedContent(f"record {number} is no activation: {error}") from None
