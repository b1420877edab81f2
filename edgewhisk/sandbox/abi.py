"""Calls and replies as bytes: the table that the driver walks, and the log of a guest. Pure.

One row of the table, 64 bytes, little-endian, written by the host up to `log_limit`, by the driver
behind it: arguments (offset, size), context (offset, size), seed, log limit; then status, result
(offset, true size), log (offset, size), whether the log was cut.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

ROW: Final = 64  # bytes
MOST_CALLS: Final = 64  # rows of the table
_GIVEN: Final = struct.Struct("<IIIIQI")
_TAKEN: Final = struct.Struct("<IIIIII")
_TAKEN_AT: Final = 28
DONE_AT: Final = 56  # in the first row: how many calls are done
_REST: Final = bytes(ROW - _GIVEN.size)
_LINE: Final = struct.Struct("<dII")  # ms since the epoch, stream, bytes of text
_STREAMS: Final = {1: "stdout", 2: "stderr"}


class Given(NamedTuple):
    """One call as the guest gets it."""

    arguments: bytes
    context: bytes
    seed: int
    log_limit: int  # bytes


class Reply(NamedTuple):
    """What a guest answered to one call."""

    status: int  # 0 success, 1 application error, 2 developer error
    result: bytes  # as much of it as the host takes
    result_size: int  # its true size
    log: bytes
    log_cut: bool


def table(calls: Sequence[Given], at: int) -> bytes:
    """The table for the address `at`, and behind it what the rows point to."""
    rows: list[bytes] = []
    data: list[bytes] = []
    at += ROW * len(calls)
    for call in calls:
        size, more = len(call.arguments), len(call.context)
        rows.append(_GIVEN.pack(at, size, at + size, more, call.seed, call.log_limit) + _REST)
        data += (call.arguments, call.context)
        at += size + more
    return b"".join((*rows, *data))


def replies(memory: bytes, at: int, count: int, largest: int) -> list[Reply]:
    """The replies of `count` rows; `memory` is the driver's from the table's address `at` on."""
    found = []
    for number in range(count):
        status, result, size, log, log_size, cut = _TAKEN.unpack_from(memory, number * ROW + _TAKEN_AT)
        result, log = result - at, log - at
        taken = memory[result : result + (size if size < largest else largest)]
        found.append(Reply(status, taken, size, memory[log : log + log_size], bool(cut)))
    return found


def end_of(row: bytes) -> int:
    """Where the results up to this row's end: behind its log."""
    _, _, _, log, size, _ = _TAKEN.unpack_from(row, _TAKEN_AT)
    end: int = log + size
    return end


def log_lines(log: bytes) -> Iterator[tuple[int, str, str]]:
    """(ms since the epoch, stream, text) of each line; stops at the first that is not whole."""
    at = 0
    while at + _LINE.size <= len(log):
        time, stream, size = _LINE.unpack_from(log, at)
        at += _LINE.size
        if at + size > len(log) or not 0 <= time < 1e15:
            return
        yield int(time), _STREAMS.get(stream, "stderr"), log[at : at + size].decode(errors="replace")
        at += size
