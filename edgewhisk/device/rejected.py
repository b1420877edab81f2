"""Bytes that were refused, as a person reads them. Pure."""

from __future__ import annotations

from typing import Final

_MOST: Final = 80  # bytes


def sample(data: bytes) -> str:
    """Text as text, everything else as hexadecimal; of what is long the beginning."""
    head = data[:_MOST]
    more = f"... ({len(data)} bytes)" if len(data) > _MOST else ""
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        cut = more and error.start >= len(head) - 3  # in the middle of a character
        text = head[: error.start].decode() if cut else "\0"
    if text.isprintable() or all(one.isprintable() or one in "\r\n\t" for one in text):
        return f"{text!r}{more}"
    return f"{head.hex(' ')}{more}"
