"""Where wasmtime gets linear memories from: each one is ours, and counted against one budget."""

from __future__ import annotations

import contextlib
import ctypes
import struct
import threading
from typing import Any, Final

import wasmtime
from wasmtime import _bindings

from edgewhisk.base.unforeseen import UNFORESEEN
from edgewhisk.sandbox.memory.budget import Budget, Share
from edgewhisk.sandbox.memory.linear import Linear

# Bytes of a memory that are not counted: what small actions need, so that they ask for nothing.
SPARED: Final = 4 << 20

# As the bindings declare them, but of types that need no cast in each call.
_NEW: Final = ctypes.CFUNCTYPE(
    ctypes.c_size_t, *[ctypes.c_void_p] * 2, *[ctypes.c_size_t] * 4, ctypes.c_void_p
)
_MADE: Final = struct.Struct("4P")  # wasmtime_linear_memory_t: its env, get_memory, grow_memory, finalizer


class Creator:
    """Gives wasmtime its memories, and counts them. Must live as long as the engine."""

    def __init__(self, budget: Budget, *, spared: int = SPARED, kept: int = 0) -> None:
        """Prepare the callbacks.

        Of each memory, `spared` bytes are not counted against `budget`. So many are `kept` for the next to
        come, which spares it the page faults; only where no file is ever mapped into them.
        """
        self._budget = budget
        self._spared = spared
        self._kept = kept
        self._idle: list[Linear] = []
        self._thread = threading.local()
        self._live: dict[int, Linear] = {}
        self._get = _bindings.wasmtime_memory_get_callback_t(self._on_get)
        self._grow = _bindings.wasmtime_memory_grow_callback_t(self._on_grow)
        self._free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._on_free)
        self._none = ctypes.CFUNCTYPE(None, ctypes.c_void_p)()
        self._callbacks = [
            ctypes.cast(one, ctypes.c_void_p).value for one in (self._get, self._grow, self._free)
        ]
        self._made_new = _NEW(self._on_new)
        self._new = ctypes.cast(self._made_new, _bindings.wasmtime_new_memory_callback_t)
        self._creator = _bindings.wasmtime_memory_creator_t(None, self._new, self._none)

    def use_in(self, config: wasmtime.Config) -> None:
        """Have an engine of this configuration ask us."""
        _bindings.wasmtime_config_host_memory_creator_set(config.ptr(), ctypes.byref(self._creator))

    def open(self) -> Share:
        """The share of the budget for a sandbox, whose memories are made on this thread from now on."""
        self._thread.made = []
        self._thread.share = share = self._budget.share()
        return share

    def created(self) -> list[Linear]:
        """The memories made on this thread since `open`."""
        made: list[Linear] = self._thread.made
        return made

    def _on_new(
        self, _env: Any, _type: Any, minimum: int, _most: int, reserved: int, guard: int, out: Any
    ) -> int:
        try:
            linear = self._linear(reserved, guard)
            try:
                linear.open(minimum, self._thread.share)
            except MemoryError:
                linear.free()
                raise
            self._live[linear.base] = linear
            self._thread.made.append(linear)
            ctypes.memmove(out, _MADE.pack(linear.base, *self._callbacks), _MADE.size)
        except MemoryError as error:
            return self._error(str(error))
        except BaseException as error:  # noqa: BLE001 - none may cross wasmtime: see `unforeseen`
            return self._error(UNFORESEEN.stop("a new memory", error))
        return 0

    def _on_get(self, env: int, size: Any, capacity: Any) -> int:
        linear = self._live[env]
        size[0], capacity[0] = linear.size, linear.reserved
        return linear.base

    def _on_grow(self, env: int, size: int) -> int:
        try:
            return 0 if self._live[env].grow(size) else self._error("the memory limit is reached")
        except MemoryError as error:  # of the kernel: the guest is refused like one at its limit
            return self._error(str(error))
        except BaseException as error:  # noqa: BLE001 - none may cross wasmtime: see `unforeseen`
            return self._error(UNFORESEEN.stop("memory.grow", error))

    def _on_free(self, env: int) -> None:
        linear = self._live.pop(env)
        if len(self._idle) < self._kept:
            linear.close()
            self._idle.append(linear)
        else:
            linear.free()

    def _linear(self, reserved: int, guard: int) -> Linear:
        with contextlib.suppress(IndexError):
            linear = self._idle.pop()
            if (linear.reserved, linear.span) == (reserved, reserved + guard):
                return linear
            linear.free()  # of a module with 64-bit addresses, say
        return Linear(reserved, guard, self._spared)

    def _error(self, text: str) -> int:
        made = _bindings.wasmtime_error_new(text.encode(errors="replace"))
        return ctypes.cast(made, ctypes.c_void_p).value or 0
