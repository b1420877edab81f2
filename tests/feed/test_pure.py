"""Topics, payloads, schedules, back-off, garbage."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2
import orjson
import pytest
from apscheduler.triggers.cron import CronTrigger
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.base.backoff import Backoff
from edgewhisk.base.mqtt_topics import check_filter, covers, matches
from edgewhisk.entity.invocation.facts import beside
from edgewhisk.errors import FeedError, ServiceError
from edgewhisk.feed.alarms import request, schedule
from edgewhisk.feed.payload import FORMATS, Head, MalformedPayload, of_cbor, of_json, of_text
from edgewhisk.feed.rejects import QUIET, RejectCounter
from edgewhisk.jsontext import parse
from tests import odd

LEVEL = st.sampled_from(["a", "b", "", "$x"])
TOPIC = st.lists(LEVEL, min_size=1, max_size=4).map("/".join)


def reference(pattern: list[str], levels: list[str]) -> bool:
    if not pattern:
        return not levels
    if pattern[0] == "#":
        return True
    return bool(levels) and pattern[0] in ("+", levels[0]) and reference(pattern[1:], levels[1:])


@given(st.lists(LEVEL | st.just("+"), min_size=1, max_size=4), st.booleans(), TOPIC)
def test_filters_match_as_the_specification_says(levels: list[str], rest: bool, topic: str) -> None:
    pattern = [*levels, "#"] if rest else levels
    expected = reference(pattern, topic.split("/"))
    if topic.startswith("$") and pattern[0] in ("+", "#"):
        expected = False
    if check_filter("/".join(pattern) or "x") == "/".join(pattern):
        assert matches("/".join(pattern), topic) == expected


FILTER = st.builds(
    lambda levels, rest: "/".join([*levels, "#"] if rest else levels or ["+"]),
    st.lists(LEVEL | st.just("+"), max_size=4),
    st.booleans(),
).filter(bool)


def witnesses(narrow: str) -> list[str]:
    """Topics that a filter matches: if another one matches them all, it matches whatever the filter does."""
    levels = ["new" if level == "+" else level for level in narrow.split("/")]
    if levels[-1] != "#":
        return ["/".join(levels)]
    tails = [[], ["new"], ["new"] * 6]
    return ["/".join([*levels[:-1], *tail]) for tail in tails if levels[:-1] or tail]


@given(FILTER, FILTER, TOPIC)
def test_whatever_a_covered_filter_matches_the_covering_one_matches(
    wide: str, narrow: str, topic: str
) -> None:
    found = [one for one in [topic, *witnesses(narrow)] if matches(narrow, one)]
    assert set(witnesses(narrow)) <= set(found)
    assert covers(wide, narrow) == all(matches(wide, one) for one in witnesses(narrow))
    if covers(wide, narrow):
        assert all(matches(wide, one) for one in found)


@given(FILTER, FILTER, FILTER)
def test_covering_is_an_order(one: str, two: str, three: str) -> None:
    assert covers(one, one)
    assert covers("#", one) == (one[0] != "$")
    if covers(one, two) and covers(two, three):
        assert covers(one, three)


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        ("plant/#", "plant", True),
        ("plant/#", "plant/+/#", True),
        ("plant/+", "plant/#", False),
        ("plant/+/#", "plant/#", False),  # which matches plant, too
        ("plant/+", "plant/a", True),
        ("plant/a", "plant/+", False),
        ("+/#", "#", True),
        ("+", "#", False),
        ("#", "$SYS/broker", False),
        ("+/broker", "$SYS/broker", False),
        ("$SYS/#", "$SYS/+", True),
        ("plant", "plants", False),
    ],
)
def test_covering(wide: str, narrow: str, covered: bool) -> None:
    assert covers(wide, narrow) == covered


@pytest.mark.parametrize("wrong", ["", None, 5, "a/#/b", "a#", "a+/b", "x\0", "y" * 70000, "$share/g/"])
def test_wrong_filters(wrong: object) -> None:
    with pytest.raises(FeedError):
        check_filter(wrong)


@given(st.binary(max_size=200), st.sampled_from(sorted(FORMATS)))
def test_any_bytes_are_one_line_of_json_or_refused(data: bytes, kind: str) -> None:
    try:
        text = FORMATS[kind](Head.of({"topic": "a/b"}), data)
    except MalformedPayload:
        return
    assert b"\n" not in text
    assert orjson.loads(text)["topic"] == "a/b"


def test_json_payloads() -> None:
    topic = Head.of({"topic": 'x"y'})
    assert orjson.loads(of_json(topic, b' {"a":\n1, "b": "\\n"}\r\n')) == {"topic": 'x"y', "a": 1, "b": "\n"}
    assert orjson.loads(of_json(topic, b"[1]")) == {"topic": 'x"y', "payload": [1]}
    assert orjson.loads(of_json(topic, b"{}")) == {"topic": 'x"y'}
    for wrong in (b"", b"{", b"[" * 5000, b"\xff"):
        with pytest.raises(MalformedPayload):
            of_json(topic, wrong)


_NAMES = st.sampled_from(["topic", "topic_", "retained", "id", "__ow_user", "x"])


@given(st.dictionaries(_NAMES, st.integers(), max_size=6), st.dictionaries(_NAMES, st.text(), max_size=6))
def test_no_fact_is_replaced_and_nothing_that_was_given_is_lost(
    facts: dict[str, Any], told: dict[str, Any]
) -> None:
    found = beside(facts, told, frozenset({"retained"}))
    assert facts.items() <= found.items()
    assert "retained" not in found or "retained" in facts
    assert sorted(found.values(), key=repr) == sorted([*facts.values(), *told.values()], key=repr)


@pytest.mark.parametrize("kind", ["json", "cbor"])
def test_a_message_does_not_replace_what_the_gateway_says_of_it(kind: str) -> None:
    """One device could pose as another, or as a caller whom the web API let in."""
    told = {"topic": "b", "retained": True, "id": "y", "__ow_user": "guest", "__ow_method": "get", "t": 1}
    data = orjson.dumps(told) if kind == "json" else cbor2.dumps(told)
    head = Head.of({"topic": "a", "id": "x"}, ["retained", "mqtt"])
    assert orjson.loads(FORMATS[kind](head, data)) == {
        "topic": "a", "id": "x", "topic_": "b", "id_": "y", "retained_": True,
        "__ow_user_": "guest", "__ow_method_": "get", "t": 1,
    }  # fmt: skip


@pytest.mark.parametrize("text", [*odd.TEXTS.values(), *odd.TOO_DEEP.values()])
@pytest.mark.parametrize("around", ["%s", "[%s]"])
def test_odd_payloads_become_events_that_every_action_can_give_back(text: str, around: str) -> None:
    event = of_json(Head.of({"topic": "a/b"}), (around % text).encode())
    assert parse(event).value["topic"] == "a/b"


def test_what_is_odd_in_a_payload_is_told() -> None:
    told: list[int] = []
    event = of_json(Head.of({"topic": "t"}), b'\xef\xbb\xbf{"t":nan,"h":41.5}\0', mend=told.append)
    assert orjson.loads(event) == {"topic": "t", "t": None, "h": 41.5}
    of_text(Head.of({"topic": "t"}), b"a\xffb", mend=told.append)
    of_json(Head.of({"topic": "t"}), b'{"h":41.5}', mend=told.append)
    assert told == [2, 1]


def test_cbor_that_would_grow_without_bound_when_it_is_written_out() -> None:
    bomb: list[Any] = []
    for _ in range(40):
        bomb = [bomb, bomb]
    for data in (cbor2.dumps(bomb, value_sharing=True), b"\xd8\x1c\x81\xd8\x1d\x00"):
        with pytest.raises(MalformedPayload, match="shared"):
            of_cbor(Head.of({"topic": "t"}), data)


def days_of(field: str) -> set[int]:
    """The days (0 is Sunday) that a cron field means, read the simple way."""
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        first, last = (0, 6) if low == "*" else (int(low), int(high or (6 if step else low)))
        last += 7 if last < first else 0
        found |= {day % 7 for day in range(first, last + 1, int(step or 1))}
    return found


DAY = st.integers(0, 6).map(str)
PART = st.one_of(
    DAY, st.builds("{}-{}".format, DAY, DAY), st.builds("*/{}".format, st.integers(1, 7)), st.just("*")
)


@given(st.lists(PART, min_size=1, max_size=3).map(",".join))
def test_days_of_the_week_count_from_sunday(field: str) -> None:
    line = schedule.cron_line(f"0 12 * * {field}")
    trigger = CronTrigger(**line._asdict(), timezone="UTC")
    at = datetime(2027, 1, 3, tzinfo=UTC)  # a Sunday
    found = set()
    for _ in range(7):
        due = trigger.get_next_fire_time(None, at)
        assert due is not None
        found.add((due.date() - datetime(2027, 1, 3, tzinfo=UTC).date()).days % 7)
        at = due + timedelta(seconds=1)
    assert found == days_of(field)


@pytest.mark.parametrize(
    ("given", "key", "checked"),
    [
        ({}, "timezone", "UTC"),
        ({"timezone": None}, "timezone", None),
        ({"timezone": ""}, "timezone", ""),
        ({}, "trigger_payload", {"payload": ""}),
        ({"trigger_payload": None}, "trigger_payload", {}),
        ({"trigger_payload": "alarmTest"}, "trigger_payload", {"payload": "alarmTest"}),
        ({"trigger_payload": '{"a": 1}'}, "trigger_payload", {"payload": '{"a": 1}'}),
        ({"trigger_payload": {"a": 1}}, "trigger_payload", {"a": 1}),
        ({"trigger_payload": False}, "trigger_payload", {"payload": False}),
        ({"maxTriggers": 3.0}, "maxTriggers", 3),
        ({"maxTriggers": "3.0"}, "maxTriggers", 3),
        ({"strict": True, "limitCronFields": True}, "cron", "* * * * *"),
        ({"startDate": "Fri Jan 31 2031 23:59:00 GMT+0200 (Eastern European Standard Time)"}, "startDate",
         "Fri Jan 31 2031 23:59:00 GMT+0200 (Eastern European Standard Time)"),
    ],
)  # fmt: skip
def test_what_openwhisk_takes_is_taken_likewise(given: dict[str, Any], key: str, checked: Any) -> None:
    assert request.create("alarms/alarm", {"cron": "* * * * *", **given}, 0)[key] == checked


@pytest.mark.parametrize(
    ("action", "parameters", "text", "hint"),
    [
        ("alarms/alarm", {"cron": "bogus"}, "cron pattern 'bogus' is not valid", "five fields"),
        ("alarms/alarm", {}, "alarms trigger feed is missing the cron parameter", ""),
        ("alarms/alarm", {"cron": "* * * * 9"}, "cron pattern", "no day of the week"),
        (
            "alarms/alarm",
            {"cron": "* * * * *", "timezone": "Mars/Base"},
            "Invalid timezone.",
            "Europe/Berlin",
        ),
        ("alarms/alarm", {"cron": "* * * * *", "missed": "all"}, "missed must be skip or once", ""),
        ("alarms/interval", {}, "interval trigger feed is missing the minutes parameter", "seconds"),
        ("alarms/interval", {"minutes": 1, "seconds": 1}, "give either minutes", ""),
        ("alarms/interval", {"seconds": -1}, "seconds must be", ""),
        (
            "alarms/interval",
            {"minutes": 1, "startDate": "soon"},
            "startDate parameter 'soon' is",
            "2027-01-31",
        ),
        ("alarms/once", {}, "alarms once trigger feed is missing the date parameter", ""),
        ("alarms/once", {"date": 1}, "date parameter '1' must be in the future", ""),
        ("alarms/once", {"date": 10, "deleteAfterFire": "x"}, "must be one of [false, true, rules].", ""),
    ],
)
def test_wrong_alarms_name_what_is_wrong(
    action: str, parameters: dict[str, Any], text: str, hint: str
) -> None:
    with pytest.raises(ServiceError, match=re.escape(text)) as caught:
        request.create(action, parameters, 5)
    assert hint in caught.value.hint


def test_while_nobody_knows_the_time_no_date_is_over() -> None:
    assert request.create("alarms/once", {"date": 1}, None)["date"] == 1
    assert "start" not in request.create("alarms/interval", {"minutes": 1}, None)


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=30))
def test_pauses_stay_in_bounds(randoms: list[float]) -> None:
    backoff = Backoff(1.0, 30.0)
    pauses = [backoff.pause(random) for random in randoms]
    assert pauses[0] == 1.0
    assert all(1.0 <= pause <= 30.0 for pause in pauses)
    backoff.reset()
    assert backoff.pause(0.9) == 1.0


def test_a_burst_of_garbage_is_logged_once_and_counted_whole() -> None:
    garbage = RejectCounter()
    lines = [garbage.add("not JSON", b"\x00x", float(now) / 100) for now in range(1000)]
    assert [line for line in lines if line] == ["1 refused: not JSON: 00 78"]
    assert garbage.add("not JSON", b"y", QUIET + 1) == "1000 refused: not JSON: 'y'"
    assert garbage.describe()["garbage"] == 1001


def test_topics_share_what_their_messages_may_not_set() -> None:
    """Each of 10,000 topics kept a set of 700 bytes of its own."""
    heads = [Head.of({"topic": topic}, ("retained",)) for topic in ("a", "b")]
    assert heads[0].taken is heads[1].taken
