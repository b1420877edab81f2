"""One wasmtime engine: compiles guests once for a device, and loads what is compiled."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import wasmtime
from wasmtime.component import Component

from edgewhisk.sandbox import code_cache, compiler
from edgewhisk.sandbox.epochs import Epochs
from edgewhisk.sandbox.memory.creator import Creator
from edgewhisk.sandbox.wasmtime_ffi import give_back

_log = logging.getLogger(__name__)

# Of wasmtime, whose ABI this folder calls: a test holds it against pyproject.toml and what is installed.
# Asking importlib.metadata takes 1 MB and 15 ms.
VERSION: Final = "50.0.1"
_MAX_WASM_STACK: Final = 2 << 20  # bytes; QuickJS uses 2 to 4 times its shadow stack of 176 KiB
COMPONENT_STACK: Final = 1536 << 10  # bytes; must stay below the 2 MiB of its asynchronous stack


class Engine:
    """wasmtime's engine with a cache of compiled code."""

    def __init__(
        self, cache: Path, creator: Creator, epochs: Epochs, *, stack: int = _MAX_WASM_STACK
    ) -> None:
        """Keep compiled code in the directory `cache`, which only the service may write.

        Memories come from `creator`; `epochs` stop calls. `stack`: bytes that calls may nest to.
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
        self.epochs = epochs
        epochs.count_for(self.wasmtime)

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

    def _key(self, wasm: bytes) -> str:
        parts = (VERSION, self._settings, platform.machine(), hashlib.sha256(wasm).hexdigest())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
