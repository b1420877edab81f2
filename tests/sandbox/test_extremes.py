"""Actions at every limit there is: each ends in an outcome of its own, and the next call works."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import orjson
import pytest

from edgewhisk.entity.invocation.message import Outcome, Status
from edgewhisk.errors import MalformedContent
from edgewhisk.sandbox.pool import Sandboxes
from tests.sandbox import wat
from tests.sandbox.test_pool import action, run

JAVASCRIPT: Final = {
    "recursion": "function f() { return f() + 1 } function main() { f() }",
    "recursion in a getter": "const o = {get x() { return this.x }}; function main() { return {x: o.x} }",
    "recursion in toJSON": "const o = {toJSON() { return JSON.stringify(o) }}; function main() { return o }",
    "recursion in a proxy": "const p = new Proxy({}, {get: (t, k, r) => r[k]}); function main() { return {x: p.x} }",
    "recursion in sort": "const f = () => [2, 1].sort(f); function main() { f() }",
    "recursion in replace": "const f = () => 'a'.replace(/a/, f); function main() { f() }",
    "a deep result": "function main() { let v = 1; for (let i = 0; i < 1e5; i++) v = [v]; return {v} }",
    "a deep text": "function main() { JSON.parse('['.repeat(1e5)) }",
    "deep code": "function main() { eval('('.repeat(1e5)) }",
    "a deep pattern": "function main() { new RegExp('('.repeat(1e5)) }",
    "a deep error": "function main() { let v = 1; for (let i = 0; i < 1e5; i++) v = [v]; return {error: v} }",
    "a deep clone": "function main() { let v = 1; for (let i = 0; i < 1e5; i++) v = [v]; structuredClone(v) }",
    "a deep log": "function main() { let v = 1; for (let i = 0; i < 1e5; i++) v = [v]; console.log(v); return {} }",
    "a long text": "function main() { return {x: 'x'.repeat(2 ** 29)} }",
    "many texts": "function main() { const a = []; for (;;) a.push('x'.repeat(1e6) + a.length) }",
    "a long list": "function main() { return {x: new Array(1e9).fill(0)} }",
    "a large buffer": "function main() { return {x: new Uint8Array(2 ** 31 - 1).length} }",
    "a large number": "function main() { return {x: String(2n ** (10n ** 9n))} }",
    "a large result": "function main() { return {x: 'x'.repeat(5e6)} }",
    "a large line": "function main() { console.log('x'.repeat(2e7)); return {} }",
    "empty lines": "function main() { for (let i = 0; i < 2e6; i++) console.log(''); return {} }",
    "promises without end": "function main() { const f = () => Promise.resolve().then(f); return f() }",
    "timers without end": "async function main() { const f = () => setTimeout(f, 0); f(); await new Promise(() => 0) }",
    "deep awaits": "async function f(n) { return n && await f(n - 1) } function main() { return f(1e6) }",
}
PYTHON: Final = {
    "recursion": "def f(): return f()\ndef main(a): f()",
    "recursion without a limit": "import sys\ndef f(): return f()\ndef main(a):\n sys.setrecursionlimit(10**9)\n f()",
    "a deep result": "def main(a):\n v = 1\n for _ in range(100000): v = [v]\n return {'v': v}",
    "a deep repr": "def main(a):\n v = 1\n for _ in range(100000): v = [v]\n return {'v': repr(v)}",
    "a deep text": "import json\ndef main(a): return json.loads('[' * 100000)",
    "deep code": "def main(a): eval('(' * 100000)",
    "deep operators": "def main(a): eval('-' * 100000 + '1')",
    "a deep pattern": "import re\ndef main(a): re.compile('(' * 100000)",
    "a long text": "def main(a): return {'x': 'x' * 2**30}",
    "a large number": "def main(a): return {'x': len(str(10 ** 10 ** 8))}",
    "a large line": "def main(a): print('x' * 20_000_000); return {}",
    "empty lines": "def main(a): print('\\n' * 2_000_000); return {}",
    "abort": "import os\ndef main(a): os.abort()",
    "exit": "import os\ndef main(a): os._exit(3)",
    "sys.exit": "import sys\ndef main(a): sys.exit('bye')",
    "no stdout": "import sys\ndef main(a):\n sys.stdout = sys.stderr = None\n raise ValueError('x')",
    "a broken error": "class E(BaseException):\n def __str__(self): raise E()\ndef main(a): raise E()",
    "a broken dict": "class D(dict):\n def items(self): raise KeyboardInterrupt\ndef main(a): return D(a=1)",
    "broken builtins": "import builtins\ndef main(a):\n del builtins.len, builtins.isinstance, builtins.str\n return {}",
    "a broken json": "import json, sys\ndef main(a):\n sys.modules.clear()\n json.JSONEncoder.encode = None\n return {}",
    "a deep destructor": "class C:\n def __del__(self): C()\ndef main(a):\n C()\n return {}",
}
_RUN: Final = '(func (export "_start") {})'
WASM: Final = {
    "recursion": '(memory (export "memory") 1) (func $f (call $f)) (func (export "_start") (call $f))',
    "all memory": """(memory (export "memory") 1) (func (export "_start") (local $at i32)
        (block $e (loop $l (br_if $e (i32.eq (memory.grow (i32.const 16)) (i32.const -1))) (br $l)))
        (local.set $at (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 4)))
        (loop $w (i32.store (local.get $at) (i32.const 1))
          (br_if $w (i32.gt_u (local.tee $at (i32.sub (local.get $at) (i32.const 4096))) (i32.const 4096)))))""",
    "a memory of 4 GiB": '(memory (export "memory") 65536) ' + _RUN.format(""),
    "a memory with 64-bit addresses": '(memory (export "memory") i64 1) ' + _RUN.format(""),
    "a large table": '(memory (export "memory") 1) (table 10000000 funcref) ' + _RUN.format(""),
    "a table that grows": '(memory (export "memory") 1) (table $t 1 funcref) '
    + _RUN.format("(drop (table.grow $t (ref.null func) (i32.const 2147483647)))"),
    "65,536 tables": '(memory (export "memory") 1) ' + "(table 1 funcref)" * 65_536 + _RUN.format(""),
    "50 tables": '(memory (export "memory") 1) ' + "(table 1 funcref)" * 50 + _RUN.format(""),
    "two memories": '(memory (export "memory") 1) (memory 1) ' + _RUN.format(""),
    "10,000 globals": '(memory (export "memory") 1) '
    + "(global (mut i64) (i64.const 1))" * 10_000
    + _RUN.format(""),
    "a start that never ends": '(memory (export "memory") 1) (func $s (loop $l (br $l))) (start $s) '
    + _RUN.format(""),
    "a start that traps": '(memory (export "memory") 1) (func $s unreachable) (start $s) ' + _RUN.format(""),
    "a division by zero": '(memory (export "memory") 1) '
    + _RUN.format("(drop (i32.div_s (i32.const 1) (i32.const 0)))"),
    "an address beyond": '(memory (export "memory") 1) ' + _RUN.format("(drop (i32.load (i32.const -1)))"),
    "an odd call": '(memory (export "memory") 1) (table 2 funcref) (type $t (func)) '
    + _RUN.format("(call_indirect (type $t) (i32.const 1))"),
    "an exception": '(memory (export "memory") 1) (tag $e) ' + _RUN.format("(throw $e)"),
    "data beyond": '(memory (export "memory") 1) (data (i32.const 65535) "abc") ' + _RUN.format(""),
    "an odd place for parameters": """(memory (export "memory") 1)
        (func (export "ew_alloc") (param i32) (result i32) (i32.const -1))
        (func (export "ew_call") (param i32 i32) (result i64) (i64.const 0))""",
    "an odd result": """(memory (export "memory") 1)
        (func (export "ew_alloc") (param i32) (result i32) (i32.const 8))
        (func (export "ew_call") (param i32 i32) (result i64) (i64.const -1))""",
    "a memory that is no memory": '(func (export "memory")) ' + _RUN.format(""),
    "odd names": '(memory (export "memory") 1) (func (export "\\00\\e2\\82\\ac")) (func (export "")) '
    + _RUN.format(""),
}
KINDS: Final = {
    "nodejs:20": "function main() { return {fine: true} }",
    "python:3": "def main(a): return {'fine': True}",
}


@pytest.mark.parametrize(
    ("kind", "code"),
    [("nodejs:20", code) for code in JAVASCRIPT.values()] + [("python:3", code) for code in PYTHON.values()],
    ids=[f"javascript {name}" for name in JAVASCRIPT] + [f"python {name}" for name in PYTHON],
)
def test_an_action_at_a_limit(sandboxes: Sandboxes, kind: str, code: str) -> None:
    (outcome,) = run(sandboxes, action(sandboxes, code, kind=kind, timeout=3000, memory=128, logs=1))
    told(outcome)
    (after,) = run(sandboxes, action(sandboxes, KINDS[kind], kind=kind))
    assert orjson.loads(after.result) == {"fine": True}


@pytest.mark.parametrize("text", WASM.values(), ids=WASM)
def test_a_module_at_a_limit(sandboxes: Sandboxes, text: str) -> None:
    made = action(sandboxes, wat.module(f"(module {text})"), kind="wasm:default", timeout=500, memory=128)
    with contextlib.suppress(MalformedContent):  # with the reason: see test_modules
        sandboxes.check(made.exec)
        (outcome,) = run(sandboxes, made)
        told(outcome)
    (after,) = run(sandboxes, action(sandboxes, wat.module(wat.ECHO_REACTOR), kind="wasm:default"), '{"a":1}')
    assert after.result == b'{"a":1}'


def told(outcome: Outcome) -> None:
    """Whatever came of it is JSON that says so, and not more than there is room for."""
    result: Any = orjson.loads(outcome.result)
    assert len(outcome.result) <= 1 << 20
    assert sum(len(line.text) + 16 for line in outcome.logs) < 1_200_000
    if outcome.status is not Status.SUCCESS:
        assert result["error"]
