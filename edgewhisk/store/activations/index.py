"""Where the activations of one segment are, and what is asked about them. Pure.

Four bytes for each record in memory and thirty for each row: what stands in one line, has one name and
began together. Of records on their own each is a row, a record block has one for each part of a flight. Built
while a segment is written; a full segment ends with a footer that holds it in some ten bytes for each, so
a store with a million records reads what somebody asks for, and keeps what was asked for lately.
"""

from __future__ import annotations

import base64
import zlib
from array import array
from binascii import unhexlify
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from operator import sub
from sys import intern
from typing import Any, Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.clock.history import stamp_of
from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.activation import LAST_DATE, index_key
from edgewhisk.entity.records.record_block import BlockIndex, Name, block_index_of
from edgewhisk.errors import UNREADABLE
from edgewhisk.store.log.frames import ACTIVATION, RECORD_BLOCK, About, Frame

COLUMNS: Final = "I"  # ops of a footer
SUMMARY: Final = "M"
_ID: Final = b'"activationId":"'
_START: Final = b'","start":'
_NAMESPACE: Final = b'{"namespace":"'
_ANNOTATIONS: Final = b'"annotations":['
_PATH: Final = b'{"key":"path",'
_BINDING: Final = b'{"key":"binding",'
_WORDS: Final = 4  # of four bytes in an activation id


def fingerprint(activation_id: str) -> bytes:
    """Four bytes of an id: equal ids have equal ones."""
    return unhexlify(activation_id[:8])


def positions(marks: bytes | bytearray, mark: bytes, records: int) -> Iterator[int]:
    """Where a fingerprint stands among those of so many records: nearly always nowhere or once."""
    at = marks.find(mark, 0, 4 * records)
    while at >= 0:
        if at % 4 == 0:
            yield at // 4
        at = marks.find(mark, at + 1, 4 * records)


class Stretch(NamedTuple):
    """Rows that began by one reading of the clock: what corrects one corrects all."""

    at: int  # position of the first row
    boot: str  # empty if they do not say
    offset: int  # ms since the epoch when the machine booted, as that clock had it
    since: int = 0  # the earliest start, ms
    upto: int = 0  # the latest


@dataclass(slots=True)
class Summary:
    """A segment's records in short: what does not grow with their number."""

    count: int
    first: int  # numbers
    last: int
    since: int  # the earliest start, ms
    upto: int  # the latest
    names: Mapping[Name, int]  # how many have each
    rows: int = 0
    stretches: Sequence[Stretch] = ()


class Footer(NamedTuple):
    """What a segment's footer tells at once, and where it tells the rest."""

    short: Summary
    marks: bytes  # fingerprints of the records, in order
    start: int  # of the columns' line
    size: int


class Index:
    """The activations of one segment, in order of their numbers."""

    def __init__(self) -> None:
        """Of an empty segment."""
        self.numbers = array("Q")  # of rows: of the first record
        self.places = array("I")  # records before it
        self.starts = array("I")  # of lines
        self.sizes = array("I")
        self.times = array("q")
        self.names = array("H")
        self.marks = bytearray()  # fingerprints of records
        self.named: list[Name] = []
        self.counts: list[int] = []
        self.stretches: list[Stretch] = []  # without their bounds
        self.records = 0  # how many; told last, for readers in other threads
        self._timing: ClockOffset | None = None  # of the last record, if its writer told
        self._keys: dict[bytes, int] = {}  # what names depend on -> place in `named`
        self._places: dict[Name, int] = {}

    @classmethod
    def of(cls, frames: Iterable[Frame]) -> Index:
        """Of what a scan found."""
        index = cls()
        for frame in frames:
            if frame.op in (ACTIVATION, RECORD_BLOCK):
                index.put(frame, frame.number, frame.start, frame.size)
        return index

    def put(self, frame: Frame, number: int, start: int, size: int) -> bool:
        """Append what stands in a line, numbered from `number` on; false if that cannot be read."""
        rows = len(self.numbers)
        try:
            if frame.op == RECORD_BLOCK:
                self.gather(block_index_of(frame.text), number, start, size)
            else:
                self._add(frame.text, number, start, size)
        except UNREADABLE:
            self._back(rows)
            return False
        return True

    def _back(self, rows: int) -> None:
        """Take back what was begun behind so many rows."""
        for column in (self.numbers, self.places, self.starts, self.sizes, self.times, self.names):
            del column[rows:]
        del self.marks[4 * self.records :]
        self.stretches = [one for one in self.stretches if one.at < rows]
        self._timing = None
        self.counts = [0] * len(self.named)
        ends = [*self.places, self.records][1:]
        for at, place, end in zip(self.names, self.places, ends, strict=True):
            self.counts[at] += end - place

    def _add(self, text: bytes, number: int, start: int, size: int) -> None:
        at, time, mark = self._read(text)
        if not 0 <= time <= LAST_DATE or len(mark) != 2 * _WORDS:
            raise ValueError("a record without a time or an id")
        boot, up = stamp_of(text) or ("", time)
        self._stretch(len(self.numbers), boot, time - up)
        self._timing = None
        self.times.append(time)
        self.marks += unhexlify(mark)
        self.counts[at] += 1
        self.names.append(at)
        self.starts.append(start)
        self.sizes.append(size)
        self.places.append(self.records)
        self.numbers.append(number)
        self.records += 1

    def extend(self, known: Sequence[About], first: int, starts: Sequence[int], sizes: Sequence[int]) -> None:
        """Append records whose writer told about them, numbered from `first` on."""
        names = [
            at if (at := self._places.get(name)) is not None else self._place(name) for name, _, _, _ in known
        ]
        if any(one[3] is not self._timing for one in known):
            for at, (_, _, _, timing) in enumerate(known, len(self.numbers)):
                self._stretch(at, timing.boot, timing.offset)
            self._timing = known[-1][3]
        for at in names:
            self.counts[at] += 1
        self.times.extend([time for _, time, _, _ in known])
        self.marks += unhexlify("".join([key[:8] for _, _, key, _ in known]))
        self.names.extend(names)
        self.starts.extend(starts)
        self.sizes.extend(sizes)
        self.places.extend(range(self.records, self.records + len(known)))
        self.numbers.extend(range(first, first + len(known)))
        self.records += len(known)

    def gather(self, gist: BlockIndex, first: int, start: int, size: int) -> None:
        """Append the records of a record block, numbered from `first` on; all stand in the same line."""
        if gist.timing is not self._timing:
            self._stretch(len(self.numbers), gist.timing.boot, gist.timing.offset)
            self._timing = gist.timing
        names, flights = [self._place(name) for name in gist.filed], gist.flights
        runs = sum(flights)
        for at in names:
            self.counts[at] += runs
        places = list(accumulate([*flights] * len(names), initial=self.records))
        end = places.pop()
        self.times.extend(chain.from_iterable(gist.starts))
        self.marks += array("I", unhexlify(gist.joined))[::_WORDS].tobytes()
        self.names.extend(chain.from_iterable([[at] * len(flights) for at in names]))
        self.starts.extend([start] * len(places))
        self.sizes.extend([size] * len(places))
        self.places.extend(places)
        self.numbers.extend([first - self.records + place for place in places])
        self.records = end

    def row_of(self, place: int) -> int:
        """The row with the record at this position."""
        return bisect_right(self.places, place) - 1

    def numbers_of(self, row: int, short: Summary) -> range:
        """The numbers of a row's records."""
        end = self.places[row + 1] if row + 1 < short.rows else short.count
        first = self.numbers[row]
        return range(first, first + end - self.places[row])

    def _stretch(self, at: int, boot: str, offset: int) -> None:
        if not self.stretches or self.stretches[-1][1:3] != (boot, offset):
            self.stretches.append(Stretch(at, boot, offset))

    def _read(self, text: bytes) -> tuple[int, int, bytes]:
        """Name, start and fingerprint of a record: 2 us for those that this gateway wrote, 8 for others.

        Raises one of `UNREADABLE`.
        """
        at = text.find(_ID) + len(_ID)
        # Nothing that a user wrote stands behind the annotations, and they begin with the path.
        annotations = text.rfind(_ANNOTATIONS) + len(_ANNOTATIONS)
        if not (
            text.startswith(_NAMESPACE)
            and text.startswith(_START, at + 32)
            and text.startswith(_PATH, annotations)
        ):
            record = jsontext.loads(text)
            return self._name(record), record["start"], record["activationId"][:8].encode()
        key = text[:at] + text[annotations : text.find(b"}", annotations)]
        if (bound := text.find(_BINDING, annotations)) >= 0:
            key += text[bound : text.find(b"}", bound)]
        name = self._keys.get(key)
        if name is None:
            name = self._name(jsontext.loads(text))
            self._keys[key] = name
        start = at + 32 + len(_START)
        return name, int(text[start : text.find(b",", start)]), text[at : at + 8]

    def summary(self) -> Summary:
        """In short; records may be added meanwhile, by another thread."""
        count = self.records
        if not count:
            return Summary(0, 0, 0, 0, 0, {})
        rows = bisect_left(self.places, count)
        names = dict(zip(self.named, list(self.counts), strict=False))  # a new name comes before its count
        times = self.times[:rows]
        begun = [one for one in list(self.stretches) if one.at < rows]
        ends = [*(one.at for one in begun[1:]), rows]
        stretches = [
            one._replace(since=min(times[one.at : end]), upto=max(times[one.at : end]))
            for one, end in zip(begun, ends, strict=True)
        ]
        since, upto = min(one.since for one in stretches), max(one.upto for one in stretches)
        last = self.numbers[rows - 1] + count - 1 - self.places[rows - 1]
        return Summary(count, self.numbers[0], last, since, upto, names, rows, stretches)

    def _name(self, record: Mapping[str, Any]) -> int:
        return self._place((intern(record["namespace"]), intern(index_key(record))))

    def _place(self, name: Name) -> int:
        at = self._places.setdefault(name, len(self.named))
        if at == len(self.named):
            self.named.append(name)
            self.counts.append(0)
        return at


def footer(index: Index, start: int) -> list[Frame]:
    """The round that ends a segment, when it is written at `start`."""
    short = index.summary()
    columns = (index.numbers, index.starts, index.times)
    parts = [array("q", _steps(column)).tobytes() for column in columns]
    parts += [index.sizes.tobytes(), index.names.tobytes()]
    rows = {}
    if short.rows < short.count:  # else each record is a row, as in format 2
        parts.append(array("q", _steps(index.places)).tobytes())
        rows = {"rows": short.rows}
    packed = base64.b64encode(zlib.compress(b"".join(parts), 1))
    summary = jsontext.dumps(
        {
            "records": short.count,
            **rows,
            "numbers": [short.first, short.last],
            "times": [short.since, short.upto],
            "names": [[*name, count] for name, count in short.names.items()],
            "index": [start, len("00000000 i 0 ") + len(packed)],
            "clocks": [list(one) for one in short.stretches],
            "marks": base64.b64encode(index.marks[: 4 * short.count]).decode(),
        }
    )
    return [Frame(COLUMNS, 0, packed), Frame(SUMMARY, 0, summary)]


def footer_of(frame: Frame) -> Footer:
    """What stands in the frame of a summary; raises one of `UNREADABLE`."""
    found = jsontext.loads(frame.text)
    names = {(intern(namespace), intern(name)): count for namespace, name, count in found["names"]}
    (first, last), (since, upto) = found["numbers"], found["times"]
    stretches = [Stretch(*one) for one in found.get("clocks", [(0, "", 0, since, upto)])]
    count = found["records"]
    short = Summary(count, first, last, since, upto, names, found.get("rows", count), stretches)
    return Footer(short, base64.b64decode(found["marks"]), *found["index"])


def index_of(frame: Frame, short: Summary, marks: bytes) -> Index:
    """The index in a footer's columns."""
    data = zlib.decompress(base64.b64decode(frame.text))
    index, at, rows = Index(), 0, short.rows
    for column in (index.numbers, index.starts, index.times):
        column.extend(accumulate(array("q", data[at : at + 8 * rows])))
        at += 8 * rows
    index.sizes.frombytes(data[at : at + 4 * rows])
    index.names.frombytes(data[at + 4 * rows : at + 6 * rows])
    places = array("q", data[at + 6 * rows :])
    index.places.extend(accumulate(places) if places else range(rows))
    index.marks += marks
    index.named = list(short.names)
    index.counts = list(short.names.values())
    index.stretches = list(short.stretches)
    index.records = short.count
    return index


def _steps(column: Sequence[int]) -> Iterator[int]:
    return map(sub, column, chain((0,), column))
