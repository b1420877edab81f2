"""Captures: what was recorded reads back the same; what is none is refused by its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.device import capture
from edgewhisk.device.capture import CapturedBytes, Expected
from edgewhisk.errors import BadRequest

TOPICS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
SAID = st.builds(
    CapturedBytes,
    st.integers(0, 100_000).map(lambda ms: ms / 1000),
    st.binary(max_size=30),
    st.just("") | TOPICS,
    st.just(False),
)


@given(st.lists(SAID, max_size=5))
def test_what_is_written_is_read(said: list[CapturedBytes]) -> None:
    text = "".join(map(capture.line, said)).encode()
    found = list(capture.read(capture.text(text, "f"), "f"))
    assert found == said


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="replace")))
def test_anything_is_a_capture_or_refused(data: bytes) -> None:
    try:
        found = list(capture.read(capture.text(data, "f"), "f"))
    except BadRequest:
        return
    assert all(isinstance(one, CapturedBytes | Expected) for one in found)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"\x7fELF\xff", "f is no text file"),
        (b"<html>\n", "f, line 1: a line begins with one of"),
        (b"> b'a'\n> b'cut o", "f, line 2: no bytes"),
        (b"> 5\n", "f, line 1: no bytes"),
        (b"+ -5\n", "f, line 1: a pause is 0 to"),
        (b"+ nan\n", "f, line 1: a pause is"),
        (b"+ soon\n", "f, line 1: could not convert"),
        (b"< 5\n", "f, line 1: the readings of < are a JSON object"),
        (b"@ b'a'\n", "f, line 1: no bytes"),
        (b"@ \"a b b'x'\n", "f, line 1: "),
        (b"@ \n", "f, line 1: @ stands before a topic"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: bytes, problem: str) -> None:
    with pytest.raises(BadRequest) as caught:
        list(capture.read(capture.text(text, "f"), "f"))
    assert problem in str(caught.value)
