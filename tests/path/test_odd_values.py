"""Odd values through every door of a real gateway: it lives, lists, syncs, goes on, and starts again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import gmqtt
import pytest
from gmqtt.mqtt.constants import MQTTv311

from edgewhisk.jsontext import parse
from tests import odd
from tests.path.gateway import MOSQUITTO, Gateway, gateway, mosquitto, until

ECHO = "function main(p) { return p }"
DEEP = "let v = 1; for (let i = 1; i < p.n; i++) v = [v]; return {v}"
INVALID = "did not produce a valid JSON or JSON Array response"
NESTED = "The request content was malformed:\nJSON input nested too deeply:"
# The result of each action, as code of JavaScript, and of which it must be the same.
RESULTS: dict[str, tuple[str, Any]] = {
    "lone surrogate": (r"return {s: 'a\ud800b'}", {"s": "a?b"}),
    "surrogate key": (r"return {'\ud800': 1}", {"?": 1}),
    "error text": (r"return {error: '\udc00'}", {"error": "?"}),
    "not a number": ("return {n: NaN, m: 1e400}", {"n": None, "m": None}),
    "500 levels": ("p.n = 500; " + DEEP, {"v": odd.nested(499)}),
    "1000 levels": ("p.n = 1000; " + DEEP, {"v": odd.nested(999)}),
    "1001 levels": ("p.n = 1001; " + DEEP, INVALID),
    "3000 levels": ("p.n = 3000; " + DEEP, INVALID),
    "a list": ("let v = []; for (let i = 1; i < 1000; i++) v = [v]; return v", odd.nested(999, [])),
}
PYTHON: dict[str, tuple[str, Any]] = {
    "half a pair": (r"return {'v': '\ud83d'}", {"v": "?"}),
    "both halves": (r"return {'v': '\ud83d' + '\ude00'}", {"v": "\U0001f600"}),
    "surrogate key": (r"return {'\ud83d': 1}", {"?": 1}),
    "printed": (r"print('a\ud800b'); return {'a': 1}", {"a": 1}),
    "raised": (r"raise ValueError('a\ud800b')", "a?b"),
    "big": ("return {'n': 10**30, 'm': 10**400}", {"n": 1e30, "m": None}),
    "not a number": ("return {'n': float('nan'), 'i': [float('-inf')]}", "did not return a dictionary"),
    "1000 levels": ("v = 1\n for _ in range(999): v = [v]\n return {'v': v}", {"v": odd.nested(999)}),
    "5000 levels": ("v = 1\n for _ in range(4999): v = [v]\n return {'v': v}", INVALID),
    "its own json": ("import edgewhisk._guest as g\n g._dumps = lambda v: '{]'\n return {}", INVALID),
}
# No body at all means no parameters.
REFUSED = {name: text for name, text in (odd.TOO_DEEP | odd.BROKEN).items() if text}
pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("cloud")) as made:
        yield made


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with mosquitto(tmp_path_factory.mktemp("broker")) as port:
        yield port


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, cloud: Gateway, broker: int) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("edge")
    key = folder / "cloud.key"
    key.write_text(cloud.auth)
    key.chmod(0o600)
    sends = f'[cloud]\nurl = "http://127.0.0.1:{cloud.port}"\nnamespace = "guest"\nauth_file = "{key}"\n'
    with gateway(folder, f'[mqtt]\nurl = "mqtt://127.0.0.1:{broker}"\n{sends}interval = 0.1\n') as running:
        running.action("echo", ECHO)
        yield running


def all_is_well(made: Gateway, cloud: Gateway) -> None:
    """The five questions."""
    alive = made.call("POST", "_/actions/echo?blocking=true&result=true", {"well": 1})
    assert (alive.status, alive.body) == (200, {"well": 1})  # others go on
    listed = made.activations("")
    assert listed
    assert made.ok("GET", "_/activations?limit=200")
    for one in listed[:20]:
        found = made.ok("GET", f"_/activations/{one['activationId']}")
        assert found["response"]["result"] == one["response"]["result"]
    for collection in ("actions", "packages", "triggers", "rules"):
        made.ok("GET", f"_/{collection}?limit=200")
    until(lambda: made.status()["buffer"]["unsynced"] == 0, what="all is at the cloud")
    there = {one["activationId"]: one for one in cloud.activations("")}
    for one in listed:
        assert there[one["activationId"]]["response"]["result"] == one["response"]["result"]


def starts_again(made: Gateway) -> None:
    made.kill()
    made.start()
    made.stop()
    made.start()


def put(made: Gateway, kind: str, body: str) -> None:
    code = json.dumps(f"def main(p):\n {body}" if kind == "python:3" else f"function main(p) {{ {body} }}")
    made.ok(
        "PUT",
        "_/actions/odd?overwrite=true",
        b'{"exec":{"kind":"%b","code":%b}}' % (kind.encode(), code.encode()),
    )


@pytest.mark.parametrize(
    ("kind", "code", "expected"),
    [("nodejs:20", *case) for case in RESULTS.values()] + [("python:3", *case) for case in PYTHON.values()],
    ids=[*RESULTS, *(f"python, {name}" for name in PYTHON)],
)
def test_results(made: Gateway, kind: str, code: str, expected: Any) -> None:
    put(made, kind, code)
    answer = made.call("POST", "_/actions/odd?blocking=true", {})
    result = answer.body["response"]["result"] if isinstance(answer.body, dict) else answer.body
    record = made.ok("GET", f"_/activations/{answer.headers['x-openwhisk-activation-id']}")
    assert record["response"]["result"] == result
    if isinstance(expected, str):
        assert answer.status == 502
        assert expected in result["error"]
    else:
        assert result == expected
    assert made.ok("GET", "_/activations?docs=true&limit=5")


def test_what_came_of_all_results_is_listed_synced_and_read_at_the_next_start(
    made: Gateway, cloud: Gateway
) -> None:
    all_is_well(made, cloud)
    starts_again(made)
    all_is_well(made, cloud)


@pytest.mark.parametrize("name", odd.TEXTS)
@pytest.mark.parametrize("blocking", ["true", "false"])
def test_bodies_of_invokes(made: Gateway, name: str, blocking: str) -> None:
    text = odd.TEXTS[name].encode()
    answer = made.call("POST", f"_/actions/echo?blocking={blocking}&result=true", text)
    if blocking == "true":
        assert (answer.status, odd.tidy(answer.body)) == (200, parse(text).value)
    else:
        until(lambda: made.call("GET", f"_/activations/{answer.body['activationId']}").status == 200)


@pytest.mark.parametrize(
    "path", ["actions/new", "triggers/new", "packages/new", "rules/new", "actions/echo", "triggers/none"]
)
@pytest.mark.parametrize(
    "text", [*odd.TOO_DEEP.values(), *odd.BROKEN.values()], ids=[*odd.TOO_DEEP, *odd.BROKEN]
)
def test_bodies_that_are_refused(made: Gateway, path: str, text: str) -> None:
    if not text and path.startswith(("actions/echo", "triggers/none")):
        pytest.skip("no body means no parameters")
    answer = made.call(
        "POST" if path in ("actions/echo", "triggers/none") else "PUT", f"_/{path}", text.encode()
    )
    assert answer.status == 400
    if text in odd.TOO_DEEP.values():
        assert answer.body["error"].startswith(NESTED)
    else:
        assert answer.body["error"]


@pytest.mark.parametrize("levels", [250, 253, 500, 990])
def test_entities_with_odd_parameters_and_annotations(made: Gateway, levels: int) -> None:
    value = odd.nested_text(levels, r'{"\ud800":["a\udc00b",1e999,123456789012345678901234567890]}')
    held = f'[{{"key":"k\\ud800","value":{value}}}]'
    expected = parse(value.encode()).value
    exec_ = f'"exec":{{"kind":"nodejs:20","code":"{ECHO}"}},'
    for path, more in (("actions/held", exec_), ("triggers/holds", ""), ("packages/held-too", "")):
        body = f'{{{more}"parameters":{held},"annotations":{held}}}'
        told = made.ok("PUT", f"_/{path}?overwrite=true", body.encode())
        found = made.ok("GET", f"_/{path}")
        assert found["parameters"] == told["parameters"] == [{"key": "k?", "value": expected}]
        assert {"key": "k?", "value": expected} in found["annotations"]
    ends = '"trigger":"/_/holds","action":"/_/held",'
    made.ok("PUT", "_/rules/held-rule?overwrite=true", f'{{{ends}"annotations":{held}}}'.encode())
    assert made.ok("POST", "_/actions/held?blocking=true&result=true", {}) == {"k?": expected}
    fired = made.ok("POST", "_/triggers/holds", f'{{"given":{value}}}'.encode())
    until(lambda: made.count("held") > 0)
    assert made.ok("GET", f"_/activations/{fired['activationId']}")["response"]["result"] == {
        "given": expected
    }


@pytest.mark.parametrize("name", odd.TEXTS)
def test_web_actions(made: Gateway, name: str) -> None:
    export = [{"key": "web-export", "value": True}]
    made.action("web", "function main(p) { return {body: p} }", annotations=export)
    text = odd.TEXTS[name].encode()
    answer = made.call("POST", "/api/v1/web/guest/default/web.json", text)
    assert answer.status == (400 if name == "1000 levels" else 200)  # `body` is a level of its own
    if answer.status == 200:
        found = odd.tidy(answer.body["body"])
        assert {key: found[key] for key in parse(text).value} == parse(text).value
    assert (
        made.call("POST", "/api/v1/web/guest/default/web.json", odd.TOO_DEEP["1001 levels"].encode()).status
        == 400
    )


CAPABILITIES = r"""
const ew = require('edgewhisk');
function nested(n) { let v = 1; for (let i = 0; i < n; i++) v = [v]; return v }
async function main(p) {
  const value = {s: 'a\ud800b', '\udc00': 1, n: NaN, v: nested(p.levels)};
  const told = {};
  for (const [name, ask] of Object.entries({
    set: () => { ew.state.set('k\ud800', value); return ew.state.get('k?') },
    again: () => ew.state.compareAndSet('k?', ew.state.get('k?'), value),
    invoke: () => ew.invoke('echo', value),
    fire: () => ew.fire('holds', value),
  })) {
    try { told[name] = JSON.stringify(await ask()).length } catch (error) { told[name] = error.message }
  }
  return told;
}"""


@pytest.mark.parametrize("levels", [250, 253, 300, 990, 1500])
def test_capability_calls(made: Gateway, levels: int) -> None:
    grant = {"state": True, "invoke": ["echo"], "fire": ["holds"]}
    made.ok("PUT", "_/triggers/holds?overwrite=true", {})
    made.action("asks", CAPABILITIES, annotations=[{"key": "edge-capabilities", "value": grant}])
    answer = made.call("POST", "_/actions/asks?blocking=true&result=true", {"levels": levels})
    assert answer.status == 200
    if levels <= 990:
        assert answer.body["set"] > 2 * levels
        assert answer.body["invoke"] == answer.body["set"]
        assert answer.body["again"] == len("true")
    else:
        assert all("nested too deeply" in answer.body[name] for name in ("set", "invoke", "fire"))


@pytest.mark.parametrize("levels", [253, 300, 990])
def test_conductors(made: Gateway, levels: int) -> None:
    code = (
        "function main(p) { if (p.done) return {params: {state: p.kept, got: p.got}};"
        rf"let v = 'a\ud800'; for (let i = 0; i < {levels}; i++) v = [v];"
        "return {action: 'echo', params: {got: v}, state: {done: true, kept: v}} }"
    )
    made.action("directs", code, annotations=[{"key": "conductor", "value": True}])
    expected = odd.nested(levels, "a?")
    answer = made.call("POST", "_/actions/directs?blocking=true&result=true", {})
    assert (answer.status, answer.body) == (200, {"state": expected, "got": expected})


async def publish(port: int, messages: list[bytes]) -> None:
    client = gmqtt.Client("odd-device")
    await client.connect("127.0.0.1", port, version=MQTTv311)
    for message in messages:
        client.publish("odd/t", message, qos=1)
    await asyncio.wait_for(client._persistent_storage.wait_empty(), 30)
    await client.disconnect()


def test_messages_of_devices(made: Gateway, broker: int) -> None:
    made.feed("device", "mqtt/message", topic="odd/t", qos=1)
    made.rule("device", "echo")
    until(made.feeds_run)
    before = made.count("echo")
    texts = [*odd.TEXTS.values(), *odd.TOO_DEEP.values(), *(f"[{text}]" for text in odd.TOO_DEEP.values())]
    odds = [
        b'{"t":nan,"h":41.5}',
        b'\xef\xbb\xbf{"celsius":21.5}',
        b'{"value":"26.00"}\0',
        b"NaN",
        b'{"a":"\xff"}',
    ]
    asyncio.run(publish(broker, [text.encode() for text in texts] + odds))
    until(lambda: made.count("echo") >= before + len(texts) + len(odds))
    records = made.activations("echo")[: len(texts) + len(odds)]
    assert {one["response"]["status"] for one in records} == {"success"}
    results = [one["response"]["result"] for one in records]
    assert {"topic": "odd/t", "t": None, "h": 41.5} in results
    assert {"topic": "odd/t", "payload": None} in results
    (feed,) = [one for one in made.status()["feeds"] if one["trigger"] == "/guest/device"]
    assert (feed["garbage"], feed["mended"] >= 10) == (0, True)


def test_all_of_it_is_listed_synced_and_read_at_the_next_start(made: Gateway, cloud: Gateway) -> None:
    all_is_well(made, cloud)
    starts_again(made)
    all_is_well(made, cloud)
    starts_again(cloud)
    assert made.ok("GET", "_/actions/held")["parameters"]
    assert json.loads(json.dumps(made.status()))
