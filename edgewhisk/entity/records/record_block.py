"""Record blocks: the records of a batch that differ in little, written down together and told apart when
read.

A reading that goes through a sequence of an action and an actuator makes three records of 750 bytes,
nearly all of them the same for each reading. In a record block that stands once, and behind it, column by
column, what differs. It stands for itself: nothing outside is needed to read it.

The text: how many records, what is the same (JSON), and then fields divided by the control character
RS, which no JSON text holds: the clock, how many runs began together, times of the parts, when the
messages were accepted, the ids, the results of each part, and perhaps where the messages came from (JSON).
Times are told from the first one. Records come part by part, those of the whole last.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, islice, repeat
from sys import intern
from typing import Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.activation import ID_LENGTH, IN_TIME, LAST_DATE, RecordTemplate, before, index_key

Name = tuple[str, str]  # namespace, and what lists find a record by

_WAYS: Final = 64  # constant parts that are remembered
_LONG: Final = 64 << 10  # bytes of one that is not: annotations may have a megabyte
_RS: Final = b"\x1e"
_ALIKE: Final = b"="  # before one result that stands for all of a part
_RECORD: Final = (
    b'%b%b","start":%d,"end":%d,"duration":%d,"response":{"result":%b,"success":true,"status":"success",'
    b'"statusCode":0,"size":%d},"logs":%b,"annotations":%b%b,{"key":"waitTime","value":%d},'
    b'{"key":"edge-boot","value":["%b",%d]}],"publish":false%b}'
)
_EACH: Final = b"*"  # before as many as there are runs


class Column(NamedTuple):
    """One part of a batch, or the whole."""

    ids: Sequence[str]  # of the activations
    spans: Sequence[tuple[int, int]]  # of each flight: start and end, ms
    results: Sequence[bytes] = ()  # those of the whole are the last part's


class BlockIndex(NamedTuple):
    """What is asked about the records in a record block."""

    flights: Sequence[int]  # how many runs of each part began together, in order
    filed: Sequence[Name]  # of each part
    starts: Sequence[Sequence[int]]  # of each part: of each flight, ms
    joined: bytes  # the activation ids of all records, in order
    timing: ClockOffset  # of the clock that told the starts

    @property
    def records(self) -> int:
        """How many there are."""
        return sum(self.flights) * len(self.filed)

    def ids(self) -> list[str]:
        """The activation ids of all records, in order."""
        joined = self.joined.decode()
        return [joined[at : at + ID_LENGTH] for at in range(0, len(joined), ID_LENGTH)]


class RecordBlock(NamedTuple):
    """Records as they are stored."""

    text: bytes  # without line breaks
    lane: str  # of the buffer
    gist: BlockIndex


class RecordBlockTemplate:
    """Writes the record blocks of batches that take the same way."""

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
        self._same = b" %b\x1e" % jsontext.dumps(same)

    def block(
        self, columns: Sequence[Column], flights: Sequence[int], accepted: Sequence[int], timing: ClockOffset
    ) -> RecordBlock | None:
        """The records of a batch; None if they have to be written one by one.

        `flights`: how many messages began together, in order; `accepted`: when each was (ms); `timing`: how
        the clock stands.
        """
        parts = columns[: len(columns) - self._composed]
        results = [found for part in parts if (found := _joined(part.results)) is not None]
        if not self._one_lane or len(results) < len(parts):
            return None
        if accepted.count(accepted[0]) == len(accepted):
            accepted = accepted[:1]
        spans = [column.spans for column in columns]
        if timing.forward:  # the clock was set, perhaps while this waited or ran
            straight = timing.straight
            spans = [[(straight(start), straight(end)) for start, end in one] for one in spans]
            accepted = [straight(at) for at in accepted]
        first = spans[0][0][0]
        joined = "".join(chain.from_iterable([column.ids for column in columns])).encode()
        starts = [[start for start, _ in one] for one in spans]
        gist = BlockIndex(flights, self._filed, starts, joined, timing)
        fields = (
            b"%d" % gist.records + self._same + timing.boot.encode(),
            b"%d %d" % (timing.offset, first),
            " ".join(map(str, flights)).encode(),
            *(" ".join([f"{start - first} {end - first}" for start, end in one]).encode() for one in spans),
            " ".join([str(at - first) for at in accepted]).encode(),
            joined,
            *results,
        )
        return RecordBlock(_RS.join(fields), self._lane, gist)


def count_of(text: bytes) -> int:
    """How many records a record block holds."""
    return int(text[: text.index(b" ")])


def block_index_of(text: bytes) -> BlockIndex:
    """The block index of a record block that is read; raises `ValueError` if its parts do not fit
    together.
    """
    read = _Read(text)
    starts = [[start for start, _ in one] for one in read.spans()]
    filed, timing = [part.filed for part in read.parts], ClockOffset(read.boot.decode(), read.offset)
    found = BlockIndex(read.flights(), filed, starts, read.joined, timing)
    fit = all(len(one) == len(found.flights) for one in starts) and min(found.flights) > 0
    fit = fit and all(0 <= start <= LAST_DATE for one in starts for start in one)
    if not fit or not found.records * ID_LENGTH == len(found.joined) == count_of(text) * ID_LENGTH:
        raise ValueError("the parts of a record block do not fit together")
    return found


def with_origins(text: bytes, origins: Sequence[str]) -> bytes:
    """The text of a record block that also tells where its messages came from."""
    return text + _RS + jsontext.dumps(origins)


def origins_in(text: bytes) -> list[str]:
    """Where the messages of a record block came from, if it tells."""
    read = _Read(text)
    for _ in range(read.singles):
        read.results()
    origins: list[str] = jsontext.loads(read.rest() or b"[]")
    return origins


def expand(text: bytes) -> list[bytes]:
    """The texts of the records in a record block, as `RecordTemplate` writes them."""
    read = _Read(text)
    runs, flights, accepted = read.runs, read.flights(), read.accepted()
    columns = [read.results() for _ in range(read.singles)]
    ids = [read.joined[at : at + ID_LENGTH] for at in range(0, len(read.joined), ID_LENGTH)]
    spent = [0] * runs
    found: list[bytes] = []
    for number, (part, spans) in enumerate(zip(read.parts, read.spans(), strict=True)):
        whole = number == read.singles
        inside = read.composed and not whole
        each = chain.from_iterable(map(repeat, spans, flights))
        for at, (start, end) in enumerate(each):
            duration = spent[at] if whole else max(0, end - start)
            spent[at] += duration
            result = columns[-1 if whole else number][at]
            parts = ids[at : read.singles * runs : runs]
            found.append(
                _RECORD
                % (
                    part.before,
                    ids[number * runs + at],
                    start,
                    max(start, end),
                    duration,
                    result,
                    len(result),
                    b'["%b"]' % b'","'.join(parts) if whole else b"[]",
                    part.annotations,
                    b"" if whole else IN_TIME,
                    0 if inside else max(0, start - accepted[at]),
                    read.boot,
                    start - read.offset,
                    b',"cause":"%b"' % ids[read.singles * runs + at] if inside else b"",
                )
            )
    return found


class _Read:
    """The fields of a record block's text; numbers are made of those that are asked for."""

    def __init__(self, text: bytes) -> None:
        fields = iter(text.split(_RS))
        count, _, same = next(fields).partition(b" ")
        known = _known if len(same) <= _LONG else _known.__wrapped__
        self.parts, self.composed = known(same)
        self.singles = len(self.parts) - self.composed
        self.runs = int(count) // len(self.parts)
        self.boot = next(fields)
        self.offset, self._first = map(int, next(fields).split())
        self._flights = next(fields)
        self._spans = list(islice(fields, len(self.parts)))
        self._accepted = next(fields)
        self.joined = next(fields)
        self._fields = fields

    def flights(self) -> list[int]:
        """How many runs began together."""
        return _numbers(self._flights, 0)

    def spans(self) -> list[list[tuple[int, int]]]:
        """Of each part: start and end of each flight."""
        times = [_numbers(field, self._first) for field in self._spans]
        return [list(zip(one[::2], one[1::2], strict=True)) for one in times]

    def accepted(self) -> list[int]:
        """When each message was."""
        times = _numbers(self._accepted, self._first)
        return times if len(times) == self.runs else times * self.runs

    def results(self) -> Sequence[bytes]:
        """Of the next part."""
        if next(self._fields) == _ALIKE:
            return (next(self._fields),) * self.runs
        return list(islice(self._fields, self.runs))

    def rest(self) -> bytes:
        """What stands behind all results; it may hold anything."""
        return _RS.join(self._fields)


class _Part(NamedTuple):
    """What all records of a part have in common."""

    filed: Name
    before: bytes  # their ids
    annotations: bytes  # without the bracket at the end


@lru_cache(_WAYS)
def _known(same: bytes) -> tuple[Sequence[_Part], bool]:
    """What the parts have in common, and whether the last is the whole: few ways are gone again and again."""
    document = jsontext.loads(same)
    found: list[_Part] = []
    for part in document["parts"]:
        head, annotations = part["head"], part["annotations"]
        name = intern(head["namespace"]), intern(index_key({**head, "annotations": annotations}))
        found.append(_Part(name, before(head), jsontext.dumps(annotations)[:-1]))
    return found, document["composed"]


def _numbers(field: bytes, first: int) -> list[int]:
    return [int(one) + first for one in field.split()]


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
