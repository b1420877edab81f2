"""wasmtime's C API without the checks that its Python wrapper makes for each call.

The wrapper rebuilds a function's type at each call: 29 us for adding two numbers, 0.6 us here. It
still owns every object; only calling, deadlines and host functions go past it. All names are those
of wasmtime's C API, whose ABI is the pinned version's.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import Any, Final

import wasmtime
from wasmtime import _bindings, _ffi

from edgewhisk.base.unforeseen import UNFORESEEN
from edgewhisk.sandbox.outcome import INTERRUPT, OutOfTime, Trap

_dll: Final = ctypes.CDLL(_ffi.dll._name)
_call: Final = _dll["wasmtime_func_call_unchecked"]
_call.restype = ctypes.c_void_p
_MOST_ELEMENTS: Final = 65_536  # of a module's table: Go's have some ten thousand


def _raw(name: str, result: Any) -> Any:
    function = _dll[name]
    function.restype = result
    return function


# These take less than giving way to other threads does.
_brief: Final = ctypes.PyDLL(_ffi.dll._name)


def _quick(name: str, result: Any) -> Any:
    function = _brief[name]
    function.restype = result
    return function


_store_new: Final = _quick("wasmtime_store_new", ctypes.c_void_p)
_store_context: Final = _quick("wasmtime_store_context", ctypes.c_void_p)
_store_delete: Final = _quick("wasmtime_store_delete", None)
_limiter: Final = _quick("wasmtime_store_limiter", None)
_instantiate: Final = _raw("wasmtime_instance_pre_instantiate", ctypes.c_void_p)  # may run a start function
_set_deadline: Final = _quick("wasmtime_context_set_epoch_deadline", None)
_export_get: Final = _quick("wasmtime_instance_export_get", ctypes.c_bool)
# As the bindings declare it, but with values of a type that needs no cast in each call.
_HOST: Final = ctypes.CFUNCTYPE(
    ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint64), ctypes.c_size_t
)
_TYPES: Final[dict[str, Callable[[], wasmtime.ValType]]] = {
    "i": wasmtime.ValType.i32,
    "j": wasmtime.ValType.i64,
    "d": wasmtime.ValType.f64,
}
_NO_FINALIZER: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p)()


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
        return self.wide(*arguments) & 0xFFFFFFFF

    def wide(self, *arguments: int) -> int:
        """The same with the first result as u64."""
        values = self._values
        for at, value in enumerate(arguments):
            values[2 * at] = value
        error = _call(self._context, self._function, self._p_values, self._count, self._p_trap)
        if error or self._trap.value:
            raise _stopped(error, self._trap)
        return int(values[0])


def _stopped(error: int | None, trap: ctypes.c_void_p) -> Trap:
    """Take over the error or the trap, which wasmtime leaves to the caller to free."""
    if error:
        kind = ctypes.POINTER(_ffi.wasmtime_error_t)
        return Trap(str(wasmtime.WasmtimeError._from_ptr(ctypes.cast(error, kind))), UNFORESEEN.take())
    pointer = ctypes.cast(trap, ctypes.POINTER(_ffi.wasm_trap_t))
    trap.value = None
    return Trap(str(wasmtime.Trap._from_ptr(pointer)), UNFORESEEN.take())


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
        self, module_name: str, name: str, parameters: str, results: str, run: Callable[[Any], str | None]
    ) -> None:
        """Define `module_name.name`; types are letters: i (i32), j (i64), d (f64).

        `run` gets the raw values, 16 bytes each, as an array of u64, arguments in and results out. A
        text that it returns stops the guest; so does `OutOfTime`, as its deadline does, and any other
        exception, which `UNFORESEEN` counts and tells.
        """
        kinds = [[_TYPES[letter]() for letter in side] for side in (parameters, results)]
        kind = wasmtime.FuncType(*kinds)

        def call(_data: int, _caller: Any, values: Any, _count: int) -> int:
            try:
                stop = run(values)
            except OutOfTime:
                stop = INTERRUPT
            except BaseException as error:  # noqa: BLE001 - none may cross the guest: see `unforeseen`
                stop = UNFORESEEN.stop(f"{module_name}.{name}", error)
            return 0 if stop is None else _trap(stop)

        callback = _HOST(call)
        self._keep += (kind, callback)
        module, field = module_name.encode(), name.encode()
        error = _bindings.wasmtime_linker_define_func_unchecked(
            self._linker.ptr(),
            ctypes.create_string_buffer(module),
            len(module),
            ctypes.create_string_buffer(field),
            len(field),
            kind.ptr(),
            ctypes.cast(callback, _bindings.wasmtime_func_unchecked_callback_t),
            None,
            _NO_FINALIZER,
        )
        if error:
            raise wasmtime.WasmtimeError._from_ptr(error)


class InstanceTemplate:
    """A linked module of which instances are made in microseconds, each in a store of its own."""

    def __init__(self, linker: wasmtime.Linker, module: wasmtime.Module) -> None:
        """Link; raises `wasmtime.WasmtimeError` if an import is missing or of another type."""
        self._keep = (linker, module)
        self._engine = ctypes.cast(linker.engine.ptr(), ctypes.c_void_p)
        pre = ctypes.POINTER(_bindings.wasmtime_instance_pre_t)()
        error = _bindings.wasmtime_linker_instantiate_pre(linker.ptr(), module.ptr(), ctypes.byref(pre))
        if error:
            raise wasmtime.WasmtimeError._from_ptr(error)
        self._pre = ctypes.cast(pre, ctypes.c_void_p)
        self._idle: list[Instance] = []
        self.exports = frozenset(export.name for export in module.exports)

    def __del__(self) -> None:
        """Free what the wrapper does not know of."""
        if pre := getattr(self, "_pre", None):
            _dll["wasmtime_instance_pre_delete"](pre)

    def open(self, memory: int, epochs: int) -> Instance:
        """An instance in a store of its own, with at most `memory` bytes; `close` it."""
        try:
            instance = self._idle.pop()
        except IndexError:
            instance = Instance(self._engine, self._pre)
        instance.open(memory, epochs)
        return instance

    def close(self, instance: Instance) -> None:
        """Drop the store, and keep what a call of it takes to prepare for the next one."""
        instance.close()
        self._idle.append(instance)


class Instance:
    """What is live during one call, and the arguments of wasmtime's functions for the next call's.

    One thread at a time.
    """

    def __init__(self, engine: ctypes.c_void_p, pre: ctypes.c_void_p) -> None:
        """Nothing is live yet."""
        self._engine, self._pre = engine, pre
        self._store, self._context, self._trap = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
        self._p_trap = ctypes.byref(self._trap)
        self._deadline = ctypes.c_uint64()
        self._memory = ctypes.c_int64()
        self._limits = (self._memory, *map(ctypes.c_int64, (_MOST_ELEMENTS, 1, 1, 1)))
        self._item = _bindings.wasmtime_extern_t()
        self._p_item = ctypes.byref(self._item)
        self._function = ctypes.byref(self._item.of.func)
        self._p_instance = ctypes.byref(_bindings.wasmtime_instance_t())
        self._size = ctypes.c_size_t()
        self._values = (ctypes.c_uint64 * 8)()
        self._count = ctypes.c_size_t(4)

    def open(self, memory: int, epochs: int) -> None:
        """A new store with at most `memory` bytes; not started: host functions may need what is made then."""
        self._store.value = _store_new(self._engine, None, None)
        self._context.value = _store_context(self._store)
        self._memory.value, self._deadline.value = memory, epochs
        _limiter(self._store, *self._limits)
        _set_deadline(self._context, self._deadline)

    def start(self) -> None:
        """Instantiate, which runs the module's start function; raises `Trap`."""
        error = _instantiate(self._pre, self._context, self._p_instance, self._p_trap)
        if error or self._trap.value:
            raise _stopped(error, self._trap)

    def call(self, name: bytes, *arguments: int) -> int:
        """Call an export of integers; its result as u64. Raises `Trap`."""
        self._size.value = len(name)
        if not _export_get(self._context, self._p_instance, name, self._size, self._p_item):
            raise Trap(f"no export {name.decode()}")
        values = self._values
        for at, value in enumerate(arguments):
            values[2 * at] = value
        error = _call(self._context, self._function, values, self._count, self._p_trap)
        if error or self._trap.value:
            raise _stopped(error, self._trap)
        return int(values[0])

    def close(self) -> None:
        """Drop the store with all that is in it."""
        _store_delete(self._store)


def base_address(store: wasmtime.Store, memory: wasmtime.Memory) -> int:
    """Where a memory begins in this process; ask again after it grew."""
    return ctypes.addressof(memory.data_ptr(store).contents)


def view(address: int) -> memoryview:
    """This process's memory from there on: 4 GiB, whether they are there or not.

    Reading and writing a slice takes a quarter of what `read` and `write` do.
    """
    return memoryview((ctypes.c_ubyte * (1 << 32)).from_address(address)).cast("B")


def read(address: int, size: int) -> bytes:
    """Bytes of this process."""
    return ctypes.string_at(address, size)


def write(address: int, data: bytes) -> None:
    """Put bytes into this process."""
    ctypes.memmove(address, data, len(data))


def _address(value: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(ctypes.addressof(value))


def _trap(message: str) -> int:
    """A trap for wasmtime to take over."""
    text = message.encode(errors="replace")
    return ctypes.cast(_bindings.wasmtime_trap_new(text, len(text)), ctypes.c_void_p).value or 0


def double(value: float) -> int:
    """The bits of a double, for a raw value."""
    return int.from_bytes(struct.pack("<d", value), "little")


def as_double(word: int) -> float:
    """A raw value's double."""
    found: float = struct.unpack("<d", word.to_bytes(8, "little"))[0]
    return found


def give_back() -> None:
    """Return freed memory to the kernel: compiling leaves hundreds of MB with the allocator (glibc only)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
