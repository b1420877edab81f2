"""From a frame to the values of a JSON or CBOR object. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

ABSENT: Final = object()
_ENDLESS: Final = r"[+-]?\b(?:nan|inf(?:inity)?)\b"
_ODD: Final = re.compile(rf'"(?:[^"\\]|\\.)*"|{_ENDLESS}', re.DOTALL | re.IGNORECASE)
_LONE: Final = r"(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
_PAIR: Final = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE: Final = re.compile(rf"{_PAIR}|{_LONE}|\\.", re.DOTALL)
_endless: Final = re.compile(_ENDLESS, re.IGNORECASE)


class NoDocument(ValueError):
    """The frame is no object; the text says why."""


class Channels(dict[int, Any]):
    """The raw values of a point that a device has several of, by their number from 1 on."""


def of_json(frame: bytes) -> Any:
    """The value of JSON, also as C programs print it: with nan and inf, behind a BOM, before a NUL.

    Raises `NoDocument`.
    """
    try:
        return orjson.loads(frame)
    except orjson.JSONDecodeError:
        pass
    text = frame.decode(errors="replace").removeprefix("\ufeff").rstrip("\0 \t\r\n")
    try:
        return json.loads(_ODD.sub(_told, text), parse_int=_whole)
    except (ValueError, RecursionError):
        raise NoDocument("not JSON") from None


def of_cbor(frame: bytes) -> Any:
    """The value of a CBOR item; raises `NoDocument`."""
    import cbor2  # 1 MB, which few gateways use

    try:
        return cbor2.loads(frame)
    except (cbor2.CBORDecodeError, ValueError, TypeError, RecursionError):
        raise NoDocument("not CBOR") from None


def is_endless(text: str) -> bool:
    """Whether it is what C programs print for no number, or for one without end."""
    return _endless.fullmatch(text) is not None


def at(found: Any, path: tuple[str, ...]) -> Any:
    """What is at a path; `*` is the first key behind which the rest of the path is."""
    for place, key in enumerate(path):
        if isinstance(found, list) and key.isdecimal() and len(key) < 9 and int(key) < len(found):
            found = found[int(key)]
        elif isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, dict) and key == "*":
            rest = path[place + 1 :]
            return next((one for inner in found.values() if (one := at(inner, rest)) is not ABSENT), ABSENT)
        else:
            return ABSENT
    return found


def numbered(document: Any, path: tuple[str, ...]) -> Any:
    """What is behind the keys that end in a number: POWER1, POWER2."""
    parent = at(document, path[:-1])
    if not isinstance(parent, dict):
        return ABSENT
    matches = ((key, re.fullmatch(re.escape(path[-1]) + "([1-9][0-9]?)", str(key))) for key in parent)
    found = {int(match[1]): parent[key] for key, match in matches if match}
    return Channels(sorted(found.items())) if found else ABSENT


def _whole(digits: str) -> int | float:
    """As orjson reads whole numbers: those beyond 64 bits as the nearest double."""
    small = len(digits) < 20 and -(1 << 63) <= int(digits) < 1 << 64
    return int(digits) if small else float(digits)


def _told(found: re.Match[str]) -> str:
    """What stands for a string, and for what is no number in JSON."""
    token = found[0]
    if token.startswith('"'):
        return _ESCAPE.sub(lambda one: "?" if one["lone"] else one[0], token)
    return "NaN" if "a" in token.lower() else "-Infinity" if token.startswith("-") else "Infinity"
