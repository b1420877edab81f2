"""Who subscribes to what: a tree of the levels of topic filters (MQTT 5, sections 4.7 and 4.8). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from edgewhisk.base.mqtt_topics import check_filter
from edgewhisk.broker.packets import Wish
from edgewhisk.errors import FeedError

SHARED: Final = "$share/"
_LEVELS: Final = 200  # of a filter, as mosquitto has it: each level is an object in memory
_REMEMBERED: Final = 1024  # topics
_LONG: Final = 512  # characters of a topic that is not remembered


class TopicSubscription(NamedTuple):
    """One filter of one client; merged, where several of them match a topic."""

    qos: int
    no_local: bool = False
    as_published: bool = False
    identifiers: tuple[int, ...] = ()


class Group(NamedTuple):
    """The members of one shared subscription (4.8.2)."""

    members: dict[str, TopicSubscription]
    turns: list[int]  # how many messages it had

    def choose(self, awake: Callable[[str], bool]) -> tuple[str, TopicSubscription]:
        """Whose turn it is, of those who are connected if any is."""
        clients = [client for client in self.members if awake(client)] or list(self.members)
        self.turns[0] += 1
        client = clients[self.turns[0] % len(clients)]
        return client, self.members[client]


class Matches(NamedTuple):
    """Who gets the messages of a topic."""

    clients: dict[str, TopicSubscription]
    groups: list[Group]


class _Node:
    __slots__ = ("clients", "groups", "levels")

    def __init__(self) -> None:
        self.levels: dict[str, _Node] = {}
        self.clients: dict[str, TopicSubscription] = {}
        self.groups: dict[str, Group] = {}

    @property
    def bare(self) -> bool:
        return not (self.levels or self.clients or self.groups)


def is_filter(text: str) -> bool:
    """Whether it is a filter that is served."""
    try:
        check_filter(text)
    except FeedError:
        return False
    return text.count("/") < _LEVELS


def subscription(wish: Wish, identifier: int) -> TopicSubscription:
    """What a wish becomes."""
    return TopicSubscription(wish.qos, wish.no_local, wish.as_published, (identifier,) if identifier else ())


class SubscriptionTree:
    """All subscriptions."""

    def __init__(self) -> None:
        """Nobody subscribes."""
        self._root = _Node()
        self._matches: dict[str, Matches] = {}

    @property
    def empty(self) -> bool:
        """Whether nobody subscribes, and nothing is left of those who did."""
        return self._root.bare

    def add(self, client: str, text: str, wanted: TopicSubscription) -> None:
        """Add a subscription, or replace the one with the same filter."""
        self._matches.clear()
        group, levels = _parted(text)
        node = self._root
        for level in levels:
            node = node.levels.setdefault(level, _Node())
        if group:
            node.groups.setdefault(group, Group({}, [0])).members[client] = wanted
        else:
            node.clients[client] = wanted

    def remove(self, client: str, text: str) -> None:
        """Remove a subscription, if it is there."""
        self._matches.clear()
        group, levels = _parted(text)
        path = [self._root]
        for level in levels:
            if (below := path[-1].levels.get(level)) is None:
                return
            path.append(below)
        node = path[-1]
        if group in node.groups:
            node.groups[group].members.pop(client, None)
            if not node.groups[group].members:
                del node.groups[group]
        elif not group:
            node.clients.pop(client, None)
        for above, level in zip(reversed(path[:-1]), reversed(levels), strict=True):
            if above.levels[level].bare:
                del above.levels[level]

    def match(self, topic: str) -> Matches:
        """Who gets the messages of a topic; each client once, whatever many of its filters match."""
        found = self._matches.get(topic)
        if found is None:
            found = self._find(topic)
            if len(topic) <= _LONG:
                if len(self._matches) >= _REMEMBERED:
                    self._matches.clear()
                self._matches[topic] = found
        return found

    def _find(self, topic: str) -> Matches:
        clients: dict[str, TopicSubscription] = {}
        groups: list[Group] = []
        for node in _nodes(self._root, topic):
            groups += node.groups.values()
            for client, one in node.clients.items():
                other = clients.get(client)
                clients[client] = one if other is None else _merged(one, other)
        return Matches(clients, groups)


def _merged(one: TopicSubscription, other: TopicSubscription) -> TopicSubscription:
    return TopicSubscription(
        max(one.qos, other.qos),
        one.no_local and other.no_local,
        one.as_published or other.as_published,
        one.identifiers + other.identifiers,
    )


def _parted(text: str) -> tuple[str, list[str]]:
    """The group of a shared subscription, "" if it is none, and the levels of the filter."""
    group = ""
    if text.startswith(SHARED):
        _, group, text = text.split("/", 2)
    return group, text.split("/")


def _nodes(root: _Node, topic: str) -> Iterator[_Node]:
    """The ends of all filters that match a topic, level by level."""
    nodes = [root]
    for at, level in enumerate(topic.split("/")):
        names = (level,) if at == 0 and topic.startswith("$") else (level, "+")
        if names[-1] == "+":
            yield from (node.levels["#"] for node in nodes if "#" in node.levels)
        nodes = [node.levels[name] for node in nodes for name in names if name in node.levels]
        if not nodes:
            return
    yield from nodes
    yield from (node.levels["#"] for node in nodes if "#" in node.levels)  # `a/#` matches `a`
