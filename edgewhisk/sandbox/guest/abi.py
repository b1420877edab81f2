"""Calls and replies as bytes: the table that the driver walks, and the log of a guest. Pure.

One row of the table, 64 bytes, little-endian, written by the host up to `log_limit`, by the driver
behind it: arguments (offset, size), context (offset, size), seed, log limit; then status, result
(offset, true size), log (offset, size), whether the log was cut.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from edgewhisk import jsontext

ROW: Final = 64  # bytes
MOST_CALLS: Final = 64  # rows of the table
_WORDS: Final = ROW // 4
_FEW: Final = 4  # rows that are sooner written and read one by one
_GIVEN: Final = struct.Struct("<IIII8sI36x")
_TAKEN: Final = struct.Struct("<IIIIII")
_TAKEN_AT: Final = 28
_DONE_AT: Final = 52  # in the first row, behind its own words
_DONE: Final = struct.Struct("<III")
SEED: Final = 8  # bytes
_LINE: Final = struct.Struct("<dII")  # ms since the epoch, stream, bytes of text
_STREAMS: Final = {1: "stdout", 2: "stderr"}


class Given(NamedTuple):
    """Calls as the guest gets them, column by column."""

    arguments: Sequence[bytes]
    contexts: Sequence[bytes]
    seeds: bytes  # 8 for each
    log_limit: int  # bytes


class Reply(NamedTuple):
    """What a guest answered to one call."""

    status: int  # 0 success, 1 application error, 2 developer error
    result: bytes  # as much of it as the host takes
    result_size: int  # its true size
    log: bytes
    log_cut: bool


def table(given: Given, at: int) -> bytes:
    """The table for the address `at`, and behind it what the rows point to: arguments, then contexts.

    Many are written column by column: 0.3 us for each call, row by row 1.2.
    """
    count = len(given.arguments)
    if count <= _FEW:
        return _few_rows(given, at)
    sizes = [*map(len, given.arguments), *map(len, given.contexts)]
    places = list(accumulate(sizes, initial=at + ROW * count))
    rows, seeds = array("I", bytes(ROW * count)), array("I", given.seeds)
    rows[0::_WORDS], rows[1::_WORDS] = array("I", places[:count]), array("I", sizes[:count])
    rows[2::_WORDS], rows[3::_WORDS] = array("I", places[count:-1]), array("I", sizes[count:])
    rows[4::_WORDS], rows[5::_WORDS] = seeds[0::2], seeds[1::2]
    rows[6::_WORDS] = array("I", (given.log_limit,)) * count
    return b"".join((rows.tobytes(), *given.arguments, *given.contexts))


def _few_rows(given: Given, at: int) -> bytes:
    rows: list[bytes] = []
    first = at + ROW * len(given.arguments)
    second = first + sum(map(len, given.arguments))
    for number, (arguments, context) in enumerate(zip(given.arguments, given.contexts, strict=True)):
        seed = given.seeds[SEED * number : SEED * (number + 1)]
        rows.append(_GIVEN.pack(first, len(arguments), second, len(context), seed, given.log_limit))
        first, second = first + len(arguments), second + len(context)
    return b"".join((*rows, *given.arguments, *given.contexts))


def uniform(memory: bytes, at: int, count: int, largest: int) -> list[bytes] | None:
    """The results of `count` rows if all calls succeeded, printed nothing and gave what is not too large.

    `memory` as in `replies`, which tells what happened otherwise.
    """
    if count <= _FEW:
        found: list[bytes] = []
        for row in range(_TAKEN_AT, ROW * count, ROW):
            status, place, size, _, log_size, cut = _TAKEN.unpack_from(memory, row)
            if status or log_size or cut or size > largest:
                return None
            found.append(memory[place - at : place - at + size])
        return found
    rows = array("I", memory[: ROW * count])
    sizes = rows[9::_WORDS]
    if any(rows[7::_WORDS]) or any(rows[11::_WORDS]) or any(rows[12::_WORDS]) or max(sizes) > largest:
        return None
    return [
        memory[place - at : place - at + size] for place, size in zip(rows[8::_WORDS], sizes, strict=True)
    ]


def replies(memory: bytes, at: int, count: int, largest: int) -> list[Reply]:
    """The replies of `count` rows; `memory` is the driver's from the table's address `at` on."""
    found = []
    for number in range(count):
        status, result, size, log, log_size, cut = _TAKEN.unpack_from(memory, number * ROW + _TAKEN_AT)
        result, log = result - at, log - at
        taken = memory[result : result + (size if size < largest else largest)]
        found.append(Reply(status, taken, size, memory[log : log + log_size], bool(cut)))
    return found


class Done(NamedTuple):
    """How far a batch is; told by the first row."""

    pages: int  # of the guest's memory; unknown before a call is done
    calls: int
    end: int  # of their results


def done(memory: memoryview, at: int) -> Done:
    """What the first row tells, of a table at the address `at`."""
    return Done(*_DONE.unpack_from(memory, at + _DONE_AT))


def log_lines(log: bytes) -> Iterator[tuple[int, str, str]]:
    """(ms since the epoch, stream, text) of each line; stops at the first that is not whole."""
    at = 0
    while at + _LINE.size <= len(log):
        time, stream, size = _LINE.unpack_from(log, at)
        at += _LINE.size
        if at + size > len(log) or not 0 <= time < 1e15:
            return
        yield int(time), _STREAMS.get(stream, "stderr"), jsontext.decoded(log[at : at + size])
        at += size
