"""Web actions, by paths with and without escapes."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.path.gateway import Answer, Gateway

Call = Callable[..., Answer]
ECHO = "function main(p) { return {body: p} }"


@pytest.fixture(
    params=["/api/v1/web/guest/default/", "/api/v1/web/gues%74/default/"], ids=["plain", "escaped"]
)
def door(request: pytest.FixtureRequest) -> str:
    """Where web actions are; a path with an escape goes through Quart."""
    return str(request.param)


@pytest.fixture
def call(door: str, made: Gateway) -> Call:
    """Call a web action."""

    def send(method: str, name: str, body: Any = None, **headers: str) -> Answer:
        sent = {"Authorization": "", "Content-Type": "" if body is None else "application/json", **headers}
        return made.call(method, door + name, body, **sent)

    return send


def export(made: Gateway, name: str, code: str = ECHO, **annotations: Any) -> None:
    given = {"web-export": True, **{key.replace("_", "-"): value for key, value in annotations.items()}}
    made.action(name, code, annotations=[{"key": key, "value": value} for key, value in given.items()])


def test_arguments(made: Gateway, call: Call) -> None:
    export(made, "echo")
    found = call(
        "POST", "echo.json/a/b?x=1&y=&both=query", {"both": "body", "deep": [1]}, **{"X-One": "1"}
    ).body["body"]
    assert (found["x"], found["y"], found["both"], found["deep"]) == ("1", "", "body", [1])
    assert (found["__ow_method"], found["__ow_path"]) == ("post", "/a/b")
    assert (found["__ow_headers"]["x-one"], "__ow_user" in found) == ("1", False)
    assert "content-type" not in call("GET", "echo.json").body["body"]["__ow_headers"]
    assert call("GET", "echo.json").body["body"]["__ow_path"] == ""
    assert call("GET", "echo.json/").body["body"]["__ow_path"] == "/"


@pytest.mark.parametrize(
    ("kind", "body", "given"),
    [
        ("application/json", b"[1, 2]", {"__ow_body": [1, 2]}),
        ("application/json", b'"x"', {"__ow_body": "x"}),
        ("application/vnd.x+json", b'{"a": 1}', {"a": 1}),
        ("application/x-www-form-urlencoded", b"a=1&b=%20x", {"a": "1", "b": " x"}),
        ("text/plain", "grüß".encode(), {"__ow_body": "grüß"}),
        ("application/xml", b"<a/>", {"__ow_body": "<a/>"}),
        ("application/octet-stream", b"\x00\xff", {"__ow_body": "AP8="}),
        ("image/png", b"png", {"__ow_body": "cG5n"}),
    ],
)
def test_bodies(made: Gateway, call: Call, kind: str, body: bytes, given: dict[str, Any]) -> None:
    export(made, "echo")
    found = call("POST", "echo.json", body, **{"Content-Type": kind}).body["body"]
    assert {key: found.get(key) for key in given} == given


@pytest.mark.parametrize(
    ("kind", "body", "given"),
    [
        ("application/json", b'{"a":1}', "eyJhIjoxfQ=="),
        ("text/plain", b"x", "x"),
        ("image/png", b"png", "cG5n"),
    ],
)
def test_raw_bodies(made: Gateway, call: Call, kind: str, body: bytes, given: str) -> None:
    export(made, "raw", raw_http=True)
    found = call("POST", "raw.json?__ow_method=x&a=1", body, **{"Content-Type": kind}).body["body"]
    assert (found["__ow_body"], found["__ow_query"], "a" in found) == (given, "__ow_method=x&a=1", False)
    empty = call("GET", "raw.json").body["body"]
    assert (empty["__ow_body"], empty["__ow_query"]) == ("", "")


def test_reserved_and_final_parameters(made: Gateway, call: Call) -> None:
    made.action("guarded", ECHO, annotations=[{"key": key, "value": True} for key in ("web-export", "final")],
                parameters=[{"key": "k", "value": 1}, {"key": "free", "value": None}])  # fmt: skip
    for query in ("__ow_user=x", "k=2"):
        answer = call("GET", f"guarded.json?{query}")
        assert answer.status == 400
        assert answer.body["error"].startswith("Request defines parameters that are not allowed")
    assert call("POST", "guarded.json", {"k": 2}).status == 400
    assert call("POST", "guarded.json", {"free": 2}).body["body"]["free"] == 2


RESULTS: list[tuple[str, str, int, str, Any]] = [
    (".json", "{a: 1}", 200, "application/json", {"a": 1}),
    (".json", "{error: 'text'}", 400, "application/json", "Response is not valid 'application/json'."),
    (".html", "{html: '<p>'}", 200, "text/html; charset=UTF-8", "<p>"),
    (".html", "{body: '<b>', html: 'x'}", 200, "text/html; charset=UTF-8", "<b>"),
    (".html", "{a: 1}", 400, "application/json", "Response is not valid 'text/html'."),
    (".svg", "{svg: '<svg/>'}", 200, "image/svg+xml", "<svg/>"),
    (".text", "{text: 'x'}", 200, "text/plain; charset=UTF-8", "x"),
    (".text", "{body: null}", 200, "text/plain; charset=UTF-8", None),
    (".text", "{body: 5}", 200, "text/plain; charset=UTF-8", 5),
    (".text", "{a: 5}", 404, "application/json", "Response does not include requested property."),
    (".http", "{body: 'x'}", 200, "text/html; charset=UTF-8", "x"),
    (".http", "{body: {a: 1}}", 200, "application/json", {"a": 1}),
    (".http", "{statusCode: 201, body: [1]}", 201, "application/json", [1]),
    (".http", "{statusCode: '404', body: 'no'}", 404, "text/html; charset=UTF-8", "no"),
    (".http", "{statusCode: 'x', body: 'no'}", 400, "application/json", "Response is not valid 'message/http'."),
    (".http", "{statusCode: null, body: 'no'}", 400, "application/json", "Response is not valid 'message/http'."),
    (".http", "{statusCode: 101, body: 'no'}", 400, "application/json", "Response is not valid 'message/http'."),
    (".http", "{statusCode: 600, body: 'no'}", 400, "application/json", "Response is not valid 'message/http'."),
    (".http", "{statusCode: 999}", 400, "application/json", "Response is not valid 'message/http'."),
    (".http", "{statusCode: 599, body: 'down'}", 599, "text/html; charset=UTF-8", "down"),
    (".http", "{headers: 1}", 400, "application/json", "Response is not valid 'message/http'."),
    (".http", "{headers: {a: {}}}", 400, "application/json", "Response is not valid 'message/http'."),
    (".http", "{headers: {'a\\r\\nb': '1'}, body: 'x'}", 200, "text/html; charset=UTF-8", "x"),
    (".http", "{headers: {a: 'x\\r\\nSet-Cookie: b'}, body: 'x'}", 200, "text/html; charset=UTF-8", "x"),
    (".http", "{headers: {'Content-Type': 'image/png'}, body: 'cG5n'}", 200, "image/png", "png"),
    (".http", "{headers: {'content-type': 'image/png'}, body: '!'}", 400, "application/json",
     "Response type in header did not match generated content type."),
    (".http", "{headers: {'content-type': 'application/json'}, body: 'eyJhIjoxfQ=='}", 200, "application/json", {"a": 1}),
    (".http", "{headers: {'content-type': 'application/json'}, body: '{\"a\":2}'}", 200, "application/json", {"a": 2}),
    (".http", "{headers: {'content-type': 'text/plain'}, body: {a: 1}}", 400, "application/json",
     "Response type in header did not match generated content type."),
    (".http", "{headers: {'content-type': 'nonsense'}, body: 'x'}", 400, "application/json",
     "Response did not specify a known content-type."),
    ("", "{body: 'x'}", 200, "text/html; charset=UTF-8", "x"),
    (".http", "{error: {statusCode: 418, body: 'tea'}}", 418, "text/html; charset=UTF-8", "tea"),
    (".http", "{error: 'x'}", 400, "application/json", "Response is not valid 'message/http'."),
    (".json", "{error: {a: 1}}", 200, "application/json", {"a": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("extension", "result", "status", "kind", "body"), RESULTS)
def test_results(
    made: Gateway, call: Call, extension: str, result: str, status: int, kind: str, body: Any
) -> None:
    export(made, "say", f"function main() {{ return {result} }}")
    answer = call("GET", f"say{extension}")
    found = answer.body["error"] if status >= 400 and isinstance(answer.body, dict) else answer.body
    assert (answer.status, answer.headers["content-type"], found) == (status, kind, body)
    assert len(answer.headers["x-openwhisk-activation-id"]) == 32


def test_empty_bodies_and_headers(made: Gateway, call: Call) -> None:
    export(made, "none", "function main() { return {headers: {'X-Many': ['a', 'b'], 'X-True': true}} }")
    answer = call("GET", "none.http")
    assert (answer.status, answer.body, "content-type" in answer.headers) == (204, None, False)
    assert (answer.headers["x-true"], answer.headers["x-many"]) == ("true", "a")  # the dict shows the first
    export(made, "found", "function main() { return {statusCode: 302, headers: {location: '/ping'}} }")
    assert call("GET", "found").body == "pong"


ENDS = [
    ("{body: SPLIT, headers: {'Content-Length': '3'}}", 200, True),
    ("{body: SPLIT, headers: {'content-length': ['0', '3']}}", 200, True),
    (
        "{body: SPLIT, headers: {'transfer-encoding': 'chunked', connection: 'close', upgrade: 'h2c'}}",
        200,
        True,
    ),
    (
        "{body: SPLIT, headers: {'Keep-Alive': 'timeout=0', TE: 'x', Trailer: 'x', 'proxy-connection': 'x'}}",
        200,
        True,
    ),
    ("{body: SPLIT, statusCode: 204}", 204, False),
    ("{body: SPLIT, statusCode: 304}", 304, False),
    ("{error: {body: SPLIT, statusCode: 304}}", 304, False),
    ("{body: SPLIT, statusCode: 205}", 205, True),
]
SPLIT = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
@pytest.mark.parametrize(("result", "status", "has_body"), ENDS)
def test_no_action_says_where_its_answer_ends(
    made: Gateway, door: str, result: str, status: int, has_body: bool, method: str
) -> None:
    """A body that could be taken for the answer to the next request would poison what a proxy keeps."""
    export(made, "ends", f"function main() {{ const SPLIT = {json.dumps(SPLIT)}; return {result} }}")
    with socket.create_connection(("127.0.0.1", made.port), 30) as client:
        client.sendall(f"{method} {door}ends.http HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        client.sendall(b"GET /ping HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        with client.makefile("rb") as stream:
            first = b""
            while line := stream.readline().rstrip():
                first += line + b"\n"
            rest = stream.read()
    lengths = [line for line in first.lower().split(b"\n") if line.startswith(b"content-length:")]
    assert (int(first.split()[1]), len(lengths)) == (status, int(has_body))
    assert not any(
        f"\n{name}:".encode() in first.lower() for name in ("transfer-encoding", "connection", "upgrade")
    )
    sent = SPLIT.encode() if has_body and method != "HEAD" else b""
    assert rest.startswith(sent)
    second = rest.removeprefix(sent)
    assert (second.count(b"HTTP/1.1"), second.endswith(b"pong")) == (1, True)


def test_errors_of_actions(made: Gateway, call: Call) -> None:
    export(made, "thrown", "function main() { throw new Error('secret') }")
    answer = call("GET", "thrown.json")
    assert (answer.status, answer.body["error"]) == (400, "There was an error processing your request.")


def test_who_may_call(made: Gateway, call: Call) -> None:
    made.action("web-closed", ECHO)
    assert call("GET", "web-closed.json").status == 404
    export(made, "textual", web_export="true")
    assert call("GET", "textual.json").status == 404
    assert call("GET", "missing.json").status == 404
    assert call("GET", "-illegal.json").status == 404
    credentials = "Basic " + base64.b64encode(made.auth.encode()).decode()
    export(made, "web-mine", require_whisk_auth=True)
    refused = call("GET", "web-mine.json")
    assert (refused.status, "www-authenticate" in refused.headers) == (401, False)
    assert call("GET", "web-mine.json", Authorization="Basic eDp5").status == 401
    assert call("GET", "web-mine.json", Authorization=credentials).body["body"]["__ow_user"] == "guest"
    export(made, "web-secret", require_whisk_auth="s3cret")
    assert call("GET", "web-secret.json").status == 401
    assert call("GET", "web-secret.json", **{"X-Require-Whisk-Auth": "s3cret"}).status == 200
    export(made, "number", require_whisk_auth=8215307511320898)
    assert call("GET", "number.json", **{"X-Require-Whisk-Auth": "8215307511320898"}).status == 200
    export(made, "echo")
    assert "__ow_user" not in call("GET", "echo.json", Authorization="Basic eDp5").body["body"]
    assert call("GET", "echo.json", Authorization=credentials).body["body"]["__ow_user"] == "guest"


@pytest.mark.parametrize("value", ["", None, -1, 1.5, 0, {}, [], {"a": 1}, "false", "\u00e9"], ids=repr)
def test_only_a_plain_off_opens(made: Gateway, call: Call, value: Any) -> None:
    export(made, "odd", require_whisk_auth=value)
    for given in ({}, {"X-Require-Whisk-Auth": ""}, {"X-Require-Whisk-Auth": "true"}):
        assert call("GET", "odd.json", **given).status == 401
    export(made, "odd", require_whisk_auth=False)
    assert call("GET", "odd.json").status == 200


def test_cors(made: Gateway, call: Call) -> None:
    export(made, "corsed", require_whisk_auth=True)
    answer = call("OPTIONS", "corsed.json", **{"Access-Control-Request-Headers": "X-Mine"})
    assert (answer.status, answer.body, answer.headers["access-control-allow-headers"]) == (
        200,
        None,
        "X-Mine",
    )
    assert answer.headers["access-control-allow-methods"] == "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH"
    assert call("GET", "corsed.json").headers["access-control-allow-origin"] == "*"
    export(
        made,
        "own",
        "function main(p) { return {headers: {a: p.__ow_method}, body: 'x'} }",
        web_custom_options=True,
    )
    answer = call("OPTIONS", "own")
    assert (answer.headers["a"], "access-control-allow-origin" in answer.headers) == ("options", False)


def test_accept_and_size(made: Gateway, call: Call) -> None:
    export(made, "echo")
    assert call("GET", "echo.json", Accept="text/html, application/*;q=0.5").status == 200
    refused = call("GET", "echo.json", Accept="image/png")
    assert (refused.status, refused.body["error"].endswith("application/json")) == (406, True)
    assert call("POST", "echo.json", b'"' + b"x" * 1_100_000 + b'"').status == 413


def test_packages_and_sequences_on_the_web(made: Gateway) -> None:
    made.ok("PUT", "_/packages/site", {"parameters": [{"key": "a", "value": 1}]})
    export(made, "site/page", "function main(p) { return {html: `a=${p.a}`} }")
    answer = made.call("GET", "/api/v1/web/guest/site/page.html?a=2", Authorization="")
    assert answer.body == "a=2"
    body = {"exec": {"kind": "sequence", "components": ["/_/site/page"]},
            "annotations": [{"key": "web-export", "value": True}]}  # fmt: skip
    made.ok("PUT", "_/actions/chain?overwrite=true", body)
    assert made.call("GET", "/api/v1/web/guest/default/chain.html", Authorization="").body == "a=1"


def test_head_has_no_body(made: Gateway, call: Call) -> None:
    export(made, "echo")
    answer = call("HEAD", "echo.json")
    assert (answer.status, answer.body) == (200, None)
    assert json.dumps(answer.body) == "null"
