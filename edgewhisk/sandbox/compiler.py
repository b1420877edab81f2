"""Compiles in a process of its own, which ends with all that it took: 400 MB for CPython.

That process gets the WebAssembly on stdin, writes the machine code into the cache, and says on stdout why it
could not. It knows no key and no setting of the gateway, and goes when the gateway does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import wasmtime
from wasmtime.component import Component

from edgewhisk.errors import SandboxError
from edgewhisk.sandbox import code_cache

if TYPE_CHECKING:
    from edgewhisk.sandbox.engine import Engine

WORTH: Final = 256 << 10  # bytes of WebAssembly from which on a process is started: that takes 0.3 s itself
FORMS: Final[dict[str, Any]] = {"module": wasmtime.Module, "component": Component}
_PATIENCE: Final = 1800.0  # seconds; CPython takes one to two minutes on a Raspberry Pi 4
_NICE: Final = 5
_REFUSED, _NOT_KEPT = 3, 4  # exit status
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


def translated(engine: wasmtime.Engine, form: str, wasm: bytes, what: str) -> bytes:
    """The machine code of `what`, compiled in this process; raises `SandboxError` if it is no WebAssembly."""
    try:
        return bytes(FORMS[form](engine, wasm).serialize())
    except wasmtime.WasmtimeError as error:
        reason = " ".join(str(error).split())
        raise SandboxError(f"{what} is no WebAssembly that runs here: {reason}") from error


def compile_apart(entry: Path, form: str, stack: int, wasm: bytes, what: str) -> str:
    """Have another process compile `what` into the cache's `entry` (blocking); why it did not, or "".

    Raises `SandboxError` if it is no WebAssembly that runs here, or took too long. `stack`: the engine's.
    """
    command = [sys.executable, "-P", "-m", __name__, str(entry), form, str(stack), what, str(os.getpid())]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUTF8": "1"}
    if found := os.environ.get("LD_LIBRARY_PATH"):
        environment["LD_LIBRARY_PATH"] = found
    try:
        done = subprocess.run(
            command, input=wasm, capture_output=True, timeout=_PATIENCE, env=environment, check=False,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return f"it could not be started: {error.strerror}"
    except subprocess.TimeoutExpired:
        raise SandboxError(f"{what} was not compiled within {_PATIENCE:.0f} s: given up") from None
    if done.returncode == _REFUSED:
        raise SandboxError(done.stdout.decode(errors="replace"))
    if done.returncode < 0:
        return f"it was ended by {signal.Signals(-done.returncode).name}"
    told = done.stdout if done.returncode == _NOT_KEPT else done.stderr
    last = told.decode(errors="replace").strip().rpartition("\n")[2]
    return f"it ended with {done.returncode}: {last}" if done.returncode else ""


def main(arguments: list[str]) -> int:
    """Compile what is on stdin; the exit status."""
    entry, form, stack, what, parent = arguments
    _go_with(int(parent))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of the whole service: the gateway's end is ours
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    try:
        code = translated(
            _engine(Path(entry).parent, int(stack)).wasmtime, form, sys.stdin.buffer.read(), what
        )
        code_cache.store(Path(entry), code)
    except SandboxError as error:
        sys.stdout.write(error.message)
        return _REFUSED
    except OSError as error:
        sys.stdout.write(f"{error.filename or entry}: {error.strerror}")
        return _NOT_KEPT
    return 0


def _engine(cache: Path, stack: int) -> Engine:
    """One that compiles exactly as the gateway's."""
    from edgewhisk.sandbox.engine import Engine
    from edgewhisk.sandbox.epochs import Epochs
    from edgewhisk.sandbox.memory.budget import Budget
    from edgewhisk.sandbox.memory.creator import Creator

    return Engine(cache, Creator(Budget(0)), Epochs(), stack=stack)


def _go_with(parent: int) -> None:
    """Be killed when the parent's thread that waits for us is no more; at once if it is gone already."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the gateway is gone")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
