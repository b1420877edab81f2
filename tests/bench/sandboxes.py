"""What an isolated call costs, side by side in one run.

    python -m tests.bench.sandboxes              all tables, about a minute
    python -m tests.bench.sandboxes --calls 1000000 --only memory

The floor is a new store, an instance and a call of a tiny module through raw wasmtime calls: what any
isolation by a fresh instance costs at least. CPU speed drifts; trust ratios, not microseconds.
"""

from __future__ import annotations

import argparse
import base64
import ctypes
import gc
import itertools
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import wasmtime
from wasmtime import _bindings

from edgewhisk.clock.system import SystemClock
from edgewhisk.entity.action import Action, ActionPut
from edgewhisk.entity.invocation.call import ActionCall, CallBatch
from edgewhisk.entity.invocation.message import outcomes_of
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.sandbox import wasmtime_ffi
from edgewhisk.sandbox.component.components import Components, _text_of
from edgewhisk.sandbox.guest.slot import GuestSlot
from edgewhisk.sandbox.pool import Sandboxes
from tests.fakes.capabilities import NoCapabilities
from tests.sandbox import wat

NUMBERS = itertools.count(1)
HELLO_JS = "function main(p) { return {greeting: 'Hello ' + p.name} }"
HELLO_PY = "def main(args): return {'greeting': 'Hello ' + args['name']}"
XFORM_JS = """
function xform(p) {
  const out = {};
  for (const k in p) out[k + '_x'] = typeof p[k] === 'number' ? p[k] * 2 + 1 : p[k].toUpperCase();
  return out;
}
function main(p) { return xform(p) }"""
XFORM_OWN_JS = XFORM_JS.replace(
    "function main(p) { return xform(p) }",
    """function main(p) {
  const text = JSON.stringify(p), n = 200, from = performance.now();
  let last;
  for (let i = 0; i < n; i++) last = JSON.stringify(xform(JSON.parse(text)));
  return {us: (performance.now() - from) * 1000 / n, n: last.length};
}""",
)
XFORM_PY = """
def main(p):
    return {k + '_x': v * 2 + 1 if isinstance(v, int) else v.upper() for k, v in p.items()}
"""
FIELDS = {f"field{number}": number if number % 2 else f"value {number}" for number in range(100)}
NAME = b'{"name":"Bo"}'


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tables = {"javascript": javascript, "python": python, "wasm": wasm, "memory": memory}
    parser.add_argument("--only", choices=tables)
    parser.add_argument("--calls", type=int, default=20_000, help="calls of the memory table")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, {cpu()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder) / "cache", options.calls)
        for name, table in tables.items():
            if options.only in (None, name):
                table(bench)
        bench.sandboxes.close()


class Bench:
    """The sandboxes under test."""

    def __init__(self, cache: Path, count: int) -> None:
        """Compile; then start again, with the cache warm."""
        self.count = count
        # In another process: a compiler leaves this one's heap large, and then it does not seem to grow.
        compiling = multiprocessing.get_context("spawn").Process(target=compile_all, args=(cache,))
        compiling.start()
        compiling.join()
        begun = time.perf_counter()
        self.sandboxes = Sandboxes(cache, SystemClock(), NoCapabilities(), slots=4)
        self.sandboxes.prepare_first(lambda _: None)
        self.sandboxes.run(self.action(HELLO_JS), calls())
        self.started = time.perf_counter() - begun
        self.sandboxes.prepare_rest(lambda _: None)

    def action(self, code: str, kind: str = "nodejs:20") -> Action:
        body = {"exec": {"kind": kind, "code": code}}
        wanted = ActionPut.from_json(body, kinds=self.sandboxes.kinds, namespace="guest", limits=Limits())
        number = next(NUMBERS)
        return wanted.create(parse_name(f"/guest/b{number}", "_"), Limits(), number)

    def runs(self, action: Action, given: CallBatch) -> Callable[[], object]:
        """One run of `given`, after some to warm up."""
        for _ in range(20):
            self.sandboxes.run(action, given)
        return lambda: self.sandboxes.run(action, given)


def compile_all(cache: Path) -> None:
    """Fill the cache."""
    made = Sandboxes(cache, SystemClock(), NoCapabilities(), slots=1)
    made.prepare(lambda text: print(f"  {text}", file=sys.stderr))
    made.close()


def calls(arguments: bytes = NAME, count: int = 1) -> CallBatch:
    return CallBatch([arguments] * count, ["0" * 32] * count, {"namespace": "guest"})


def together(seconds: float, **what: Callable[[], object]) -> dict[str, tuple[float, float]]:
    """Median wall and CPU microseconds of each, taken in turns."""
    walls: dict[str, list[float]] = {name: [] for name in what}
    cpus = dict.fromkeys(what, 0.0)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, run in what.items():
            busy = time.thread_time()
            for _ in range(10):
                begun = time.perf_counter()
                run()
                walls[name].append(time.perf_counter() - begun)
            cpus[name] += time.thread_time() - busy
    return {
        name: (statistics.median(walls[name]) * 1e6, cpus[name] / len(walls[name]) * 1e6) for name in what
    }


def show(title: str, rows: list[tuple[str, float, str]]) -> None:
    """A table of microseconds with a remark each."""
    print(f"\n{title}")
    for name, value, remark in rows:
        print(f"  {name:<44}{value:>10.1f} us   {remark}")


def floor() -> Callable[[], object]:
    """A tiny module, new for each call, by raw calls with prepared arguments and pooled memory."""
    config = wasmtime.Config()
    config.epoch_interruption = True
    pool = _bindings.wasmtime_pooling_allocation_config_new()
    for name, value in (("total_memories", 8), ("total_core_instances", 8), ("total_tables", 8)):
        getattr(_bindings, f"wasmtime_pooling_allocation_config_{name}_set")(pool, value)
    _bindings.wasmtime_pooling_allocation_strategy_set(config.ptr(), pool)
    engine = wasmtime.Engine(config)
    text = '(module (memory (export "memory") 1) (func (export "f") (param i32) (result i32) (local.get 0)))'
    linker = wasmtime.Linker(engine)
    template = wasmtime_ffi.InstanceTemplate(linker, wasmtime.Module(engine, bytes(wasmtime.wat2wasm(text))))
    pre, raw = template._pre, ctypes.c_void_p(ctypes.cast(engine.ptr(), ctypes.c_void_p).value)
    instance, item, trap = _bindings.wasmtime_instance_t(), _bindings.wasmtime_extern_t(), ctypes.c_void_p()
    values, count, size, far = (
        (ctypes.c_uint64 * 4)(),
        ctypes.c_size_t(1),
        ctypes.c_size_t(1),
        ctypes.c_uint64(1 << 40),
    )
    p_instance, p_item, p_trap = ctypes.byref(instance), ctypes.byref(item), ctypes.byref(trap)
    p_function = ctypes.byref(item.of.func)

    def run() -> None:
        keep = (linker, engine, template)
        store = ctypes.c_void_p(wasmtime_ffi._store_new(raw, None, None))
        context = ctypes.c_void_p(wasmtime_ffi._store_context(store))
        wasmtime_ffi._set_deadline(context, far)
        wasmtime_ffi._instantiate(pre, context, p_instance, p_trap)
        wasmtime_ffi._export_get(context, p_instance, b"f", size, p_item)
        wasmtime_ffi._call(context, p_function, values, count, p_trap)
        wasmtime_ffi._store_delete(store)
        del keep

    return run


def javascript(bench: Bench) -> None:
    """JavaScript in the pool, JSON text in and out."""
    hello, other, large = bench.action(HELLO_JS), bench.action(HELLO_JS), bench.action(XFORM_JS)
    twenty = calls(count=20)
    turns = itertools.cycle((hello, other))
    slots = bench.sandboxes.hosts["nodejs:20"]
    found = together(
        4.0,
        floor=floor(),
        hello=bench.runs(hello, calls()),
        batch=bench.runs(hello, twenty),
        xform=bench.runs(large, calls(orjson.dumps(FIELDS))),
    )
    bench.runs(other, calls())
    slots._idle[1:] = []  # type: ignore[attr-defined]
    found |= together(
        2.0, switch=lambda: bench.sandboxes.run(next(turns), calls()), same=bench.runs(hello, calls())
    )
    ran = bench.sandboxes.run(bench.action(XFORM_OWN_JS), calls(orjson.dumps(FIELDS)))
    (own,) = outcomes_of(ran)
    own_us = orjson.loads(own.result)["us"]
    begun = time.perf_counter()
    deployed = bench.action(HELLO_JS)
    bench.sandboxes.check(deployed.exec)
    bench.sandboxes.run(deployed, calls())
    deploy = time.perf_counter() - begun
    base, hello_us = found["floor"][0], found["hello"][0]
    show(
        "JavaScript",
        [
            ("floor: store + instance + call, raw", base, ""),
            ("hello, isolated", hello_us, f"{hello_us / base:.2f} x floor"),
            (
                "hello, isolated, in batches of 20, each",
                found["batch"][0] / 20,
                f"{found['batch'][0] / 20 / base:.2f} x floor",
            ),
            (
                "hello, another action each call",
                found["switch"][0],
                f"{found['switch'][0] / hello_us:.2f} x hello",
            ),
            (
                "100-field transform, isolated",
                found["xform"][0],
                f"{found['xform'][0] / own_us:.2f} x QuickJS's own",
            ),
            (
                "100-field transform, QuickJS's own run",
                own_us,
                "parse, transform, stringify in a loop inside",
            ),
            ("deploy to first result", deploy * 1e6, ""),
            ("start of the runtime to first result", bench.started * 1e6, "engine cached"),
        ],
    )


def python(bench: Bench) -> None:
    """Python: restored slots, fresh instances, and a live one that leaks."""
    host = bench.sandboxes.hosts["python:3"]
    assert isinstance(host, Components)
    hello, large = bench.action(HELLO_PY, "python:3"), bench.action(XFORM_PY, "python:3")
    fields = calls(orjson.dumps(FIELDS))
    # Not in turns: a fresh instance throws everything else out of the caches.
    found = together(2.0, hello=bench.runs(hello, calls()))
    found |= together(2.0, large=bench.runs(large, fields))
    found |= together(1.0, fresh=lambda: host.run_fresh(hello, list(calls().each())))
    parts = {
        name: leaky(host, action, one)
        for name, action, given in (("hello", hello, calls()), ("large", large, fields))
        for one in given.each()
    }
    turns = itertools.cycle((hello, large))
    host._idle[1:] = []
    arguments = {id(hello): calls(), id(large): fields}

    def switch() -> None:
        action = next(turns)
        bench.sandboxes.run(action, arguments[id(action)])

    changed = together(2.0, switch=switch)["switch"][0]
    same = (found["hello"][0] + found["large"][0]) / 2
    begun = time.perf_counter()
    deployed = bench.action(HELLO_PY, "python:3")
    bench.sandboxes.check(deployed.exec)
    bench.sandboxes.run(deployed, calls())
    deploy = time.perf_counter() - begun
    print(f"\n(way: {host.describe()['way']})", end="")
    total, restore = found["hello"][1], parts["hello"][1]
    show(
        "Python (CPU)",
        [
            ("hello, isolated, all", total, f"{found['fresh'][1] / total:.0f} x less than a fresh instance"),
            ("hello, isolated, before the reply", total - restore, "the rest puts the memory back"),
            ("hello, a fresh instance", found["fresh"][1], ""),
            ("hello, live instance without isolation", parts["hello"][0], ""),
            (
                "100-field transform, isolated",
                found["large"][1],
                f"{found['large'][1] / parts['large'][0]:.2f} x the leaky one",
            ),
            ("100-field transform, without isolation", parts["large"][0], ""),
            ("change of action, over a call without", changed - same, ""),
            ("deploy to first result", deploy * 1e6, ""),
        ],
    )


def leaky(host: Components, action: Action, one: ActionCall) -> tuple[float, float]:
    """CPU microseconds of a call that is not undone, and of undoing it."""
    slot = host._take(action.revision)
    if slot.revision != action.revision:
        image = host._images.find(action.revision)
        assert image is not None
        slot.attach(action.revision, image)
    serving, text = host._serving(action, one), _text_of(action, one)
    undo = 0.0
    for _ in range(500):
        slot.restorer.watch()
        host._call(slot.live, slot.live.run, text, serving)
        begun = time.thread_time()
        slot.restorer.restore()
        undo += time.thread_time() - begun
    begun = time.thread_time()
    for _ in range(500):
        host._call(slot.live, slot.live.run, text, serving)
    leak = time.thread_time() - begun
    slot.broken = True
    return leak / 500 * 1e6, undo / 500 * 1e6


def wasm(bench: Bench) -> None:
    """Modules of the user's own."""
    command = bench.action(wat.module(wat.ECHO_COMMAND), "wasm:default")
    reactor = bench.action(wat.module(wat.ECHO_REACTOR), "wasm:default")
    what = {"command": bench.runs(command, calls()), "reactor": bench.runs(reactor, calls())}
    if (built := c_hello()) is not None:
        what["c"] = bench.runs(bench.action(built, "wasm:default"), calls())
    found = together(3.0, floor=floor(), **what)
    rows = [("floor: store + instance + call, raw", found["floor"][0], "")]
    names = {
        "command": "echo command, 300 bytes",
        "reactor": "echo reactor, 200 bytes",
        "c": "printf command in C, zig",
    }
    rows += [(names[key], found[key][0], f"{found[key][0] / found['floor'][0]:.1f} x floor") for key in what]
    show("WebAssembly", rows)


def c_hello() -> str | None:
    """examples/command.c, if zig is here."""
    source = Path(__file__).resolve().parents[2] / "sandboxes" / "wasm" / "examples" / "command.c"
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "c.wasm"
        command = [
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            "-target",
            "wasm32-wasi",
            "-O2",
            "-s",
            "-o",
            str(target),
        ]
        done = subprocess.run([*command, str(source)], capture_output=True, check=False)
        return None if done.returncode else base64.b64encode(target.read_bytes()).decode()


def memory(bench: Bench) -> None:
    """Memory of slots, of actions at rest, and over many calls."""
    print("\nMemory (PSS)")
    host: Any = bench.sandboxes.hosts["nodejs:20"]
    before = pss()
    slots = [GuestSlot(host.parts) for _ in range(20)]
    print(f"  {'live JavaScript slot':<44}{(pss() - before) / 20:>10.0f} KB")
    del slots
    gc.collect()
    actions = [bench.action(HELLO_JS.replace("Hello", f"Hello {number}")) for number in range(200)]
    bench.sandboxes.run(actions[0], calls())
    before = pss()
    for action in sorted(actions, key=lambda _: os.urandom(4)):
        bench.sandboxes.run(action, calls())
    grown = pss() - before
    print(f"  {'200 actions deployed, each called once':<44}{grown:>10.0f} KB   {grown / 200:.0f} KB each")
    hello = bench.runs(actions[0], calls(count=20))
    hello()
    before = pss()
    for _ in range(bench.count // 20):
        hello()
    now = pss()
    print(
        f"  {f'after {bench.count:,} calls':<44}{now:>10.0f} KB   {now / before:.3f} of {before:.0f} KB before"
    )


def pss() -> float:
    """KB of this process, shared pages counted in part."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return float(line.split()[1])
    raise RuntimeError("no Pss in smaps_rollup")


def cpu() -> str:
    """Its name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return "unknown"


if __name__ == "__main__":
    main()
