"""Sheaves: the records of a batch that differ in little, written down together and told apart when read.

A reading that goes through a sequence of an action and an actuator makes three records of 750 bytes,
nearly all of them the same for each reading. In a sheaf that stands once, and behind it, column by
column, what differs. It stands for itself: nothing outside is needed to read it.

The text: how many records, what is the same (JSON), and then fields divided by the control character
RS, which no JSON text holds: times, when the messages were accepted, the ids, the results of each part,
and perhaps where the messages came from (JSON). Records come part by part, those of the whole last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice
from sys import intern
from typing import Any, Final, NamedTuple

import orjson

from edgewhisk.entity.activation import ID_LENGTH, IN_TIME, RecordTemplate, before, filed_under
from edgewhisk.entity.message import Smooth
from edgewhisk.entity.timing import Timing

_RS: Final = b"\x1e"
_ALIKE: Final = b"="  # before one result that stands for all of a part
_EACH: Final = b"*"  # before as many as there are runs
_WAYS: Final = 64  # constant parts that are remembered

Name = tuple[str, str]  # namespace, and what lists find a record by


class Gist(NamedTuple):
    """What is asked about the records in a sheaf."""

    runs: int  # records of each part
    filed: Sequence[Name]  # of each part
    starts: Sequence[int]  # of each part, ms
    joined: bytes  # the activation ids of all records, in order
    timing: Timing  # of the clock that told the starts

    @property
    def records(self) -> int:
        """How many there are."""
        return self.runs * len(self.filed)

    def ids(self) -> list[str]:
        """The activation ids of all records, in order."""
        joined = self.joined.decode()
        return [joined[at : at + ID_LENGTH] for at in range(0, len(joined), ID_LENGTH)]


class Sheaf(NamedTuple):
    """Records as they are stored."""

    text: bytes  # without line breaks
    lane: str  # of the buffer
    gist: Gist


class SheafTemplate:
    """Writes the sheaves of batches that take the same way."""

    def __init__(self, templates: Sequence[RecordTemplate], *, composed: bool) -> None:
        """Of the parts in order, and of the whole last if there is one: if it is `composed`."""
        self._filed = tuple(one.filed for one in templates)
        self._lane = templates[0].lane
        self._one_lane = all(one.lane == self._lane for one in templates)
        same = {
            "composed": composed,
            "parts": [{"head": one.head, "annotations": one.annotations} for one in templates],
        }
        self._same = b" %b\x1e" % orjson.dumps(same)

    def sheaf(
        self,
        ids: Sequence[Sequence[str]],
        runs: Sequence[Smooth],
        whole: tuple[int, int] | None,
        accepted: Sequence[int],
        timing: Timing,
    ) -> Sheaf | None:
        """The records of a batch; None if they have to be written one by one.

        `ids` of each part's activations and of the whole's; `runs` of the parts; start and end of the
        `whole`; when the messages were `accepted`; `timing` is how the clock stands now. All times in ms.
        """
        columns = [_column(run.results) for run in runs]
        results = [column for column in columns if column is not None]
        if not self._one_lane or len(results) < len(columns):
            return None
        spans = [(run.start, run.end) for run in runs]
        if whole is not None:
            spans.append(whole)
        if len(set(accepted)) == 1:
            accepted = accepted[:1]
        if timing.forward:  # the clock was set, perhaps while this waited or ran
            straight = timing.straight
            spans = [(straight(start), straight(end)) for start, end in spans]
            accepted = [straight(at) for at in accepted]
        joined = "".join(chain.from_iterable(ids)).encode()
        gist = Gist(len(ids[0]), self._filed, [start for start, _ in spans], joined, timing)
        fields = (
            b"%d" % gist.records + self._same + timing.boot.encode(),
            b"%d" % timing.offset,
            " ".join(map(str, chain.from_iterable(spans))).encode(),
            " ".join(map(str, accepted)).encode(),
            joined,
            *results,
        )
        return Sheaf(_RS.join(fields), self._lane, gist)


def count_of(text: bytes) -> int:
    """How many records a sheaf holds."""
    return int(text[: text.index(b" ")])


def gist_of(text: bytes) -> Gist:
    """The gist of a sheaf that is read."""
    head, boot, offset, times, _, joined, _ = text.split(_RS, 6)
    count, _, same = head.partition(b" ")
    filed, _ = _known(same)
    starts = [int(at) for at in times.split()[::2]]
    return Gist(int(count) // len(filed), filed, starts, joined, Timing(boot.decode(), int(offset)))


def with_origins(text: bytes, origins: Sequence[str]) -> bytes:
    """The text of a sheaf that also tells where its messages came from."""
    return text + _RS + orjson.dumps(origins)


def origins_in(text: bytes) -> list[str]:
    """Where the messages of a sheaf came from, if it tells."""
    fields = text.split(_RS)
    count, _, same = fields[0].partition(b" ")
    filed, columns = _known(same)
    at = 6
    for _ in range(columns):
        at += 2 if fields[at] == _ALIKE else 1 + int(count) // len(filed)
    origins: list[str] = orjson.loads(fields[at]) if at < len(fields) else []
    return origins


def expand(text: bytes) -> list[bytes]:
    """The texts of the records in a sheaf, as `RecordTemplate` writes them."""
    fields = iter(text.split(_RS))
    count, _, same = next(fields).partition(b" ")
    boot, offset = next(fields), int(next(fields))
    times, accepted = [int(at) for at in next(fields).split()], [int(at) for at in next(fields).split()]
    document: dict[str, Any] = orjson.loads(same)
    parts, composed = document["parts"], document["composed"]
    runs = int(count) // len(parts)
    accepted *= 1 if len(accepted) == runs else runs
    joined = next(fields)
    ids = [joined[at : at + ID_LENGTH] for at in range(0, len(joined), ID_LENGTH)]
    columns = [_results(fields, runs) for _ in parts[: len(parts) - composed]]
    found: list[bytes] = []
    spent = 0
    for number, part in enumerate(parts):
        start, end = times[2 * number : 2 * number + 2]
        whole = number == len(columns)
        inside = composed and not whole
        duration = spent if whole else max(0, end - start)
        spent += duration
        alike = (
            before(part["head"]),
            b'","start":%d,"end":%d,"duration":%d,"response":{"result":' % (start, max(start, end), duration),
            orjson.dumps(part["annotations"])[:-1] + (b"" if whole else IN_TIME),
            b',{"key":"edge-boot","value":["%b",%d]}],"publish":false' % (boot, start - offset),
        )
        results = columns[-1] if whole else columns[number]
        for at in range(runs):
            logs = b'["%b"]' % b'","'.join(ids[at : len(columns) * runs : runs]) if whole else b"[]"
            wait = 0 if inside else max(0, start - accepted[at])
            cause = b',"cause":"%b"' % ids[len(columns) * runs + at] if inside else b""
            found.append(_text(alike, ids[number * runs + at], results[at], logs, wait, cause))
    return found


@lru_cache(_WAYS)
def _known(same: bytes) -> tuple[Sequence[Name], int]:
    """The name of each part, and how many of them have results, in what all records have in common."""
    document = orjson.loads(same)
    heads = [{**part["head"], "annotations": part["annotations"]} for part in document["parts"]]
    filed = [(intern(head["namespace"]), intern(filed_under(head))) for head in heads]
    return filed, len(filed) - document["composed"]


def _text(
    alike: tuple[bytes, bytes, bytes, bytes], own: bytes, result: bytes, logs: bytes, wait: int, cause: bytes
) -> bytes:
    """One record; what all of its part have `alike` stands before and after its own."""
    head, times, annotations, end = alike
    return (
        b'%b%b%b%b,"success":true,"status":"success","statusCode":0,"size":%d},"logs":%b,'
        b'"annotations":%b,{"key":"waitTime","value":%d}%b%b}'
    ) % (head, own, times, result, len(result), logs, annotations, wait, end, cause)


def _column(results: Sequence[bytes]) -> bytes | None:
    """The results of a part as fields; None if they do not keep apart."""
    if len(results) > 1 and results.count(results[0]) == len(results):
        results, kind = results[:1], _ALIKE
    else:
        kind = _EACH
    joined = _RS.join(results)
    if joined.count(_RS) != len(results) - 1 or b"\n" in joined:  # a broken guest's: no JSON
        return None
    return kind + _RS + joined


def _results(fields: Iterator[bytes], runs: int) -> Sequence[bytes]:
    if next(fields) == _ALIKE:
        return (next(fields),) * runs
    return list(islice(fields, runs))
