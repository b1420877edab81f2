"""One wasmtime engine: compiles guests once for a device, and stops calls at their deadline."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import wasmtime

from edgewhisk.errors import SandboxError

TICK: Final = 0.01  # seconds of an epoch: how late a call may be stopped
_LINGER: Final = 1.0  # seconds that the ticker goes on after the last call, for the next one
_MAX_WASM_STACK: Final = 2 << 20  # bytes; QuickJS uses 2 to 4 times its shadow stack of 176 KiB
_SETTINGS: Final = f"epoch stack={_MAX_WASM_STACK}"  # what compiled code depends on
_MOST_CACHED: Final = 256 << 20  # bytes of compiled code
_DIGEST: Final = 32  # bytes of sha256 in front of a cache entry


class Engine:
    """wasmtime's engine with a cache of compiled code and a clock for deadlines."""

    def __init__(self, cache: Path) -> None:
        """Keep compiled code in the directory `cache`, which only the service may write."""
        config = wasmtime.Config()
        config.epoch_interruption = True
        config.max_wasm_stack = _MAX_WASM_STACK
        self.wasmtime = wasmtime.Engine(config)
        self.version = version("wasmtime")
        self._cache = cache
        self._calls = threading.Condition()
        self._running = 0
        self._idle_since = 0.0
        self._closing = False
        self._ticker: threading.Thread | None = None

    def has(self, wasm: bytes) -> bool:
        """Whether the module's code seems to be in the cache."""
        return (self._cache / f"{self._key(wasm)}.cwasm").exists()

    def module(self, wasm: bytes, what: str) -> tuple[wasmtime.Module, bool]:
        """The compiled module `what`, and whether it had to be compiled now.

        Raises `SandboxError` if it is no module. An entry of the cache is machine code: it is loaded
        only if its digest, made when it was written, still holds.
        """
        entry = self._cache / f"{self._key(wasm)}.cwasm"
        code = _load(entry)
        with contextlib.suppress(wasmtime.WasmtimeError):
            if code is not None:
                return wasmtime.Module.deserialize(self.wasmtime, code), False
        try:
            module = wasmtime.Module(self.wasmtime, wasm)
        except wasmtime.WasmtimeError as error:
            reason = " ".join(str(error).split())
            raise SandboxError(f"{what} is no WebAssembly module that runs here: {reason}") from error
        _store(entry, bytes(module.serialize()))
        _trim(self._cache)
        return module, True

    def epochs(self, seconds: float) -> int:
        """The deadline for a call that may take `seconds`."""
        return int(seconds / TICK) + 1

    @contextlib.contextmanager
    def ticking(self) -> Any:
        """Let epochs pass inside the block."""
        with self._calls:
            self._running += 1
            if self._ticker is None:
                self._ticker = threading.Thread(target=self._tick, name="epochs", daemon=True)
                self._ticker.start()
            elif self._running == 1 and self._idle_since == 0.0:
                self._calls.notify()
        try:
            yield
        finally:
            with self._calls:
                self._running -= 1
                self._idle_since = time.monotonic()

    def close(self) -> None:
        """End the ticker."""
        with self._calls:
            self._closing = True
            self._calls.notify()
        if self._ticker is not None:
            self._ticker.join()

    def _tick(self) -> None:
        """Count epochs by the monotonic clock: a thread that slept too long catches up."""
        last = time.monotonic()
        while True:
            with self._calls:
                if not self._running and time.monotonic() - self._idle_since > _LINGER:
                    self._idle_since = 0.0
                    self._calls.wait_for(lambda: self._running or self._closing)
                    last = time.monotonic()
                if self._closing:
                    return
            time.sleep(TICK)
            while time.monotonic() - last >= TICK:
                self.wasmtime.increment_epoch()
                last += TICK

    def _key(self, wasm: bytes) -> str:
        parts = (self.version, _SETTINGS, platform.machine(), hashlib.sha256(wasm).hexdigest())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _load(entry: Path) -> bytes | None:
    """The code of a cache entry if it is ours and whole."""
    try:
        if entry.parent.stat().st_uid != os.geteuid() or entry.stat().st_uid != os.geteuid():
            return None
        data = entry.read_bytes()
        os.utime(entry)  # used now: mounts with noatime would not tell
    except OSError:
        return None
    digest, code = data[:_DIGEST], data[_DIGEST:]
    return code if hashlib.sha256(code).digest() == digest else None


def _store(entry: Path, code: bytes) -> None:
    """Keep compiled code; a disk that refuses costs the next start its compile time, nothing else."""
    with contextlib.suppress(OSError):
        entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = entry.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(hashlib.sha256(code).digest())
            file.write(code)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(entry)


def _trim(cache: Path) -> None:
    """Drop the entries that were not used for longest when the cache is over its limit."""
    with contextlib.suppress(OSError):
        entries = sorted(cache.glob("*.cwasm"), key=lambda entry: -entry.stat().st_atime)
        total = 0
        for entry in entries:
            total += entry.stat().st_size
            if total > _MOST_CACHED:
                entry.unlink()
