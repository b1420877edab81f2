"""`[grants.SUBJECT]` binds what a subject's actions reach, whatever their annotation says."""

from __future__ import annotations

import base64
import http.server
import json
import os
import threading
import tty
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.path.gateway import Gateway, free_port, gateway, until

# Asks for one thing; the answer is "went" or the text of the error.
CODE = """
const e = require('edgewhisk');
exports.main = async (p) => {
  try { e.ask(p.op, p.fields); return {found: 'went'} } catch (error) { return {found: error.message} }
};"""
Attempt = Callable[[str, str, dict[str, Any]], str]  # (subject, operation, fields)


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """A server of this machine that is not the gateway."""
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made.server_address[1]
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, str]]:
    pairs = [os.openpty(), os.openpty()]
    for _, follower in pairs:
        tty.setraw(follower)
    yield {name: os.ttyname(follower) for name, (_, follower) in zip(("mine", "other"), pairs, strict=True)}
    for leader, follower in pairs:
        os.close(leader)
        os.close(follower)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, str]) -> Iterator[Gateway]:
    own = free_port()
    settings = f'[mqtt]\nurl = "embedded://127.0.0.1:{free_port()}"\n'
    settings += "".join(
        f'[serial.{name}]\nport = "{path}"\nbaudrate = 9600\n' for name, path in ports.items()
    )
    settings += '[grants.plant]\nmqtt = ["plant/#"]\nserial = ["mine"]\nhttp = ["127.0.0.1"]\n'
    settings += f'[grants.office]\nhttp = ["localhost:{own}"]\n'
    with gateway(tmp_path_factory.mktemp("grants"), settings, own) as running:
        yield running


@pytest.fixture(scope="module")
def attempt(made: Gateway, server: int) -> Attempt:
    """Have an action ask whose annotation allows everything."""
    here = [
        f"{host}:{port}" for host in ("127.0.0.1", "localhost", "127.0.0.2") for port in (made.port, server)
    ]
    granted = {"state": True, "http": here, "mqtt": ["#"], "serial": ["mine", "other"],
               "invoke": ["ask", "/whisk.system/*"], "fire": ["t"]}  # fmt: skip
    keys = {"guest": made.auth}
    for subject in ("plant", "office", "bare"):
        keys[subject] = made.subject(subject)
    headers = {name: {"Authorization": f"Basic {_base64(key)}"} for name, key in keys.items()}
    body = {"exec": {"kind": "nodejs:20", "code": CODE}}
    annotated = {**body, "annotations": [{"key": "edge-capabilities", "value": granted}]}
    for name in keys:
        until(partial(_knows, made, headers[name]), what="the gateway knows the subject")
        for path, content in (("_/actions/ask", annotated), ("_/triggers/t", {})):
            assert made.call("PUT", path, content, **headers[name]).status == 200

    def ask(subject: str, op: str, fields: dict[str, Any]) -> str:
        sent = {"op": op, "fields": fields}
        answer = made.call("POST", "_/actions/ask?blocking=true&result=true", sent, **headers[subject])
        assert answer.status == 200, answer
        return str(answer.body["found"])

    return ask


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _knows(made: Gateway, headers: dict[str, str]) -> bool:
    return made.call("GET", "_/actions", **headers).status == 200


@pytest.mark.parametrize(
    ("op", "fields", "subject"),
    [
        ("mqtt.publish", {"topic": "plant/a", "payload": ""}, "plant"),
        ("mqtt.publish", {"topic": "office/a", "payload": ""}, "guest"),
        ("serial.write", {"port": "mine", "data": "x"}, "plant"),
        ("serial.write", {"port": "other", "data": "x"}, "guest"),
        ("state.set", {"key": "k", "value": 1}, "bare"),
        ("fire", {"name": "t"}, "bare"),
    ],
)
def test_what_is_granted_works(attempt: Attempt, op: str, fields: dict[str, Any], subject: str) -> None:
    assert attempt(subject, op, fields) == "went"


@pytest.mark.parametrize(
    ("op", "fields", "kind", "name"),
    [
        ("mqtt.publish", {"topic": "office/a", "payload": ""}, "mqtt", "office/a"),
        ("serial.write", {"port": "other", "data": "x"}, "serial", "other"),
    ],
)
@pytest.mark.parametrize("subject", ["plant", "bare"])
def test_what_is_not_granted_is_refused_with_a_hint(
    attempt: Attempt, op: str, fields: dict[str, Any], kind: str, name: str, subject: str
) -> None:
    hint = f"[grants.{subject}]  {kind} = [{json.dumps(name)}]"
    assert attempt(subject, op, fields) == f"{kind} {name} is not granted to {subject}; grant it with {hint}"


def test_other_servers(attempt: Attempt, server: int) -> None:
    url = f"http://127.0.0.1:{server}/"
    assert attempt("guest", "http.fetch", {"url": url}) == "went"
    assert attempt("plant", "http.fetch", {"url": url}) == "went"
    for subject in ("bare", "office"):
        told = attempt(subject, "http.fetch", {"url": url})
        assert told.startswith(f"http 127.0.0.1 is not granted to {subject}; grant it with ")


def test_the_gateways_own_api_must_be_granted_with_its_port(attempt: Attempt, made: Gateway) -> None:
    for host in ("127.0.0.1", "localhost", "127.0.0.2"):
        url = f"http://{host}:{made.port}/api/v1"
        for subject in ("plant", "bare"):
            told = attempt(subject, "http.fetch", {"url": url})
            assert told.startswith(f"http {host}:{made.port} is not granted to {subject}"), told
    assert attempt("office", "http.fetch", {"url": f"http://localhost:{made.port}/api/v1"}) == "went"
    assert attempt("guest", "http.fetch", {"url": f"http://127.0.0.1:{made.port}/api/v1"}) == "went"


def test_actuators_that_are_invoked_keep_the_grants(attempt: Attempt) -> None:
    wanted = {"name": "/whisk.system/mqtt/publish", "arguments": {"topic": "office/a", "payload": "x"}}
    assert "mqtt office/a is not granted to plant" in attempt("plant", "invoke", wanted)
