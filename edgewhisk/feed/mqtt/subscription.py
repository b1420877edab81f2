"""What a trigger wants from a broker, and which triggers the messages of a topic fire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from edgewhisk.base.mqtt_topics import matches
from edgewhisk.device.decode import Decode, Learn
from edgewhisk.device.profile import Profile
from edgewhisk.device.topics import Pattern
from edgewhisk.entity.invocation.facts import REQUEST, beside
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.feed.heard import BEGINNING, Moment
from edgewhisk.feed.mqtt.topic_tree import TopicTree
from edgewhisk.feed.payload import FORMATS, Head
from edgewhisk.feed.rejects import RejectCounter

_TOPICS: Final = 16384  # remembered
_LONG: Final = 512  # bytes of a topic that is not: it may have 64 KB
_OURS: Final = REQUEST | {"topic", "retained", "mqtt", "payload"}  # which no level of a topic may be called


@dataclass(slots=True)
class Subscription:
    """One trigger that is fed."""

    trigger: FullyQualifiedName
    patterns: tuple[Pattern, ...]
    qos: int
    format: str
    retained: bool = True  # whether retained messages fire it
    properties: bool = False  # whether the event tells MQTT 5 properties
    profile: Profile | None = None
    decode: Decode | None = None
    learn: Learn = frozenset
    may_read: Callable[[str], bool] = lambda _: False  # whether a learned topic is granted
    own: frozenset[str] = frozenset()  # filters that it was added with
    learned: frozenset[str] = frozenset()  # topics that its devices announced
    ungranted: frozenset[str] = frozenset()  # those of them that are not granted
    delivered: int = 0
    without_event: int = 0  # messages that none of the points is in, or that are retained and not wanted
    since: Moment = BEGINNING  # when it was added
    last: Moment | None = None  # when the last event came
    rejects: RejectCounter = field(default_factory=RejectCounter)

    def route(self, topic: str) -> TopicRoute | None:
        """Where the messages of a topic go; None if they are not wanted."""
        fitting = next((one for one in self.patterns if matches(one.plain, topic)), None)
        if fitting is None:
            return None
        facts = beside({"topic": topic}, fitting.parts(topic), _OURS)
        reserved = ("retained", "mqtt") if self.properties else ("retained",)
        return TopicRoute(self, topic, Head.of(facts, reserved), fitting)


class TopicRoute(NamedTuple):
    """Where the messages of one topic go."""

    subscription: Subscription
    topic: str
    head: Head  # what the event says: the topic and its named levels
    pattern: Pattern


class Plain(NamedTuple):
    """A route without a profile that is the only one of its topic, as nearly all are."""

    subscription: Subscription
    trigger: FullyQualifiedName
    read: Callable[[bytes], bytes]  # payload -> parameters of the event; raises `MalformedPayload`
    properties: bool


class Subscriptions:
    """The subscriptions of one broker, found by trigger, by filter and by topic."""

    def __init__(self) -> None:
        """None yet."""
        self._by_trigger: dict[FullyQualifiedName, Subscription] = {}
        self._by_filter: dict[str, dict[FullyQualifiedName, Subscription]] = {}
        self._by_topic: TopicTree[FullyQualifiedName] = TopicTree()
        self._added: dict[FullyQualifiedName, int] = {}  # in which order
        self._count = 0

    def __iter__(self) -> Iterator[Subscription]:
        """All, in the order in which they were added."""
        return iter(self._by_trigger.values())

    def find(self, trigger: FullyQualifiedName) -> Subscription | None:
        """What feeds a trigger."""
        return self._by_trigger.get(trigger)

    def add(self, wanted: Subscription) -> None:
        """Take one, in place of another of the same trigger."""
        self.remove(wanted.trigger)
        self._count += 1
        self._added[wanted.trigger] = self._count
        self._by_trigger[wanted.trigger] = wanted
        self._want(wanted)

    def remove(self, trigger: FullyQualifiedName) -> Subscription | None:
        """Forget that of a trigger, and return it."""
        gone = self._by_trigger.pop(trigger, None)
        if gone is not None:
            del self._added[trigger]
            self._forsake(gone)
        return gone

    def change(self, found: Subscription, patterns: tuple[Pattern, ...]) -> None:
        """Have one want other topics."""
        self._forsake(found)
        found.patterns = patterns
        self._want(found)

    def filters(self) -> list[Pattern]:
        """What is wanted of the broker, each filter once, sorted."""
        return sorted({one for found in self for one in found.patterns})

    def qos(self, text: str) -> int:
        """The QoS that the triggers of a filter need together; -1 if there is none."""
        return max((one.qos for one in self._by_filter.get(text, {}).values()), default=-1)

    def routes(self, topic: str) -> tuple[TopicRoute, ...]:
        """Where the messages of a topic go: each trigger once, in the order in which they were added."""
        triggers = sorted(set(self._by_topic.find(topic)), key=self._added.__getitem__)
        found = (self._by_trigger[trigger].route(topic) for trigger in triggers)
        return tuple(route for route in found if route is not None)

    def _want(self, wanted: Subscription) -> None:
        for one in wanted.patterns:
            self._by_filter.setdefault(one.filter, {})[wanted.trigger] = wanted
            self._by_topic.add(one.plain, wanted.trigger)

    def _forsake(self, gone: Subscription) -> None:
        for one in gone.patterns:
            self._by_topic.remove(one.plain, gone.trigger)
            alike = self._by_filter.get(one.filter, {})
            alike.pop(gone.trigger, None)
            if not alike:
                self._by_filter.pop(one.filter, None)


class TopicRoutes:
    """The routes of topics as they come from the broker, with memory."""

    def __init__(self, subscriptions: Subscriptions) -> None:
        """Of `subscriptions`, which may change: then `forget` must be called."""
        self.plain: dict[bytes, Plain] = {}  # of topics that were asked for; their `all` has it, too
        self._subscriptions = subscriptions
        self._known: dict[bytes, tuple[TopicRoute, ...]] = {}

    def all(self, topic: bytes) -> tuple[TopicRoute, ...]:
        """Each trigger once."""
        routes = self._known.get(topic)
        if routes is None:
            if len(self._known) >= _TOPICS:
                self.forget()
            routes = self._subscriptions.routes(topic.decode(errors="replace"))
            if len(topic) > _LONG:
                return routes
            self._known[topic] = routes
            if len(routes) == 1 and routes[0].subscription.profile is None:
                self.plain[topic] = _plain(routes[0])
        return routes

    def forget(self) -> None:
        """Look again."""
        self._known.clear()
        self.plain.clear()


def _plain(route: TopicRoute) -> Plain:
    found = route.subscription
    read = partial(FORMATS[found.format], route.head, mend=found.rejects.mend)
    return Plain(found, found.trigger, read, found.properties)
