"""Captures: what a device said, as text; with expectations beside it, a golden file. Pure.

+ 250                     milliseconds since the line before
> b'\\xaa\\xc0...'          what the port sent
? b'\\xff\\x01...'          what the gateway asked
@ tele/plug/SENSOR b'{}'  what the broker delivered; a topic with a space in it stands in quotes
< {"temperature": 21.5}   the readings that must come of it
! not JSON                what it must be refused for
# a comment
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from edgewhisk.errors import BadRequest

_MOST: Final = 3_600_000.0  # ms of one pause; more is no recording of a device
_NONE: Final = "this is no capture: `edgewhisk device record` writes one"


class CapturedBytes(NamedTuple):
    """Bytes in one direction."""

    after: float  # seconds since what was said before
    data: bytes
    topic: str = ""
    asked: bool = False  # by the gateway


class Expected(NamedTuple):
    """What must come of what was said before."""

    values: dict[str, Any] | None  # None: a refusal
    refusal: str = ""


def read(lines: Iterable[str], where: str) -> Iterator[CapturedBytes | Expected]:
    """The entries of a capture; raises `BadRequest` naming the line that is wrong."""
    pause = 0.0
    for number, line in enumerate(lines, 1):
        mark, _, rest = line.rstrip("\r\n").partition(" ")
        try:
            match mark:
                case ">" | "?":
                    yield CapturedBytes(pause, _octets(rest), asked=mark == "?")
                    pause = 0.0
                case "@":
                    topic, written = _topic(rest)
                    yield CapturedBytes(pause, _octets(written), topic)
                    pause = 0.0
                case "+":
                    pause += _seconds(rest)
                case "<":
                    yield Expected(_values(rest))
                case "!":
                    yield Expected(None, rest)
                case "" | "#":
                    pass
                case _:
                    raise ValueError("a line begins with one of > ? @ + < ! #")
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise BadRequest(f"{where}, line {number}: {error}", hint=_NONE if number == 1 else "") from error


def text(data: bytes, where: str) -> list[str]:
    """The lines of a capture file; raises `BadRequest` if it is no text."""
    try:
        return data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{where} is no text file", hint=_NONE) from error


def line(said: CapturedBytes) -> str:
    """One entry as text."""
    pause = f"+ {said.after * 1000:.0f}\n" if said.after >= 0.001 else ""
    if said.topic:
        plain = " " not in said.topic and said.topic[0] != '"' and said.topic.isprintable()
        return f"{pause}@ {said.topic if plain else json.dumps(said.topic)} {said.data!r}\n"
    return f"{pause}{'?' if said.asked else '>'} {said.data!r}\n"


def _topic(rest: str) -> tuple[str, str]:
    """The topic, and what stands behind it."""
    if rest.startswith('"'):
        topic, end = json.JSONDecoder().raw_decode(rest)
        written = rest[end:]
    else:
        topic, _, written = rest.partition(" ")
    if not topic:
        raise ValueError("@ stands before a topic and bytes")
    return topic, written


def _seconds(text: str) -> float:
    pause = float(text)
    if not math.isfinite(pause) or not 0 <= pause <= _MOST:
        raise ValueError(f"a pause is 0 to {_MOST:.0f} ms, not {text}")
    return pause / 1000


def _values(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("the readings of < are a JSON object")
    return found


def _octets(text: str) -> bytes:
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        value = None
    if not isinstance(value, bytes):
        raise ValueError(f"no bytes, as in b'\\x01 text' (was the file cut off?): {text.strip()[:60]}")
    return value
