"""The process that compiles: what it leaves behind, and what is done without it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.clock.system import SystemClock
from edgewhisk.errors import SandboxError
from edgewhisk.sandbox import code_cache, compiler
from edgewhisk.sandbox.pool import Sandboxes
from tests.fakes.capabilities import NoCapabilities
from tests.guests import builds
from tests.path.gateway import Gateway, until
from tests.sandbox.test_pool import action, run

START = """
import sys
from pathlib import Path
from edgewhisk.clock.system import SystemClock
from edgewhisk.sandbox.pool import Sandboxes
from tests.fakes.capabilities import NoCapabilities
Sandboxes(Path(sys.argv[1]), SystemClock(), NoCapabilities(), slots=1).prepare_first(print)
"""


@pytest.fixture(autouse=True, scope="module")
def built() -> None:
    builds().build()


def children(parent: int) -> Iterator[int]:
    """The processes of `parent` that compile."""
    for task in Path(f"/proc/{parent}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"edgewhisk.sandbox.compiler" in Path(f"/proc/{child}/cmdline").read_bytes():
                yield int(child)


def compiling(parent: int) -> int:
    """The one that is there, once it is."""
    until(lambda: any(children(parent)), what="a compiler")
    return next(children(parent))


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def works(made: Sandboxes) -> bool:
    answered = run(made, action(made, "function main() { return {a: 1} }"))[0].result
    made.close()
    return answered == b'{"a":1}'


def sandboxes(cache: Path) -> Sandboxes:
    return Sandboxes(cache, SystemClock(), NoCapabilities(), slots=1)


def anonymous(made: Gateway) -> float:
    """MB that no file holds."""
    lines = Path(f"/proc/{made.pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss_Anon:")).split()[1]) / 1024


def test_a_first_start_keeps_nothing_of_compiling(tmp_path: Path) -> None:
    (tmp_path / "state" / "cache").mkdir(parents=True, mode=0o700)  # empty: nothing is lent
    held = []
    made = Gateway(tmp_path)
    for _ in range(2):
        made.start()
        until(lambda: made.status()["sandboxes"]["python:3"]["state"] == "ready", 300)
        held.append(anonymous(made))
        assert made.stop() == 0
    first, again = held
    assert first < again + 10


def test_a_compiler_that_is_killed_is_told_and_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_PASSWORD", "secret")
    made = sandboxes(tmp_path / "cache")
    preparing = threading.Thread(target=made.prepare_first, args=[print])
    preparing.start()
    child = compiling(os.getpid())
    assert b"secret" not in Path(f"/proc/{child}/environ").read_bytes()
    os.kill(child, signal.SIGKILL)
    preparing.join()
    assert works(made)
    assert "it was ended by SIGKILL; compiling in the gateway" in caplog.text


def test_a_compiler_goes_with_its_gateway(tmp_path: Path) -> None:
    gateway = subprocess.Popen([sys.executable, "-c", START, str(tmp_path / "cache")])
    child = compiling(gateway.pid)
    gateway.kill()
    gateway.wait()
    until(lambda: gone(child), what="the end of the compiler")
    assert works_after(tmp_path / "cache")


def test_where_nothing_can_be_kept_the_gateway_compiles_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    made = sandboxes(tmp_path / "file" / "cache")
    made.prepare_first(print)
    assert works(made)
    assert "Not a directory; compiling in the gateway" in caplog.text


def test_without_an_interpreter_the_gateway_compiles_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    made = sandboxes(tmp_path / "cache")
    made.prepare_first(print)
    assert works(made)
    assert "it could not be started: No such file or directory" in caplog.text


def test_what_is_no_webassembly_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = sandboxes(tmp_path / "cache").engine_of_guests
    messages = []
    for size in (8, compiler.WORTH):  # here, and apart
        with pytest.raises(SandboxError) as told:
            engine.module(b"\0asm\1\0\0\0" + b"\xff" * size, "it")
        messages.append(told.value.message)
    assert all(message.startswith("it is no WebAssembly that runs here: ") for message in messages)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_gateways_that_compile_into_one_cache_do_each_other_no_harm(tmp_path: Path) -> None:
    made = [sandboxes(tmp_path) for _ in range(2)]
    preparing = [threading.Thread(target=one.prepare_first, args=[print]) for one in made]
    for one in preparing:
        one.start()
    for one in preparing:
        one.join()
    assert all(works(one) for one in made)
    assert [code_cache.is_whole(entry) for entry in tmp_path.glob("*.cwasm")] == [True]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".cwasm", ".sha256"]


def works_after(cache: Path) -> bool:
    """Whether the next start, on what was left, is right."""
    made = sandboxes(cache)
    made.prepare_first(print)
    return works(made)


def test_how_long_a_runtime_has_been_compiled_is_told(tmp_path: Path) -> None:
    """The first Python action waits for that, and whoever waits is told."""
    made, found = Sandboxes(tmp_path, SystemClock(), NoCapabilities(), slots=1), list[Any]()

    def progress(_: str) -> None:
        found.append(made.describe())
        raise SandboxError("enough")

    with contextlib.suppress(SandboxError):
        made.prepare_first(progress)
    made.close()
    (told,) = found
    (seconds,) = [
        one["compiling_seconds"] for one in told.values() if isinstance(one, dict) and len(one) == 2
    ]
    assert 0 <= seconds < 600
    assert [
        one for one in made.describe().values() if isinstance(one, dict) and "compiling_seconds" in one
    ] == []
