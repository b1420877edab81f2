"""The rewriting that makes a guest mark what it writes: nothing is missed, nothing else changes."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.guests import builds

GRANULE = 1024
SLACK = 16  # a store marks the granule it begins in; who restores adds this
PROGRAM = """
(module
  (memory (export "memory") 2)
  (func (export "i32") (param i32 i64) (i32.store offset=3 (local.get 0) (i32.wrap_i64 (local.get 1))))
  (func (export "i64") (param i32 i64) (i64.store (local.get 0) (local.get 1)))
  (func (export "i8") (param i32 i64) (i64.store8 offset=1020 (local.get 0) (local.get 1)))
  (func (export "f64") (param i32 i64) (f64.store (local.get 0) (f64.convert_i64_u (local.get 1))))
  (func (export "f32") (param i32 i64) (local $x f32)
    (local.set $x (f32.convert_i64_u (local.get 1)))
    (block $b (br_if $b (i32.eqz (i32.const 1))) (f32.store offset=70000 (i32.const 5) (local.get $x))))
  (func (export "fill") (param i32 i64)
    (memory.fill (local.get 0) (i32.const 7) (i32.wrap_i64 (i64.and (local.get 1) (i64.const 8191)))))
  (func (export "copy") (param i32 i64)
    (memory.copy (local.get 0) (i32.const 100) (i32.wrap_i64 (i64.and (local.get 1) (i64.const 8191))))))
"""
NAMES = ("i32", "i64", "i8", "f64", "f32", "fill", "copy")


@pytest.fixture(scope="module")
def track() -> ModuleType:
    builds().recipe("javascript")  # puts what recipes share on the path
    shared: ModuleType = importlib.import_module("recipe")
    found: ModuleType = shared.load(builds().HERE / "javascript" / "track.py")
    return found


@pytest.fixture(scope="module")
def modules(track: ModuleType) -> tuple[wasmtime.Engine, list[wasmtime.Module]]:
    """The program as it is, and with marks."""
    plain = bytes(wasmtime.wat2wasm(PROGRAM))
    engine = wasmtime.Engine()
    return engine, [wasmtime.Module(engine, code) for code in (plain, track.track(plain))]


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(NAMES), st.integers(0, 140_000), st.integers(0, 1 << 40)), max_size=8
    )
)
def test_every_write_is_marked(
    modules: tuple[wasmtime.Engine, list[wasmtime.Module]], steps: list[tuple[str, int, int]]
) -> None:
    store = wasmtime.Store(modules[0])
    plain, marked = (wasmtime.Instance(store, module, []).exports(store) for module in modules[1])
    for name, address, value in steps:
        assert ending(store, plain[name], address, value) == ending(store, marked[name], address, value)
    memory = content(store, marked["memory"])
    assert memory == content(store, plain["memory"])
    restored = bytearray(memory)
    for number, mark in enumerate(content(store, marked["marks"])[: len(memory) // GRANULE]):
        if mark:
            end = min(len(memory), (number + 1) * GRANULE + SLACK)
            restored[number * GRANULE : end] = bytes(end - number * GRANULE)
    assert not any(restored)


def ending(store: wasmtime.Store, function: Any, address: int, value: int) -> str:
    try:
        function(store, address, value)
    except wasmtime.Trap:
        return "trap"
    return "done"


def content(store: wasmtime.Store, memory: Any) -> bytes:
    return bytes(memory.read(store))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("(table.set (i32.const 0) (ref.null func))", "0x26"),
        ("(drop (table.grow (ref.null func) (i32.const 1)))", "0xfc 15"),
        ("(memory.init $d (i32.const 0) (i32.const 0) (i32.const 1))", "0xfc 8"),
        ("(data.drop $d)", "0xfc 9"),
        ("(v128.store (i32.const 0) (v128.const i32x4 0 0 0 0))", "0xfd"),
    ],
)
def test_what_cannot_be_undone_is_refused_at_build(track: ModuleType, body: str, what: str) -> None:
    text = f'(module (memory (export "memory") 1) (table 1 funcref) (data $d "x") (func {body}))'
    with pytest.raises(SystemExit, match=what):
        track.track(bytes(wasmtime.wat2wasm(text)))
