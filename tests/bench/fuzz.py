"""Damaged archives, modules and replies for as long as you like: the process must survive.

    python -m tests.bench.fuzz --minutes 10

A failure is an exception that is not the one that says what is wrong, or the end of the process. The seed is
printed; `--seed` repeats a run.
"""

from __future__ import annotations

import argparse
import base64
import io
import random
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import wasmtime

from edgewhisk.clock.system import SystemClock
from edgewhisk.entity.action import Action, ActionPut
from edgewhisk.entity.exec import CodeExec
from edgewhisk.entity.invocation.call import CallBatch
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import MalformedContent
from edgewhisk.sandbox import archive, outcome
from edgewhisk.sandbox.epochs import Epochs
from edgewhisk.sandbox.guest import abi
from edgewhisk.sandbox.memory.budget import Budget, usual
from edgewhisk.sandbox.module.modules import Modules
from tests.fakes.capabilities import NoCapabilities
from tests.sandbox import wat

SEEDS = [
    bytes(wasmtime.wat2wasm(text)) for text in (wat.ECHO_COMMAND, wat.ECHO_REACTOR, wat.LOOP, wat.GREEDY)
]
SEEDS.append(base64.b64decode(wat.printing('{"a": 1}\nlog\n{"b": 2}', exit_code=0)))
TRIM = 2000  # modules after which what was compiled is thrown away


def main() -> None:
    """Fuzz, then tell what happened."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    chance, counts = random.Random(options.seed), Counter[str]()
    end = time.monotonic() + options.minutes * 60
    with tempfile.TemporaryDirectory() as folder:
        modules = Modules(Path(folder) / "cache", SystemClock(), NoCapabilities(), Budget(usual()), Epochs())
        while time.monotonic() < end:
            counts[f"archive {unzip(chance)}"] += 1
            counts[f"reply {reply(chance)}"] += 1
            counts[f"module {module(modules, chance, sum(counts.values()))}"] += 1
        modules.close()
    for name, count in sorted(counts.items()):
        print(f"{count:>10,}  {name}")


def damaged(data: bytes, chance: random.Random) -> bytes:
    """`data` with some of its bytes changed, moved, doubled or gone."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at, size = chance.randrange(len(found) + 1), chance.choice((1, 1, 2, 4, 30))
        way = chance.randrange(5)
        if way == 0:
            found[at : at + 1] = bytes([chance.randrange(256)])
        elif way == 1:
            del found[at : at + size]
        elif way == 2:
            found[at:at] = chance.randbytes(size)
        elif way == 3:
            found[at:at] = found[at : at + size]
        else:
            found[at : at + size] = chance.choice((b"\xff", b"\0", b"\x7f", b"\x80")) * size
        found = found or bytearray(b"\0")
    return bytes(found)


def unzip(chance: random.Random) -> str:
    """One archive."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as made:
        wanted = (
            ["../x", "/etc/x", "a//b"] if chance.random() < 0.1 else ["index.js", "package.json", "a/b.py"]
        )
        for name in wanted:
            made.writestr(
                name, chance.choice((b"", b'{"main": "a/b.py"}', b"x" * 5000, chance.randbytes(50)))
            )
    try:
        files = archive.unzip(damaged(data.getvalue(), chance))
        archive.entry_of(files, archive.Layout("main.js", "index.js", "package.json"))
    except MalformedContent:
        return "refused"
    assert not any(".." in path.split("/") or path.startswith("/") for path in files)
    return "read"


def reply(chance: random.Random) -> str:
    """One table of replies, and a log."""
    base, count = 1 << 20, chance.randrange(1, 4)
    memory = chance.randbytes(abi.ROW * count + chance.randrange(200))
    if chance.random() < 0.5:
        memory = damaged(
            abi.table(abi.Given([b"{}"] * count, [b"{}"] * count, bytes(8 * count), 1), base), chance
        )
    memory = memory.ljust(abi.ROW * count, b"\0")
    abi.uniform(memory, base, count, 1 << 20)
    for found in abi.replies(memory, base, count, 1 << 20):
        outcome.lines(found.log)
        if found.status < 3:
            outcome.of_reply(found, 0, 1, largest=1 << 20, log_limit=100, init=0)
    list(abi.log_lines(chance.randbytes(chance.randrange(100))))
    return "decoded"


def module(modules: Modules, chance: random.Random, number: int) -> str:
    """One module: checked, and run if it is one."""
    code = base64.b64encode(damaged(chance.choice(SEEDS), chance)).decode()
    executable = CodeExec("wasm:default", code, None, True)
    try:
        modules.check(executable)
    except MalformedContent:
        return "refused"
    (found,) = modules.run(action(code, number), CallBatch([b'{"name":"Bo"}'], ["x"], {}))
    if not number % TRIM:
        for path in modules._engine._cache.glob("*"):
            path.unlink()
    return found.status.value


def action(code: str, number: int) -> Action:
    """An action that may take 100 ms."""
    body = {"exec": {"kind": "wasm:default", "code": code}, "limits": {"timeout": 100}}
    kinds = {"wasm:default": "wasm:default"}
    wanted = ActionPut.from_json(body, kinds=kinds, namespace="guest", limits=Limits())
    return wanted.create(parse_name(f"/guest/f{number}", "_"), Limits(), number)


if __name__ == "__main__":
    main()
