"""Capabilities of a real gateway, in three languages: what is granted works, all else is refused."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import threading
import tty
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.entity.annotations.grants import Grants
from edgewhisk.entity.parameters import Parameters
from edgewhisk.errors import MalformedContent
from tests.path.gateway import Gateway, free_port, gateway, until
from tests.sandbox import wat


class Server(BaseHTTPRequestHandler):
    """Echoes requests; `/away` redirects to another host, `/large` is too long."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        told = {"method": self.command, "path": self.path, "body": self.rfile.read(size).decode()}
        self.send_response(302 if self.path in ("/away", "/near") else 201)
        if self.path == "/away":
            self.send_header("location", "http://other.example.com/")
        if self.path == "/near":
            self.send_header("location", "/there")
        self.send_header("x-given", self.headers.get("x-sent", ""))
        self.end_headers()
        self.wfile.write(b"x" * 2_000_000 if self.path == "/large" else json.dumps(told).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"127.0.0.1:{made.server_address[1]}"
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture(scope="module")
def port() -> tuple[int, str]:
    leader, follower = os.openpty()
    tty.setraw(follower)
    return leader, os.ttyname(follower)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, port: tuple[int, str]) -> Iterator[Gateway]:
    broker = free_port()
    settings = (
        f'[mqtt]\nurl = "embedded://127.0.0.1:{broker}"\n[serial.meter]\nport = "{port[1]}"\n'
        'profile = "arduino/bme280"\n'
    )
    with gateway(tmp_path_factory.mktemp("edge"), settings) as running:
        until(lambda: running.status()["sandboxes"]["python:3"]["state"] == "ready", 120, "Python is ready")
        yield running


def put(made: Gateway, name: str, code: str, kind: str, **granted: Any) -> None:
    annotations = [{"key": "edge-capabilities", "value": granted}]
    made.ok(
        "PUT",
        f"_/actions/{name}?overwrite=true",
        {"exec": {"kind": kind, "code": code}, "annotations": annotations},
    )


def call(made: Gateway, name: str, **parameters: Any) -> dict[str, Any]:
    answer = made.call("POST", f"_/actions/{name}?blocking=true", parameters)
    assert answer.status in (200, 502), answer
    found: dict[str, Any] = made.ok("GET", f"_/activations/{answer.body['activationId']}")
    return found


def result(made: Gateway, name: str, **parameters: Any) -> Any:
    found = call(made, name, **parameters)
    assert found["response"]["status"] == "success", found
    return found["response"]["result"]


COUNT_JS = """
const {state} = require('edgewhisk');
exports.main = () => {
  const n = (state.get('n') || 0) + 1;
  state.set('n', n);
  return {n, kept: state.compareAndSet('once', null, n), once: state.get('once'), keys: state.keys()};
}"""
COUNT_PY = """
from edgewhisk import state
def main(args):
    n = state.get('n', 0) + 1
    state.set('n', n)
    return {'n': n, 'kept': state.compare_and_set('once', None, n), 'once': state.get('once'),
            'keys': state.keys()}
"""
LANGUAGES = pytest.mark.parametrize(("kind", "code"), [("nodejs:20", COUNT_JS), ("python:3", COUNT_PY)])


@LANGUAGES
def test_state_is_kept_between_calls_and_starts(made: Gateway, kind: str, code: str) -> None:
    name = f"count-{kind[:2]}"
    put(made, name, code, kind, state=True)
    assert result(made, name) == {"n": 1, "kept": True, "once": 1, "keys": ["n", "once"]}
    assert result(made, name) == {"n": 2, "kept": False, "once": 1, "keys": ["n", "once"]}
    put(made, f"other-{name}", code, kind, state=True)
    assert result(made, f"other-{name}")["n"] == 1  # each action has its own
    made.kill()
    made.start()
    until(lambda: made.status()["sandboxes"]["python:3"]["state"] == "ready", 120, "Python is ready")
    assert result(made, name)["n"] == 3
    made.ok("DELETE", f"_/actions/{name}")
    put(made, name, code, kind, state=True)
    assert result(made, name)["n"] == 1  # a new action does not find an old one's state


def test_a_quota_is_kept(made: Gateway) -> None:
    code = """
const {state} = require('edgewhisk');
exports.main = () => { try { state.set('k', 'x'.repeat(2000)) } catch (e) { return {text: e.message} } }"""
    put(made, "greedy", code, "nodejs:20", state={"quota": 1000})
    assert "the quota is 1000" in result(made, "greedy")["text"]


FETCH_JS = """
exports.main = async p => {
  const r = await fetch(p.url, {method: p.method, body: p.body, headers: {'X-Sent': 'yes'}});
  return {status: r.status, given: r.headers.get('x-given'), told: await r.json()};
}"""
FETCH_PY = """
from edgewhisk import http
def main(p):
    r = http.fetch(p['url'], method=p.get('method', 'GET'), body=p.get('body'), headers={'X-Sent': 'yes'})
    return {'status': r.status, 'given': r.headers['x-given'], 'told': r.json()}
"""


@pytest.mark.parametrize(("kind", "code"), [("nodejs:20", FETCH_JS), ("python:3", FETCH_PY)])
def test_http_to_granted_hosts_only(made: Gateway, server: str, kind: str, code: str) -> None:
    put(made, "fetch", code, kind, http=[server])
    told = {"method": "POST", "path": "/p?q=1", "body": "h\u00e9"}
    posted = result(made, "fetch", url=f"http://{server}/p?q=1", method="POST", body="h\u00e9")
    assert posted == {"status": 201, "given": "yes", "told": told}
    assert result(made, "fetch", url=f"http://{server}/near")["told"]["path"] == "/there"
    for url, problem in (
        ("http://127.0.0.1:1/", "http.fetch to 127.0.0.1:1 is not granted"),
        (f"http://{server}/away", "http.fetch to other.example.com is not granted"),
        (f"http://{server}/large", "more than 1048576 bytes"),
        ("file:///etc/passwd", "must begin with http:// or https://"),
    ):
        record = call(made, "fetch", url=url)
        assert not record["response"]["success"]
        assert problem in json.dumps(record), record
        if "not granted" in problem:
            assert any(problem in line and "edge-capabilities" in line for line in record["logs"])


def test_nothing_is_granted_by_default(made: Gateway, server: str) -> None:
    code = """
const e = require('edgewhisk');
exports.main = async () => {
  const seen = {};
  const attempts = {state: () => e.state.get('x'), http: () => fetch('http://SERVER/'),
                    mqtt: () => e.mqtt.publish('t', 'x'), serial: () => e.serial.write('meter', 'x'),
                    invoke: () => e.invoke('fetch'), fire: () => e.fire('t')};
  for (const [name, attempt] of Object.entries(attempts)) {
    try { await attempt(); seen[name] = 'went' }
    catch (error) { seen[name] = error.name }
  }
  return seen;
}""".replace("SERVER", server)
    put(made, "nothing", code, "nodejs:20")
    record = call(made, "nothing")
    assert set(record["response"]["result"].values()) == {"CapabilityError"}
    assert len([line for line in record["logs"] if "edge-capabilities" in line]) == 6


def test_actions_and_triggers(made: Gateway) -> None:
    put(made, "double", "function main(p) { return {n: p.n * 2} }", "nodejs:20")
    put(made, "fails", "function main(p) { return {error: 'no'} }", "nodejs:20")
    made.ok("PUT", "_/triggers/fired", {})
    made.rule("fired", "double")
    code = """
import edgewhisk
def main(args):
    out = {'n': edgewhisk.invoke('double', {'n': 21})['n'], 'fired': len(edgewhisk.fire('fired', {'n': 4}))}
    try: edgewhisk.invoke('/guest/fails')
    except edgewhisk.CapabilityError as error: out['failed'] = str(error)
    try: edgewhisk.invoke('nothing')
    except edgewhisk.CapabilityError as error: out['refused'] = 'not granted' in str(error)
    return out
"""
    put(made, "caller", code, "python:3", invoke=["double", "/guest/fails"], fire=["fired"])
    found = result(made, "caller")
    assert found == {
        "n": 42,
        "fired": 32,
        "failed": "invoke of /guest/fails: application error: no",
        "refused": True,
    }
    until(lambda: made.count("double") >= 2, what="the rule ran")


def test_mqtt_comes_back_as_a_reading(made: Gateway) -> None:
    put(made, "heard", "function main(p) { return p }", "nodejs:20")
    made.feed("hears", "mqtt/message", topic="plant/+/alarm", qos=1)
    made.rule("hears", "heard")
    until(made.feeds_run, what="the feed runs")
    code = """
const {mqtt} = require('edgewhisk');
exports.main = async () => {
  await mqtt.publish('plant/1/alarm', {level: 3}, {qos: 1});
  try { await mqtt.publish('other', 'x') } catch (e) { return {refused: e.message.includes('not granted')} }
}"""
    put(made, "alarm", code, "nodejs:20", mqtt=["plant/+/alarm"])
    assert result(made, "alarm") == {"refused": True}
    until(lambda: made.count("heard") == 1, what="the message came back")
    assert made.activations("heard")[0]["response"]["result"]["level"] == 3


def test_serial_ports_can_be_written(made: Gateway, port: tuple[int, str]) -> None:
    code = """
from edgewhisk import serial
def main(args):
    serial.write('meter', b'\\x01go\\n')
    return {}
"""
    put(made, "writer", code, "python:3", serial=["meter"])
    assert result(made, "writer") == {}  # nobody reads the port: it is opened for writing
    assert os.read(port[0], 100) == b"\x01go\n"
    made.feed("reads", "serial/reading", port="meter")
    until(made.feeds_run, what="the port is open")
    assert result(made, "writer") == {}
    assert os.read(port[0], 100) == b"\x01go\n"


ASKING = """
(module
  (import "edgewhisk" "ask" (func $ask (param i32 i32) (result i32)))
  (import "edgewhisk" "take" (func $take (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 16) "{\\22op\\22:\\22state.set\\22,\\22key\\22:\\22k\\22,\\22value\\22:7}")
  (data (i32.const 128) "{\\22op\\22:\\22state.get\\22,\\22key\\22:\\22k\\22}")
  (func (export "ew_alloc") (param i32) (result i32) (i32.const 4096))
  (func (export "ew_call") (param i32 i32) (result i64) (local $size i32)
    (drop (call $ask (i32.const 16) (i32.const 38)))
    (local.set $size (call $ask (i32.const 128) (i32.const 28)))
    (call $take (i32.const 1024))
    (i64.or (i64.shl (i64.const 1024) (i64.const 32)) (i64.extend_i32_u (local.get $size)))))
"""


def test_a_module_asks_as_well(made: Gateway) -> None:
    put(made, "module", wat.module(ASKING), "wasm:default", state=True)
    assert result(made, "module") == {"ok": 7}
    put(made, "module", wat.module(ASKING), "wasm:default")
    record = call(made, "module")
    assert "has no state" in json.dumps(record["response"]["result"])
    assert any("edge-capabilities" in line for line in record["logs"])


def test_a_wrong_annotation_is_refused_at_create(made: Gateway) -> None:
    body = {
        "exec": {"kind": "nodejs:20", "code": "function main() {}"},
        "annotations": [{"key": "edge-capabilities", "value": {"htpp": []}}],
    }
    answer = made.call("PUT", "_/actions/wrong", body)
    assert answer.status == 400
    assert "has no 'htpp'" in answer.body["error"]


def test_blackbox_is_explained(made: Gateway) -> None:
    body = {"exec": {"kind": "blackbox", "image": "x/y", "code": base64.b64encode(b"x").decode()}}
    answer = made.call("PUT", "_/actions/box", body)
    assert answer.status == 400
    assert "no container engine" in answer.body["error"]


def grants(value: Any) -> Grants:
    return Grants.of(Parameters.of({"edge-capabilities": value}))


@pytest.mark.parametrize(
    ("granted", "host", "port", "usual", "allowed"),
    [
        ("a.example.com", "a.example.com", 443, 443, True),
        ("a.example.com", "A.EXAMPLE.com", 443, 443, True),
        ("a.example.com", "a.example.com", 8443, 443, False),
        ("a.example.com:8443", "a.example.com", 8443, 443, True),
        ("*.example.com", "b.example.com", 80, 80, True),
        ("*.example.com", "example.com", 80, 80, False),
        ("*.example.com", "badexample.com", 80, 80, False),
        ("10.0.0.5:80", "10.0.0.5", 80, 80, True),
        ("[::1]:8080", "::1", 8080, 80, True),
    ],
)
def test_hosts(granted: str, host: str, port: int, usual: int, allowed: bool) -> None:
    assert grants({"http": [granted]}).allows_host(host, port, usual) is allowed


@pytest.mark.parametrize(
    "value", [5, [], {"x": 1}, {"state": 5}, {"state": {"quota": 0}}, {"http": "a"}, {"http": ["a b"]}]
)
def test_malformed_grants(value: Any) -> None:
    with pytest.raises(MalformedContent, match="for example"):
        grants(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_any_annotation_is_read_or_refused(value: Any) -> None:
    with contextlib.suppress(MalformedContent):
        grants(value)
