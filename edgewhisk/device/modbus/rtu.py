"""The answer to a Modbus RTU question, in what is heard on the line. Pure.

Converters echo what is sent, lines give a zero byte when they turn round, and answers to earlier questions
come late: what is not the answer is skipped, wherever the answer begins.
Source: Modbus over serial line V1.02, section 2.5.1; Modbus application protocol V1.1b3, section 6.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from edgewhisk.device.checksum import crc16_reflected

MAX_ANSWER_BYTES: Final = 1024  # bytes of one answer and all that is around it
_REFUSED: Final = 0x80  # added to the function of an answer that is an exception
_BITS: Final = frozenset({1, 2})
_REGISTERS: Final = frozenset({3, 4})
_ALIKE: Final = frozenset({5, 6})  # the answer is the question once more


class Heard(NamedTuple):
    """What was found."""

    answer: bytes  # unit to checksum; empty: it did not come yet
    echoed: bool  # the question came back, before the answer


def hear(data: bytes, asked: bytes, *, echoes: bool) -> Heard:
    """The answer to `asked`, a whole frame, in `data`; `echoes`: the line is known to give questions back.

    Of functions 5 and 6 the echo cannot be told from the answer: it is one only on a line that echoes.
    """
    at = data.find(asked)
    echoed = at >= 0 and (echoes or asked[1] not in _ALIKE)
    begin = at + len(asked) if echoed else 0
    for start in range(begin, len(data) - 4):
        size = _size(data, start, asked)
        if size and len(data) - start >= size and _whole(data[start : start + size]):
            return Heard(data[start : start + size], echoed)
    return Heard(b"", echoed)


def _size(data: bytes, at: int, asked: bytes) -> int:
    """Bytes of the answer that begins at `at`; 0 if what begins there is none to this question."""
    unit, function = asked[0], asked[1]
    if unit and data[at] != unit:
        return 0
    if data[at + 1] == function | _REFUSED:
        return 5
    if data[at + 1] != function:
        return 0
    count = int.from_bytes(asked[4:6], "big")
    octets = -(-count // 8) if function in _BITS else 2 * count if function in _REGISTERS else 0
    if octets:
        return 5 + octets if data[at + 2] == octets else 0
    return 8 if data[at + 2 : at + 4] == asked[2:4] else 0


def _whole(frame: bytes) -> bool:
    return crc16_reflected(frame[:-2]) == int.from_bytes(frame[-2:], "little")
