"""The query of a request: flags, numbers and pages, with OpenWhisk's texts for what is wrong. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from edgewhisk.errors import BadRequest

_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,40}")
DEFAULT_PAGE: Final = 30
LARGEST_PAGE: Final = 200

Query = Mapping[str, str]


class Page(NamedTuple):
    """A part of a list."""

    limit: int
    skip: int
    counted: bool  # only the number is wanted


def parsed(query: bytes) -> Query:
    """What was given; of a key that comes several times, the first."""
    pairs = parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True)
    return dict(reversed(pairs))


def flag(query: Query, key: str, *, default: bool = False) -> bool:
    """A boolean; raises `BadRequest`."""
    text = query.get(key)
    if not text:  # `?key` says nothing, as in OpenWhisk
        return default
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise BadRequest(f"The query parameter '{key}' was malformed:\n'{text}' is not a valid Boolean value")


def page(query: Query, collection: str) -> Page:
    """`limit`, `skip` and `count`; raises `BadRequest`."""
    limit = _number(query, "limit", DEFAULT_PAGE, collection)
    if not 0 <= limit <= LARGEST_PAGE:
        raise BadRequest(
            "The query parameter 'limit' was malformed:\n"
            f"The value '{limit}' is not in the range of 0 to {LARGEST_PAGE} for {collection}."
        )
    skip = _number(query, "skip", 0, collection)
    if skip < 0:
        raise BadRequest(
            "The query parameter 'skip' was malformed:\n"
            f"The value '{skip}' is not greater than or equal to 0 for {collection}."
        )
    return Page(limit or LARGEST_PAGE, skip, flag(query, "count"))


def _number(query: Query, key: str, default: int, collection: str) -> int:
    text = query.get(key)
    if text is None:
        return default
    number = whole(text, 31)
    if number is None:
        raise BadRequest(
            f"The query parameter '{key}' was malformed:\n"
            f"The value '{text}' is not an integer for {collection}."
        )
    return number


def whole(text: str, bits: int) -> int | None:
    """A whole number of so many bits besides its sign, as OpenWhisk reads one; None if it is none."""
    if not _WHOLE.fullmatch(text):
        return None
    number = int(text)
    return number if -(1 << bits) <= number < 1 << bits else None
