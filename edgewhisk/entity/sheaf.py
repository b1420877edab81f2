"""Sheaves: the records of a batch that differ in little, written down together and told apart when read.

A reading that goes through a sequence of an action and an actuator makes three records of 750 bytes,
nearly all of them the same for each reading. In a sheaf that stands once, and behind it, column by
column, what differs. It stands for itself: nothing outside is needed to read it.

The text: how many records, what is the same (JSON), and then fields divided by the control character
RS, which no JSON text holds: the clock, times of the parts, when the messages were accepted, the ids, the
results of each part. Times are told from the first one. Records come part by part, those of the whole last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final, NamedTuple, TypeVar

import orjson

from edgewhisk.entity.activation import ID_LENGTH, IN_TIME, RecordTemplate, before
from edgewhisk.entity.timing import Timing

_RS: Final = b"\x1e"
_ALIKE: Final = b"="  # before one result that stands for all of a part
_RECORD: Final = (
    b'%b%b","start":%d,"end":%d,"duration":%d,"response":{"result":%b,"success":true,"status":"success",'
    b'"statusCode":0,"size":%d},"logs":%b,"annotations":%b%b,{"key":"waitTime","value":%d},'
    b'{"key":"edge-boot","value":["%b",%d]}],"publish":false%b}'
)
_T = TypeVar("_T")
_EACH: Final = b"*"  # before as many as there are runs


class Column(NamedTuple):
    """One part of a batch, or the whole."""

    ids: Sequence[str]  # of the activations
    spans: Sequence[tuple[int, int]]  # start and end (ms): one for all runs, or one for each
    results: Sequence[bytes] = ()  # those of the whole are the last part's


class Sheaf(NamedTuple):
    """Records as they are stored."""

    text: bytes  # without line breaks
    records: int  # how many
    lane: str  # of the buffer
    filed: Sequence[tuple[str, str]]  # of each part: namespace and name that lists find it by
    ids: Sequence[Sequence[str]]  # of each part, the activation ids
    starts: Sequence[Sequence[int]]  # of each part, ms: one for all its records, or one for each
    timing: Timing  # of the clock that told the starts


class SheafTemplate:
    """Writes the sheaves of batches that take the same way."""

    def __init__(self, templates: Sequence[RecordTemplate], *, composed: bool) -> None:
        """Of the parts in order, and of the whole last if there is one: if it is `composed`."""
        self._filed = tuple(one.filed for one in templates)
        self._composed = composed
        self._lane = templates[0].lane
        self._one_lane = all(one.lane == self._lane for one in templates)
        same = {
            "composed": composed,
            "parts": [{"head": one.head, "annotations": one.annotations} for one in templates],
        }
        self._same = b" %b\x1e" % orjson.dumps(same)

    def sheaf(self, columns: Sequence[Column], accepted: Sequence[int], timing: Timing) -> Sheaf | None:
        """The records of a batch; None if they have to be written one by one.

        `accepted`: when the messages were (ms), one for all or one for each; `timing`: how the clock stands.
        """
        parts = columns[: len(columns) - self._composed]
        results = [found for part in parts if (found := _joined(part.results)) is not None]
        if not self._one_lane or len(results) < len(parts):
            return None
        spans = [column.spans for column in columns]
        if timing.forward:  # the clock was set, perhaps while this waited or ran
            straight = timing.straight
            spans = [[(straight(start), straight(end)) for start, end in one] for one in spans]
            accepted = [straight(at) for at in accepted]
        ids = [column.ids for column in columns]
        first, count = spans[0][0][0], sum(map(len, ids))
        fields = (
            b"%d" % count + self._same + timing.boot.encode(),
            b"%d %d" % (timing.offset, first),
            *(" ".join([f"{start - first} {end - first}" for start, end in one]).encode() for one in spans),
            " ".join([str(at - first) for at in accepted]).encode(),
            "".join(chain.from_iterable(ids)).encode(),
            *results,
        )
        starts = [[start for start, _ in one] for one in spans]
        return Sheaf(_RS.join(fields), count, self._lane, self._filed, ids, starts, timing)


def count_of(text: bytes) -> int:
    """How many records a sheaf holds."""
    return int(text[: text.index(b" ")])


def ids_of(text: bytes) -> list[str]:
    """The activation ids in a sheaf, in order."""
    return [own.decode() for own in _Read(text).ids]


def expand(text: bytes) -> list[bytes]:
    """The texts of the records in a sheaf, as `RecordTemplate` writes them."""
    read = _Read(text)
    runs = read.runs
    columns = [read.results() for _ in range(read.singles)]
    spent = [0] * runs
    found: list[bytes] = []
    for number, (part, spans) in enumerate(zip(read.parts, read.spans, strict=True)):
        whole = number == read.singles
        inside = read.composed and not whole
        head, annotations = before(part["head"]), orjson.dumps(part["annotations"])[:-1]
        for at in range(runs):
            start, end = spans[at]
            duration = spent[at] if whole else max(0, end - start)
            spent[at] += duration
            result = columns[-1 if whole else number][at]
            parts = read.ids[at : read.singles * runs : runs]
            found.append(
                _RECORD
                % (
                    head,
                    read.ids[number * runs + at],
                    start,
                    max(start, end),
                    duration,
                    result,
                    len(result),
                    b'["%b"]' % b'","'.join(parts) if whole else b"[]",
                    annotations,
                    b"" if whole else IN_TIME,
                    0 if inside else max(0, start - read.accepted[at]),
                    read.boot,
                    start - read.offset,
                    b',"cause":"%b"' % read.ids[read.singles * runs + at] if inside else b"",
                )
            )
    return found


class _Read:
    """The fields of a sheaf's text."""

    def __init__(self, text: bytes) -> None:
        fields = iter(text.split(_RS))
        count, _, same = next(fields).partition(b" ")
        document: dict[str, Any] = orjson.loads(same)
        self.parts, self.composed = document["parts"], bool(document["composed"])
        self.singles = len(self.parts) - self.composed
        self.runs = int(count) // len(self.parts)
        self.boot = next(fields)
        self.offset, first = map(int, next(fields).split())
        self.spans = [self._each(_pairs(_times(fields, first))) for _ in self.parts]
        self.accepted = self._each(_times(fields, first))
        joined = next(fields)
        self.ids = [joined[at : at + ID_LENGTH] for at in range(0, len(joined), ID_LENGTH)]
        self._fields = fields

    def results(self) -> Sequence[bytes]:
        """Of the next part."""
        if next(self._fields) == _ALIKE:
            return (next(self._fields),) * self.runs
        return list(islice(self._fields, self.runs))

    def _each(self, values: Sequence[_T]) -> Sequence[_T]:
        """A value for each run, of one for all or one for each."""
        return values if len(values) == self.runs else list(values) * self.runs


def _times(fields: Iterator[bytes], first: int) -> list[int]:
    return [int(at) + first for at in next(fields).split()]


def _pairs(times: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(times[::2], times[1::2], strict=True))


def _joined(results: Sequence[bytes]) -> bytes | None:
    """The results of a part as fields; None if they do not keep apart."""
    if len(results) > 1 and results.count(results[0]) == len(results):
        results, kind = results[:1], _ALIKE
    else:
        kind = _EACH
    joined = _RS.join(results)
    if joined.count(_RS) != len(results) - 1 or b"\n" in joined:  # a broken guest's: no JSON
        return None
    return kind + _RS + joined
