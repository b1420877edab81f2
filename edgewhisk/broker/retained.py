"""The last message of each topic that was published to be retained (MQTT 5, section 3.3.1.3). Pure."""

from __future__ import annotations

import re
from typing import Final

from edgewhisk.broker.message import PublishedMessage

_ANY: Final = {"+": "[^/]*", "#": ".*"}


class RetainedMessages:
    """The messages by their topics, within bounds."""

    def __init__(self, topics: int, size: int) -> None:
        """Keep up to so many topics, and so many bytes of all."""
        self._topics = topics
        self._most = size
        self._messages: dict[str, PublishedMessage] = {}
        self.size = 0  # bytes
        self.refused = 0  # messages

    def __len__(self) -> int:
        """How many topics have one."""
        return len(self._messages)

    def has(self, topic: str) -> bool:
        """Whether a topic has one."""
        return topic in self._messages

    def put(self, message: PublishedMessage) -> bool:
        """Keep a message instead of the topic's former one; an empty one removes it. False: no room."""
        former = self._messages.get(message.topic)
        size = self.size - (former.size if former else 0)
        if message.payload:
            full = former is None and len(self._messages) >= self._topics
            if full or size + message.size > self._most:
                self.refused += 1
                return False
            self._messages[message.topic] = message
            size += message.size
        elif former is not None:
            del self._messages[message.topic]
        self.size = size
        return True

    def matching(self, text: str, now: float) -> list[PublishedMessage]:
        """Those whose topics a filter matches, in the order in which their topics came."""
        if "+" not in text and "#" not in text:
            one = self._messages.get(text)
            found = [one] if one is not None else []
        else:
            fits = _pattern(text).fullmatch
            found = [message for topic, message in self._messages.items() if fits(topic)]
        return [message for message in found if message.expires is None or message.expires > now]

    def expired(self, now: float) -> list[str]:
        """The topics whose messages are too old; they are removed."""
        found = [one for one in self._messages.values() if one.expires is not None and one.expires <= now]
        for message in found:
            self.put(message._replace(payload=b""))
        return [message.topic for message in found]


def _pattern(text: str) -> re.Pattern[str]:
    """A filter as an expression: the filter's syntax was checked. Each `+` ends at a `/`: it is quick."""
    head = "" if text[0] not in _ANY else r"(?!\$)"
    *levels, last = [_ANY.get(level) or re.escape(level) for level in text.split("/")]
    if last != _ANY["#"]:
        return re.compile(head + "/".join([*levels, last]), re.DOTALL)
    return re.compile(head + (f"{'/'.join(levels)}(?:/.*)?" if levels else last), re.DOTALL)
