"""What reimplementations of OpenWhisk's API tend to get wrong, where no other test says it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.path.gateway import Gateway, until

CODE = {"kind": "nodejs:default", "code": "function main(p) { return p }"}


def notes(document: dict[str, Any]) -> dict[str, Any]:
    return {item["key"]: item["value"] for item in document["annotations"]}


def keyed(**values: Any) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def test_updates_merge_annotations_of_actions_only(made: Gateway) -> None:
    made.ok(
        "PUT", "_/actions/ca", {"exec": CODE, "annotations": keyed(a=1, b=1), "parameters": keyed(x=1, y=1)}
    )
    body = {"annotations": keyed(b=2, c=2), "delAnnotations": ["a"], "parameters": keyed(z=1)}
    found = made.ok("PUT", "_/actions/ca?overwrite=true", body)
    assert notes(found) == {"b": 2, "c": 2, "exec": "nodejs:20", "provide-api-key": False}
    assert (found["parameters"], found["version"], found["exec"]["kind"]) == (
        keyed(z=1),
        "0.0.2",
        "nodejs:20",
    )
    for collection in ("triggers", "packages"):
        path = f"_/{collection}/c{collection}"
        made.ok("PUT", path, {"annotations": keyed(a=1)})
        assert notes(made.ok("PUT", f"{path}?overwrite=true", {"annotations": keyed(b=1)})) == {"b": 1}
    made.ok("PUT", "_/rules/crule", {"trigger": "/_/ctriggers", "action": "/_/ca", "annotations": keyed(a=1)})
    assert notes(made.ok("PUT", "_/rules/crule?overwrite=true", {"annotations": keyed(b=1)})) == {"b": 1}


def test_the_system_annotations(made: Gateway) -> None:
    found = made.ok("PUT", "_/actions/sys", {"exec": CODE, "annotations": keyed(exec="mine")})
    assert notes(found) == {"exec": "nodejs:20", "provide-api-key": False}
    found = made.ok(
        "PUT", "_/actions/sys2", {"exec": CODE, "annotations": [{"key": "provide-api-key", "value": 1}]}
    )
    assert notes(found)["provide-api-key"] == 1


def test_one_key_space_for_all_entities(made: Gateway) -> None:
    made.ok("PUT", "_/packages/taken", {})
    for method, path, body in (
        ("GET", "_/actions/taken", None),
        ("PUT", "_/actions/taken", {"exec": CODE}),
        ("POST", "_/actions/taken", {}),
        ("DELETE", "_/actions/taken", None),
        ("PUT", "_/triggers/taken", {}),
        ("GET", "_/rules/taken", None),
    ):
        answer = made.call(method, path, body)
        assert answer.status == 409, (method, path)
        assert answer.body["error"] == "Resource by this name exists but is not in this collection."
    assert made.ok("GET", "_/actions/taken/") == []


def test_rules_and_their_triggers(made: Gateway) -> None:
    made.ok("PUT", "_/actions/ra", {"exec": CODE})
    made.ok("PUT", "_/triggers/rt", {})
    found = made.ok("PUT", "_/rules/rr", {"status": "", "trigger": "/_/rt", "action": "/guest/ra"})
    assert (found["status"], found["trigger"], found["action"]) == (
        "active",
        {"path": "guest", "name": "rt"},
        {"path": "guest", "name": "ra"},
    )
    item = next(rule for rule in made.ok("GET", "_/rules") if rule["name"] == "rr")
    assert "status" not in item
    link = made.ok("GET", "_/triggers/rt")["rules"]["guest/rr"]
    assert link == {"action": {"path": "guest", "name": "ra"}, "status": "active"}
    body = {"status": "inactive", "trigger": None, "action": None}
    for _ in range(2):
        assert made.call("POST", "_/rules/rr", body).body == "OK"
    assert made.call("POST", "_/triggers/rt", {}).status == 204
    made.ok("DELETE", "_/triggers/rt")
    assert made.ok("GET", "_/rules/rr")["status"] == "inactive"
    answer = made.call("POST", "_/rules/rr", {"status": "active"})
    assert (answer.status, answer.body["error"]) == (
        404,
        "Only rules with existing triggers can be activated",
    )
    made.ok("PUT", "_/triggers/rt", {})
    assert made.ok("GET", "_/rules/rr")["status"] == "inactive"
    assert made.ok("DELETE", "_/rules/rr")["status"] == "inactive"


def test_a_fired_trigger_tells_of_all_its_rules(made: Gateway) -> None:
    made.ok("PUT", "_/actions/c-fails", {"exec": {**CODE, "code": "function main() { throw 1 }"}})
    made.ok("PUT", "_/actions/c-leaves", {"exec": CODE})
    made.ok("PUT", "_/triggers/ft", {})
    for rule, action in (("fr1", "c-fails"), ("fr2", "c-fails"), ("fr3", "c-leaves")):
        made.ok("PUT", f"_/rules/{rule}", {"trigger": "/_/ft", "action": f"/_/{action}"})
    made.ok("POST", "_/rules/fr2", {"status": "inactive"})
    made.ok("DELETE", "_/actions/c-leaves")
    record = made.ok("GET", f"_/activations/{made.ok('POST', '_/triggers/ft', {})['activationId']}")
    logs = {entry["rule"]: entry for entry in map(json.loads, record["logs"])}
    assert (logs["guest/fr1"]["statusCode"], logs["guest/fr1"]["success"]) == (0, True)
    assert (
        logs["guest/fr2"]["error"]
        == "Rule 'guest/fr2' is inactive, action 'guest/c-fails' was not activated."
    )
    assert logs["guest/fr3"]["error"] == "The requested resource does not exist."
    assert ("end" in record, "duration" in record) == (False, False)
    assert record["annotations"] == []
    started = logs["guest/fr1"]["activationId"]
    until(lambda: made.call("GET", f"_/activations/{started}").status == 200)
    assert "cause" not in made.ok("GET", f"_/activations/{started}")


def test_lists(made: Gateway) -> None:
    for at in range(35):
        made.ok("PUT", f"_/triggers/many{at:02}", {})
    found = made.ok("GET", "_/triggers")
    assert len(found) == 30
    assert found[0]["name"] == "many34"  # the newest first
    assert len(made.ok("GET", "_/triggers?limit=0")) >= 35
    total = made.ok("GET", "_/triggers?count=true")["triggers"]
    assert made.ok("GET", "_/triggers?count=true&skip=5&limit=1") == {"triggers": total - 5}
    assert made.ok("GET", "_/triggers?count=true&skip=1000") == {"triggers": 0}
    assert {"parameters", "limits", "rules"}.isdisjoint(found[0])
    item = next(item for item in made.ok("GET", "_/actions?limit=0"))
    assert ("parameters" in item, sorted(item["exec"])) == (False, ["binary"])


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        ({"timeout": 99}, "duration 99 milliseconds below allowed threshold of 100 milliseconds"),
        (
            {"timeout": 300001},
            "duration 300001 milliseconds exceeds allowed threshold of 300000 milliseconds",
        ),
        ({"memory": 99999}, "memory size 99999 MB exceeds allowed threshold of 512 MB"),
        ({"logs": 11}, "log size 11 MB exceeds allowed threshold of 10 MB"),
        ({"concurrency": 2}, "concurrency 2 exceeds allowed threshold of 1"),
        ({"timeout": "x"}, "time limit malformed"),
        ({"timeout": 100.5}, "time limit must be whole number"),
        (
            {"instances": 31},
            "Max action instance concurrency must not exceed your namespace concurrency of 30.",
        ),
    ],
)
def test_limits(made: Gateway, limits: dict[str, Any], problem: str) -> None:
    answer = made.call("PUT", "_/actions/limited?overwrite=true", {"exec": CODE, "limits": limits})
    assert (answer.status, problem in answer.body["error"]) == (400, True), answer


def test_instances(made: Gateway) -> None:
    found = made.ok("PUT", "_/actions/few", {"exec": CODE, "limits": {"instances": 2}})
    assert found["limits"] == {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1, "instances": 2}
    assert made.ok("POST", "_/actions/few?blocking=true&result=true", {"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nowhere", 404),
        ("GET", "/nowhere", 404),
        ("POST", "/api/v1/namespaces", 404),
        ("GET", "/api/v1/namespaces/guest", 404),
        ("PATCH", "_/actions/x", 404),
        ("POST", "_/packages/x", 404),
        ("POST", "_/packages/refresh", 404),
        ("GET", "_/limits/x", 400),
        ("GET", "a" * 257 + "/actions", 400),
        ("GET", "_/actions/" + "a" * 257, 400),
        ("GET", "_/actions/%20x", 400),
    ],
)
def test_paths(made: Gateway, method: str, path: str, status: int) -> None:
    answer = made.call(method, path, {} if method == "POST" else None)
    assert (answer.status, sorted(answer.body)) == (status, ["code", "error"])


def test_options_and_trailing_slashes(made: Gateway) -> None:
    answer = made.call("OPTIONS", "_/actions/anything", Authorization="")
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
    for path in (
        "/api/v1/",
        "/api/v1/namespaces/",
        "_/actions/",
        "_/triggers/",
        "_/activations/",
        "_/limits/",
    ):
        assert made.call("GET", path).status == 200, path


def test_sizes(made: Gateway) -> None:
    large = "x" * 1_048_576
    answer = made.call("PUT", "_/triggers/large", {"parameters": keyed(k=large)})
    assert (answer.status, answer.body["error"]) == (
        413,
        "parameters larger than allowed: 1048579 > 1048576 bytes.",
    )
    answer = made.call("PUT", "_/packages/large", {"annotations": keyed(k=large)})
    assert (answer.status, answer.body["error"]) == (
        413,
        "annotations larger than allowed: 1048579 > 1048576 bytes.",
    )


def test_code_is_left_out_when_asked(made: Gateway) -> None:
    made.ok("PUT", "_/actions/coded", {"exec": CODE})
    assert "code" not in made.ok("GET", "_/actions/coded?code=false")["exec"]
    assert made.ok("GET", "_/actions/coded")["exec"]["code"] == CODE["code"]


def test_versions(made: Gateway) -> None:
    assert made.ok("PUT", "_/packages/pv", {"version": "1.0"})["version"] == "1.0.0"
    assert made.ok("PUT", "_/packages/pv?overwrite=true", {})["version"] == "1.0.1"
    answer = made.call("PUT", "_/packages/pv?overwrite=true", {"version": "x"})
    assert "semantic version malformed" in answer.body["error"]


def test_errors_with_null_and_more_keys(made: Gateway) -> None:
    made.action("nullerror", "function main() { return {error: null, other: 1} }")
    answer = made.call("POST", "_/actions/nullerror?blocking=true&result=true", {})
    assert (answer.status, answer.body) == (502, {"error": None})


def test_init_parameters_go_to_the_environment(made: Gateway) -> None:
    code = "function main(p) { return {keys: Object.keys(p), env: process.env.TOKEN} }"
    made.action("inits", code, parameters=[{"key": "TOKEN", "value": {"a": 1}, "init": True}])
    assert made.ok("POST", "_/actions/inits?blocking=true&result=true", {}) == {"keys": [], "env": '{"a":1}'}


def test_a_list_of_large_records_comes_whole_through_both_doors(made: Gateway) -> None:
    code = "function main(p) { return {fill: 'x'.repeat(400000), n: p.n} }"
    made.ok("PUT", "_/actions/clarge", {"exec": {**CODE, "code": code}})
    for number in range(4):
        made.ok("POST", "_/actions/clarge?blocking=true", {"n": number})
    for path in ("_/activations", "_/activations/"):  # the second is Quart's
        found = made.call("GET", f"{path}?docs=true&limit=200&name=clarge")
        assert [one["response"]["result"]["n"] for one in found.body] == [3, 2, 1, 0]
        assert "content-length" not in found.headers
        short = made.call("GET", f"{path}?limit=200&name=clarge")
        assert len(short.body) == 4
