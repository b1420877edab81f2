"""Every profile against its recorded bytes, however they arrive; framing and decoding of anything."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.device import profile as profiles
from edgewhisk.device.decode import Undecodable, decode, payload
from edgewhisk.device.framing import LineFramer
from edgewhisk.errors import ConfigError

DEVICES = Path(__file__).resolve().parents[2] / "devices"
GOLDEN = sorted(DEVICES.glob("*/*.golden"))


def golden(path: Path) -> tuple[bytes, list[Any]]:
    """What the port sends, and what must come of it: values, or (as text) a refusal."""
    sent, expected = b"", list[Any]()
    for line in path.read_text().splitlines():
        match line[:2]:
            case "> ":
                sent += ast.literal_eval(line[2:])
            case "< ":
                expected.append(json.loads(line[2:]))
            case "! ":
                expected.append(line[2:])
    return sent, expected


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [10**6, 1, 7])
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_profiles(path: Path, size: int) -> None:
    profile = profiles.load(path.relative_to(DEVICES).with_suffix("").as_posix())
    sent, expected = golden(path)
    framer, found = LineFramer(profile.longest), list[Any]()
    for chunk in chunks(sent, size):
        for frame in framer.feed(chunk):
            try:
                event = orjson.loads(payload(profile, "p", 5, decode(profile, frame)))
            except Undecodable as error:
                found.append(str(error))
            else:
                assert [event.pop(key) for key in ("device", "port", "taken_at")] == [profile.name, "p", 5]
                found.append(event)
    assert found == expected


def test_every_profile_has_its_proof() -> None:
    assert {path.stem for path in GOLDEN} == {name.split("/")[1] for name in profiles.names()}


@given(st.lists(st.binary(max_size=30), max_size=8), st.integers(1, 9))
def test_chunks_make_no_difference_and_good_lines_survive(parts: list[bytes], size: int) -> None:
    data = b"\n".join(parts) + b"\ngood\n"
    whole, pieces = LineFramer(20), LineFramer(20)
    expected = whole.feed(data)
    found = [frame for chunk in chunks(data, size) for frame in pieces.feed(chunk)]
    assert found == expected
    assert found[-1] == b"good"
    assert pieces.overlong == whole.overlong


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ({}, "framing.kind: must be one of line"),
        ({"framing": 5}, "framing: must be a table"),
        ({"colour": 1}, "colour: is not a key"),
        ({"framing": {"kind": "line", "longest": 0}}, "framing.longest"),
        ({"serial": {"baudrate": "fast"}}, "serial.baudrate"),
        ({"points": {"t": 5}}, "points.t: must be a table"),
        ({"points": {"t": {}}}, "points.t.unit"),
        ({"points": {"t": {"unit": "x", "range": [2, 1]}}}, "points.t.range"),
        ({"points": {"t": {"unit": "x", "scale": "2"}}}, "points.t.scale"),
        ({"points": {"t": {"unit": "x", "optional": 1}}}, "points.t.optional"),
        ({"points": {"t": {"unit": "x", "odd": 1}}}, "points.t.odd"),
    ],
)
def test_wrong_profiles_name_what_is_wrong(text: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        profiles.read("a/b", text, "a/b.toml")
    assert problem in str(caught.value)


def test_an_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="arduino/bme280"):
        profiles.load("no/thing")
