"""Times told right, whatever a clock without a battery did."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.clock.history import MAX_BOOTS, TOLERANCE, ClockHistory, ClockTrust
from edgewhisk.clock.offset import KNOWN, ClockOffset, is_known
from edgewhisk.entity.action import Action
from edgewhisk.entity.activation import RecordTemplate, trigger_record, unrunnable_record
from edgewhisk.entity.exec import CodeExec
from edgewhisk.entity.invocation.message import ActivationMessage, LogLine, Outcome, Status
from edgewhisk.entity.limits import ActionLimits, Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.version import SemVer
from tests.fakes.clock import HandClock, ms

NAME = parse_name("/guest/a", "_")
ACTION = Action(
    NAME,
    CodeExec("nodejs:default", "x"),
    Parameters(),
    ActionLimits.default(Limits()),
    Parameters(),
    SemVer(),
    0,
)
RESULT = (
    b'{"a":"edge-boot","n":123456789012345678901234567890,'
    b'"x":{"key":"edge-boot","value":["b0000001",1]},"e":1.0}'
)


def message(at: int) -> ActivationMessage:
    return ActivationMessage("a" * 32, NAME, "guest", "guest", b"{}", at, "/guest/t", durable=True)


def outcome(start: int, end: int) -> Outcome:
    logs = (LogLine(start, "stdout", 'say "start":1 and ,"logs":["1970-01-01T00:00:00.000000000Z'),)
    return Outcome(Status.SUCCESS, RESULT, logs, start, end)


def texts(clock: HandClock) -> dict[str, bytes]:
    """One record of each kind, of a run that takes 250 ms now."""
    at = start = clock.now()
    clock.pass_(0.25)
    done, timing = outcome(start, clock.now()), clock.timing
    return {
        "run": RecordTemplate.of_action(ACTION, message(at), "engine").record(message(at), done, timing).text,
        "sequence": RecordTemplate.of_composite(ACTION, message(at), 256)
        .whole(message(at), done, 250, ["b" * 32], timing)
        .text,
        "gone": unrunnable_record(message(at), Status.APPLICATION_ERROR, "gone", start, timing).text,
        "fire": trigger_record(message(at), "0.0.1", [{"rule": "guest/r", "at": "1970"}], timing).text,
    }


def look(clock: HandClock, history: ClockHistory) -> None:
    clock.look()
    history.see(clock.timing, clock.up(), kept=clock.vouched)


def notes(record: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: one["value"] for one in record["annotations"]}


def test_what_was_stamped_in_1970_is_told_right_and_nothing_else_is_touched() -> None:
    clock, boots = HandClock("1970-01-01T00:00:20"), ClockHistory({})
    look(clock, boots)
    raw = texts(clock)
    for text in raw.values():
        assert notes(orjson.loads(boots.straight(text)))["edge-clock"] == "unset"
    clock.pass_(3600)
    clock.set("2026-05-01T13:00:00")
    look(clock, boots)
    begun = ms("2026-05-01T13:00:00") - 3_600_250
    for kind, text in raw.items():
        told, before = orjson.loads(boots.straight(text)), orjson.loads(text)
        assert told["start"] == begun, kind
        assert told.get("end", begun) in (begun, begun + 250)
        assert notes(told).pop("edge-clock") == "corrected"
        assert [one for one in told["annotations"] if one["key"] != "edge-clock"] == before["annotations"]
        same = set(before) - {"start", "end", "logs", "annotations"}
        assert {key: told[key] for key in same} == {key: before[key] for key in same}
    assert RESULT in boots.straight(raw["run"])
    (line,) = orjson.loads(boots.straight(raw["run"]))["logs"]
    assert line.startswith("2026-05-01T11:59:59.750000000Z stdout: say")
    assert line.endswith('["1970-01-01T00:00:00.000000000Z')
    assert orjson.loads(boots.straight(raw["sequence"]))["logs"] == ["b" * 32]


def test_a_run_over_the_instant_has_the_right_times_at_once() -> None:
    clock, boots = HandClock("1970-01-01T00:00:20"), ClockHistory({})
    look(clock, boots)
    at = start = clock.now()
    clock.pass_(2)
    clock.set("2026-05-01T13:00:00")
    look(clock, boots)
    clock.pass_(3)
    done = outcome(start, clock.now())
    text = (
        RecordTemplate.of_action(ACTION, message(at), "engine").record(message(at), done, clock.timing).text
    )
    assert boots.straight(text) == text
    record = orjson.loads(text)
    assert record["start"] == ms("2026-05-01T12:59:58")
    assert record["duration"] == 5000
    assert notes(record)["waitTime"] == 0


def test_a_boot_that_never_learned_the_time_says_so_for_ever() -> None:
    clock, boots = HandClock("1970-01-01T00:00:20"), ClockHistory({})
    look(clock, boots)
    text = texts(clock)["run"]
    kept = {"b0000001": boots.document("b0000001")}
    clock, boots = HandClock("2026-05-01T13:00:00", boot="b0000002"), ClockHistory(kept)
    look(clock, boots)
    record = orjson.loads(boots.straight(text))
    assert notes(record)["edge-clock"] == "unset"
    assert record["start"] < KNOWN
    assert boots.describe("b0000002") == {"sureness": "unconfirmed", "boots": 2, "never_set": 1}


def test_a_clock_that_stood_still_while_the_power_was_off_is_corrected_too() -> None:
    clock, boots = HandClock("2026-05-01T04:00:00"), ClockHistory({})
    look(clock, boots)
    text = texts(clock)["run"]
    assert boots.straight(text) == text  # it may be right
    clock.set("2026-05-01T12:00:00")
    look(clock, boots)
    record = orjson.loads(boots.straight(text))
    assert (record["start"], notes(record)["edge-clock"]) == (ms("2026-05-01T11:59:59.750"), "corrected")


def test_a_clock_that_was_vouched_for_and_is_then_moved_changes_no_past() -> None:
    clock, boots = HandClock("2026-05-01T12:00:00"), ClockHistory({})
    clock.vouched = True
    look(clock, boots)
    text = texts(clock)["run"]
    clock.pass_(100)
    clock.set("2026-06-01T12:00:00")
    look(clock, boots)
    assert boots.straight(text) == text


def test_it_is_remembered_over_a_restart_in_the_same_boot_and_learned_while_off() -> None:
    clock, boots = HandClock("1970-01-01T00:00:20"), ClockHistory({})
    look(clock, boots)
    text = texts(clock)["run"]
    kept = {"b0000001": boots.document("b0000001")}
    clock.pass_(60)
    clock.set("2026-05-01T13:00:00")
    again, boots = HandClock("2026-05-01T13:00:00", up=clock.passed), ClockHistory(kept)
    look(again, boots)
    assert orjson.loads(boots.straight(text))["start"] == ms("2026-05-01T12:58:59.750")
    boots = ClockHistory({"b0000001": boots.document("b0000001")})
    assert orjson.loads(boots.straight(text))["start"] == ms("2026-05-01T12:58:59.750")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(1, 100_000)),
        st.tuples(st.just("set"), st.integers(-40_000_000, 2_000_000_000)),
        st.tuples(st.just("run"), st.integers(0, 5000)),
    ),
    max_size=30,
)


@given(STEPS)
def test_whatever_the_clock_does_the_last_setting_is_the_truth_for_all_of_the_boot(course: Any) -> None:
    clock, boots, records = HandClock("1970-01-01T00:00:20"), ClockHistory({}), []
    look(clock, boots)
    for what, amount in course:
        if what == "pass":
            clock.pass_(amount)
        elif what == "set":
            clock.wall = max(0, clock.wall + amount * 1000)
            look(clock, boots)
        else:
            start, up = clock.now(), clock.up()
            clock.pass_(amount / 1000)
            template = RecordTemplate.of_action(ACTION, message(start), "engine")
            records.append(
                (up, template.record(message(start), outcome(start, clock.now()), clock.timing).text)
            )
    final = clock.timing.offset
    for up, text in records:
        record = orjson.loads(boots.straight(text))
        marked = notes(record).get("edge-clock")
        assert record["end"] - record["start"] == record["duration"]
        if boots.sureness("b0000001") is not ClockTrust.UNSET:
            assert abs(record["start"] - (up + final)) <= TOLERANCE
            assert marked in (None, "corrected")
        else:
            assert (marked == "unset") != is_known(record["start"])


@given(st.binary(max_size=300))
def test_any_text_passes(text: bytes) -> None:
    boots = ClockHistory({"b0000001": {"offset": 0, "sureness": "unset", "until": 0}})
    stamp = b'{"key":"edge-boot","value":["b0000001",5]}'
    for one in (text, text + stamp, stamp + text, b',"start":7' + text + stamp):
        boots.straight(one)


@given(
    st.integers(0, 10**12), st.lists(st.tuples(st.integers(1, 10**6), st.integers(10**7, 10**12)), max_size=5)
)
def test_readings_before_each_setting_are_told_apart(offset: int, sets: list[tuple[int, int]]) -> None:
    """As long as the clock was set forward by more than it ran before."""
    timing, up, readings = ClockOffset("b0000001", offset, offset), 0, []
    for passed, by in sets:
        up += passed
        readings.append((up, up + timing.offset))
        timing = timing.set_to(timing.offset + by, up)
    assert [timing.up(at) for _, at in readings] == [up for up, _ in readings]


@pytest.mark.parametrize("count", [MAX_BOOTS - 1, MAX_BOOTS, MAX_BOOTS + 7])
def test_old_boots_are_forgotten(count: int) -> None:
    boots = ClockHistory({f"{n:08x}": {"offset": n, "sureness": "kept", "until": 0} for n in range(count)})
    assert boots.forget() == [f"{n:08x}" for n in range(max(0, count - MAX_BOOTS))]
