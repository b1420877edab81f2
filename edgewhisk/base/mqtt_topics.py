"""MQTT topics and topic filters (MQTT 3.1.1, section 4.7). Pure."""

from __future__ import annotations

import re
from typing import Final

from edgewhisk.errors import FeedError, shown

MAX_TOPIC_BYTES: Final = 65535  # bytes of a topic
_RESERVED: Final = "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
_CLOSING: Final = re.compile(f"[\0-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_RESERVED}]")


def closes(text: str) -> bool:
    """Whether a broker may close the connection for it (MQTT 3.1.1, 1.5.3), as mosquitto does.

    Control characters, halves of surrogate pairs, what Unicode reserves: one topic of one action would end
    all feeds.
    """
    return _CLOSING.search(text) is not None


def check_filter(text: object) -> str:
    """`text` if it is a legal filter; raises `FeedError`."""
    if not isinstance(text, str) or not text:
        raise FeedError("topic must be an MQTT topic filter, for example sensors/+/temperature")
    if closes(text) or len(text.encode()) > MAX_TOPIC_BYTES:
        raise FeedError("topic must not hold control characters and must not be longer than 65535 bytes")
    levels = text.split("/")
    grouped = len(levels) > 2 and levels[1] and levels[2:] != [""] and not set(levels[1]) & set("+#")
    if levels[0] == "$share" and not grouped:
        raise FeedError(f"topic {shown(text)}: a shared one is $share/GROUP/FILTER")
    for at, level in enumerate(levels):
        if "#" in level and (level != "#" or at != len(levels) - 1):
            raise FeedError(f"topic {shown(text)}: '#' must be alone in the last level")
        if "+" in level and level != "+":
            raise FeedError(f"topic {shown(text)}: '+' must be alone in its level")
    return text


def matches(pattern: str, topic: str) -> bool:
    """Whether a filter matches a topic."""
    return covers(pattern, topic)


def covers(wide: str, narrow: str) -> bool:
    """Whether a filter matches every topic that another one (or a topic, which matches itself) does."""
    if narrow.startswith("$") and wide.startswith(("+", "#")):
        return False
    if narrow == "#":
        narrow = "+/#"  # the same, as each topic has a first level
    wanted, levels = wide.split("/"), narrow.split("/")
    for at, level in enumerate(wanted):
        if level == "#":
            return True
        if at >= len(levels) or levels[at] == "#" or level not in ("+", levels[at]):
            return False
    return len(wanted) == len(levels)
