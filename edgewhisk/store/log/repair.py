"""Put right a flipped bit in lines that carry a CRC-32. Pure.

Two different lines of less than 2^32 bits that have one checksum differ in three bits at least, so
what one flipped bit made of a line can come from one line only. A torn write passes for a flipped
bit once in some 10^6 lines of a kilobyte, and then still has to make a whole round.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from zlib import crc32

MAX_LINE_BYTES: Final = 64 << 10  # bytes of a line that is searched: 10 ms; a longer one is lost
_HEAD: Final = 9  # the checksum's digits and a space
_DIGITS: Final = re.compile(rb"[0-9a-f]{8}")


def _table() -> tuple[int, ...]:
    values = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
        values.append(value)
    return tuple(values)


_TABLE: Final = _table()
_BY_TOP: Final = {value >> 24: at for at, value in enumerate(_TABLE)}
_BIT: Final = {_TABLE[1 << bit]: 1 << bit for bit in range(8)}  # difference a bit of the last byte makes
_LINE_ENDS: Final = bytes(0x0A ^ 1 << bit for bit in range(8))
_ENDED: Final = re.compile(b"[" + re.escape(_LINE_ENDS) + b"]")


def sound(line: bytes, seed: int) -> bool:
    """Whether the checksum at the beginning of `line` is that of the rest."""
    return line[:_HEAD] == b"%08x " % crc32(line[_HEAD:], seed)


def flipped(line: bytes, seed: int) -> bytes | None:
    """The line that `line` was before a bit flipped; None if more happened to it."""
    if not _HEAD < len(line) <= MAX_LINE_BYTES:
        return None
    body = line[_HEAD:]
    found = crc32(body, seed)
    head = b"%08x " % found
    if sum((one ^ other).bit_count() for one, other in zip(head, line, strict=False)) == 1:
        return head + body
    if not _DIGITS.match(line):
        return None
    difference = found ^ int(line[: _HEAD - 1], 16)
    for at in range(len(body) - 1, -1, -1):
        if (bit := _BIT.get(difference)) is not None:
            return line[: _HEAD + at] + bytes([body[at] ^ bit]) + body[at + 1 :]
        low = _BY_TOP[difference >> 24]  # one byte back
        difference = (difference ^ _TABLE[low]) << 8 | low
    return None


def joined(line: bytes, seed: int) -> int | None:
    """Where the line break was that a flipped bit hid, if the part before it is sound."""
    if len(line) <= _HEAD or line[_HEAD - 1 : _HEAD] != b" ":
        return None
    crc, done = seed, _HEAD
    for match in _ENDED.finditer(line, _HEAD):
        crc = crc32(line[done : match.start()], crc)
        done = match.start()
        if line[:_HEAD] == b"%08x " % crc:
            return done
    return None


def parted(one: bytes, other: bytes, seed: int) -> bytes | None:
    """The line that a flipped bit made two of."""
    if len(one) + len(other) > MAX_LINE_BYTES:
        return None
    candidates: Iterator[bytes] = (one + bytes([end]) + other for end in _LINE_ENDS)
    return next((line for line in candidates if sound(line, seed)), None)
