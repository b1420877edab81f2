"""What a client may publish and subscribe to: filters with the client's own names in them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from edgewhisk.base.mqtt_topics import covers
from edgewhisk.broker.topics import SHARED

# Address, user name and password of a CONNECT -> whose it is, "" for nobody's in particular; None: refused.
Admit = Callable[[str, str | None, bytes | None], str | None]
_MARK: Final = re.compile("%[uc]")
_OF_TOPICS: Final = frozenset("+#/")


class ClientRights(NamedTuple):
    """Filters of topics that a client may publish to, and subscribe to."""

    publish: Sequence[str]
    subscribe: Sequence[str]

    def may_publish(self, topic: str) -> bool:
        """Whether it may publish to a topic."""
        return any(covers(one, topic) for one in self.publish)

    def may_subscribe(self, text: str) -> bool:
        """Whether all that a filter matches is within what it may subscribe to."""
        if text.startswith(SHARED):
            text = text.split("/", 2)[2]
        return any(covers(one, text) for one in self.subscribe)


def rights_of(user: str, client: str, publish: Sequence[str], subscribe: Sequence[str]) -> ClientRights:
    """Put the names in the place of `%u` and `%c`.

    A name that means something in a topic opens nothing: a client that calls itself `#` would have all.
    """
    names = {"%u": user, "%c": client}

    def own(patterns: Sequence[str]) -> tuple[str, ...]:
        return tuple(
            _MARK.sub(lambda mark: names[mark[0]], pattern)  # once: a name may look like a mark itself
            for pattern in patterns
            if all(names[mark] and not _OF_TOPICS & set(names[mark]) for mark in _MARK.findall(pattern))
        )

    return ClientRights(own(publish), own(subscribe))


def everybody(_address: str, _username: str | None, _password: bytes | None) -> str | None:
    """Admit all, as nobody in particular."""
    return ""
