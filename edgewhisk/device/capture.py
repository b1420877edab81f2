"""Captures: what a device said, as text; with expectations beside it, a golden file. Pure.

+ 250                     milliseconds since the line before
> b'\\xaa\\xc0...'          what the port sent
? b'\\xff\\x01...'          what the gateway asked
@ tele/plug/SENSOR b'{}'  what the broker delivered
< {"temperature": 21.5}   the readings that must come of it
! not JSON                what it must be refused for
# a comment
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from edgewhisk.errors import BadRequest


class Said(NamedTuple):
    """Bytes in one direction."""

    after: float  # seconds since what was said before
    data: bytes
    topic: str = ""
    asked: bool = False  # by the gateway


class Expected(NamedTuple):
    """What must come of what was said before."""

    values: dict[str, Any] | None  # None: a refusal
    refusal: str = ""


def read(lines: Iterable[str], where: str) -> Iterator[Said | Expected]:
    """The entries of a capture; raises `BadRequest` naming the line that is wrong."""
    pause = 0.0
    for number, line in enumerate(lines, 1):
        mark, _, rest = line.rstrip("\n").partition(" ")
        try:
            match mark:
                case ">" | "?":
                    yield Said(pause, _octets(rest), asked=mark == "?")
                    pause = 0.0
                case "@":
                    topic, _, text = rest.partition(" ")
                    yield Said(pause, _octets(text), topic)
                    pause = 0.0
                case "+":
                    pause += float(rest) / 1000
                case "<":
                    yield Expected(json.loads(rest))
                case "!":
                    yield Expected(None, rest)
                case "" | "#":
                    pass
                case _:
                    raise ValueError("a line begins with one of > ? @ + < ! #")
        except (ValueError, SyntaxError) as error:
            raise BadRequest(f"{where}, line {number}: {error}") from error


def line(said: Said) -> str:
    """One entry as text."""
    pause = f"+ {said.after * 1000:.0f}\n" if said.after >= 0.001 else ""
    if said.topic:
        return f"{pause}@ {said.topic} {said.data!r}\n"
    return f"{pause}{'?' if said.asked else '>'} {said.data!r}\n"


def _octets(text: str) -> bytes:
    value = ast.literal_eval(text.strip())
    if not isinstance(value, bytes):
        raise ValueError(f"not bytes: {text}")
    return value
