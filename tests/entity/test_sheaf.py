"""Sheaves: told apart, they are what the records would have been, to the last byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.entity.action import Action
from edgewhisk.entity.activation import RecordTemplate
from edgewhisk.entity.exec import CodeExec, SequenceExec
from edgewhisk.entity.limits import ActionLimits, Limits
from edgewhisk.entity.message import ActivationMessage, Outcome, Smooth, Status
from edgewhisk.entity.names import parse_name
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.sheaf import SheafTemplate, count_of, expand, gist_of, origins_in, with_origins
from edgewhisk.entity.timing import Timing, Wrong
from edgewhisk.entity.version import SemVer

RESULTS = st.sampled_from([b"{}", b'{"a":1.0}', b'{"b":"\xc3\xbc = *"}', b'[1,\t{"c":"\\u001e"}]'])
TIMES = st.integers(0, 2_000)
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
def timings(draw: st.DrawFn) -> Timing:
    offset = draw(st.integers(-500, 500))
    forward = (Wrong(100, 900, 50), Wrong(950, 1200, 7)) if draw(st.booleans()) else ()
    return Timing("ab12cd34", offset, 0, forward)


@given(st.data(), st.lists(NAMES, min_size=1, max_size=3), st.integers(1, 5), timings(), st.booleans())
def test_a_sheaf_is_its_records(
    data: st.DataObject, names: list[str], count: int, timing: Timing, composed: bool
) -> None:
    names = names if composed else names[:1]
    numbers = iter(range(1000))
    ids = [[f"{next(numbers):032x}" for _ in range(count)] for _ in range(len(names) + composed)]
    spans = [sorted((data.draw(TIMES), data.draw(TIMES))) for _ in names]
    alike = data.draw(st.booleans())
    accepted = [data.draw(TIMES)] * count if alike else [data.draw(TIMES) for _ in range(count)]
    runs = [
        Smooth(
            [data.draw(RESULTS) for _ in range(count)] if data.draw(st.booleans()) else [b"{}"] * count, *span
        )
        for span in spans
    ]
    templates: list[RecordTemplate] = []
    wanted: list[bytes] = []
    for at, (name, run) in enumerate(zip(names, runs, strict=True)):
        causes = ids[-1] if composed else [""] * count
        starts = [run.start] * count if composed else accepted
        inside = [message(*one) for one in zip(ids[at], starts, causes, strict=True)]
        templates.append(RecordTemplate.of_action(action(name), inside[0], "engine 1"))
        outcomes = [Outcome(Status.SUCCESS, result, (), run.start, run.end) for result in run.results]
        wanted += [templates[-1].record(*both, timing).text for both in zip(inside, outcomes, strict=True)]
    whole = (data.draw(TIMES), data.draw(TIMES)) if composed else None
    if whole is not None:
        outer = [message(*one) for one in zip(ids[-1], accepted, strict=True)]
        templates.append(RecordTemplate.of_composite(action("/guest/s", sequence=True), outer[0], 256))
        spent = sum(timing.spans(runs))
        wanted += [
            templates[-1]
            .whole(
                one,
                Outcome(Status.SUCCESS, result, (), *whole),
                spent,
                [part[at] for part in ids[:-1]],
                timing,
            )
            .text
            for at, (one, result) in enumerate(zip(outer, runs[-1].results, strict=True))
        ]
    made = SheafTemplate(templates, composed=composed).sheaf(ids, runs, whole, accepted, timing)
    assert made is not None
    assert expand(made.text) == wanted
    gist = made.gist
    assert count_of(made.text) == gist.records == len(wanted)
    assert gist.ids() == [one for part in ids for one in part]
    assert gist_of(made.text) == gist._replace(filed=list(gist.filed), timing=timing._replace(forward=()))
    told = with_origins(made.text, ["mqtt:1:a", '"\n\x1e='])
    assert (origins_in(made.text), origins_in(told)) == ([], ["mqtt:1:a", '"\n\x1e='])
    assert (expand(told), gist_of(told)) == (wanted, gist_of(made.text))
    assert b"\n" not in told
    records = [
        template.record(message("0" * 32, 0), Outcome(Status.SUCCESS, b"{}", (), 0, 0), timing)
        for template in templates
    ]
    assert [one.filed for one in records] == list(gist.filed)


def test_what_a_broken_guest_gives_is_written_one_by_one() -> None:
    template = SheafTemplate(
        [RecordTemplate.of_action(action("/guest/a"), message("0" * 32, 0), "e")], composed=False
    )
    for bad in (b"\x1e", b"{}\n", b'{"a":"\x1e"}'):
        run = Smooth([bad, b"{}"], 0, 0)
        assert template.sheaf([["0" * 32] * 2], [run], None, [0, 0], Timing()) is None


def test_parts_in_different_lanes_are_written_one_by_one() -> None:
    actions = [action("/guest/a", lane="telemetry"), action("/guest/b")]
    templates = [RecordTemplate.of_action(one, message("0" * 32, 0), "e") for one in actions]
    template = SheafTemplate(templates, composed=True)
    assert template.sheaf([["0" * 32]] * 2, [Smooth([b"{}"], 0, 0)], (0, 0), [0], Timing()) is None


def test_a_sheaf_of_one_is_no_longer_than_its_records() -> None:
    inner, outer = message("1" * 32, 0, "2" * 32), message("2" * 32, 0)
    templates = [
        RecordTemplate.of_action(action("/guest/a"), inner, "quickjs-ng 0.15.1 in wasmtime 50.0.1"),
        RecordTemplate.of_action(action("/whisk.system/mqtt/publish"), inner, "edgewhisk"),
        RecordTemplate.of_composite(action("/guest/s", sequence=True), outer, 256),
    ]
    run = Smooth([b'{"seq":1,"f":77.1}'], 1_790_000_000_000, 1_790_000_000_001)
    template = SheafTemplate(templates, composed=True)

    def size(count: int) -> int:
        runs = [run._replace(results=[b'{"seq":%d,"f":77.1}' % at for at in range(count)])] * 2
        made = template.sheaf([["1" * 32] * count] * 3, runs, run[1:], [1_790_000_000_000] * count, Timing())
        assert made is not None
        return len(made.text)

    (text, *_), records = expand(template.sheaf([["1" * 32]] * 3, [run, run], run[1:], [0], Timing()).text), 3  # type: ignore[union-attr]
    assert size(1) < records * len(text)
    assert (size(64) - size(1)) / 63 < 160
