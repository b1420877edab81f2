"""Home Assistant's templates and announcements: what devices send, and anything else."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk.device.document import ABSENT
from edgewhisk.device.homeassistant.discovery import WILD, Discovery, NotDiscovery
from edgewhisk.device.homeassistant.template import NoTemplate, read

DOCUMENT = {"a": {"b-c": [1, {"d": "7.26"}]}, "t": "Hot ", "n": -3, "none": None}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{{ value_json.n }}", -3),
        ("{{- value_json['a'][\"b-c\"][1].d -}}", "7.26"),
        ("{{ value_json.a['b-c'][1].get('d') | float | round(1) }}", 7.3),
        ("{{ value_json.n | abs | string }}", 3),
        ("{{ value_json.t | trim | upper }}", "HOT"),
        ("{{ value_json.gone }}", ABSENT),
        ("{{ value_json.gone | is_defined | float }}", ABSENT),
        ("{{ value_json.gone | default('no') }}", "no"),
        ("{{ value_json.gone | default(none) }}", None),
        ("{{ value_json.gone | float(default=0) }}", 0),
        ("{{ value_json.t | float(5.5) }}", 5.5),
        ("{{ value_json.n | round(1, 'floor') }}", -3.0),
        ("{% if value_json.n is defined %}{{ value_json.n | int }}{% endif %}", -3),
        ("{%- if value_json.gone is defined -%} {{ value_json.n }} {%- endif -%}", ABSENT),
    ],
)
def test_what_devices_send_is_understood(text: str, found: Any) -> None:
    assert read(text).find(DOCUMENT) == found


@pytest.mark.parametrize(
    "text",
    [
        "{{ value_json.a * 2 }}",
        "{{ states('x') }}",
        "{{ value_json.a | regex_replace('a', 'b') }}",
        "{{ value_json.a | default(value) }}",
        "{{ value_json.a | default }}",
        "{% if value_json.a is defined %}{{ value_json.a }}{% else %}0{% endif %}",
        "{{ value_json.a }} %",
        "",
    ],
)
def test_what_is_more_is_named(text: str) -> None:
    with pytest.raises(NoTemplate, match="is more than a path"):
        read(text)


_PIECES = st.sampled_from(
    ["{{", "}}", "{%", "%}", " ", "value_json", "value", ".a", "['b-c']", "[1]", ".get('d')", "| float",
     "| round(1)", "| default(0)", "| int", "(", ")", "if", "is defined", "endif", "|", "'", "x", "| lower"]
)  # fmt: skip
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b-c", "d"]), inner),
)


@settings(max_examples=300)
@given(st.lists(_PIECES, max_size=12).map("".join), _VALUES)
def test_any_template_is_applied_or_refused(text: str, document: Any) -> None:
    try:
        read(text).find(document)
        read("{{ value_json" + text + "}}").find(document)
    except NoTemplate:
        return


_TOPICS = st.sampled_from(["a", "a/b", "a/+", "+/b", "a/#", "#", "$share/g/a", "a/#/b", ""])
_STEPS = st.tuples(st.sampled_from(["one", "two"]), st.none() | _TOPICS) | st.sampled_from(["a", "a/b", "c"])


@given(st.lists(_STEPS, max_size=15))
def test_what_is_announced_is_served_until_it_is_taken_away(steps: list[Any]) -> None:
    known, served = Discovery(), dict[str, str]()
    for step in steps:
        if isinstance(step, tuple):
            name, topic = step
            config = b"" if topic is None else orjson.dumps({"state_topic": topic})
            before = served.pop(name, None)
            try:
                told = known.read(f"homeassistant/sensor/{name}/config", config)
            except NotDiscovery:
                assert topic in _UNSERVED
                continue
            assert topic not in _UNSERVED
            if topic is not None:
                served[name] = topic
            assert [one.missing for one in told] == (
                ["its announcement was taken away"] if before is not None and topic is None else []
            )
        else:
            wanted = {name for name, topic in served.items() if topic in _MATCHING[step]}
            try:
                assert {one.name for one in known.read(step, b"5")} == wanted
            except NotDiscovery:
                assert not wanted
        assert known.topics() == frozenset(served.values())


_UNSERVED = ("#", "$share/g/a", "a/#/b", "")
_MATCHING = {"a": {"a", "a/#"}, "a/b": {"a/b", "a/+", "+/b", "a/#"}, "c": set[str]()}


def test_topics_with_wildcards_are_bounded() -> None:
    known = Discovery()
    for number in range(WILD):
        known.read(f"homeassistant/sensor/n{number}/config", b'{"state_topic": "%d/+"}' % number)
    with pytest.raises(NotDiscovery, match=f"or {WILD} of topics with"):
        known.read("homeassistant/sensor/more/config", b'{"state_topic": "more/+"}')
    known.read("homeassistant/sensor/n0/config", b"")
    known.read("homeassistant/sensor/more/config", b'{"state_topic": "more/+"}')


@pytest.mark.parametrize("levels", [300, 1000, 5000])
def test_a_state_that_nests_deeply_is_text(levels: int) -> None:
    known = Discovery()
    config = b'{"state_topic": "s", "value_template": "{{ value_json.a }}"}'
    known.read("homeassistant/sensor/deep/config", config)
    (found,) = known.read("s", b'{"a": ' + b"[" * levels + b"]" * levels + b"}")
    assert str(found.value).startswith("[[[")
