"""The activation store: one log for accepted events, activations and sync marks.

Records are numbered without gaps; the number is what the cloud counts by. Everything written goes
through the committer, so one fdatasync covers events, records and marks alike.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Final

import orjson

from edgewhisk.buffer.committer import Committer, Work
from edgewhisk.buffer.identity import store_identity
from edgewhisk.buffer.index import ACTIVATION, Index, fingerprint, id_of
from edgewhisk.buffer.journal import Frame
from edgewhisk.buffer.ledger import (
    ABSORBED,
    CONFIRMED,
    EVENT,
    EVICTED,
    HEADER,
    Ledger,
    checked_id,
    event_frame,
    message_of,
    origins_frame,
    started_frame,
)
from edgewhisk.buffer.log import Log, Segment, storage_error
from edgewhisk.entity.activation import Record
from edgewhisk.entity.boots import Boots
from edgewhisk.entity.message import ActivationMessage
from edgewhisk.errors import StorageError
from edgewhisk.spi import Batch, BufferStats, Clock, Committed, Query, Starts

_RECENT: Final = 2  # segments read at start at least, for the origins of what was accepted last


class Activations:
    """`spi.ActivationStore` on a directory."""

    def __init__(self, directory: Path, max_bytes: int, clock: Clock, boots: Boots, *, cloud: bool) -> None:
        """Use `open`, which recovers."""
        self.device, self.epoch = "", ""
        self.incidents: list[str] = []
        self.on_commit: Callable[[], None] = lambda: None
        self._directory = directory
        self._max_bytes = max_bytes
        self._clock = clock
        self._boots = boots
        self._cloud = cloud
        self._log = Log(directory)
        self._ledger = Ledger()
        self._lock = threading.RLock()  # guards the log's list of segments, the indexes, the ledger
        self._absorbing = threading.Lock()
        self._indexes: dict[Segment, Index] = {}
        self._corrupt = 0
        self._committer: Committer

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        max_bytes: int,
        commit_window: float,
        cloud: bool,
        clock: Clock,
        boots: Boots | None = None,
    ) -> Activations:
        """Recover what is there, or begin anew; raises `StorageError`. `boots` tell records right."""
        store = cls(directory, max_bytes, clock, boots or Boots({}), cloud=cloud)
        identity = store_identity(directory, fresh=not store._log.segments)
        store.device, store.epoch = identity.device, identity.epoch
        store.incidents += identity.incidents
        store._recover()
        store._committer = Committer(store._write, commit_window, "commit-activations")
        return store

    def close(self) -> None:
        """Write what waits."""
        self._committer.close()
        self._log.close()

    # -- writing ---------------------------------------------------------------------------------

    def accept(self, messages: Sequence[ActivationMessage], done: Committed, *, urgent: bool) -> None:
        """See `spi.ActivationStore`."""
        timing = self._clock.timing
        self._committer.submit([event_frame(message, timing) for message in messages], done, urgent=urgent)

    def record(
        self, records: Sequence[Record], done: Committed, *, urgent: bool, origins: Sequence[str] = ()
    ) -> None:
        """See `spi.ActivationStore`."""
        frames = [Frame(ACTIVATION, 0, record.text) for record in records]
        if origins:
            frames.append(origins_frame(origins))
        self._committer.submit(frames, done, urgent=urgent)

    def begin(self, activation_ids: Sequence[str], done: Committed) -> None:
        """See `spi.ActivationStore`."""
        self._committer.submit([started_frame(activation_ids, self._clock.timing.boot)], done, urgent=True)

    def confirm(self, upto: int) -> None:
        """See `spi.ActivationStore`."""
        self._commit([Frame(CONFIRMED, min(upto, self._ledger.last), b"")])

    def absorb(self, device: str, epoch: str, batch: Batch) -> int:
        """See `spi.ActivationStore`; raises `MalformedContent` for records that are none."""
        sender = f"{device}:{epoch}"
        with self._absorbing:
            have = self._ledger.absorbed.get(sender, batch.first - 1)
            if batch.first > have + 1 and not batch.declares_gap(have):
                return have
            fresh = batch.records[max(0, have + 1 - batch.first) :]
            if not fresh:
                return have
            ids = [checked_id(text, batch.first + at) for at, text in enumerate(batch.records)]
            wanted = ids[len(ids) - len(fresh) :]
            known = self._known(wanted)
            frames = [
                Frame(ACTIVATION, 0, text)
                for found, text in zip(wanted, fresh, strict=True)
                if found not in known
            ]
            self._commit([*frames, Frame(ABSORBED, batch.last, sender.encode())])
            return batch.last

    # -- reading ---------------------------------------------------------------------------------

    def unfinished(self) -> list[ActivationMessage]:
        """See `spi.ActivationStore`."""
        with self._lock:
            now, moment = self._clock.now(), self._boots.moment
            return [message_of(frame, moment, now) for frame in self._ledger.events.values()]

    def starts(self) -> dict[str, Starts]:
        """See `spi.ActivationStore`."""
        with self._lock:
            return self._ledger.begun(self._clock.timing.boot)

    def origins(self) -> list[str]:
        """See `spi.ActivationStore`."""
        return list(self._ledger.origins)

    def get(self, activation_id: str) -> dict[str, Any] | None:
        """See `spi.ActivationStore`."""
        mark = fingerprint(activation_id)
        for segment, index in self._newest_first():
            for at in index.find(mark):
                text = _read_at(segment, index, at)
                if id_of(text) == activation_id:
                    found: dict[str, Any] = orjson.loads(self._boots.straight(text))
                    return found
        return None

    def list(self, query: Query) -> list[dict[str, Any]]:
        """See `spi.ActivationStore`."""
        found: list[dict[str, Any]] = []
        wanted = query.skip + query.limit
        for record in self._matching(query):
            found.append(record)
            if len(found) >= wanted:
                break
        return found[query.skip :]

    def count(self, query: Query) -> int:
        """See `spi.ActivationStore`."""
        if query.name is None and query.since is None and query.upto is None:
            return sum(index.namespaces[query.namespace] for _, index in self._newest_first())
        return sum(1 for _ in self._matching(query))

    def pending(self, max_records: int, max_bytes: int) -> Batch:
        """See `spi.ActivationStore`. Ends before a number that is missing (evicted, damaged)."""
        with self._lock:
            confirmed = self._ledger.confirmed
            segments = self._log.segments
            at = bisect_right(segments, confirmed + 1, key=lambda segment: segment.first)
            segments = segments[max(0, at - 1) :]
        first, size = 0, 0
        texts: list[bytes] = []
        for number, text in self._after(confirmed, segments):
            first = first or number
            size += len(text)
            full = len(texts) >= max_records or size > max_bytes
            if texts and (full or number != first + len(texts)):
                break
            texts.append(self._boots.straight(text))
        return Batch(first or confirmed + 1, tuple(texts), confirmed)

    def _after(self, number: int, segments: Sequence[Segment]) -> Iterator[tuple[int, bytes]]:
        for segment in segments:
            index = self._index(segment)
            size = len(index)  # before reading: the commit thread may add records meanwhile
            if not size or index.numbers[size - 1] <= number:
                continue
            data = segment.read()
            for at in range(bisect_right(index.numbers, number, 0, size), size):
                yield index.numbers[at], data[index.starts[at] : index.starts[at] + index.lengths[at]]

    def stats(self) -> BufferStats:
        """See `spi.ActivationStore`."""
        with self._lock:
            ledger, log = self._ledger, self._log
            oldest = log.segments[0].first if log.segments else ledger.last + 1
            return BufferStats(
                records=ledger.last - oldest + 1,
                unsynced=ledger.last - max(ledger.confirmed, oldest - 1),
                unfinished=len(ledger.open),
                bytes=log.size,
                written=log.written,
                commits=log.commits,
                evicted=ledger.evicted,
                corrupt=self._corrupt,
            )

    def _matching(self, query: Query) -> Iterator[dict[str, Any]]:
        for segment, index in self._newest_first():
            if not index.namespaces[query.namespace]:
                continue
            size = len(index)  # before reading: the commit thread may add records meanwhile
            data = segment.read()
            for at in range(size - 1, -1, -1):
                text = data[index.starts[at] : index.starts[at] + index.lengths[at]]
                record = orjson.loads(self._boots.straight(text))
                if query.finds(record):
                    yield record

    def _newest_first(self) -> Iterator[tuple[Segment, Index]]:
        with self._lock:
            segments = self._log.segments[::-1]
        for segment in segments:
            yield segment, self._index(segment)

    def _index(self, segment: Segment) -> Index:
        with self._lock:
            index = self._indexes.get(segment)
            if index is None:
                index = self._indexes[segment] = Index.of(segment.scan().frames)
            return index

    def _known(self, ids: Sequence[str]) -> set[str]:
        """Which of `ids` are here already."""
        marks = {fingerprint(found) for found in ids}
        suspects: set[int] = set()
        for _, index in self._newest_first():
            suspects |= marks.intersection(index.fingerprints)
        return {found for found in ids if fingerprint(found) in suspects and self.get(found)}

    # -- the commit thread -----------------------------------------------------------------------

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
        """Number, write and follow a round of groups."""
        groups = _numbered(round_, self._ledger.last)
        try:
            places = self._append(groups)
        except StorageError:
            # Make room (full disk) and begin a new segment (failing one), then try once more.
            self._make_room()
            places = self._append(groups)
        with self._lock:
            segment = self._log.segments[-1]
            index = self._index(segment) if segment in self._indexes else Index()
            self._indexes[segment] = index
            for group, starts in zip(groups, places, strict=True):
                for frame, start in zip(group, starts, strict=True):
                    self._follow(frame._replace(start=start), segment, index)
        self.on_commit()

    def _append(self, groups: Sequence[Sequence[Frame]]) -> Sequence[tuple[int, ...]]:
        if self._log.full:
            self._roll()
        return self._log.append(groups)

    def _roll(self) -> None:
        with self._lock:
            first = self._ledger.last + 1
            segment = self._log.roll(first, self._ledger.header(first))
            self._indexes[segment] = Index()
        while self._log.size > self._max_bytes and len(self._log.segments) > 1:
            self._evict(self._log.segments[0])

    def _follow(self, frame: Frame, segment: Segment, index: Index) -> None:
        if frame.op == ACTIVATION:
            index.add(frame)
        if frame.op == EVENT:
            self._ledger.open[orjson.loads(frame.text)["id"]] = segment.first
        else:
            self._ledger.apply(frame, segment.first)

    def _make_room(self) -> None:
        """Drop the oldest segment if all of it is synced: the only thing that may go unasked."""
        segments = self._log.segments
        if len(segments) > 1 and self._cloud and segments[1].first - 1 <= self._ledger.confirmed:
            self._evict(segments[0])

    def _evict(self, segment: Segment) -> None:
        """Drop the oldest segment; what is unfinished in it is journalled again first."""
        keep = [
            frame
            for frame in segment.scan().frames
            if frame.op == EVENT and orjson.loads(frame.text)["id"] in self._ledger.open
        ]
        lost = self._log.segments[1].first - 1 - max(self._ledger.confirmed, segment.first - 1)
        if self._cloud and lost > 0:
            keep.append(Frame(EVICTED, self._ledger.evicted + lost, b""))
        if keep:
            self._log.append([keep])
            newest = self._log.segments[-1]
            with self._lock:
                for frame in keep:
                    self._follow(frame, newest, Index())
        with self._lock:
            self._log.drop(segment)
            self._indexes.pop(segment, None)

    # -- start -----------------------------------------------------------------------------------

    def _recover(self) -> None:
        self._drop_unborn()
        start = self._load_header()
        segments = self._log.segments
        recent = {segment.first for segment in segments[-_RECENT:]}
        end = 0
        for segment in list(segments):
            if segment.first < start and segment.first not in recent:
                continue
            found = segment.scan()
            end = found.end
            self._corrupt += found.corrupt
            if found.corrupt:
                self.incidents.append(f"{segment.path}: {found.corrupt} damaged line(s) skipped")
            for frame in found.frames:
                if frame.op != HEADER:
                    self._ledger.replay(frame, segment.first)
            self._indexes[segment] = Index.of(found.frames)
        if segments:
            self._log.resume(end)

    def _drop_unborn(self) -> None:
        """Remove a newest segment without a header: the crash came before anything was in it."""
        while self._log.segments:
            newest = self._log.segments[-1]
            frames = newest.scan().frames
            if frames and frames[0].op == HEADER:
                return
            if frames:
                self.incidents.append(f"{newest.path}: the header is damaged; its records are read")
                return
            if newest.size:
                self.incidents.append(f"{newest.path}: nothing in it is readable; set aside")
            self._log.set_aside(newest)

    def _load_header(self) -> int:
        """Start the ledger from the newest readable header; where the unfinished events begin."""
        for segment in reversed(self._log.segments):
            frames = segment.scan().frames
            if frames and frames[0].op == HEADER:
                return min(self._ledger.load(frames[0]), segment.first)
        return 0


def _numbered(round_: Sequence[Work], last: int) -> list[list[Frame]]:
    """The groups of a round, their records numbered on from `last`."""
    numbers = count(last + 1)
    return [
        [frame._replace(number=next(numbers)) if frame.op == ACTIVATION else frame for frame in work.frames]
        for work in round_
    ]


def _read_at(segment: Segment, index: Index, at: int) -> bytes:
    try:
        with segment.path.open("rb") as file:
            file.seek(index.starts[at])
            return file.read(index.lengths[at])
    except OSError as error:
        raise storage_error(segment.path, error) from error
