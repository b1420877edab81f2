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


def table(calls: Sequence[Given], base: int) -> bytes:
    """The table and, behind it, what the rows point to, for a table whose data begins at `base`."""
    rows: list[bytes] = []
    data: list[bytes] = []
    at = base
    for call in calls:
        size, more = len(call.arguments), len(call.context)
        rows.append(_GIVEN.pack(at, size, at + size, more, call.seed, call.log_limit).ljust(ROW, b"\0"))
        data += (call.arguments, call.context)
        at += size + more
    return b"".join((*rows, *data))


def reply(row: bytes, memory: bytes, base: int, largest: int) -> Reply:
    """Read a row; `memory` is what the driver collected from `base` on."""
    status, result, size, log, log_size, cut = _TAKEN.unpack_from(row, _TAKEN_AT)
    result, log = result - base, log - base
    taken = memory[result : result + min(size, largest)]
    return Reply(status, taken, size, memory[log : log + log_size], bool(cut))


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
