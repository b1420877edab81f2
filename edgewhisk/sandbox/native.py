"""wasmtime's C API without the checks that its Python wrapper makes for each call.

The wrapper rebuilds a function's type at each call: 29 us for adding two numbers, 0.6 us here. It
still owns every object; only calling, deadlines and host functions go past it. All names are those
of wasmtime's C API, whose ABI is the pinned version's.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, Final

import wasmtime
from wasmtime import _bindings, _ffi

_dll: Final = ctypes.CDLL(_ffi.dll._name)
_call: Final = _dll["wasmtime_func_call_unchecked"]
_call.restype = ctypes.c_void_p
_set_deadline: Final = _dll["wasmtime_context_set_epoch_deadline"]
_set_deadline.restype = None
_VALUE: Final = 16  # bytes of wasmtime_val_raw_t
_HOST: Final = _bindings.wasmtime_func_unchecked_callback_t
_NO_FINALIZER: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p)()


class Trap(Exception):
    """A guest was stopped. `interrupted`: by its deadline."""

    def __init__(self, message: str) -> None:
        """Keep wasmtime's text."""
        super().__init__(message)
        self.interrupted = "wasm trap: interrupt" in message


class Function:
    """An exported function of a live instance, with buffers of its own. One thread at a time."""

    def __init__(self, store: wasmtime.Store, function: wasmtime.Func) -> None:
        """Prepare to call `function`."""
        kind = function.type(store)
        self._keep = (store, function)
        self._context = _address(store._context().contents)
        self._function = _address(function._func)
        count = max(len(kind.params), len(kind.results), 1)
        self._values = (ctypes.c_uint64 * (2 * count))()
        self._p_values = _address(self._values)
        self._count = ctypes.c_size_t(count)
        self._trap = ctypes.c_void_p()
        self._p_trap = _address(self._trap)

    def __call__(self, *arguments: int) -> int:
        """Call with i32 or i64 arguments; the first result as u32. Raises `Trap`."""
        values = self._values
        for at, value in enumerate(arguments):
            values[2 * at] = value
        error = _call(self._context, self._function, self._p_values, self._count, self._p_trap)
        if error or self._trap.value:
            raise self._stopped(error)
        return int(values[0]) & 0xFFFFFFFF

    def _stopped(self, error: int | None) -> Trap:
        """Take over the error or the trap, which wasmtime leaves to the caller to free."""
        if error:
            kind = ctypes.POINTER(_ffi.wasmtime_error_t)
            return Trap(str(wasmtime.WasmtimeError._from_ptr(ctypes.cast(error, kind))))
        pointer = ctypes.cast(self._trap, ctypes.POINTER(_ffi.wasm_trap_t))
        self._trap.value = None
        return Trap(str(wasmtime.Trap._from_ptr(pointer)))


class Deadline:
    """Sets after how many epochs a store's guest is stopped."""

    def __init__(self, store: wasmtime.Store) -> None:
        """Of this store."""
        self._keep = store
        self._context = _address(store._context().contents)

    def set(self, epochs: int) -> None:
        """Counted from the engine's current epoch."""
        _set_deadline(self._context, ctypes.c_uint64(epochs))


class HostFunctions:
    """Functions lent to guests, defined without the wrapper's conversions (0.45 us a call).

    Must live as long as any guest that was linked with them.
    """

    def __init__(self, linker: wasmtime.Linker) -> None:
        """Define into `linker`."""
        self._linker = linker
        self._keep: list[Any] = []

    def define(
        self, name: str, parameters: Sequence[str], results: Sequence[str], run: Callable[[Any], None]
    ) -> None:
        """Define `env.name`; `run` gets the array of raw values, arguments in and results out.

        `run` must not raise: an exception cannot cross the guest.
        """
        kinds = [[getattr(wasmtime.ValType, kind)() for kind in side] for side in (parameters, results)]
        kind = wasmtime.FuncType(*kinds)

        def call(_data: int, _caller: Any, values: Any, _count: int) -> int:
            run(values)
            return 0

        callback = _HOST(call)
        self._keep += (kind, callback)
        module, field = b"env", name.encode()
        error = _bindings.wasmtime_linker_define_func_unchecked(
            self._linker.ptr(),
            ctypes.create_string_buffer(module),
            len(module),
            ctypes.create_string_buffer(field),
            len(field),
            kind.ptr(),
            callback,
            None,
            _NO_FINALIZER,
        )
        if error:
            raise wasmtime.WasmtimeError._from_ptr(error)


def base_address(store: wasmtime.Store, memory: wasmtime.Memory) -> int:
    """Where a memory begins in this process; ask again after it grew."""
    return ctypes.addressof(memory.data_ptr(store).contents)


def read(address: int, size: int) -> bytes:
    """Bytes of this process."""
    return ctypes.string_at(address, size)


def write(address: int, data: bytes) -> None:
    """Put bytes into this process."""
    ctypes.memmove(address, data, len(data))


def _address(value: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(ctypes.addressof(value))
