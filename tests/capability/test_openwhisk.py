"""`require('openwhisk')` in an action: the client that users of OpenWhisk know, on a real gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.path.gateway import Answer, Gateway, gateway, until

KEY = {"provide-api-key": True}
DOUBLE = "exports.main = p => ({n: 2 * p.n})"
FAILS = "exports.main = () => ({error: 'no'})"
# Runs a script over the client `ow`; what it throws is told as a caller of the client sees it.
SCRIPT = """
const openwhisk = require('openwhisk');
exports.main = async p => {
  const ow = openwhisk();
  const failure = async call => { try { return {value: await call()} } catch (e) {
    return {name: e.name, text: e.message, statusCode: e.statusCode, body: e.error} } };
  const Script = Object.getPrototypeOf(async () => {}).constructor;
  return new Script('ow', 'p', 'failure', p.script)(ow, p, failure);
}"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("openwhisk")) as running:
        put(running, "double", DOUBLE)
        put(running, "fails", FAILS)
        put(running, "keyed", SCRIPT, KEY)
        put(running, "granted", SCRIPT, {"edge-capabilities": {"invoke": ["double"], "fire": ["fired"]}})
        put(running, "bare", SCRIPT)
        running.ok("PUT", "_/triggers/fired", {})
        running.ok("PUT", "_/rules/rule", {"trigger": "/_/fired", "action": "/_/double"})
        yield running


def put(
    made: Gateway, name: str, code: str, annotations: dict[str, Any] | None = None, kind: str = "nodejs:20"
) -> None:
    pairs = [{"key": key, "value": value} for key, value in (annotations or {}).items()]
    body = {"exec": {"kind": kind, "code": code}, "annotations": pairs}
    made.ok("PUT", f"_/actions/{name}?overwrite=true", body)


def ran(made: Gateway, script: str, by: str = "keyed") -> Any:
    answer: Answer = made.call("POST", f"_/actions/{by}?blocking=true&result=true", {"script": script})
    assert answer.status == 200, answer
    return answer.body


def test_an_invoke_that_is_not_waited_for_gives_an_id_at_once(made: Gateway) -> None:
    (ident,) = ran(made, "return ow.actions.invoke({name: 'double', params: {n: 4}})").values()
    until(lambda: made.call("GET", f"_/activations/{ident}").status == 200)
    assert made.ok("GET", f"_/activations/{ident}")["response"]["result"] == {"n": 8}


def test_a_blocking_invoke_gives_the_whole_activation(made: Gateway) -> None:
    found = ran(made, "return ow.actions.invoke({name: 'double', blocking: true, params: {n: 4}})")
    assert {"activationId", "name", "namespace", "duration", "annotations", "logs", "response"} <= set(found)
    assert (found["name"], found["response"]["result"]) == ("double", {"n": 8})
    script = """
      const how = {blocking: true, result: true};
      return ow.actions.invoke({actionName: '/guest/double', ...how, params: {n: 1}})"""
    assert ran(made, script) == {"n": 2}


def test_one_that_has_shown_to_be_brief_never_waits_on_the_event_loop(made: Gateway) -> None:
    script = "return p.n ? (await ow.actions.invoke({name: 'double', blocking: true})).response : {}"
    put(made, "brief", SCRIPT, KEY)
    for n in [*[0] * 40, 1]:
        answer = made.call("POST", "_/actions/brief?blocking=true&result=true", {"script": script, "n": n})
        assert answer.status == 200, answer


def test_names_and_lists_of_them(made: Gateway) -> None:
    script = """
      const how = {blocking: true, result: true};
      return ow.actions.invoke(['double', {name: '/_/double', ...how, params: {n: 5}}])"""
    first, second = ran(made, script)
    assert (set(first), second) == ({"activationId"}, {"n": 10})
    (ident,) = ran(made, "return ow.triggers.invoke('fired')").values()
    assert len(ident) == 32


def test_failures_have_a_status_and_what_came_back(made: Gateway) -> None:
    failed = ran(made, "return failure(() => ow.actions.invoke({name: 'fails', blocking: true}))")
    assert (failed["name"], failed["statusCode"]) == ("OpenWhiskError", 502)
    assert failed["body"]["response"]["result"] == {"error": "no"}
    assert failed["text"].endswith('Returned HTTP 502 (Bad Gateway) --> "no"')
    missing = ran(made, "return failure(() => ow.triggers.invoke({name: 'nothing'}))")
    assert (missing["statusCode"], set(missing["body"])) == (404, {"error", "code"})
    unnamed = ran(made, "return failure(() => ow.actions.invoke({}))")
    assert unnamed["text"].endswith("supported parameter names: name, actionName")


def test_all_collections_with_the_key(made: Gateway) -> None:
    script = """
      await ow.packages.create({name: 'pkg', package: {publish: false}, params: {a: 1}});
      const more = {kind: 'nodejs:20', params: {b: 2}, annotations: {c: 3}, limits: {timeout: 1000}};
      await ow.actions.create({name: 'pkg/made', action: 'exports.main = p => p', ...more});
      await ow.actions.update({name: 'seq', sequence: ['double', '/_/pkg/made']});
      await ow.triggers.create({name: 'other', trigger: {parameters: [{key: 'd', value: 4}]}});
      await ow.rules.create({name: 'again', action: 'double', trigger: 'other'});
      await ow.rules.disable('again');
      const got = await ow.actions.get('pkg/made');
      const found = {
        code: got.exec.code, parameters: got.parameters, timeout: got.limits.timeout,
        result: await ow.actions.invoke({name: 'seq', blocking: true, result: true, params: {n: 3}}),
        rule: (await ow.rules.get({ruleName: 'again'})).status,
        trigger: (await ow.triggers.get('other')).parameters[0].value,
        package: (await ow.packages.get('pkg')).actions[0].name,
        namespaces: await ow.namespaces.list(),
        inside: (await ow.actions.list({package: 'pkg', limit: 1})).length,
        all: Object.keys(await ow.namespaces.get()),
        activations: (await ow.activations.list({limit: 1})).length > 0,
      };
      await ow.rules.delete('again'); await ow.triggers.delete('other');
      await ow.actions.delete(['seq', 'pkg/made']); await ow.packages.delete({packageName: 'pkg'});
      return {...found, gone: (await failure(() => ow.actions.get('seq'))).statusCode};"""
    assert ran(made, script) == {
        "code": "exports.main = p => p",
        "parameters": [{"key": "a", "value": 1}, {"key": "b", "value": 2}],
        "timeout": 1000,
        "result": {"a": 1, "b": 2, "n": 6},
        "rule": "inactive",
        "trigger": 4,
        "package": "made",
        "namespaces": ["guest"],
        "inside": 1,
        "all": ["actions", "packages", "triggers", "rules"],
        "activations": True,
        "gone": 404,
    }


def test_activations_tell_their_logs_and_result(made: Gateway) -> None:
    put(made, "says", "exports.main = () => { console.log('hi'); return {a: 1} }")
    ident = made.ok("POST", "_/actions/says?blocking=true", {})["activationId"]
    until(lambda: made.call("GET", f"_/activations/{ident}").status == 200)
    script = f"""
      const {{logs}} = await ow.activations.logs('{ident}');
      return [logs.length, (await ow.activations.result({{activationId: '{ident}'}})).result]"""
    assert ran(made, script) == [1, {"a": 1}]


def test_without_the_key_only_what_is_granted_goes(made: Gateway) -> None:
    script = """
      return {own: await ow.actions.invoke({name: 'double', blocking: true, result: true, params: {n: 1}}),
              fired: Boolean((await ow.triggers.invoke('fired')).activationId),
              other: await failure(() => ow.actions.invoke('fails')),
              list: await failure(() => ow.actions.list()),
              remove: await failure(() => ow.actions.delete('double')),
              rule: await failure(() => ow.rules.enable('rule'))}"""
    found = ran(made, script, "granted")
    assert (found["own"], found["fired"]) == ({"n": 2}, True)
    assert [found[key]["statusCode"] for key in ("other", "list", "remove", "rule")] == [403] * 4
    assert '"invoke":["/guest/fails"]' in found["other"]["text"]
    assert "the annotation 'provide-api-key' (true)" in found["list"]["text"]
    assert ran(made, "return failure(() => ow.actions.invoke('double'))", "bare")["statusCode"] == 403


ASKS = """
const {ask} = require('edgewhisk');
exports.main = p => { try { return {value: ask('api', p)} } catch (e) { return {text: e.message} } };"""


@pytest.mark.parametrize(
    "request_of_one",
    [
        {"method": "POST", "path": "/namespaces/_/actions/../triggers/double"},
        {"method": "POST", "path": "/namespaces/_/actions/%2e%2e/double"},
        {"method": "POST", "path": "/web/guest/default/x"},
        {"method": "GET", "path": "/namespaces//actions"},
        {"method": "GET", "path": "/namespaces/_/actions?limit=1"},
        {"method": "PATCH", "path": "/namespaces/_/actions"},
        {"method": "GET", "path": "/namespaces/_/actions", "query": "a b"},
        {"method": "GET", "path": 5},
        {"method": "GET"},
    ],
)
def test_odd_requests_are_refused_by_name(made: Gateway, request_of_one: dict[str, Any]) -> None:
    put(made, "asks", ASKS, KEY)
    answer = made.ok("POST", "_/actions/asks?blocking=true&result=true", request_of_one)
    assert answer["text"].startswith("api: "), answer


def test_the_client_of_the_gateway_wins_over_a_packed_copy(made: Gateway) -> None:
    from tests.sandbox.test_pool import zipped

    files = {
        "index.js": "const ow = require('openwhisk')(); exports.main = () => ow.actions.list({limit: 1})",
        "node_modules/openwhisk/index.js": "require('https')",
    }
    body = {
        "exec": {"kind": "nodejs:20", "code": zipped(files)},
        "annotations": [{"key": "provide-api-key", "value": True}],
    }
    made.ok("PUT", "_/actions/packed?overwrite=true", body)
    assert made.ok("POST", "_/actions/packed?blocking=true&result=true", {})[0]["namespace"] == "guest"


COUNTDOWN = """
const openwhisk = require('openwhisk');
exports.main = async p => {
  if (p.n <= 0) return {done: true};
  const name = process.env.__OW_ACTION_NAME;
  const {activationId} = await openwhisk().actions.invoke({name, params: {n: p.n - 1}});
  return {left: p.n, next: activationId};
}"""


def test_a_countdown_of_twelve_holds_nobody_up(made: Gateway) -> None:
    put(made, "countdown", COUNTDOWN, KEY)
    begun = made.ok("POST", "_/actions/countdown?blocking=true&result=true", {"n": 12})
    assert (begun["left"], len(begun["next"])) == (12, 32)

    def ended() -> bool:
        found = made.ok("GET", "_/activations?name=countdown&docs=true&limit=50")
        return any(one["response"]["result"] == {"done": True} for one in found) and len(found) == 13

    until(ended)
    assert json.dumps(ran(made, "return {here: true}", "bare")) == '{"here": true}'


PYTHON = """
import openwhisk
ow = openwhisk.Client()

def refusal(call, *given, **named):
    try:
        return call(*given, **named)
    except openwhisk.OpenWhiskError as error:
        return [error.status_code, str(error).split(' --> ')[-1]]

def granted():
    own = ow.actions.invoke('double', {'n': 1}, blocking=True, result=True)
    return {'granted': own, 'refused': refusal(ow.actions.list)[0]}

def main(args):
    if not args.get('keyed'):
        return granted()
    ow.triggers.put('mine', params={'a': 1})
    ow.rules.put('ours', {'trigger': '/_/mine', 'action': '/_/double'})
    ow.rules.disable('ours')
    found = {
        'id': len(ow.actions.invoke(name='/_/double', params={'n': 2})['activationId']),
        'whole': ow.actions.invoke('double', {'n': 2}, blocking=True)['response']['result'],
        'rule': ow.rules.get('ours')['status'],
        'fired': len(ow.triggers.invoke('fired')['activationId']),
        'unruled': ow.triggers.invoke('mine'),
        'namespaces': ow.namespaces(),
        'kept': ow.triggers.get('mine')['parameters'],
        'failed': refusal(ow.actions.invoke, 'fails', blocking=True),
        'missing': refusal(ow.actions.get, 'nothing'),
        'odd': refusal(ow.actions.invoke, 'double', {'n': float('nan')})[0],
        'listed': len(ow.actions.list(limit=2)),
    }
    ow.rules.delete('ours')
    ow.triggers.delete('mine')
    return found
"""


def test_python_actions_have_the_same_client(made: Gateway) -> None:
    until(lambda: made.status()["sandboxes"]["python:3"]["state"] == "ready", 120, "Python is ready")
    put(made, "snake", PYTHON, KEY, "python:3")
    found = made.ok("POST", "_/actions/snake?blocking=true&result=true", {"keyed": True})
    missing = "The requested resource does not exist."
    assert found == {
        "id": 32,
        "whole": {"n": 4},
        "rule": "inactive",
        "fired": 32,
        "unruled": None,
        "namespaces": ["guest"],
        "kept": [{"key": "a", "value": 1}],
        "failed": [502, '"no"'],
        "missing": [404, f'"{missing}"'],
        "odd": None,
        "listed": 2,
    }
    put(made, "worm", PYTHON, {"edge-capabilities": {"invoke": ["double"]}}, "python:3")
    granted = made.ok("POST", "_/actions/worm?blocking=true&result=true", {})
    assert granted == {"granted": {"n": 2}, "refused": 403}
