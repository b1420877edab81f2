"""The contract of `spi.Sandbox`, for each kind of code that there is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from edgewhisk.clock.system import SystemClock
from edgewhisk.entity.action import Action, ActionPut
from edgewhisk.entity.exec import CodeExec
from edgewhisk.entity.invocation.call import CallBatch
from edgewhisk.entity.invocation.message import LogLine, Outcome, Status, outcomes_of
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import MalformedContent
from edgewhisk.sandbox.pool import Sandboxes
from edgewhisk.spi import Sandbox
from tests.contract.suites import Suite, named
from tests.fakes.capabilities import NoCapabilities
from tests.fakes.sandbox import FakeSandbox
from tests.guests import lend_compiled
from tests.sandbox import wat

# Each counts its calls in memory that must be pristine each time, and does what its parameters say.
JS = """
let calls = 0
function main(p) {
  calls++
  if (p.log) console.log(p.log)
  if (p.raise) throw new Error('raised')
  while (p.loop) { }
  return { calls, n: p.n }
}"""
PY = """
calls = 0
def main(p):
    global calls
    calls += 1
    if p.get('log'): print(p['log'])
    if p.get('raise'): raise ValueError('raised')
    while p.get('loop'): pass
    return {'calls': calls, 'n': p.get('n')}
"""
CODES = {"nodejs:20": JS, "python:3": PY}
# What OpenWhisk's proxies make of what is raised: in Python it is an error of the application.
RAISED = {"nodejs:20": Status.DEVELOPER_ERROR, "python:3": Status.APPLICATION_ERROR}


def prepared(folder: Path) -> Sandboxes:
    lend_compiled(folder)
    made = Sandboxes(folder, SystemClock(), NoCapabilities(), slots=2)
    made.prepare(lambda _: None)
    return made


def as_the_code_says(action: Action, payload: bytes) -> bytes | Outcome:
    """What `CODES` do."""
    given, now = orjson.loads(payload), SystemClock().now()
    code = action.exec.code if isinstance(action.exec, CodeExec) else ""
    if given.get("loop") or given.get("raise") or code not in CODES.values():
        status = RAISED[action.exec.kind] if given.get("raise") else Status.DEVELOPER_ERROR
        return Outcome(status, b"{}", (), now, now, timed_out=bool(given.get("loop")))
    result = orjson.dumps({"calls": 1, "n": given.get("n")})
    if "log" not in given:
        return result
    return Outcome(Status.SUCCESS, result, (LogLine(now, "stdout", given["log"]),), now, now)


def fake(_folder: Path) -> FakeSandbox:
    made = FakeSandbox(SystemClock())
    made.behave = as_the_code_says
    return made


SUITE = Suite(Sandbox, {Sandboxes: prepared, FakeSandbox: fake})


@pytest.fixture(scope="module", params=SUITE.classes, ids=named)
def sandbox(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    made = SUITE.implementations[request.param](tmp_path_factory.mktemp("sandbox") / "cache")
    yield made
    made.close()


@pytest.fixture(params=CODES)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def action(sandbox: Sandbox, kind: str, code: str = "", **limits: int) -> Action:
    body: dict[str, Any] = {"exec": {"kind": kind, "code": code or CODES[kind]}, "limits": limits}
    put = ActionPut.from_json(body, kinds=sandbox.kinds, namespace="guest", limits=Limits())
    return put.create(parse_name("/guest/a", "_"), Limits(), hash((kind, code)) % 10**9)


def run(sandbox: Sandbox, made: Action, *given: dict[str, Any], inline: bool = False) -> list[Outcome]:
    calls = CallBatch([orjson.dumps(one) for one in given], [f"{n:032x}" for n in range(len(given))], {})
    return list(outcomes_of(sandbox.run(made, calls, inline=inline)))


def results(outcomes: list[Outcome]) -> list[Any]:
    return [orjson.loads(one.result) for one in outcomes]


def test_each_call_is_run_in_order_on_a_pristine_memory(sandbox: Sandbox, kind: str) -> None:
    made = action(sandbox, kind)
    for _ in range(2):
        found = run(sandbox, made, *({"n": n} for n in range(5)))
        assert results(found) == [{"calls": 1, "n": n} for n in range(5)]
        assert {one.status for one in found} == {Status.SUCCESS}
        assert all(one.start <= one.end for one in found)


def test_a_fault_of_the_action_is_an_outcome_and_harms_no_other_call(sandbox: Sandbox, kind: str) -> None:
    found = run(sandbox, action(sandbox, kind), {"n": 1}, {"raise": True}, {"n": 3, "log": "here"})
    assert [one.status for one in found] == [Status.SUCCESS, RAISED[kind], Status.SUCCESS]
    assert results(found)[2] == {"calls": 1, "n": 3}
    assert [line.text for line in found[2].logs] == ["here"]
    assert found[0].logs == ()


def test_a_call_that_runs_out_of_time_harms_no_other_of_the_list(sandbox: Sandbox, kind: str) -> None:
    found = run(sandbox, action(sandbox, kind, timeout=3000), {"n": 1}, {"loop": True}, {"n": 3})
    assert [one.timed_out for one in found] == [False, True, False]
    assert found[1].status is Status.DEVELOPER_ERROR
    assert results(found)[2] == {"calls": 1, "n": 3}


def test_a_hasty_run_begins_nothing_behind_a_call_that_ran_out_of_time(sandbox: Sandbox, kind: str) -> None:
    made = action(sandbox, kind, timeout=300)
    run(sandbox, made, {"n": 0})  # what loading takes counts, too
    found = run(sandbox, made, {"n": 1}, {"loop": True}, {"n": 3}, inline=True)
    assert found[-1].timed_out
    assert len(found) <= 2


def test_it_may_be_used_from_many_threads(sandbox: Sandbox, kind: str) -> None:
    made, begin = action(sandbox, kind), threading.Barrier(4)

    def thread(number: int) -> list[Any]:
        begin.wait(20)
        return [results(run(sandbox, made, {"n": number}))[0]["n"] for _ in range(5)]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(thread, range(4))) == [[number] * 5 for number in range(4)]


def test_code_that_merely_throws_is_checked_and_loaded_as_an_outcome(sandbox: Sandbox, kind: str) -> None:
    for code in ("throw new Error('x')", "raise ValueError()", "}{", "\x00"):
        made = action(sandbox, kind, code)
        sandbox.check(made.exec)
        (found,) = run(sandbox, made, {})
        assert found.status is Status.DEVELOPER_ERROR


def test_code_that_can_never_be_loaded_is_refused(sandbox: Sandbox, kind: str) -> None:
    with pytest.raises(MalformedContent):
        sandbox.check(CodeExec(kind, "not base64", binary=True))
    with pytest.raises(MalformedContent):
        sandbox.check(CodeExec("wasm:default", wat.module("(module)"), binary=True))


def test_it_says_what_it_runs_and_that_it_can(sandbox: Sandbox) -> None:
    for alias, kind in sandbox.kinds.items():
        assert sandbox.kinds[kind] == kind, alias
        assert sandbox.ready(kind)
        assert "wasmtime" in sandbox.engine(kind)


def test_a_kind_that_is_not_there_is_an_outcome(sandbox: Sandbox) -> None:
    made = action(sandbox, "nodejs:20")
    gone = replace(made, exec=CodeExec("nodejs:99", "x"))
    (found,) = run(sandbox, gone, {})
    assert found.status is Status.WHISK_ERROR
