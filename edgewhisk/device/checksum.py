"""Checksums of frames. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from operator import xor
from typing import Final

from edgewhisk.device.profile import Check


def crc16_reflected(data: bytes, start: int = 0xFFFF) -> int:
    """CRC with polynomial 0xA001: from 0xFFFF Modbus's (serial line guide V1.02, 6.2.2), from 0 DSMR's."""
    crc = start
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc


def _crc16_ccitt(data: bytes) -> int:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = ((crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def _row(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ 0xA001 if byte & 1 else byte >> 1
    return byte


_TABLE: Final = tuple(_row(byte) for byte in range(256))
_KINDS: Final[Mapping[str, tuple[int, Callable[[bytes], int]]]] = {  # bytes, sum
    "sum8": (1, lambda data: sum(data) & 0xFF),
    "negated-sum8": (1, lambda data: -sum(data) & 0xFF),
    "xor8": (1, lambda data: reduce(xor, data, 0)),
    "sum16": (2, lambda data: sum(data) & 0xFFFF),
    "crc16-modbus": (2, crc16_reflected),
    "crc16-ccitt": (2, _crc16_ccitt),
}


def passes(check: Check, frame: bytes) -> bool:
    """Whether a frame's checksum is right."""
    if check.kind == "none":
        return True
    size, compute = _KINDS[check.kind]
    at = check.at if check.at >= 0 else len(frame) + check.at
    last = check.last if check.last >= 0 else len(frame) + check.last
    if at < 0 or at + size > len(frame) or last < check.first:
        return False
    found = int.from_bytes(frame[at : at + size], "big" if check.order == "big" else "little")
    return compute(frame[check.first : last]) == found


def is_nmea(sentence: bytes) -> bool:
    """Whether `$...*hh` has the right checksum (NMEA 0183: exclusive or of what is between $ and *)."""
    body, star, digits = sentence[1:].rpartition(b"*")
    if not star or len(digits) != 2:
        return False
    try:
        return reduce(xor, body, 0) == int(digits, 16)
    except ValueError:
        return False
