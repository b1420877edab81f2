"""The tree of subscriptions and the retained messages against a plain comparison of filter and topic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.base.mqtt_topics import matches
from edgewhisk.broker.message import PublishedMessage
from edgewhisk.broker.retained import RetainedMessages
from edgewhisk.broker.topics import SubscriptionTree, TopicSubscription, is_filter

LEVEL = st.sampled_from(("a", "b", "", "$s", "ü.*"))
TOPICS = st.lists(LEVEL, min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = st.builds(
    lambda levels, end: "/".join(levels + end),
    st.lists(LEVEL | st.just("+"), max_size=4),
    st.sampled_from(([], ["#"])),
).filter(lambda text: bool(text) and is_filter(text))
SUBSCRIBED = st.lists(st.tuples(st.sampled_from("xyz"), FILTERS, st.integers(0, 2)), max_size=12)


@given(SUBSCRIBED, st.lists(st.integers(0, 11)), st.lists(TOPICS, min_size=1, max_size=6))
def test_the_tree_finds_who_subscribes(
    subscribed: list[tuple[str, str, int]], gone: list[int], topics: list[str]
) -> None:
    tree, model = SubscriptionTree(), dict[tuple[str, str], int]()
    for client, text, qos in subscribed:
        tree.add(client, text, TopicSubscription(qos))
        model[client, text] = qos
        tree.match(topics[0])  # what is remembered is forgotten in time
    for at in gone:
        for client, text, _ in subscribed[at : at + 1]:
            tree.remove(client, text)
            model.pop((client, text), None)
    for topic in topics:
        expected: dict[str, int] = {}
        for (client, text), qos in model.items():
            if matches(text, topic):
                expected[client] = max(qos, expected.get(client, 0))
        assert {client: one.qos for client, one in tree.match(topic).clients.items()} == expected
    for client, text in model:
        tree.remove(client, text)
    assert not tree.match(topics[0]).clients
    assert tree.empty


@given(st.lists(TOPICS, max_size=12), FILTERS)
def test_retained_messages_are_found_by_filters(topics: list[str], text: str) -> None:
    kept = RetainedMessages(100, 1 << 20)
    for topic in topics:
        assert kept.put(PublishedMessage(topic, b"x", retain=True))
    found = [message.topic for message in kept.matching(text, 0)]
    assert found == [topic for topic in dict.fromkeys(topics) if matches(text, topic)]
    for topic in set(topics):
        kept.put(PublishedMessage(topic, b"", retain=True))
    assert (len(kept), kept.size) == (0, 0)


def test_a_filter_with_many_wildcards_is_found_quickly() -> None:
    kept = RetainedMessages(100, 1 << 20)
    kept.put(PublishedMessage("/".join("a" * 1000) + "/b", b"x"))
    assert kept.matching("/".join("+" * 199) + "/c", 0) == []
    assert len(kept.matching("/".join("+" * 199) + "/#", 0)) == 1


def test_retained_messages_that_are_too_old_are_gone() -> None:
    kept = RetainedMessages(100, 1 << 20)
    kept.put(PublishedMessage("a", b"x", expires=10.0))
    kept.put(PublishedMessage("b", b"x"))
    assert [one.topic for one in kept.matching("+", 9.0)] == ["a", "b"]
    assert [one.topic for one in kept.matching("+", 10.0)] == ["b"]
    assert kept.expired(10.0) == ["a"]
    assert len(kept) == 1
