"""What is asked often, by paths with and without escapes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.path.gateway import Answer, Gateway, until

Call = Callable[..., Answer]


@pytest.fixture(params=["_", "%5F"], ids=["plain", "escaped"])
def call(request: pytest.FixtureRequest, made: Gateway) -> Call:
    def send(path: str, body: Any = None, **headers: str) -> Answer:
        return made.call("POST", f"{request.param}/{path}", body, **headers)

    return send


@pytest.fixture(scope="module", autouse=True)
def actions(made: Gateway) -> None:
    made.action("echo", "function main(p) { console.log('said'); return p }")
    made.action("no", "function main(p) { return {error: 'no', x: 1} }")
    made.action("bad", "function main(p) { return 5 }")
    made.action("list", "function main(p) { return [1, p.n] }")
    made.action("guarded", "function main(p) { return p }", parameters=[{"key": "k", "value": 1}],
                annotations=[{"key": "final", "value": True}])  # fmt: skip
    made.ok("PUT", "_/triggers/lonely", {})
    made.ok("PUT", "_/triggers/rung", {})
    made.rule("rung", "echo")


@pytest.mark.parametrize(
    ("query", "status", "body"),
    [
        ("echo?blocking=true&result=true", 200, {"n": 1}),
        ("echo?blocking=YES&result=on", 200, {"n": 1}),
        ("no?blocking=true&result=true", 502, {"error": "no"}),
        ("bad?blocking=true&result=true", 502, {"error": "The action did not return a dictionary or array."}),
        ("list?blocking=true", 200, [1, 1]),
    ],
)
def test_results(call: Call, query: str, status: int, body: Any) -> None:
    answer = call(f"actions/{query}", {"n": 1})
    if status == 502 and "dictionary" in body["error"]:
        assert answer.body["error"].startswith("The action did not return a dictionary")
    else:
        assert answer.body == body
    assert (answer.status, len(answer.headers["x-openwhisk-activation-id"])) == (status, 32)


def test_a_record_without_logs(made: Gateway, call: Call) -> None:
    record = call("actions/echo?blocking=true", {"n": 1}).body
    assert (record["logs"], "statusCode" in record["response"]) == ([], False)
    assert len(made.ok("GET", f"_/activations/{record['activationId']}/logs")["logs"]) == 1


def test_not_blocking(made: Gateway, call: Call) -> None:
    answer = call("actions/echo?result=true", {"n": 1})
    assert (answer.status, list(answer.body)) == (202, ["activationId"])
    until(lambda: made.call("GET", f"_/activations/{answer.body['activationId']}").status == 200)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "error"),
    [
        ("actions/echo", {}, {"Authorization": ""}, 401, "requires authentication"),
        ("actions/echo", {}, {"Authorization": "Bearer x"}, 401, "requires authentication"),
        ("actions/echo", {}, {"Authorization": "Basic !"}, 401, "authentication is invalid"),
        ("actions/nope", {}, {}, 404, "does not exist"),
        ("actions/nopackage/echo", {}, {}, 404, "does not exist"),
        ("actions/echo", b"[1]", {}, 400, "JSON object expected"),
        ("actions/echo", b"{", {}, 400, "The request content was malformed"),
        ("actions/echo", b"\xff", {}, 400, "The request content was malformed"),
        ("actions/echo", b"{}", {"Content-Type": "text/plain"}, 415, "is not supported. Expected:"),
        ("actions/echo?blocking=perhaps", {}, {}, 400, "'perhaps' is not a valid Boolean value"),
        ("actions/echo?timeout=60001", {}, {}, 400, "Timeout must be number of milliseconds up to 60000."),
        ("actions/echo?timeout=x", {}, {}, 400, "Timeout must be"),
        ("actions/guarded", {"k": 2}, {}, 400, "parameters that are not allowed"),
        (
            "actions/nope",
            b'"' + b"x" * 1_048_576 + b'"',
            {},
            413,
            "Request larger than allowed: 1048578 > 1048576",
        ),
        ("triggers/nope", {}, {}, 404, "does not exist"),
        ("triggers/rung", b"[1]", {}, 400, "JSON object expected"),
        ("triggers/echo", {}, {}, 409, "not in this collection"),
    ],
)
def test_errors(call: Call, path: str, body: Any, headers: dict[str, str], status: int, error: str) -> None:
    answer = call(path, body, **headers)
    assert (answer.status, error in answer.body["error"]) == (status, True), answer
    assert answer.body["code"] == answer.headers["x-request-id"]
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert answer.headers["access-control-allow-methods"] == "GET, DELETE, POST, PUT, HEAD"


def test_request_ids(call: Call) -> None:
    given = call("actions/echo", {}, **{"X-Request-ID": "mine-1"})
    assert given.headers["x-request-id"] == "mine-1"
    assert call("actions/nope", {}, **{"X-Request-ID": "mine-2"}).body["code"] == "mine-2"
    for refused in ("sid_x", "a b", "x" * 200):
        assert call("actions/echo", {}, **{"X-Request-ID": refused}).headers["x-request-id"] != refused


def test_fires(made: Gateway, call: Call) -> None:
    unruled = call("triggers/lonely", {})
    assert (unruled.status, unruled.body, "x-openwhisk-activation-id" in unruled.headers) == (
        204,
        None,
        False,
    )
    fired = call("triggers/rung", {"n": 7})
    assert (fired.status, list(fired.body)) == (202, ["activationId"])


def test_new_code_does_not_load_on_the_event_loop(made: Gateway) -> None:
    """An action that was brief gets code that takes long to load."""
    made.action("grows", "function main() { return {v: 1} }")
    for _ in range(20):
        made.ok("POST", "_/actions/grows?blocking=true", {})
    loading = "const end = Date.now() + 1000; while (Date.now() < end);"
    made.action("grows", f"{loading} function main() {{ return {{v: 2}} }}")
    late: list[Answer] = []
    slow = threading.Thread(
        target=lambda: late.append(made.call("POST", "_/actions/grows?blocking=true&result=true", {}))
    )
    slow.start()
    answered = 0
    while slow.is_alive():
        assert made.call("GET", "/ping", Authorization="").status == 200
        answered += 1
    assert answered > 30
    assert late[0].body == {"v": 2}


def test_an_action_that_turns_slow_does_not_stop_the_others(made: Gateway) -> None:
    """Brief actions run on the event loop; one that is brief no more must leave it."""
    code = "function main(p) { const end = Date.now() + (p.ms || 0); while (Date.now() < end); return p }"
    made.action("moody", code)
    for _ in range(20):
        made.ok("POST", "_/actions/moody?blocking=true", {})
    late: list[Answer] = []
    slow = threading.Thread(
        target=lambda: late.append(
            made.call("POST", "_/actions/moody?blocking=true&result=true", {"ms": 1500})
        )
    )
    slow.start()
    answered = 0
    while slow.is_alive():
        assert made.call("GET", "/ping", Authorization="").status == 200
        answered += 1
    assert answered > 50
    assert (late[0].status, late[0].body) == (200, {"ms": 1500})
    assert made.count("moody") == 21


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("activations?limit=2", 200),
        ("activations/?limit=2", 200),
        ("activations?name=echo&docs=true&since=0", 200),
        ("activations?count=true", 200),
        ("activations?count=true&docs=true", 400),
        ("activations?limit=201", 400),
        ("activations?limit=x&limit=1", 400),
        ("activations?limit=1&limit=x", 200),
        ("activations?skip=-1", 400),
        (f"activations?skip=1{'0' * 30}", 400),
        (f"activations?limit=1{'0' * 5000}", 400),
        ("activations?limit=1_0", 400),
        ("activations?limit=%D9%A3", 400),
        ("activations?skip=2147483647", 200),
        (f"activations?since=1{'0' * 30}", 400),
        ("activations?since=9223372036854775807", 200),
        ("activations?upto=9223372036854775807&since=0", 200),
        ("activations?since=later", 400),
        ("activations?name=", 200),
        ("activations?name=a/b/c", 400),
        ("activations?name=%E2%82%AC", 400),
        ("activations/0123", 400),
        ("activations/00000000000000000000000000000000", 404),
        ("activations/00000000000000000000000000000000/logs", 404),
        ("activations/00000000000000000000000000000000/other", 404),
    ],
)
def test_activations_are_the_same_through_both(made: Gateway, path: str, status: int) -> None:
    plain, escaped = (
        made.call("GET", f"{space}/{path}", **{"X-Request-ID": "same"}) for space in ("_", "%5F")
    )
    assert (plain.status, plain.body) == (escaped.status, escaped.body) == (status, plain.body)
    assert plain.headers | {"date": ""} == escaped.headers | {"date": ""}


ODD = st.text(max_size=12) | st.integers().map(str) | st.sampled_from([
    "1" + "0" * 30, "-0", "+1", "1e3", "nan", "true", "\0", "\u0663", "a/b", "a/b/c", "%", "\U0010ffff",
])  # fmt: skip
LISTS = ["activations", "actions", "triggers", "rules", "packages", "actions/echo", "packages/none", "limits"]
KEYS = ["limit", "skip", "since", "upto", "name", "docs", "count", "code"]


@given(st.sampled_from(LISTS), st.sampled_from(["_", "%5F"]), st.dictionaries(st.sampled_from(KEYS), ODD))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_query_breaks_anything(made: Gateway, path: str, space: str, query: dict[str, str]) -> None:
    answer = made.call("GET", f"{space}/{path}?{urlencode(query, errors='surrogatepass')}")
    assert answer.status in (200, 400, 404), answer


def test_a_record_and_its_parts(made: Gateway) -> None:
    made.ok("POST", "_/actions/echo?blocking=true", {"n": 1})
    newest = made.ok("GET", "_/activations?name=echo&limit=1")[0]["activationId"]
    for space in ("_", "%5F"):
        record = made.ok("GET", f"{space}/activations/{newest}")
        assert made.ok("GET", f"{space}/activations/{newest}/result") == record["response"]
        assert made.ok("GET", f"{space}/activations/{newest}/logs") == {"logs": record["logs"]}


@pytest.mark.parametrize("path", ["/ping", "/metrics", "/edgewhisk/status", "/%70ing", "/edgewhisk/statu%73"])
def test_health(made: Gateway, path: str) -> None:
    answer = made.call("GET", path)
    assert (answer.status, len(answer.headers["x-request-id"])) == (200, 32)
    assert "access-control-allow-origin" not in answer.headers
