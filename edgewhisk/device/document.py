"""From a frame to the values of a JSON or CBOR object. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from edgewhisk import jsontext

ABSENT: Final = object()
_ENDLESS: Final = re.compile(r"[+-]?(?:nan|inf(?:inity)?)", re.IGNORECASE)


class NoDocument(ValueError):
    """The frame is no object; the text says why."""


class Channels(dict[int, Any]):
    """The raw values of a point that a device has several of, by their number from 1 on."""


def of_json(frame: bytes) -> Any:
    """The value of JSON, as far as it can be understood; raises `NoDocument`.

    What C programs print for no number, `nan`, is text then: so it is told where it stands.
    """
    try:
        return jsontext.parse_odd(frame, endless=b'"nan"').value  # which no point takes for a number
    except jsontext.NotJson:
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
    return _ENDLESS.fullmatch(text) is not None


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
