"""OpenWhisk's catalog: each action gives what its sample says, here and bound by another subject."""

from __future__ import annotations

import base64
import http.server
import json
import re
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from edgewhisk.controller.catalog.catalog import OWN, packages
from edgewhisk.entity.limits import Limits
from tests.path.gateway import Gateway, until

TABLES = {file.stem: tomllib.loads(file.read_text()) for file in sorted(OWN.glob("*.toml"))}
ACTIONS = [(package, name) for package, table in TABLES.items() for name in table["actions"]]
LOOK = 'description = "d"\n[actions.look]\ndescription = "d"\nsampleInput = {}\n'
OPERATORS = """description = "Of the plant"
[actions.double]
description = "Doubles"
sampleInput = { n = 2 }
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("catalog")
    gateway = Gateway(folder)
    own = folder / "state" / "catalog"
    (own / "plant").mkdir(parents=True)
    (own / "plant.toml").write_text(OPERATORS)
    (own / "plant" / "double.js").write_text("function main({ n }) { return { n: 2 * n } }")
    (own / "utils.toml").write_text(OPERATORS)
    (own / "far").mkdir()
    (own / "far.toml").write_text(LOOK + 'edge-capabilities = { http = ["127.0.0.1:1"] }')
    code = "const main = () => fetch('http://127.0.0.1:1/').then(() => ({}), (e) => ({ told: e.message }))"
    (own / "far" / "look.js").write_text(code)
    (own / "broken.toml").write_text("[[[")
    try:
        yield gateway.start()
    finally:
        gateway.stop()


def invoked(made: Gateway, name: str, parameters: Any) -> Any:
    return made.call("POST", f"/api/v1/namespaces/{name}?blocking=true&result=true", parameters).body


@pytest.mark.parametrize(("package", "name"), ACTIONS)
def test_an_action_gives_what_its_sample_says(made: Gateway, package: str, name: str) -> None:
    about = TABLES[package]["actions"][name]
    found = invoked(made, f"whisk.system/actions/{package}/{name}", about["sampleInput"])
    if about.get("varies"):
        assert found.keys() == about["sampleOutput"].keys()
    else:
        assert found == about["sampleOutput"]
    told = made.ok("GET", f"whisk.system/actions/{package}/{name}")
    assert {one["key"] for one in told["annotations"]} >= {"description", "parameters", "sampleInput"}


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("utils/smash", {}, {"error": "Expected an argument '$fieldName' of type 'string'."}),
        ("utils/split", {"payload": "a\r\nb\nc"}, {"lines": ["a", "b", "c"], "payload": "a\r\nb\nc"}),
        ("utils/split", {}, {"error": "Expected an argument 'payload'."}),
        ("utils/head", {"lines": ["a", "b"]}, {"lines": ["a"], "num": 1}),
        ("utils/cat", {}, {"lines": [], "payload": ""}),
        ("utils/hosturl", {"web": True, "trigger": True},
         {"error": "triggers are not allowed for web actions."}),
        ("utils/hosturl", {"trigger": True, "path": "a/b"},
         {"error": "triggers are not allowed in packages."}),
        ("combinators/retry", {"$actionName": "x", "$attempts": 0},
         {"error": "Expected an integer argument '$attempts' of 1 or more."}),
        ("combinators/trycatch",
         {"$tryName": "/whisk.system/utils/smash", "$catchName": "/whisk.system/utils/echo"},
         {"error": "Expected an argument '$fieldName' of type 'string'."}),
    ],
)  # fmt: skip
def test_other_arguments(made: Gateway, name: str, given: Any, expected: Any) -> None:
    assert invoked(made, f"whisk.system/actions/{name}", given) == expected


def test_an_action_that_is_not_there(made: Gateway) -> None:
    found = invoked(made, "whisk.system/actions/combinators/apply", {"$actionName": "nobody"})
    assert found["error"].startswith(
        "There was a problem invoking nobody: POST /namespaces/_/actions/nobody "
    )


def test_a_binding_and_the_callers_own_actions(made: Gateway) -> None:
    made.ok("PUT", "_/packages/mine", {"binding": {"namespace": "whisk.system", "name": "combinators"}})
    code = "function main(p) { if (p.fail) throw new Error('it failed'); return { got: p } }"
    made.ok("PUT", "_/actions/own", {"exec": {"kind": "nodejs:20", "code": code}})
    given = {"$actionName": "/_/own", "$attempts": 3, "x": 1}
    assert invoked(made, "_/actions/mine/retry", given) == {"got": {"x": 1}}
    failing = {"$tryName": "own", "$catchName": "own", "fail": True}
    assert invoked(made, "_/actions/mine/trycatch", failing)["got"] == {
        "error": "An error has occurred: Error: it failed"
    }


def test_what_others_keep_is_not_reached(made: Gateway) -> None:
    """A combinator acts for whoever invokes it, and for nobody else."""
    key = base64.b64encode(made.subject("plant").encode()).decode()
    code = {"exec": {"kind": "nodejs:20", "code": "function main() { return { secret: 1 } }"}}
    until(lambda: made.call("PUT", "_/actions/own", code, Authorization=f"Basic {key}").status == 200)
    found = invoked(made, "whisk.system/actions/combinators/apply", {"$actionName": "/plant/own"})
    assert ("error" in found, "secret" in str(found)) == (True, False)


def test_it_reaches_what_whoever_invokes_it_may(made: Gateway) -> None:
    """guest may reach everything, another subject without [grants] nothing."""
    path = "/api/v1/namespaces/whisk.system/actions/far/look?blocking=true&result=true"
    key = base64.b64encode(made.subject("bare").encode()).decode()
    until(lambda: made.call("GET", "_/actions", Authorization=f"Basic {key}").status == 200)
    told = made.call("POST", path, {}, Authorization=f"Basic {key}").body["told"]
    assert (
        "http 127.0.0.1:1 is not granted to bare" in told or "http 127.0.0.1 is not granted to bare" in told
    )
    assert "granted" not in made.call("POST", path, {}).body["told"]


class Far(http.server.BaseHTTPRequestHandler):
    """Slack and GitHub, as far as they are asked."""

    asked: ClassVar[list[tuple[str, str, str, bytes]]] = []
    hooks: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.asked.append((self.command, self.path, self.headers.get("Authorization", ""), body))
        if self.path == "/refuses":
            return self._answer(403, b"invalid_token")
        if self.path.endswith("/hooks") and self.command == "POST":
            hook = json.loads(body)
            hook["config"]["url"] = re.sub(r"//[^/@]*@", "//", hook["config"]["url"])  # shown without the key
            self.hooks.append({"id": 7, **hook})
            return self._answer(201, json.dumps(self.hooks[-1]).encode())
        if self.command == "DELETE":
            self.hooks.clear()
            return self._answer(204, b"")
        return self._answer(200, json.dumps(self.hooks).encode() if self.command == "GET" else b"ok")

    do_GET = do_DELETE = do_POST

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def far(made: Gateway) -> Iterator[str]:
    """The two packages with another host: the code is the same. The URL of that host."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Far) as server:
        threading.Thread(target=server.serve_forever).start()
        port = server.server_address[1]
        for package, name in (("slack", "post"), ("github", "webhook")):
            code = (OWN / package / f"{name}.js").read_text()
            notes = {"edge-capabilities": {"http": [f"127.0.0.1:{port}"]}, "provide-api-key": True}
            made.action(
                name, code, annotations=[{"key": key, "value": value} for key, value in notes.items()]
            )
        Far.asked.clear()
        Far.hooks.clear()
        yield f"http://127.0.0.1:{port}"
        server.shutdown()


def test_what_slack_is_sent(made: Gateway, far: str) -> None:
    given = {"url": f"{far}/hook", "channel": "plant", "text": "it is cold", "attachments": [{"a": 1}]}
    assert invoked(made, "_/actions/post", given) == {}
    fields = parse_qs(Far.asked[-1][3].decode())
    assert json.loads(fields["payload"][0]) == {
        "channel": "plant", "username": "Simple Message Bot", "text": "it is cold", "attachments": [{"a": 1}],
    }  # fmt: skip
    assert invoked(made, "_/actions/post", {**given, "token": "t", "as_user": True}) == {}
    fields = parse_qs(Far.asked[-1][3].decode())
    assert (fields["token"], fields["attachments"], fields["as_user"]) == (["t"], ['[{"a":1}]'], ["true"])
    refused = invoked(made, "_/actions/post", {**given, "url": f"{far}/refuses"})
    assert refused == {"error": "Slack answered 403: invalid_token"}


def test_a_webhook_of_github_fires_its_trigger(made: Gateway, far: str) -> None:
    made.ok("PUT", "_/triggers/pushed", {})
    made.action("seen", "function main(p) { return { seen: p.ref } }")
    made.ok("PUT", "_/rules/onpush", {"trigger": "/_/pushed", "action": "/_/seen"})
    given = {
        "triggerName": "/guest/pushed", "username": "ann", "repository": "plant", "accessToken": "secret",
        "events": "push, issues", "baseUrl": far, "callback": f"http://127.0.0.1:{made.port}",
    }  # fmt: skip
    assert invoked(made, "_/actions/webhook", {**given, "lifecycleEvent": "CREATE"}) == {"id": 7}
    method, path, key, body = Far.asked[-1]
    assert (method, path, key) == ("POST", "/repos/ann/plant/hooks", "Basic YW5uOnNlY3JldA==")
    hook = json.loads(body)
    assert hook["events"] == ["push", "issues"]
    target = urlsplit(hook["config"]["url"])  # GitHub sends what stands before the host as credentials
    assert f"{target.username}:{target.password}" == made.auth
    assert made.call("POST", target.path, {"ref": "main"}).status == 202
    until(lambda: made.count("seen") == 1)
    assert invoked(made, "_/actions/webhook", {**given, "lifecycleEvent": "DELETE"}) == {}
    assert [one[:2] for one in Far.asked[-2:]] == [
        ("GET", "/repos/ann/plant/hooks"),
        ("DELETE", "/repos/ann/plant/hooks/7"),
    ]
    gone = invoked(made, "_/actions/webhook", {**given, "lifecycleEvent": "DELETE"})
    assert gone["error"].startswith("Found no existing webhooks for trigger URL http://127.0.0.1:")
    assert (
        "CREATE or DELETE" in invoked(made, "_/actions/webhook", {**given, "lifecycleEvent": "READ"})["error"]
    )


def test_an_operator_adds_a_package_and_is_told_of_broken_ones(made: Gateway) -> None:
    assert invoked(made, "whisk.system/actions/plant/double", {"n": 4}) == {"n": 8}
    assert invoked(made, "whisk.system/actions/utils/echo", {"n": 4}) == {"n": 4}  # not theirs
    told = made.status()["incidents"]
    assert any("broken.toml: the package is not offered" in line for line in told)
    assert any(
        "utils.toml: the package is not offered: /whisk.system/utils is there already" in line
        for line in told
    )


@pytest.mark.parametrize(
    "text",
    [
        "", "x = 1", "description = 1", 'description = "d"\nactions = 1',
        'description = "d"\n[actions]\nx = 1',
        'description = "d"\n[actions."a/b"]\n', 'description = "d"\n[actions.absent]\n', "[" * 5000,
        'description = "d"\n[actions.here]\nedge-capabilities = 1\n', '\ufeffdescription = "d"',
        'description = "d"\n[actions.here]\nat = 2026-01-01\nx = inf\n',
    ],
)  # fmt: skip
def test_any_text_is_a_package_or_a_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "here.js").write_text("function main() {}")
    (tmp_path / "odd.toml").write_text(text)
    found, wrong = packages(tmp_path, Limits())
    assert bool(found) != bool(wrong)
