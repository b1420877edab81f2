"""The answer is found whatever is around it, and nothing else is taken for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.device.checksum import crc16_reflected
from edgewhisk.device.modbus.rtu import hear


def frame(*octets: int) -> bytes:
    body = bytes(octets)
    return body + crc16_reflected(body).to_bytes(2, "little")


ASKED = frame(1, 4, 0, 0, 0, 2)  # two registers of unit 1
ANSWER = frame(1, 4, 4, 0x43, 0x66, 0x80, 0)


@given(st.binary(max_size=40), st.binary(max_size=40), st.booleans(), st.booleans())
def test_noise_before_and_behind_and_an_echo(before: bytes, behind: bytes, echo: bool, known: bool) -> None:
    heard = hear(before + (ASKED if echo else b"") + ANSWER + behind, ASKED, echoes=known)
    assert heard == (ANSWER, echo)


@given(st.integers(0, len(ANSWER) - 1), st.binary(max_size=5))
def test_a_part_of_it_is_no_answer(size: int, before: bytes) -> None:
    assert hear(before + ASKED + ANSWER[:size], ASKED, echoes=False) == (b"", True)


@pytest.mark.parametrize(
    "other",
    [
        frame(2, 4, 4, 0, 0, 0, 0),  # of another unit
        frame(1, 3, 4, 0, 0, 0, 0),  # to another function
        frame(1, 4, 6, 0, 0, 0, 0, 0, 0),  # of another length: a late one
        ANSWER[:-1] + b"\0",  # damaged
    ],
)
def test_what_is_no_answer_to_this_is_skipped(other: bytes) -> None:
    assert hear(other, ASKED, echoes=False) == (b"", False)
    assert hear(other + ANSWER, ASKED, echoes=False) == (ANSWER, False)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (ASKED, frame(1, 0x84, 2)),
        (frame(1, 1, 0, 0, 0, 9), frame(1, 1, 2, 0xFF, 1)),
        (frame(1, 16, 0, 4, 0, 1, 2, 0, 7), frame(1, 16, 0, 4, 0, 1)),
        (frame(1, 6, 0, 4, 0, 7), frame(1, 6, 0, 4, 0, 7)),
        (frame(0, 3, 0, 0, 0, 1), frame(9, 3, 2, 0, 7)),  # asked by unit 0, the device says its own
    ],
)
def test_each_kind_of_answer(asked: bytes, answer: bytes) -> None:
    assert hear(b"\0" + answer, asked, echoes=False).answer == answer


def test_the_echo_of_a_write_is_its_answer_only_where_the_line_does_not_echo() -> None:
    asked = frame(1, 5, 0, 4, 0xFF, 0)
    assert hear(asked, asked, echoes=False) == (asked, False)
    assert hear(asked, asked, echoes=True) == (b"", True)
    assert hear(asked + asked, asked, echoes=True) == (asked, True)
