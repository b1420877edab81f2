"""Frames: how records stand in a segment file. Pure.

A frame is one line, `crc32 op number text`. The checksum starts from the segment's name, which is
used once in all time, so a block of some other file, or of an earlier life of this one, never passes
for a frame of it. All frames that one fdatasync covers form a round: a lower-case op goes on, an
upper-case one ends the round and is followed by how many frames it has (none: one). A round whose
frames are not all there was torn by a power cut and never acknowledged: none of it counts. A line
that is damaged before the last round costs that line, and one flipped bit costs nothing.

Formats of older gateways are read for ever: 2 had no record blocks, 1 no counts and several groups to a
round.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from string import ascii_uppercase
from typing import Final, NamedTuple
from zlib import crc32

from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.activation import id_of
from edgewhisk.entity.records.record_block import BlockIndex, block_index_of, count_of, expand
from edgewhisk.store.log import repair

FORMAT: Final = 3  # version in the header of each segment
_NAME: Final = re.compile(r"seg-(\d{8})-(\d{12})-([0-9a-f]{16})\.ewj")
_HEAD: Final = re.compile(rb"([0-9a-f]{8}) ([A-Za-z])(\d{0,9}) (\d{1,18}) ")
_GOES_ON: Final = {op: op.lower().encode() for op in ascii_uppercase}
_MOST: Final = 1 << 20  # records of a record block; one that tells of more is none
_BEHIND: Final = 2  # lines behind the last sound one that are looked at for a flipped bit


ACTIVATION: Final = "A"  # op of a record; its number is the sequence number
# op of several records (`entity.records.record_block`); the number is that of the first
RECORD_BLOCK: Final = "G"
# Namespace and name, start (ms), activation id, how the clock stood when the start was read.
About = tuple[tuple[str, str], int, str, ClockOffset]


class Frame(NamedTuple):
    """One record of a round, and where its line stands in its segment."""

    op: str  # upper case; what it means is the store's affair
    number: int
    text: bytes  # without line breaks
    start: int = 0
    size: int = 0  # of the line, without its break
    about: About | BlockIndex | None = None  # of a new record, if its writer knows; not stored

    @property
    def records(self) -> int:
        """How many records it holds; none if it is a record block that does not say."""
        if self.op != RECORD_BLOCK:
            return int(self.op == ACTIVATION)
        try:
            count = count_of(self.text)
        except ValueError:
            return 0
        return count if 0 < count <= _MOST else 0

    def texts(self) -> list[bytes]:
        """The texts of its records."""
        return expand(self.text) if self.op == RECORD_BLOCK else [self.text]

    def ids(self) -> list[str]:
        """The activation ids of its records."""
        return block_index_of(self.text).ids() if self.op == RECORD_BLOCK else [id_of(self.text)]


class Scan(NamedTuple):
    """What a segment holds."""

    frames: list[Frame]  # of whole rounds, in order
    end: int  # behind the last whole round: all after it is torn, or of an earlier life of the file
    corrupt: int = 0  # lines before `end` that are lost
    repaired: int = 0  # lines in which a flipped bit was put right
    blind: bool = False  # a line behind the last record is lost: it may have been one

    def missing(self, first: int) -> int:
        """How many records are lost before the last one; `first`: the number of the segment's first."""
        lost = 0
        for frame in self.frames:
            if count := frame.records:
                lost += max(0, frame.number - first)
                first = frame.number + count
        return lost


class _Line(NamedTuple):
    start: int
    stop: int  # where the next one begins
    frame: Frame | None  # None: damaged
    ends: int = 0  # frames of the round that it ends; 0: it ends none


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


def encode(frames: Sequence[Frame], seed: int, last: int | None = None) -> tuple[bytes, list[int]]:
    """The bytes of a round, and where each line ends in them.

    `last`: the number before that of the first record; else records have their numbers.
    """
    parts: list[bytes] = []
    ends: list[int] = []
    size, left = 0, len(frames)
    count = b"%d" % left if left > 1 else b""
    for op, number, text, _, _, _ in frames:
        if last is not None and op in (ACTIVATION, RECORD_BLOCK):
            number = last + 1
            last += 1 if op == ACTIVATION else count_of(text)
        left -= 1
        head = b"%b %d " % (_GOES_ON[op], number) if left else b"%b%b %d " % (op.encode(), count, number)
        parts += (b"%08x " % crc32(text, crc32(head, seed)), head, text, b"\n")
        size += 10 + len(head) + len(text)
        ends.append(size)
    return b"".join(parts), ends


def read_line(line: bytes, seed: int, start: int = 0) -> Frame | None:
    """The frame in one line, put right if a bit of it flipped; None if more happened to it."""
    found = _parse(line, seed, start, 0)
    if found.frame is None and (mended := repair.flipped(line, seed)) is not None:
        found = _parse(mended, seed, start, 0)
    return found.frame


def scan(data: bytes, seed: int, ended: int = 0) -> Scan:
    """Read a segment; never raises, whatever the bytes are.

    `ended`: what stands before is known to be acknowledged, so it was damaged where it is not whole.
    """
    lines = list(_lines(data, seed))
    good = max((at for at, line in enumerate(lines) if line.frame), default=-1) + 1
    lines, repaired = _mended(lines[: good + _BEHIND], data, seed)
    last = max((at for at, line in enumerate(lines) if line.ends), default=-1)
    whole: list[Frame] = []
    held: list[_Line] = []  # of a round whose end is not seen yet
    end = corrupt = 0
    blind = False
    for at, line in enumerate(lines):
        held.append(line)
        known = line.stop <= ended
        if not line.ends and not known:
            continue
        own = held[-line.ends :]
        torn = len(own) < line.ends or any(one.frame is None for one in own)
        if torn and not known and at == last:
            break
        for one in held:
            if one.frame is None:
                corrupt, blind = corrupt + 1, True
            else:
                whole.append(one.frame)
                blind = blind and one.frame.op not in (ACTIVATION, RECORD_BLOCK)
        held, end = [], line.stop
    return Scan(whole, end, corrupt, repaired, blind)


def _lines(data: bytes, seed: int) -> Iterator[_Line]:
    """All lines; what follows the last line break is one if there is more than zeros in it."""
    start = 0
    while (stop := data.find(b"\n", start) + 1) > 0:
        yield _parse(data[start : stop - 1], seed, start, stop)
        start = stop
    if rest := data[start:].rstrip(b"\0"):
        yield _Line(start, start + len(rest), None)


def _parse(line: bytes, seed: int, start: int, stop: int) -> _Line:
    match = _HEAD.match(line)
    if match is None or crc32(line[9:], seed) != int(match[1], 16):
        return _Line(start, stop, None)
    op, count, number = match[2].decode(), match[3], int(match[4])
    frame = Frame(op.upper(), number, line[match.end() :], start, len(line))
    return _Line(start, stop, frame, (int(count) if count else 1) if op.isupper() else 0)


def _mended(lines: list[_Line], data: bytes, seed: int) -> tuple[list[_Line], int]:
    """The lines with flipped bits put right, and how many were."""
    found: list[_Line] = []
    repaired = at = 0
    while at < len(lines):
        line, at = lines[at], at + 1
        if line.frame is not None:
            found.append(line)
            continue
        text = data[line.start : line.stop].removesuffix(b"\n")
        other = lines[at] if at < len(lines) and lines[at].frame is None else None
        mended = list(_mend(line, text, other, data, seed))
        if mended and other is not None and mended[-1].stop == other.stop > line.stop:
            at += 1
        repaired += bool(mended)
        found += mended or [line]
    return found, repaired


def _mend(line: _Line, text: bytes, other: _Line | None, data: bytes, seed: int) -> Iterator[_Line]:
    """What one line was, or it and the next; nothing if that cannot be told."""
    if (whole := repair.flipped(text, seed)) is not None:
        yield _parse(whole, seed, line.start, line.stop)
    elif (split := repair.joined(text, seed)) is not None:
        middle = line.start + split + 1
        yield _parse(text[:split], seed, line.start, middle)
        if middle < line.stop:
            yield _parse(text[split + 1 :], seed, middle, line.stop)
    elif other is not None:
        behind = data[other.start : other.stop].removesuffix(b"\n")
        if (whole := repair.parted(text, behind, seed)) is not None:
            yield _parse(whole, seed, line.start, other.stop)
