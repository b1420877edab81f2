"""One wasmtime engine: compiles guests once for a device, and stops calls at their deadline."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import platform
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import wasmtime
from wasmtime.component import Component

from edgewhisk.sandbox import code_cache, compiler
from edgewhisk.sandbox.memory.creator import Creator
from edgewhisk.sandbox.wasmtime_ffi import give_back

_log = logging.getLogger(__name__)

# Of wasmtime, whose ABI this folder calls: a test holds it against pyproject.toml and what is installed.
# Asking importlib.metadata takes 1 MB and 15 ms.
VERSION: Final = "50.0.1"
TICK: Final = 0.008  # seconds of an epoch: how late a call may be stopped, and what the ticker is late itself
_DOZE: Final = 0.048  # seconds without an epoch while only `patient` calls run
_LINGER: Final = 1.0  # seconds that the ticker goes on after the last call, for the next one
_MAX_WASM_STACK: Final = 2 << 20  # bytes; QuickJS uses 2 to 4 times its shadow stack of 176 KiB
COMPONENT_STACK: Final = 1536 << 10  # bytes; must stay below the 2 MiB of its asynchronous stack


class Engine:
    """wasmtime's engine with a cache of compiled code and a clock for deadlines."""

    def __init__(self, cache: Path, creator: Creator, *, stack: int = _MAX_WASM_STACK) -> None:
        """Keep compiled code in the directory `cache`, which only the service may write.

        Memories come from `creator`. `stack`: bytes that calls may nest to.
        """
        config = wasmtime.Config()
        config.epoch_interruption = True
        config.max_wasm_stack = stack
        self._settings = f"epoch stack={stack} owned still alone"  # what compiled code depends on
        config.memory_may_move = False  # addresses of memories are kept
        config.wasm_threads = False  # a module that waits for another thread would pass its deadline
        config.memory_init_cow = False  # with a creator of memories it aborts the process otherwise
        creator.use_in(config)
        self.creator = creator
        self._compiling = threading.Lock()  # one at a time: it takes all cores, and memory for each
        self.wasmtime = wasmtime.Engine(config)
        self._cache = cache
        self._stack = stack
        self._calls = threading.Condition(threading.Lock())
        self._running = 0  # calls that are not patient
        self._idle_since = self._exact_since = 0.0
        self._hurries = False  # whether a patient call runs
        self._asleep = self._dozing = False
        self._last = 0.0  # monotonic seconds up to which epochs were counted
        self._closing = False
        self._ticker: threading.Thread | None = None

    def announce(self, wasm: bytes, what: str, progress: Callable[[str], None]) -> bool:
        """Whether `what` has to be compiled; if so, a person is told."""
        if (self._cache / f"{self._key(wasm)}.cwasm").exists():
            return False
        progress(f"compiling {what} for this device; later starts load it")
        return True

    def module(self, wasm: bytes, what: str) -> tuple[wasmtime.Module, bool]:
        """The compiled module `what`, and whether it had to be compiled now.

        Raises `SandboxError` if it is no module. An entry of the cache is machine code: it is loaded
        only if its digest, made when it was written, still holds.
        """
        return self._compiled(wasm, what, "module")

    def component(self, wasm: bytes, what: str) -> tuple[Component, bool]:
        """The same for a component."""
        return self._compiled(wasm, what, "component")

    def _compiled(self, wasm: bytes, what: str, form: str) -> tuple[Any, bool]:
        entry = self._cache / f"{self._key(wasm)}.cwasm"
        if (found := self._loaded(entry, form)) is not None:
            return found, False
        with self._compiling:
            if len(wasm) >= compiler.WORTH:
                problem = compiler.compile_apart(entry, form, self._stack, wasm, what)
                if not problem and (found := self._loaded(entry, form)) is not None:
                    return found, True
                told = problem or f"{entry} is not what it wrote"
                _log.warning("the process that compiles %s: %s; compiling in the gateway", what, told)
            code = compiler.translated(self.wasmtime, form, wasm, what)
        # A disk that refuses costs the next start its compile time, nothing else.
        with contextlib.suppress(OSError):
            code_cache.store(entry, code)
        found = self._loaded(entry, form) or compiler.FORMS[form].deserialize(self.wasmtime, code)
        del code
        give_back()
        return found, True

    def _loaded(self, entry: Path, form: str) -> Any:
        """What the cache holds, mapped from its file; None if there is nothing that is whole."""
        with contextlib.suppress(wasmtime.WasmtimeError):
            if code_cache.is_whole(entry):
                return compiler.FORMS[form].deserialize_file(self.wasmtime, str(entry))
        return None

    def epochs(self, until: float) -> int:
        """The deadline for a call that may run `until`, in monotonic seconds; never before that.

        Counted from the time of the last epoch, so it holds when the ticker is behind. Between `begin` and
        `end` only.
        """
        return max(1, math.ceil((until - self._last) / TICK))

    @contextlib.contextmanager
    def ticking(self) -> Iterator[None]:
        """Let epochs pass inside the block."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def begin(self, *, inline: bool = False) -> None:
        """Let epochs pass until `end`.

        A `patient` call may be stopped some 50 ms late: a brief action that hangs does that once. Sensors
        that keep one busy would else have the ticker wake 125 times a second for nothing. Such calls come
        from one thread, the event loop's, and while the ticker is about they take no lock: the ticker looks
        for one once more after it said that it sleeps.
        """
        if inline:
            self._hurries = True
            if self._ticker is not None and not self._asleep:
                return
        with self._calls:
            if not inline:
                self._running += 1
            if self._ticker is None or self._asleep:
                self._last = time.monotonic()
            if self._ticker is None:
                self._ticker = threading.Thread(target=self._tick, name="epochs", daemon=True)
                self._ticker.start()
            elif self._asleep or (self._dozing and not inline):
                self._calls.notify()  # until the ticker says otherwise: it may miss a call this short

    def end(self, *, inline: bool = False) -> None:
        """One call less."""
        if inline:
            self._idle_since = time.monotonic()
            self._hurries = False
            return
        with self._calls:
            self._running -= 1
            self._idle_since = self._exact_since = time.monotonic()

    def close(self) -> None:
        """End the ticker."""
        with self._calls:
            self._closing = True
            self._calls.notify()
        if self._ticker is not None:
            self._ticker.join()

    def _tick(self) -> None:
        """Count epochs by the monotonic clock: a thread that slept too long catches up."""
        while not self._closing:
            self._rest()
            while time.monotonic() - self._last >= TICK:
                self.wasmtime.increment_epoch()  # before `_last`: a reader in between is late, not early
                self._last += TICK

    def _rest(self) -> None:
        """Wait for the next epoch, or while there is no need of one."""
        with self._calls:
            if not self._wanted and time.monotonic() - self._idle_since > _LINGER:
                self._asleep = True
                self._calls.wait_for(lambda: self._wanted or self._closing)
                self._asleep = False
            if not self._running and time.monotonic() - self._exact_since > _LINGER:
                self._dozing = True
                self._calls.wait_for(lambda: self._running or self._closing, _DOZE)
                self._dozing = False
                return
        time.sleep(TICK)

    @property
    def _wanted(self) -> bool:
        return self._hurries or self._running > 0

    def _key(self, wasm: bytes) -> str:
        parts = (VERSION, self._settings, platform.machine(), hashlib.sha256(wasm).hexdigest())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
