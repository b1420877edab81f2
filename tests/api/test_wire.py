"""What a real controller does that no recorded answer shows: on the wire, in odd paths, types and names."""

from __future__ import annotations

import json
import socket
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.path.gateway import Gateway, until

CODE = {"exec": {"kind": "nodejs:20", "code": "function main(p) { return p }"}}
MALFORMED = "The request content was malformed:\n"


def exchange(made: Gateway, request: str, body: bytes = b"") -> tuple[bytes, list[bytes]]:
    """The answer to a request without a key, and the pieces that it came in."""
    with socket.create_connection(("127.0.0.1", made.port), 10) as link:
        link.sendall(f"{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode() + b"\r\n" + body)
        pieces = []
        while piece := link.recv(1 << 20):
            pieces.append(piece)
    return b"".join(pieces), pieces


@pytest.mark.parametrize(
    "request_line",
    ["GET /", "GET /ping", "GET /nope", "GET /api/v1", "GET /api/v1/nope", "OPTIONS /api/v1/x",
     "HEAD /api/v1", "GET /api/v1/namespaces/_/actions", "GET /api/v1/web/guest/default/nope"],
)  # fmt: skip
def test_an_answer_leaves_in_one_piece_with_a_date(made: Gateway, request_line: str) -> None:
    answer, pieces = exchange(made, request_line)
    assert len(pieces) == 1
    head, _, body = answer.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert parsedate_to_datetime(fields["date"]).year > 2000
    if not request_line.startswith("HEAD"):
        assert int(fields["content-length"]) == len(body)


def test_an_answer_has_one_date_the_action_s_if_it_gives_one(made: Gateway) -> None:
    code = "function main() { return {headers: {Date: 'Thu, 01 Jan 2026 00:00:00 GMT'}, body: 'a'} }"
    made.action("dated", code, annotations=[{"key": "web-export", "value": True}])
    answer, _ = exchange(made, "GET /api/v1/web/guest/default/dated.http")
    dates = [line for line in answer.lower().split(b"\r\n") if line.startswith(b"date:")]
    assert dates == [b"date: thu, 01 jan 2026 00:00:00 gmt"]


@pytest.mark.parametrize("path", ["/api/v1/namespaces/_/actions/a", "/api/v1/nope", "/", "/nope"])
def test_options_say_ok_everywhere(made: Gateway, path: str) -> None:
    answer = made.call("OPTIONS", path, Authorization="")
    assert (answer.status, answer.body) == (200, "OK")
    assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
    assert answer.headers["access-control-allow-origin"] == "*"


def test_a_url_may_have_8192_bytes(made: Gateway) -> None:
    for length, status in ((8192, b"401"), (8193, b"414")):
        path = "/api/v1/namespaces/_/actions?a="
        answer, _ = exchange(made, f"GET {path}{'a' * (length - len(path))}")
        assert answer.split(b" ", 2)[1] == status
    assert b"The URL is longer than 8192 bytes." in answer


def test_a_fragment_is_no_part_of_a_request(made: Gateway) -> None:
    answer, _ = exchange(made, "GET /api/v1/namespaces/_/actions/a#b")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"'#' must be written as %23" in answer


@pytest.mark.parametrize("path", ["/api/v1/web/guest/default/nope", "/api/v1", "/nope"])
def test_head_has_no_body(made: Gateway, path: str) -> None:
    answer, _ = exchange(made, f"HEAD {path} HTTP/1.1\r\nContent-Length: 1\r\nX:", b"x")
    assert answer.startswith(b"HTTP/1.1 422 ")


@pytest.mark.parametrize("name", ["a%2Fb", "a+b", "a%00", "%C3%A4", "a%zz", "a%20", "%ff"])
@pytest.mark.parametrize("kind", ["actions", "triggers", "rules", "packages"])
def test_names_that_no_entity_can_have(made: Gateway, kind: str, name: str) -> None:
    for method, body in (("PUT", CODE), ("GET", None), ("DELETE", None)):
        answer = made.call(method, f"_/{kind}/{name}", body)
        assert answer.status == 400
        assert answer.body["error"] == "The name of the entity contains illegal characters."


def test_a_name_with_an_escape_is_the_name(made: Gateway) -> None:
    made.ok("PUT", "_/actions/a%20b", CODE)
    assert made.ok("GET", "_/actions/%61%20%62")["name"] == "a b"


@pytest.mark.parametrize("given", ["", "x", "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_says_that_it_is_json(made: Gateway, given: str) -> None:
    made.ok("PUT", "_/actions/typed?overwrite=true", CODE)
    for method, path in (("POST", "_/actions/typed"), ("PUT", "_/triggers/typed")):
        headers = {"Content-Type": given} if given else {"Content-Type": " "}
        answer = made.call(method, path, b"{}", **headers)
        shown = given if "/" in given else "application/octet-stream"
        expected = f"The request's Content-Type [{shown}] is not supported. Expected:\napplication/json"
        assert (answer.status, answer.body["error"]) == (415, expected)
    assert made.call("POST", "_/actions/typed", **{"Content-Type": ""}).status == 202  # no body, no type


@pytest.mark.parametrize(
    ("query", "status"),
    [("overwrite", 409), ("overwrite=", 409), ("overwrite=true&overwrite=false", 200), ("overwrite=yes", 200),
     ("overwrite=false&overwrite=true", 409), ("overwrite=x", 400)],
)  # fmt: skip
def test_a_flag_without_a_value_says_nothing_and_the_first_one_counts(
    made: Gateway, query: str, status: int
) -> None:
    made.ok("PUT", "_/actions/flag?overwrite=true", CODE)
    assert made.call("PUT", f"_/actions/flag?{query}", CODE).status == status


def test_a_number_of_a_query_has_no_blanks(made: Gateway) -> None:
    assert made.call("GET", "_/actions?limit=%201").status == 400
    assert made.call("GET", "_/actions?code").status == 200
    made.ok("PUT", "_/actions/coded?overwrite=true", CODE)
    assert "code" in made.ok("GET", "_/actions/coded?code")["exec"]


@pytest.mark.parametrize(
    ("feed", "status"),
    [("echo", 200), ("a b", 200), ("a/b/c/d", 200), ("//x", 200), ("pkg/feed", 200), ("/_/x", 200), ("", 400),
     ("/", 400), ("bad!", 400), (5, 400), (None, 400), ({}, 400)],
)  # fmt: skip
def test_the_name_of_a_feed_is_a_path(made: Gateway, feed: Any, status: int) -> None:
    body = {"annotations": [{"key": "feed", "value": feed}]}
    answer = made.call("PUT", "_/triggers/fed", body)
    assert answer.status == status, answer
    made.call("DELETE", "_/triggers/fed")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"parameters": [{"key": "k"}]}, f"{MALFORMED}parameters malformed!"),
        ({"parameters": [{"key": "k", "value": 1, "init": None}]}, f"{MALFORMED}parameters malformed!"),
        ({"parameters": [{"key": "k", "value": 1, "encryption": 1}]}, f"{MALFORMED}parameters malformed!"),
        ({"annotations": [{"key": "k"}]}, f"{MALFORMED}annotations malformed!"),
        ({"limits": {"memory": 1}, "parameters": 1}, f"{MALFORMED}parameters malformed!"),
        ({"limits": {"memory": 1}}, "requirement failed: memory size 1 MB below allowed threshold of 128 MB"),
        ({"limits": {"logs": -1}}, f"{MALFORMED}requirement failed: a negative size of an object"),
        ({"limits": {"memory": 1}, "exec": None}, "requirement failed: memory size 1 MB below"),
        ({"exec": None}, "exec undefined"),
    ],
)  # fmt: skip
def test_an_odd_body_of_an_action(made: Gateway, body: dict[str, Any], text: str) -> None:
    answer = made.call("PUT", "_/actions/odd", {**CODE, **body})
    assert answer.status == 400
    assert answer.body["error"].startswith(text)
    inside = made.call("PUT", "_/actions/nopackage/odd", {**CODE, **body})
    assert inside.status == 404  # whatever is in the body: the package comes first


@pytest.mark.parametrize("kind", ["actions", "triggers", "packages", "rules"])
def test_wrong_parameters_are_refused_everywhere(made: Gateway, kind: str) -> None:
    for wrong in ("x", [1], [{"key": "k"}], [{"key": 1, "value": 1}], [{"value": 1}], {"k": 1}):
        for field in ("parameters", "annotations"):
            answer = made.call("PUT", f"_/{kind}/wrong", {**CODE, field: wrong})
            assert (answer.status, answer.body["error"]) == (400, f"{MALFORMED}{field} malformed!")


def test_size_comes_before_existence(made: Gateway) -> None:
    large = {"parameters": [{"key": "k", "value": "x" * (1 << 20)}]}
    made.ok("PUT", "_/triggers/there?overwrite=true", {})
    for path, body in (
        ("_/triggers/there", large),
        ("_/actions/there", {**CODE, **large}),
        ("_/packages/there", large),
    ):
        assert made.call("PUT", path, body).status == 413


def test_what_a_sequence_a_rule_or_a_binding_names_comes_before_what_is_there(made: Gateway) -> None:
    made.ok("PUT", "_/actions/part?overwrite=true", CODE)
    made.ok("PUT", "_/packages/isp?overwrite=true", {})
    made.ok("PUT", "_/triggers/ist?overwrite=true", {})
    made.ok("PUT", "_/rules/isr?overwrite=true", {"trigger": "/_/ist", "action": "/_/part"})

    def sequence(*parts: Any) -> dict[str, Any]:
        return {"exec": {"kind": "sequence", "components": list(parts)}}

    for path, body, status in (
        ("actions/part", sequence("/_/gone/a"), 404),
        ("actions/part", sequence("/_/ist/a"), 409),  # it is there, and no package
        ("actions/part", sequence("/nobody/x", "/_/gone/a"), 404),
        ("actions/part", sequence("/nobody/x"), 403),
        ("actions/part", sequence({"path": "_", "name": "part"}), 409),
        ("rules/isr", {"trigger": "/_/ist", "action": "/_/gone/a"}, 404),
        ("packages/isp", {"binding": {"namespace": "_", "name": "gone"}}, 400),
        ("packages/isp", {"binding": {"namespace": "_", "name": "ist"}}, 409),
        ("packages/isp", {"binding": None}, 400),
    ):
        assert made.call("PUT", f"_/{path}", body).status == status, (path, body)
    parts = made.ok("PUT", "_/actions/seq", sequence({"path": "guest", "name": "part"}))["exec"]["components"]
    assert parts == ["/guest/part"]


def test_a_kind_stays_as_it_was_given(made: Gateway) -> None:
    for given, shown in (
        ("nodejs:18", "nodejs:18"),
        ("NodeJS:22", "nodejs:22"),
        ("nodejs:default", "nodejs:20"),
    ):
        body = {"exec": {**CODE["exec"], "kind": given}}
        made_of = made.ok("PUT", "_/actions/kind?overwrite=true", body)
        assert made_of["exec"]["kind"] == shown
        record = made.ok("POST", "_/actions/kind?blocking=true", {"a": 1})
        assert record["response"]["result"] == {"a": 1}
        assert {"key": "kind", "value": shown} in record["annotations"]


def test_parameters_are_shown_as_they_were_given(made: Gateway) -> None:
    given = [{"key": "k", "value": 1, "encryption": "aes-128"}, {"key": "e", "value": "x", "init": True}]
    made.ok("PUT", "_/triggers/shown", {"parameters": given})
    assert made.ok("GET", "_/triggers/shown")["parameters"] == given


def test_the_record_of_a_trigger_has_no_annotations(made: Gateway) -> None:
    made.ok("PUT", "_/actions/fa?overwrite=true", CODE)
    made.ok("PUT", "_/triggers/ft", {})
    made.ok("PUT", "_/rules/fr", {"trigger": "/_/ft", "action": "/_/fa"})
    fired = made.ok("POST", "_/triggers/ft", {"a": 1})["activationId"]
    until(lambda: made.call("GET", f"_/activations/{fired}").status == 200)
    assert made.ok("GET", f"_/activations/{fired}")["annotations"] == []
    made.ok("DELETE", "_/rules/fr")
    assert made.ok("GET", "_/triggers/ft")["rules"] == {}  # as of one that had a rule


def test_a_sequence_whose_package_is_gone_is_not_started(made: Gateway) -> None:
    made.ok("PUT", "_/packages/going?overwrite=true", {})
    made.ok("PUT", "_/actions/going/a", CODE)
    made.sequence("left", "going/a")
    made.ok("PUT", "_/triggers/leaver", {})
    made.rule("leaver", "left")
    made.ok("DELETE", "_/packages/going?force=true")
    assert made.call("POST", "_/actions/left", {}).status == 404
    fired = made.ok("POST", "_/triggers/leaver", {})["activationId"]
    until(lambda: made.call("GET", f"_/activations/{fired}").status == 200)
    (entry,) = map(json.loads, made.ok("GET", f"_/activations/{fired}")["logs"])
    assert (entry["statusCode"], entry["error"]) == (1, "The requested resource does not exist.")


@pytest.mark.parametrize(
    ("query", "status", "found"),
    [("name=named", 200, 1), ("name=/named/", 200, 1), ("name=%20", 200, 1), ("name=", 200, 1),
     ("name=a/b/c", 400, 0), ("name=bad!", 400, 0), ("name=/", 400, 0), ("name=other", 200, 0),
     ("since=-1", 200, 1), ("upto=-1", 200, 0), ("upto=-9223372036854775808", 200, 0),
     ("since=9223372036854775808", 400, 0), ("since=", 400, 0)],
)  # fmt: skip
def test_filters_of_activations(made: Gateway, query: str, status: int, found: int) -> None:
    made.ok("PUT", "_/actions/named?overwrite=true", CODE)
    made.ok("POST", "_/actions/named?blocking=true", {})
    until(lambda: bool(made.ok("GET", "_/activations?name=named")))
    answer = made.call("GET", f"_/activations?limit=1&{query}")
    assert answer.status == status
    if status == 200:
        assert len(answer.body) == found


@pytest.mark.parametrize(
    ("result", "status"),
    [({"statusCode": 201.0}, 201), ({"statusCode": "+202"}, 202), ({"statusCode": 200.5}, 400),
     ({"statusCode": " 200"}, 400), ({"statusCode": "2_00"}, 400), ({"statusCode": True}, 400),
     ({"headers": {"x-a": [["1", 2], [True]]}, "body": "x"}, 200), ({"headers": {"x-a": [[None]]}}, 400)],
)  # fmt: skip
def test_odd_status_codes_and_headers_of_a_result(made: Gateway, result: Any, status: int) -> None:
    shared = {"annotations": [{"key": "web-export", "value": True}]}
    made.ok("PUT", "_/actions/said?overwrite=true", {**CODE, **shared})
    assert made.call("POST", "/api/v1/web/guest/default/said.http", result).status == status


def test_web_requests_and_answers(made: Gateway) -> None:
    shared = {"annotations": [{"key": "web-export", "value": True}]}
    made.ok("PUT", "_/actions/webbed", {**CODE, **shared})
    url = "/api/v1/web/guest/default/webbed"
    form = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": ""}
    assert made.call("POST", f"{url}.json", b"a=1+2&b=%C3%A4", **form).body["b"] == "ä"
    for wrong in (b"a=%zz", b"a b", "ä=1".encode(), b"a#b"):
        assert made.call("POST", f"{url}.json", wrong, **form).status == 422
    seen = made.call("POST", f"{url}.json", b"x", **{"Content-Type": " ", "Authorization": ""}).body
    assert seen["__ow_headers"]["content-type"] == "application/octet-stream"
    assert {"content-length", "transfer-encoding"}.isdisjoint(seen["__ow_headers"])
    asked = {"headers": {"bad name": "x", "x-a": "1", "content-type": "text/plain; charset=x"}, "body": "ä"}
    told = made.call("POST", f"{url}.http", asked)
    assert (told.status, told.body, told.headers["x-a"]) == (200, "ä", "1")
    assert told.headers["content-type"] == "text/plain; charset=UTF-8"


def test_the_info_document_tells_the_limits_of_a_namespace_without_its_own(made: Gateway) -> None:
    """OpenWhisk's `default_min_*` and `default_max_*` (RestAPIs.scala); clients read one or the other."""
    limits = made.call("GET", "/").body["limits"]
    for edge in ("min", "max"):
        for what in ("duration", "memory", "logs"):
            assert limits[f"default_{edge}_action_{what}"] == limits[f"{edge}_action_{what}"]
