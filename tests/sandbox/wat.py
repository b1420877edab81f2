"""Small modules in WebAssembly text, for tests that need no compiler."""

from __future__ import annotations

import base64

import wasmtime

ECHO_COMMAND = """
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 60000))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))))
"""

ECHO_REACTOR = """
(module
  (memory (export "memory") 2)
  (global $top (mut i32) (i32.const 1024))
  (func (export "ew_alloc") (param i32) (result i32)
    (global.get $top) (global.set $top (i32.add (global.get $top) (local.get 0))))
  (func (export "ew_call") (param i32 i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1)))))
"""

LOOP = '(module (memory (export "memory") 1) (func (export "_start") (loop $l (br $l))))'
TRAP = '(module (memory (export "memory") 1) (func (export "_start") unreachable))'
GREEDY = """
(module (memory (export "memory") 1)
  (func (export "_start") (if (i32.eq (memory.grow (i32.const 8192)) (i32.const -1)) (then unreachable))))
"""


def module(text: str) -> str:
    """Base64 of the assembled module."""
    return base64.b64encode(wasmtime.wat2wasm(text)).decode()


def polling(*subscriptions: tuple[int, int], again: bool = False) -> str:
    """A command that polls once, or for ever: (0, ns) is a clock, (1, file) reads, (2, file) writes."""
    setup = "".join(
        f"(i32.store8 (i32.const {at + 8}) (i32.const {kind}))"
        f"(i32.store (i32.const {at + 16}) (i32.const 1))"
        f"(i64.store (i32.const {at + 24}) (i64.const {value}))"
        for at, (kind, value) in zip(range(1024, 4096, 48), subscriptions, strict=False)
    )
    count = len(subscriptions)
    poll = f"(drop (call $poll (i32.const 1024) (i32.const 8192) (i32.const {count}) (i32.const 16)))"
    return module(f"""
    (module
      (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "_start") {setup} {f"(loop $l {poll} (br $l))" if again else poll}))""")


def printing(data: str, stream: int = 1, exit_code: int | None = None) -> str:
    """A command that prints `data` and perhaps exits."""
    escaped = "".join(f"\\{byte:02x}" for byte in data.encode())
    leave = f"(call $exit (i32.const {exit_code}))" if exit_code is not None else ""
    return module(f"""
    (module
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (memory (export "memory") 2)
      (data (i32.const 64) "{escaped}")
      (func (export "_start")
        (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const {len(data.encode())}))
        (drop (call $write (i32.const {stream}) (i32.const 0) (i32.const 1) (i32.const 8)))
        {leave}))""")
