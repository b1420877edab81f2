"""Sequences and conductors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.path.gateway import Gateway, until

Make = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module", autouse=True)
def actions(made: Gateway) -> None:
    made.action("add", "function main(p) { return {n: (p.n || 0) + (p.by || 1)} }")
    made.action("double", "function main(p) { return {n: p.n * 2, seen: Object.keys(p).sort()} }")
    made.action("split", "function main(p) { return [p.n, p.n + 1] }")
    made.action("sum", "function main(p) { return {n: p.reduce((a, b) => a + b, 0)} }")
    made.action("fail", "function main(p) { return {error: 'no', more: 1} }")
    made.action("broken", "function main(p) { throw new Error('x') }")
    made.action("slow", "async function main(p) { await new Promise(d => setTimeout(d, 300)); return p }")
    code = "def main(args):\n    return {'n': args['n'] * 100}\n"
    made.ok("PUT", "_/actions/hundred", {"exec": {"kind": "python:default", "code": code}})


def invoke(made: Gateway, name: str, **payload: Any) -> tuple[int, Any]:
    answer = made.call("POST", f"_/actions/{name}?blocking=true", payload)
    return answer.status, answer.body


def note(record: dict[str, Any], key: str) -> Any:
    return next((item["value"] for item in record["annotations"] if item["key"] == key), None)


def test_a_sequence_hands_results_on(made: Gateway, sequence: Make) -> None:
    document = sequence("s", "add", "double", "hundred")
    assert document["exec"] == {
        "kind": "sequence",
        "components": ["/guest/add", "/guest/double", "/guest/hundred"],
    }
    assert document["parameters"] == [{"key": "_actions", "value": document["exec"]["components"]}]
    assert {"key": "exec", "value": "sequence"} in document["annotations"]
    status, record = invoke(made, "s", n=4)
    assert (status, record["response"]["result"]) == (200, {"n": 1000})
    parts = [made.ok("GET", f"_/activations/{part}") for part in record["logs"]]
    assert [part["name"] for part in parts] == ["add", "double", "hundred"]
    assert {part["cause"] for part in parts} == {record["activationId"]}
    assert {note(part, "causedBy") for part in parts} == {"sequence"}
    assert parts[1]["response"]["result"]["seen"] == ["n"]
    assert record["duration"] == sum(part["duration"] for part in parts)
    assert (note(record, "topmost"), note(record, "kind"), note(record, "path")) == (
        True,
        "sequence",
        "guest/s",
    )
    assert "cause" not in record
    stored = made.ok("GET", f"_/activations/{record['activationId']}")
    assert stored["logs"] == record["logs"]


def test_parts_merge_their_own_parameters(made: Gateway, sequence: Make) -> None:
    made.action("by5", "function main(p) { return {n: p.n + p.by} }", parameters=[{"key": "by", "value": 5}])
    sequence("s5", "by5", "by5")
    assert invoke(made, "s5", n=1)[1]["response"]["result"] == {"n": 11}


def test_final_parameters_of_a_part_stand(made: Gateway, sequence: Make) -> None:
    """A part of a web action made with `wsk ... -p n 1 --web true`; a caller may not set `n` either."""
    final = {"parameters": [{"key": "n", "value": 1}], "annotations": [{"key": "final", "value": True}]}
    made.action("kept", "function main(p) { return {n: p.n + 1, seen: Object.keys(p)} }", **final)
    sequence("keeps", "add", "kept", "kept")
    result = invoke(made, "keeps", n=7, more=1)[1]["response"]["result"]
    assert result == {"n": 2, "seen": ["n", "seen"]}
    assert invoke(made, "kept", n=7)[0] == 400


def test_arrays_travel_between_parts(made: Gateway, sequence: Make) -> None:
    sequence("arrays", "split", "sum")
    assert invoke(made, "arrays", n=3)[1]["response"]["result"] == {"n": 7}
    sequence("ends", "add", "split")
    assert invoke(made, "ends", n=3) == (200, [4, 5])  # an array is the whole answer


def test_an_error_stops_a_sequence(made: Gateway, sequence: Make) -> None:
    sequence("stops", "add", "fail", "double")
    status, record = invoke(made, "stops", n=1, error="initial errors do not stop")
    assert (status, record["response"]["result"], len(record["logs"])) == (502, {"error": "no"}, 2)
    assert record["response"]["status"] == "application error"
    sequence("breaks", "broken", "add")
    assert invoke(made, "breaks")[1]["response"]["status"] == "action developer error"


def test_sequences_nest(made: Gateway, sequence: Make) -> None:
    sequence("inner", "add", "add")
    sequence("outer", "inner", "double")
    _, record = invoke(made, "outer", n=0)
    assert record["response"]["result"]["n"] == 4
    assert len(record["logs"]) == 2
    inner = made.ok("GET", f"_/activations/{record['logs'][0]}")
    assert (inner["cause"], note(inner, "topmost"), len(inner["logs"])) == (record["activationId"], False, 2)


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([], "No component specified for the sequence."),
        (["nope"], "Sequence component does not exist."),
        (["add"] * 51, "Too many actions in the sequence."),
        (["many", "many"], "Too many actions in the sequence."),
        (["self"], "Sequence may not refer to itself."),
        (["loop"], "Sequence may not refer to itself."),
    ],
)
def test_sequences_that_can_never_run_are_refused(
    made: Gateway, sequence: Make, parts: list[str], error: str
) -> None:
    sequence("many", *["add"] * 26)
    sequence("self", "add")
    sequence("loop", "self")
    body = {"exec": {"kind": "sequence", "components": [f"/_/{part}" for part in parts]}}
    answer = made.call("PUT", "_/actions/self?overwrite=true", body)
    assert (answer.status, answer.body["error"]) == (400, error)


def test_a_part_that_is_gone_is_an_error_of_the_sequence(made: Gateway, sequence: Make) -> None:
    made.action("passing", "function main(p) { return p }")
    sequence("gap", "add", "passing")
    made.ok("DELETE", "_/actions/passing")
    status, record = invoke(made, "gap", n=1)
    assert (status, record["response"]["result"]) == (502, {"error": "Sequence component does not exist."})
    assert len(record["logs"]) == 1


def test_a_sequence_answers_later_and_runs_on(made: Gateway, sequence: Make) -> None:
    sequence("slowly", "slow", "add")
    answer = made.call("POST", "_/actions/slowly?blocking=true&timeout=50", {"n": 1})
    assert answer.status == 202
    path = f"_/activations/{answer.body['activationId']}"
    until(lambda: made.call("GET", path).status == 200, what="the sequence ended")
    assert made.ok("GET", path)["response"]["result"] == {"n": 2}


def test_rules_start_sequences(made: Gateway, sequence: Make) -> None:
    sequence("ruled", "add", "double")
    made.ok("PUT", "_/triggers/start", {})
    made.rule("start", "ruled")
    for n in range(5):
        made.ok("POST", "_/triggers/start", {"n": n})
    until(lambda: made.count("ruled") == 5, what="all ran")
    found = [record["response"]["result"]["n"] for record in made.activations("ruled")]
    assert found == [10, 8, 6, 4, 2]  # newest first: events keep their order through a sequence


def test_updating_a_sequence_to_code_drops_its_components(made: Gateway, sequence: Make) -> None:
    sequence("turns", "add")
    made.action("turns", "function main(p) { return p }")
    assert made.ok("GET", "_/actions/turns")["parameters"] == []


def conductor(made: Gateway, name: str, code: str) -> None:
    made.action(name, code, annotations=[{"key": "conductor", "value": True}])


def test_a_conductor_directs(made: Gateway) -> None:
    conductor(
        made,
        "director",
        """function main(p) {
        switch (p.step || 0) {
            case 0: return {action: 'add', params: {n: p.n}, state: {step: 1}};
            case 1: return {action: '/_/double', params: {n: p.n}, state: {step: 2}};
            default: return {params: {n: p.n, step: p.step}};
        } }""",
    )
    status, record = invoke(made, "director", n=4)
    assert (status, record["response"]["result"]) == (200, {"n": 10, "step": 2})
    parts = [made.ok("GET", f"_/activations/{part}") for part in record["logs"]]
    assert [part["name"] for part in parts] == ["director", "add", "director", "double", "director"]
    assert {part["cause"] for part in parts} == {record["activationId"]}
    assert (note(record, "conductor"), note(record, "kind"), note(record, "topmost")) == (
        True,
        "sequence",
        True,
    )


@pytest.mark.parametrize(
    ("action", "error"),
    [
        ("7", "Failed to parse action name from json value 7 during composition."),
        ("'/x'", 'Failed to parse action name from json value "/x" during composition.'),
        ("'nope'", "Failed to resolve action with name 'guest/nope' during composition."),
        ("'/other/p/a'", "Failed entitlement check for action with name 'other/p/a' during composition."),
    ],
)
def test_a_conductor_hears_of_wrong_names(made: Gateway, action: str, error: str) -> None:
    conductor(
        made, "wrong", f"function main(p) {{ return p.error ? {{heard: p.error}} : {{action: {action}}} }}"
    )
    assert invoke(made, "wrong")[1]["response"]["result"] == {"heard": error}


def test_a_conductor_ends(made: Gateway) -> None:
    conductor(made, "endless", "function main(p) { return {action: 'add', params: {}, state: {h: p.error}} }")
    status, record = invoke(made, "endless")
    assert status == 502
    assert record["response"]["result"] == {"error": "Too many actions in the composition."}
    conductor(made, "boxed", "function main(p) { return {params: 5} }")
    assert invoke(made, "boxed")[1]["response"]["result"] == {"value": 5}
    conductor(made, "fails", "function main(p) { return {error: 'bad'} }")
    assert invoke(made, "fails")[0] == 502


def test_conductors_and_sequences_nest(made: Gateway, sequence: Make) -> None:
    conductor(
        made, "outside", "function main(p) { return p.n ? {params: p} : {action: 'inside', params: {n: 1}} }"
    )
    conductor(
        made, "inside", "function main(p) { return p.seen ? {params: p} : {action: 'pair', params: p} }"
    )
    sequence("pair", "add", "double")
    _, record = invoke(made, "outside")
    assert record["response"]["result"] == {"n": 4, "seen": ["n"]}
    inside = made.ok("GET", f"_/activations/{record['logs'][1]}")
    assert (inside["cause"], len(inside["logs"])) == (record["activationId"], 3)


def test_a_binding_and_its_sequence(made: Gateway) -> None:
    made.ok("PUT", "_/packages/lender", {"parameters": [{"key": "by", "value": 10}]})
    made.action("lender/add", "function main(p) { return {n: p.n + p.by} }")
    made.ok("PUT", "_/packages/lent", {"binding": {"namespace": "_", "name": "lender"}})
    body = {"exec": {"kind": "sequence", "components": ["/_/lent/add", "/_/lender/add"]}}
    made.ok("PUT", "_/actions/through", body)
    _, record = invoke(made, "through", n=1)
    assert record["response"]["result"] == {"n": 21}
    first = made.ok("GET", f"_/activations/{record['logs'][0]}")
    assert (note(first, "path"), note(first, "binding")) == ("guest/lender/add", "guest/lent")


def test_actions_get_their_callers_key_only_when_they_ask(made: Gateway) -> None:
    code = (
        "function main() { return {key: process.env.__OW_API_KEY || null, host: process.env.__OW_API_HOST} }"
    )
    made.action("keyless", code)
    made.action("keyed", code, annotations=[{"key": "provide-api-key", "value": True}])
    host = f"http://127.0.0.1:{made.port}"
    assert invoke(made, "keyless")[1]["response"]["result"] == {"key": None, "host": host}
    assert invoke(made, "keyed")[1]["response"]["result"] == {"key": made.auth, "host": host}


def test_a_sequence_survives_a_crash(tmp_path: Path) -> None:
    """What was accepted runs again, from its first part, and has its record under the promised id."""
    made = Gateway(tmp_path, '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n').start()
    try:
        made.action("first", "function main(p) { return {n: p.n + 1} }")
        made.action(
            "slow", "async function main(p) { await new Promise(d => setTimeout(d, 1500)); return p }"
        )
        body = {"exec": {"kind": "sequence", "components": ["/_/first", "/_/slow"]}}
        made.ok("PUT", "_/actions/both", body)
        started = made.ok("POST", "_/actions/both", {"n": 1})["activationId"]
        until(lambda: made.count("first") == 1, what="the first part is on disk")
        made.kill()
        made.start()
        until(lambda: made.call("GET", f"_/activations/{started}").status == 200, what="it ran again")
        record = made.ok("GET", f"_/activations/{started}")
        assert (record["response"]["result"], len(record["logs"])) == ({"n": 2}, 2)
        assert (made.count("first"), made.count("slow"), made.count("both")) == (2, 1, 1)
    finally:
        made.stop()
