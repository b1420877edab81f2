"""Frames: how records stand in a segment file. Pure.

A frame is one line, `crc32 op number text`. The checksum starts from the segment's name, so a block
of some other file can never pass for a frame of this one. Frames form groups that count as a whole:
a lower-case op goes on, an upper-case one ends the group. A group whose end is missing was torn by
a crash and never acknowledged; a damaged line inside a file costs that one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from zlib import crc32

FORMAT: Final = 1  # version in the header of each segment
_NAME: Final = re.compile(r"seg-(\d{8})-(\d{12})-([0-9a-f]{16})\.ewj")
_HEAD: Final = re.compile(rb"([0-9a-f]{8}) ([A-Za-z]) (\d{1,18}) ")


class Frame(NamedTuple):
    """One record of a group."""

    op: str  # upper case; what it means is the store's affair
    number: int
    text: bytes  # without line breaks
    start: int = 0  # where `text` begins in its segment


class Scan(NamedTuple):
    """What a segment holds."""

    frames: tuple[Frame, ...]  # of whole groups, in order
    end: int  # behind the last whole group: all after it is torn
    corrupt: int  # lines before `end` whose checksum did not match


def segment_name(serial: int, first: int, nonce: str) -> str:
    """Name of a segment: `serial` orders them, `first` is the number its records begin with.

    The number alone is no order: a segment may end without a record, and the next begin with the same.
    """
    return f"seg-{serial:08d}-{first:012d}-{nonce}.ewj"


def parse_name(name: str) -> tuple[int, int] | None:
    """Serial and first number of a segment's name; None if it is no segment."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def seed_of(name: str) -> int:
    """Where the checksums of a segment start."""
    return crc32(name.encode())


def encode(group: Sequence[Frame], seed: int) -> tuple[bytes, tuple[int, ...]]:
    """The bytes of a group, and where each frame's text begins in them."""
    parts: list[bytes] = []
    starts: list[int] = []
    size, last = 0, len(group) - 1
    for at, frame in enumerate(group):
        op = frame.op if at == last else frame.op.lower()
        head = b"%b %d " % (op.encode(), frame.number)
        line = b"%08x %b%b\n" % (crc32(frame.text, crc32(head, seed)), head, frame.text)
        starts.append(size + 9 + len(head))
        parts.append(line)
        size += len(line)
    return b"".join(parts), tuple(starts)


def scan(data: bytes, seed: int) -> Scan:
    """Read a segment; never raises, whatever the bytes are."""
    whole: list[Frame] = []
    group: list[Frame] = []
    end = corrupt = damaged = 0
    for start, line in _lines(data):
        frame = _parse(line, start, seed)
        if frame is None:
            damaged += 1
            continue
        group.append(frame._replace(op=frame.op.upper()))
        if frame.op.isupper():
            whole += group
            group = []
            end = start + len(line) + 1
            corrupt, damaged = corrupt + damaged, 0
    return Scan(tuple(whole), end, corrupt)


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines that have their end; a last one without is torn."""
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        yield start, data[start:end]
        start = end + 1


def _parse(line: bytes, start: int, seed: int) -> Frame | None:
    match = _HEAD.match(line)
    if match is None or crc32(line[9:], seed) != int(match[1], 16):
        return None
    return Frame(match[2].decode(), int(match[3]), line[match.end() :], start + match.end())
