"""The tree finds what a look at each filter finds, and forgets what is taken out."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk.base.mqtt_topics import matches
from edgewhisk.feed.mqtt.topic_tree import TopicTree

levels = st.sampled_from(["", "a", "b", "$SYS", "+", "#"])
topics = st.lists(st.sampled_from(["", "a", "b", "$SYS"]), min_size=1, max_size=4).map("/".join)
filters = st.lists(levels, min_size=1, max_size=4).filter(lambda found: "#" not in found[:-1]).map("/".join)


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(filters, st.booleans()), max_size=12), st.lists(topics, max_size=6))
def test_it_finds_what_a_look_at_each_filter_finds(steps: list[tuple[str, bool]], asked: list[str]) -> None:
    tree, wanted = TopicTree[int](), dict[int, str]()
    for number, (text, stays) in enumerate(steps):
        tree.add(text, number)
        wanted[number] = text
        if not stays:
            gone = min(wanted)
            tree.remove(wanted.pop(gone), gone)
    for topic in asked:
        found = list(tree.find(topic))
        assert sorted(found) == [number for number, text in wanted.items() if matches(text, topic)]
    for number, text in wanted.items():
        tree.remove(text, number)
        tree.remove(text, number)  # it is gone already
    assert not any(list(tree.find(topic)) for topic in ("a", "a/b", "", "$SYS"))


def test_a_topic_of_ten_thousand_levels_is_found() -> None:
    tree, deep = TopicTree[str](), "/" * 10_000
    for text in (deep, "#", "+/" * 10_000 + "+", deep + "/#"):
        tree.add(text, text)
    assert set(tree.find(deep)) == {deep, "#", "+/" * 10_000 + "+", deep + "/#"}
