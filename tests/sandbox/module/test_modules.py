"""Modules as actions: commands, reactors, and what is refused."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import orjson
import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk.entity.action import Action, ActionPut
from edgewhisk.entity.exec import CodeExec
from edgewhisk.entity.invocation.call import CallBatch
from edgewhisk.entity.invocation.message import Outcome, Status, outcomes_of
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import MalformedContent
from edgewhisk.sandbox.module.streams import Streams
from edgewhisk.sandbox.pool import Sandboxes
from tests.sandbox import wat

NUMBERS = itertools.count(1)


def action(sandboxes: Sandboxes, code: str, **limits: int) -> Action:
    body: dict[str, Any] = {"exec": {"kind": "wasm:default", "code": code}, "limits": limits}
    wanted = ActionPut.from_json(body, kinds=sandboxes.kinds, namespace="guest", limits=Limits())
    number = next(NUMBERS)
    return wanted.create(parse_name(f"/guest/w{number}", "_"), Limits(), number)


def run(sandboxes: Sandboxes, made: Action, arguments: str = "{}") -> Outcome:
    (outcome,) = outcomes_of(sandboxes.run(made, CallBatch([arguments.encode()], ["x1"], {})))
    return outcome


@pytest.mark.parametrize("text", [wat.ECHO_COMMAND, wat.ECHO_REACTOR])
def test_parameters_come_back(sandboxes: Sandboxes, text: str) -> None:
    made = action(sandboxes, wat.module(text))
    for arguments in ('{"a":1}', '{"b":[1,2,{"c":"\\u00fc"}]}', '{"text":"' + "x" * 20000 + '"}'):
        outcome = run(sandboxes, made, arguments)
        assert (outcome.status, outcome.result) == (Status.SUCCESS, arguments.encode())


def test_the_last_line_is_the_result_and_the_rest_is_log(sandboxes: Sandboxes) -> None:
    outcome = run(sandboxes, action(sandboxes, wat.printing('one\ntwo\n\n{"a": 1}\n')))
    assert (outcome.status, orjson.loads(outcome.result)) == (Status.SUCCESS, {"a": 1})
    assert [(line.stream, line.text) for line in outcome.logs if line.text] == [
        ("stdout", "one"),
        ("stdout", "two"),
    ]


@pytest.mark.parametrize(
    ("code", "status", "contains"),
    [
        (wat.printing('{"error": "no"}'), Status.APPLICATION_ERROR, b'{"error":"no"}'),
        (wat.printing('{"error": "no"}', exit_code=3), Status.APPLICATION_ERROR, b'{"error":"no"}'),
        (wat.printing('{"a": 1}', exit_code=3), Status.DEVELOPER_ERROR, b"status 3"),
        (wat.printing('{"a": 1}', exit_code=0), Status.SUCCESS, b'{"a": 1}'),
        (wat.printing("hello"), Status.DEVELOPER_ERROR, b"hello"),
        (wat.printing("5"), Status.DEVELOPER_ERROR, b"dictionary"),
        (wat.printing("oops", stream=2), Status.DEVELOPER_ERROR, b"no result"),
        (wat.module(wat.TRAP), Status.DEVELOPER_ERROR, b"exited unexpectedly"),
        (wat.module(wat.GREEDY), Status.DEVELOPER_ERROR, b"exited unexpectedly"),
    ],
)
def test_outcomes(sandboxes: Sandboxes, code: str, status: Status, contains: bytes) -> None:
    outcome = run(sandboxes, action(sandboxes, code))
    assert outcome.status is status
    assert contains in outcome.result


def test_a_loop_is_stopped(sandboxes: Sandboxes) -> None:
    outcome = run(sandboxes, action(sandboxes, wat.module(wat.LOOP), timeout=100))
    assert outcome.timed_out
    assert b"time limits of 100 milliseconds" in outcome.result


def test_each_call_is_pristine(sandboxes: Sandboxes) -> None:
    counter = """
      (module (memory (export "memory") 1)
        (func (export "ew_alloc") (param i32) (result i32) (i32.const 1024))
        (func (export "ew_call") (param i32 i32) (result i64)
          (i32.store8 (i32.const 8) (i32.add (i32.load8_u (i32.const 8)) (i32.const 1)))
          (i64.const 0x0000000400000005))
        (data (i32.const 4) "[  \\"0") (data (i32.const 8) "0]"))"""
    made = action(sandboxes, wat.module(counter))
    results = {run(sandboxes, made).result for _ in range(3)}
    assert len(results) == 1


def exec_of(code: str, binary: bool = True) -> CodeExec:
    return CodeExec("wasm:default", code, None, binary)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (CodeExec("wasm:default", "print('hi')"), "this is text"),
        (CodeExec("wasm:default", "(module)"), "wat2wasm"),
        (exec_of(base64.b64encode(b"hello, world").decode()), "no WebAssembly"),
        (exec_of(base64.b64encode(b"PK\3\4aaaaaaaa").decode()), "a zip archive"),
        (exec_of(base64.b64encode(b"\0asm\x0d\0\1\0aaaa").decode()), "component"),
        (exec_of(base64.b64encode(b"\0asm\1\0\0\0\1\xff").decode()), "no WebAssembly"),
        (exec_of(wat.module('(module (func (export "_start")))')), "no memory"),
        (exec_of(wat.module('(module (memory (export "memory") 1 1 shared))')), "no WebAssembly"),
        (exec_of(wat.module('(module (memory (export "memory") 1))')), "neither _start"),
        (
            exec_of(wat.module('(module (import "env" "x" (func)) (memory (export "memory") 1))')),
            "imports env.x",
        ),
        (
            exec_of(
                wat.module(
                    '(module (import "edgewhisk" "now" (func)) (memory (export "memory") 1)'
                    ' (func (export "_start")))'
                )
            ),
            "cannot be linked",
        ),
        (
            exec_of(wat.module('(module (memory (export "memory") 1) (func (export "_start") (param i32)))')),
            "must have the type",
        ),
    ],
)
def test_what_can_never_run_is_refused(sandboxes: Sandboxes, code: CodeExec, reason: str) -> None:
    with pytest.raises(MalformedContent, match=reason):
        sandboxes.check(code)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300), whole=st.booleans())
def test_damaged_modules_are_refused_or_run(sandboxes: Sandboxes, data: bytes, whole: bool) -> None:
    good = wasmtime.wat2wasm(wat.ECHO_COMMAND)
    wasm = bytes(good[: len(data)]) + data if whole else b"\0asm\1\0\0\0" + data
    code = base64.b64encode(wasm).decode()
    try:
        sandboxes.check(exec_of(code))
    except MalformedContent:
        return
    run(sandboxes, action(sandboxes, code, timeout=100))


@given(parts=st.lists(st.binary(max_size=40), max_size=20))
def test_streams_keep_every_line(parts: list[bytes]) -> None:
    streams = Streams(b"", 1 << 20, lambda: 1)
    for part in parts:
        streams.write("stdout", part)
    result = streams.finish().decode()
    printed = [line.strip("\r") for line in b"".join(parts).decode(errors="replace").split("\n")]
    full = [line for line in printed if line.strip()]
    assert result.strip() == (full[-1].strip() if full else "")
    assert [line.text.strip() for line in streams.lines if line.text.strip()] == [
        line.strip() for line in full[:-1]
    ]


STAINING = """
  (module (memory (export "memory") 2)
    (func (export "ew_alloc") (param i32) (result i32) (i32.const 1024))
    (func (export "ew_call") (param $at i32) (param $size i32) (result i64) (local $next i32)
      (drop (memory.grow (i32.const {pages})))
      (local.set $next (i32.const 65536))
      (loop $l
        (if (i64.ne (i64.load (local.get $next)) (i64.const 0)) (then unreachable))
        (i64.store (local.get $next) (i64.const -1))
        (local.set $next (i32.add (local.get $next) (i32.const 8)))
        (br_if $l (i32.lt_u (local.get $next) (i32.shl (memory.size) (i32.const 16)))))
      (i64.or (i64.shl (i64.extend_i32_u (local.get $at)) (i64.const 32))
        (i64.extend_i32_u (local.get $size)))))
"""


@pytest.mark.parametrize("pages", [0, 1, 40])
def test_a_memory_that_is_used_again_is_as_new(sandboxes: Sandboxes, pages: int) -> None:
    staining = action(sandboxes, wat.module(STAINING.format(pages=pages)))
    assert [run(sandboxes, staining).status for _ in range(6)] == [Status.SUCCESS] * 6
    beyond = wat.module(
        '(module (memory (export "memory") 2) (func (export "_start") (drop (i32.load (i32.const 131072)))))'
    )
    outcome = run(sandboxes, action(sandboxes, beyond))
    assert "out of bounds memory access" in " ".join(line.text for line in outcome.logs)


@pytest.mark.parametrize(
    "code",
    [
        wat.polling((0, 60_000_000_000)),
        wat.polling((0, (1 << 63) - 1)),
        wat.polling((0, 60_000_000_000), (0, 70_000_000_000)),
        wat.polling((0, 0), again=True),
        wat.polling((0, 1_000_000), again=True),
        wat.polling((2, 1), (0, 60_000_000_000), again=True),
    ],
)
def test_a_poll_past_the_deadline_is_a_timeout(sandboxes: Sandboxes, code: str) -> None:
    outcome = run(sandboxes, action(sandboxes, code, timeout=100))
    assert outcome.timed_out
    assert b"exceeded its time limits of 100 milliseconds" in outcome.result
