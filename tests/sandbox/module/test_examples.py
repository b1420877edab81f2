"""The worked examples of WebAssembly actions, each built by its compiler where there is one."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from edgewhisk.entity.invocation.message import Status
from edgewhisk.sandbox.pool import Sandboxes
from tests.sandbox.module.test_modules import action, run

EXAMPLES = Path(__file__).resolve().parents[3] / "sandboxes" / "wasm" / "examples"
ZIG = [sys.executable, "-m", "ziglang"]


class Example(NamedTuple):
    """A source, and how its compiler is called; `{}` is the target."""

    source: str
    compiler: str
    command: list[str]
    logged: str = "activation x1"


EXAMPLE = [
    Example("command.c", "ziglang", [*ZIG, "cc", "-target", "wasm32-wasi", "-O2", "-s", "-o", "{}"]),
    Example(
        "reactor.c",
        "ziglang",
        [*ZIG, "cc", "-target", "wasm32-wasi", "-mexec-model=reactor", "-O2", "-s", "-I..", "-o", "{}"],
        "called",
    ),
    Example(
        "command.zig",
        "ziglang",
        [*ZIG, "build-exe", "-target", "wasm32-wasi", "-O", "ReleaseSmall", "-femit-bin={}"],
        "",
    ),
    Example("command.rs", "wasm32-wasi", ["rustc", "--target", "wasm32-wasi", "-O", "-o", "{}"]),
    Example("command.go", "go", ["go", "build", "-o", "{}"]),
    Example("reactor.ts", "asc", ["asc", "--runtime", "stub", "-O", "-o", "{}"], "called"),
]


def has(compiler: str) -> bool:
    if compiler == "ziglang":
        return not subprocess.run([*ZIG, "version"], capture_output=True, check=False).returncode
    if compiler == "wasm32-wasi":
        rustc = rust()
        if rustc is None:
            return False
        asked = subprocess.run(
            [rustc, "--print", "target-libdir", "--target", "wasm32-wasi"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return Path(asked.stdout.strip() or "/nowhere").is_dir()
    return shutil.which(compiler) is not None


def rust() -> str | None:
    """Debian's own, which finds Debian's library for WebAssembly."""
    return "/usr/bin/rustc" if Path("/usr/bin/rustc").exists() else shutil.which("rustc")


@pytest.mark.parametrize("example", EXAMPLE, ids=lambda example: example.source)
def test_examples(
    sandboxes: Sandboxes, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, example: Example
) -> None:
    if not has(example.compiler):
        pytest.skip(f"no {example.compiler} here")
    target = tmp_path / "action.wasm"
    command = [part.format(target) for part in example.command]
    command[0] = rust() or command[0] if command[0] == "rustc" else command[0]
    environment = {**os.environ, "GOOS": "wasip1", "GOARCH": "wasm", "GOCACHE": str(tmp_path / "go")}
    environment |= {
        f"ZIG_{kind}_CACHE_DIR": str(tmp_path_factory.getbasetemp() / "zig") for kind in ("GLOBAL", "LOCAL")
    }
    built = subprocess.run(
        [*command, str(EXAMPLES / example.source)], cwd=EXAMPLES, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    made = action(sandboxes, base64.b64encode(target.read_bytes()).decode())
    sandboxes.check(made.exec)
    for arguments, greeting in (('{"name":"Bo"}', "Hello Bo"), ("{}", "Hello world")):
        outcome = run(sandboxes, made, arguments)
        assert outcome.status is Status.SUCCESS, outcome
        assert orjson.loads(outcome.result) == {"greeting": greeting}
        assert example.logged in "\n".join(line.text for line in outcome.logs)
