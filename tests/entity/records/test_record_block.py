"""Record blocks: told apart, they are what the records would have been, to the last byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.clock.offset import ClockOffset, Wrong
from edgewhisk.entity.action import Action
from edgewhisk.entity.activation import RecordTemplate
from edgewhisk.entity.exec import CodeExec, SequenceExec
from edgewhisk.entity.invocation.message import ActivationMessage, Outcome, Status
from edgewhisk.entity.limits import ActionLimits, Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.records.record_block import (
    Column,
    RecordBlockTemplate,
    block_index_of,
    count_of,
    expand,
    origins_in,
    with_origins,
)
from edgewhisk.entity.version import SemVer

RESULTS = st.sampled_from([b"{}", b'{"a":1.0}', b'{"b":"\xc3\xbc = *"}', b'[1,\t{"c":"\\u001e"}]'])
TIMES = st.integers(0, 2_000)
SPANS = st.tuples(TIMES, TIMES).map(lambda one: (min(one), max(one)))
FLIGHTS = st.lists(st.integers(1, 4), min_size=1, max_size=3)
T = TypeVar("T")
NAMES = st.sampled_from(["/guest/a", "/guest/pkg/b", "/guest/c d"])


def action(name: str, *, sequence: bool = False, lane: str | None = None) -> Action:
    limits = ActionLimits.default(Limits())
    code = SequenceExec(()) if sequence else CodeExec("nodejs:20", "x")
    annotations = {"edge-lane": lane} if lane else {}
    return Action(
        parse_name(name, "_"), code, Parameters(), limits, Parameters.of(annotations), SemVer(), 0, False
    )


def message(activation_id: str, at: int, cause: str = "") -> ActivationMessage:
    name, binding = parse_name("/guest/a", "_"), "guest/b" if cause else ""
    return ActivationMessage(
        activation_id, name, "guest", "guest", b"{}", at, "/guest/t", binding, cause=cause
    )


@st.composite
def timings(draw: st.DrawFn) -> ClockOffset:
    offset = draw(st.integers(-500, 500))
    forward = (Wrong(100, 900, 50), Wrong(950, 1200, 7)) if draw(st.booleans()) else ()
    return ClockOffset("ab12cd34", offset, 0, forward)


@given(st.data(), st.lists(NAMES, min_size=1, max_size=3), FLIGHTS, timings(), st.booleans())
def test_a_sheaf_is_its_records(
    data: st.DataObject, names: list[str], flights: list[int], timing: ClockOffset, composed: bool
) -> None:
    count = sum(flights)

    def drawn(values: st.SearchStrategy[T], most: int = count) -> list[T]:
        """So many, perhaps all alike."""
        alike = values.map(lambda one: [one] * most)
        return data.draw(alike | st.lists(values, min_size=most, max_size=most))

    def spans() -> list[tuple[int, int]]:
        return drawn(SPANS, len(flights))

    def each(values: Sequence[T]) -> list[T]:
        """Of each message, what each flight has."""
        return [one for one, runs in zip(values, flights, strict=True) for _ in range(runs)]

    names = names if composed else names[:1]
    numbers = iter(range(1000))
    ids = [[f"{next(numbers):032x}" for _ in range(count)] for _ in range(len(names) + composed)]
    accepted = drawn(TIMES)
    columns = [Column(ids[at], spans(), drawn(RESULTS)) for at in range(len(names))]
    templates: list[RecordTemplate] = []
    wanted: list[bytes] = []
    for name, column in zip(names, columns, strict=True):
        causes = ids[-1] if composed else [""] * count
        starts = [start for start, _ in each(column.spans)] if composed else accepted
        inside = [message(*one) for one in zip(column.ids, starts, causes, strict=True)]
        templates.append(RecordTemplate.of_action(action(name), inside[0], "engine 1"))
        wanted += [
            templates[-1].record(one, outcome, timing).text
            for one, outcome in zip(inside, outcomes(column.results, each(column.spans)), strict=True)
        ]
    if composed:
        whole = Column(ids[-1], spans())
        outer = [message(*one) for one in zip(ids[-1], accepted, strict=True)]
        templates.append(RecordTemplate.of_composite(action("/guest/s", sequence=True), outer[0], 256))
        for at, outcome in enumerate(outcomes(columns[-1].results, each(whole.spans))):
            spent = sum(timing.took(*each(column.spans)[at]) for column in columns)
            parts = [column.ids[at] for column in columns]
            wanted.append(templates[-1].whole(outer[at], outcome, spent, parts, timing).text)
        columns.append(whole)
    made = RecordBlockTemplate(templates, composed=composed).block(columns, flights, accepted, timing)
    assert made is not None
    assert expand(made.text) == wanted
    gist = made.gist
    assert count_of(made.text) == gist.records == len(wanted)
    assert gist.ids() == [one for part in ids for one in part]
    assert block_index_of(made.text) == gist._replace(
        filed=list(gist.filed), timing=timing._replace(forward=())
    )
    told = with_origins(made.text, ["mqtt:1:a", '"\n\x1e='])
    assert (origins_in(made.text), origins_in(told)) == ([], ["mqtt:1:a", '"\n\x1e='])
    assert (expand(told), block_index_of(told)) == (wanted, block_index_of(made.text))
    assert b"\n" not in told
    assert [one.filed for one in templates] == list(gist.filed)
    shown = [int(text.split(b'"start":')[1].split(b",")[0]) for text in wanted]
    assert shown == [start for starts in gist.starts for start in each(starts)]


def outcomes(results: Sequence[bytes], spans: Sequence[tuple[int, int]]) -> list[Outcome]:
    return [Outcome(Status.SUCCESS, result, (), *span) for result, span in zip(results, spans, strict=True)]


def test_what_a_broken_guest_gives_is_written_one_by_one() -> None:
    template = RecordBlockTemplate(
        [RecordTemplate.of_action(action("/guest/a"), message("0" * 32, 0), "e")], composed=False
    )
    for bad in (b"\x1e", b"{}\n", b'{"a":"\x1e"}'):
        column = Column(["0" * 32] * 2, [(0, 0)], [bad, b"{}"])
        assert template.block([column], [2], [0, 0], ClockOffset()) is None


def test_parts_in_different_lanes_are_written_one_by_one() -> None:
    actions = [action("/guest/a", lane="telemetry"), action("/guest/b")]
    templates = [RecordTemplate.of_action(one, message("0" * 32, 0), "e") for one in actions]
    template = RecordBlockTemplate(templates, composed=True)
    columns = [Column(["0" * 32], [(0, 0)], [b"{}"]), Column(["1" * 32], [(0, 0)])]
    assert template.block(columns, [1], [0], ClockOffset()) is None


def test_a_sheaf_of_one_is_no_longer_than_its_records() -> None:
    inner, outer = message("1" * 32, 0, "2" * 32), message("2" * 32, 0)
    templates = [
        RecordTemplate.of_action(action("/guest/a"), inner, "quickjs-ng 0.15.1 in wasmtime 50.0.1"),
        RecordTemplate.of_action(action("/whisk.system/mqtt/publish"), inner, "edgewhisk"),
        RecordTemplate.of_composite(action("/guest/s", sequence=True), outer, 256),
    ]
    template = RecordBlockTemplate(templates, composed=True)

    def sheaf(count: int) -> bytes:
        flights = [1] * count  # each began at another time
        spans = [(1_790_000_000_000 + at, 1_790_000_000_001 + at) for at in range(count)]
        ids = [f"{at:032x}" for at in range(count)]
        single = Column(ids, spans, [b'{"seq":%d,"f":77.1}' % at for at in range(count)])
        publish = Column(ids, spans, [b'{"delivered":true}'] * count)
        made = template.block(
            [single, publish, Column(ids, spans)], flights, [1_790_000_000_000] * count, ClockOffset()
        )
        assert made is not None
        return made.text

    assert len(sheaf(1)) < sum(map(len, expand(sheaf(1))))
    assert (len(sheaf(64)) - len(sheaf(1))) / 63 < 170
