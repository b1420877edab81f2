"""Finding records in a log: indexes of its segments, read when somebody asks and kept while small.

Of each segment that was asked about, a summary stays in memory; of a quarter of a million records, the
fingerprints of their ids (four bytes each); of a few segments, the index. The footer has all three. A segment
without one (the newest, or one that a crash ended) is indexed by reading it.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from edgewhisk.base.recent import Recent
from edgewhisk.clock.history import ClockHistory
from edgewhisk.entity.activation import id_of
from edgewhisk.errors import UNREADABLE, StorageError
from edgewhisk.spi import Query
from edgewhisk.store.activations.index import (
    COLUMNS,
    SUMMARY,
    Footer,
    Index,
    Stretch,
    Summary,
    fingerprint,
    footer,
    footer_of,
    index_of,
    positions,
)
from edgewhisk.store.log.frames import Frame, read_line
from edgewhisk.store.log.log import Log, Segment

_KEPT: Final = 8  # indexes in memory, 50 to 100 KB each
_MARKED: Final = 4096  # segments whose fingerprints are in memory
_MARKS: Final = 1 << 20  # bytes of them: more would grow with the store
_CHUNK: Final = 256 << 10  # bytes read at once when many records are wanted
_DAMAGED: Final = 1024  # damaged places that are told apart


class CatalogMatch(NamedTuple):
    """A record that a query finds."""

    stretch: Stretch
    segment: Segment
    known: Index
    row: int
    number: int


class Catalog:
    """The indexes of one log. Reading is thread-safe; `lock` guards the log's list of segments."""

    def __init__(self, log: Log, lock: threading.RLock, history: ClockHistory) -> None:
        """Nothing is read yet. What `boots` know of clocks tells when records began."""
        self.active = Index()  # of the segment that is written to
        self._log = log
        self._lock = lock
        self._boots = history
        self._writing: Segment | None = None
        self._summaries: dict[Segment, Summary] = {}
        self._marks = Recent[Segment, bytes](_MARKED, _MARKS)
        self._indexes: OrderedDict[Segment, Index] = OrderedDict()
        self._suspects: list[Segment] = []  # where a record was missed
        self._damaged: set[tuple[int, int, int]] = set()
        self._line: tuple[Segment | None, int, Mapping[int, bytes]] = None, 0, {}

    @property
    def damaged(self) -> int:
        """Records that could not be read."""
        return len(self._damaged)

    # -- the segment that is written to ------------------------------------------------------------

    def begin(self, segment: Segment) -> None:
        """`segment` is written to from now on."""
        with self._lock:
            self.active = Index()
            self._writing = segment

    def footer(self) -> list[Frame]:
        """What ends the segment that is written to; nothing if there is none."""
        if self._writing is None:
            return []
        return footer(self.active, self._writing.size)

    def end(self) -> None:
        """The segment that was written to will not be any more."""
        with self._lock:
            if self._writing is not None:
                self._remember(self._writing, self.active, self.active.summary())
                self._writing = None

    def scanned(self, segment: Segment, frames: Iterable[Frame]) -> None:
        """All that is in `segment`, which somebody has read anyway."""
        index = Index.of(frames)
        self._remember(segment, index, index.summary())

    def forget(self, segment: Segment) -> None:
        """`segment` is gone."""
        self._summaries.pop(segment, None)
        self._indexes.pop(segment, None)
        self._marks.drop(segment)

    # -- reading -----------------------------------------------------------------------------------

    def find(self, activation_id: str, since: int = 0) -> bytes | None:
        """The text of a record; `since`: look no further back than that (ms) if it is not met."""
        mark = fingerprint(activation_id)
        for segment in self._newest_first():
            if since and self._all_before(self.summary(segment), since):
                return None
            marks = self._fingerprints(segment)
            if next(positions(marks, mark, len(marks) // 4), None) is None:
                continue
            short, index = self.known(segment)
            for at in positions(index.marks, mark, short.count):
                row = index.row_of(at)
                number = index.numbers[row] + at - index.places[row]
                text = self._text(segment, index, row, number)
                with suppress(*UNREADABLE):
                    if text is not None and id_of(text) == activation_id:
                        return text
        return None

    def suspects(self, marks: set[int]) -> set[int]:
        """Which of these fingerprints (as native integers) are here."""
        found: set[int] = set()
        for segment in self._newest_first():
            found |= marks.intersection(memoryview(self._fingerprints(segment)).cast("I"))
        return found

    def matches(self, query: Query) -> Iterator[CatalogMatch]:
        """What `query` finds, the last written first."""
        for segment in self._newest_first():
            short = self.summary(segment)
            if not _wanted(short, query) or not _overlaps(*self.times(short), query):
                continue
            short, index = self.known(segment)
            names = {at for at, name in enumerate(index.named) if _named(name, query)}
            for stretch, times in reversed(list(self._shown(short, index))):
                for at in range(len(times) - 1, -1, -1):
                    row = stretch.at + at
                    if index.names[row] in names and _within(times[at], query):
                        for number in reversed(index.numbers_of(row, short)):
                            yield CatalogMatch(stretch, segment, index, row, number)

    def count(self, query: Query) -> int:
        """How many records `query` finds."""
        found = 0
        for segment in self._newest_first():
            short = self.summary(segment)
            wanted = _wanted(short, query)
            since, upto = self.times(short)
            if not wanted or not _overlaps(since, upto, query):
                continue
            if _within(since, query) and _within(upto, query):
                found += wanted
                continue
            short, index = self.known(segment)
            names = {at for at, name in enumerate(index.named) if _named(name, query)}
            found += sum(
                len(index.numbers_of(row, short))
                for stretch, times in self._shown(short, index)
                for row, time in enumerate(times, stretch.at)
                if index.names[row] in names and _within(time, query)
            )
        return found

    def order(self, match: CatalogMatch) -> tuple[int, int]:
        """Greater for what began later, in whichever log."""
        time = match.known.times[match.row]
        return self._boots.order(match.stretch.boot, time - match.stretch.offset, time)

    def read(self, match: CatalogMatch) -> bytes | None:
        """The text of a record; None if it is damaged or gone meanwhile."""
        return self._text(match.segment, match.known, match.row, match.number)

    def after(self, number: int, segments: Sequence[Segment]) -> Iterator[tuple[int, bytes]]:
        """Numbers and texts of all records behind `number`, in order; damaged ones are left out."""
        for segment in segments:
            short = self.summary(segment)
            if not short.count or short.last <= number:
                continue
            short, index = self.known(segment)
            row = max(0, bisect_right(index.numbers, number, 0, short.rows) - 1)
            while row < short.rows:
                upto = bisect_right(index.starts, index.starts[row] + _CHUNK, row, short.rows)
                for numbers, start, texts in self._read(segment, index, short, range(row, upto)):
                    for one in range(max(number + 1, numbers.start), numbers.stop):
                        if one in texts:
                            yield one, texts[one]
                        else:
                            self._miss(segment, start, one)
                row = upto

    def summary(self, segment: Segment) -> Summary:
        """A segment in short; of one that was dropped meanwhile nothing is left.

        It is read without the lock, which the commit thread needs for each write: nobody writes to it any
        more. Two readers may both read it, and find the same.
        """
        with self._lock:
            if segment is self._writing:
                return self.active.summary()
            if (found := self._summaries.get(segment)) is not None:
                return found
        return self._load(segment).short

    def times(self, short: Summary) -> tuple[int, int]:
        """No record began before the first or after the second, as is shown now; ms."""
        if not any(self._boots.odd(one.boot) for one in short.stretches):
            return short.since, short.upto
        bounds: list[int] = []
        for boot, offset, since, upto in (one[1:] for one in short.stretches):
            by = self._boots.shown(boot, since - offset, since) - since
            bounds += [since, since + by, upto, upto + by]  # the later ones may have been right
        return min(bounds), max(bounds)

    def known(self, segment: Segment) -> tuple[Summary, Index]:
        """All that is known of a segment's records, of one moment."""
        with self._lock:
            if segment is self._writing:
                return self.active.summary(), self.active
            if (index := self._indexes.get(segment)) is not None:
                self._keep(segment, index)
        if index is None:
            index = self._load_index(segment)
        short = self.summary(segment)
        return short if index.records else index.summary(), index

    def _shown(self, short: Summary, index: Index) -> Iterator[tuple[Stretch, Sequence[int]]]:
        """When the records of each stretch began, as is shown now."""
        if not short.count:  # the segment was dropped meanwhile
            return
        ends = [*(stretch.at for stretch in short.stretches[1:]), short.rows]
        for stretch, end in zip(short.stretches, ends, strict=True):
            times, boot, offset = index.times[stretch.at : end], stretch.boot, stretch.offset
            if self._boots.odd(boot):
                yield stretch, [self._boots.shown(boot, time - offset, time) for time in times]
            else:
                yield stretch, times

    def _all_before(self, short: Summary, since: int) -> bool:
        """Whether all records began before that; not if nobody knows."""
        return 0 < self.times(short)[1] < since and all(
            self._boots.moment(one.boot, one.since - one.offset, one.since) is not None
            for one in short.stretches
        )

    def _fingerprints(self, segment: Segment) -> bytes:
        """Those of a segment's records, in order."""
        with self._lock:
            index = self.active if segment is self._writing else self._indexes.get(segment)
            if index is not None:
                return bytes(index.marks[: 4 * index.records])
        self._marks.touch(segment)
        found = self._marks.get(segment)
        return self._load(segment).marks if found is None else found

    def _newest_first(self) -> Iterator[Segment]:
        with self._lock:
            segments = self._log.segments[::-1]
        return iter(segments)

    def _read(
        self, segment: Segment, index: Index, short: Summary, rows: range
    ) -> Iterator[tuple[range, int, Mapping[int, bytes]]]:
        """Of neighbouring rows, the numbers, where the line begins and the texts in it."""
        begin, last = index.starts[rows[0]], rows[-1]
        try:
            data = self._log.read(segment, begin, index.starts[last] + index.sizes[last] - begin)
        except StorageError:
            data = b""
        for row in rows:
            start = index.starts[row]
            texts = self._last_read(segment, start)
            if texts is None:
                texts = self._texts(segment, start, data[start - begin : start - begin + index.sizes[row]])
            yield index.numbers_of(row, short), start, texts

    def _text(self, segment: Segment, index: Index, row: int, number: int) -> bytes | None:
        start = index.starts[row]
        texts = self._last_read(segment, start)
        if texts is None:
            try:
                line = self._log.read(segment, start, index.sizes[row])
            except StorageError:
                line = b""
            texts = self._texts(segment, start, line)
        if number not in texts:
            self._miss(segment, start, number)
        return texts.get(number)

    def _last_read(self, segment: Segment, start: int) -> Mapping[int, bytes] | None:
        """What stands in a line, if it is the one that was read last: a record block is read once for all."""
        known, place, texts = self._line
        return texts if known is segment and place == start else None

    def _texts(self, segment: Segment, start: int, line: bytes) -> Mapping[int, bytes]:
        """The records of a line by their numbers; none of a damaged one, or one that is not there."""
        frame, texts = read_line(line, segment.seed), dict[int, bytes]()
        with suppress(*UNREADABLE):  # what cannot be read is missed by whoever looks for its number
            texts = dict(enumerate(frame.texts(), frame.number)) if frame is not None else {}
        if line:  # else the disk may give it next time
            self._line = segment, start, texts
        return texts

    def _miss(self, segment: Segment, start: int, number: int) -> None:
        """Count a damaged record; not one whose segment was dropped while it was read."""
        with self._lock:
            if segment not in self._log.segments:
                return
            if len(self._damaged) < _DAMAGED:
                self._damaged.add((segment.serial, start, number))
            if segment is not self._writing and segment not in self._suspects:
                self._suspects.append(segment)

    def take_suspects(self) -> list[Segment]:
        """Segments in which a record was missed since they were asked for last; hold the lock."""
        found, self._suspects = self._suspects, []
        return found

    def _load(self, segment: Segment) -> Footer:
        """What its footer tells, else what reading it all does; an unreadable segment has no records."""
        found = self._footer(segment)
        if found is None:
            index = self._scan(segment)
            return Footer(index.summary(), bytes(index.marks), 0, 0)
        with self._lock:
            if segment in self._log.segments:
                self._marks.keep(segment, found.marks, len(found.marks))
                return found._replace(short=self._summaries.setdefault(segment, found.short))
        return found

    def _load_index(self, segment: Segment) -> Index:
        """From the footer, else by reading the whole segment: then the summary is of that, too."""
        footer, index = self._footer(segment), None
        with suppress(StorageError, *UNREADABLE):
            frame = self._log.frame(segment, footer.start, footer.size) if footer is not None else None
            if footer is not None and frame is not None and frame.op == COLUMNS:
                index = index_of(frame, footer.short, footer.marks)
                self._remember(segment, index, footer.short)
        return index or self._scan(segment)

    def _footer(self, segment: Segment) -> Footer | None:
        with suppress(StorageError, *UNREADABLE):
            frame = self._log.footer(segment)
            if frame is not None and frame.op == SUMMARY:
                found = footer_of(frame)
                segment.size, segment.ended = frame.start + frame.size + 1, True
                return found
        return None

    def _scan(self, segment: Segment) -> Index:
        index = Index()
        with suppress(StorageError):
            index = Index.of(self._log.scan(segment).frames)
        self._remember(segment, index, index.summary())
        return index

    def _remember(self, segment: Segment, index: Index, short: Summary) -> None:
        """What is known of a segment, of one moment; nothing of one that was dropped."""
        with self._lock:
            if segment in self._log.segments:
                self._summaries[segment] = short
                self._keep(segment, index)

    def _keep(self, segment: Segment, index: Index) -> None:
        """Its index is used now; of the one that goes for it the fingerprints stay. Hold the lock."""
        if segment not in self._log.segments:
            return
        self._indexes[segment] = index
        self._indexes.move_to_end(segment)
        if len(self._indexes) > _KEPT:
            gone, old = self._indexes.popitem(last=False)
            self._marks.keep(gone, bytes(old.marks), len(old.marks))


def _named(name: tuple[str, str], query: Query) -> bool:
    return name[0] == query.namespace and query.name in (None, name[1])


def _wanted(short: Summary, query: Query) -> int:
    """How many records have the name that `query` wants."""
    if query.name is not None:
        return short.names.get((query.namespace, query.name), 0)
    return sum(count for name, count in short.names.items() if name[0] == query.namespace)


def _within(start: int, query: Query) -> bool:
    return (query.since is None or start >= query.since) and (query.upto is None or start <= query.upto)


def _overlaps(since: int, upto: int, query: Query) -> bool:
    return (query.since is None or upto >= query.since) and (query.upto is None or since <= query.upto)
