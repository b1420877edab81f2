"""A host function that fails in a way nobody foresaw stops the call that made it, and nothing else."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewhisk.base.unforeseen import UNFORESEEN
from edgewhisk.clock.system import SystemClock
from edgewhisk.entity.action import Action
from edgewhisk.entity.invocation.message import Outcome, Status
from edgewhisk.sandbox.pool import Sandboxes
from edgewhisk.spi import Answer, Asker
from tests.sandbox import wat
from tests.sandbox.test_pool import action, run

FAULTS: list[BaseException] = [
    RecursionError("maximum recursion depth exceeded"),
    MemoryError(),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
    OverflowError("int too large to convert"),
    struct.error("ushort format requires 0 <= number <= 65535"),
    KeyError("\ud800"),
]
PASSING: list[BaseException] = [KeyboardInterrupt(), SystemExit(3)]
JS = """
function main(p) {
  if (p.ask) require('edgewhisk').ask('anything', {});
  return {ok: true};
}"""
PY = """
import edgewhisk
def main(p):
    if p.get('ask'): edgewhisk.ask('anything')
    return {'ok': True}
"""
# Asks if the first byte of the parameters is not that of `{}`.
MODULE = """
(module
  (import "edgewhisk" "ask" (func $ask (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "{\\22ok\\22:true}")
  (func (export "ew_alloc") (param i32) (result i32) (i32.const 1024))
  (func (export "ew_call") (param i32 i32) (result i64)
    (if (i32.gt_u (local.get 1) (i32.const 2)) (then (drop (call $ask (i32.const 0) (i32.const 1)))))
    (i64.or (i64.shl (i64.const 16) (i64.const 32)) (i64.const 11))))
"""


class Failing:
    """Capabilities that fail with `fault`."""

    fault: BaseException = RuntimeError()

    def ask(self, asker: Asker, request: bytes) -> Answer:
        raise self.fault

    def settle(self, action: Action) -> None:
        """Nothing is kept."""


@pytest.fixture(scope="module")
def failing() -> Failing:
    return Failing()


@pytest.fixture(scope="module")
def broken(cache: Path, failing: Failing) -> Iterator[Sandboxes]:
    found = Sandboxes(cache, SystemClock(), failing, slots=1)
    found.prepare(lambda _: None)
    yield found
    found.close()


@pytest.fixture(params=["nodejs:20", "python:3", "wasm:default"])
def asking(request: pytest.FixtureRequest, broken: Sandboxes) -> Action:
    codes = {"nodejs:20": JS, "python:3": PY, "wasm:default": wat.module(MODULE)}
    return action(broken, codes[request.param], kind=request.param)


def one(broken: Sandboxes, asking: Action, arguments: str) -> Outcome:
    (found,) = run(broken, asking, arguments)
    return found


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_the_call_fails_and_the_next_one_works(
    broken: Sandboxes, asking: Action, failing: Failing, fault: BaseException
) -> None:
    before = UNFORESEEN.count
    failing.fault = fault
    outcome = one(broken, asking, '{"ask":1}')
    assert outcome.status is Status.DEVELOPER_ERROR
    assert b"The gateway failed in " in outcome.result
    assert type(fault).__name__.encode() in outcome.result
    assert UNFORESEEN.count == before + 1
    assert one(broken, asking, "{}").result == b'{"ok":true}'


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: type(fault).__name__)
def test_what_ends_the_process_passes_behind_the_guest(
    broken: Sandboxes, asking: Action, failing: Failing, fault: BaseException
) -> None:
    failing.fault = fault
    with pytest.raises(type(fault)):
        one(broken, asking, '{"ask":1}')
    assert one(broken, asking, "{}").result == b'{"ok":true}'


def test_each_kind_of_fault_is_logged_once(
    broken: Sandboxes, failing: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    failing.fault = ArithmeticError("only here")
    asking = action(broken, JS)
    for _ in range(3):
        one(broken, asking, '{"ask":1}')
    told = [record for record in caplog.records if "only here" in str(record.exc_info)]
    assert [record.getMessage().split(";")[0] for record in told] == ["the gateway failed in edgewhisk.ask"]
