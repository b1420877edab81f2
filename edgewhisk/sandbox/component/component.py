"""One live component: text in, text out, in a memory of our own."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import wasmtime
from wasmtime import _bindings, _ffi
from wasmtime.component import Component, Linker

from edgewhisk import jsontext
from edgewhisk.base.unforeseen import UNFORESEEN
from edgewhisk.sandbox.engine import Engine
from edgewhisk.sandbox.guest.image import Image
from edgewhisk.sandbox.host.hostcalls import CallContext, pause
from edgewhisk.sandbox.host.zones import zone
from edgewhisk.sandbox.memory.linear import Linear
from edgewhisk.sandbox.memory.restorer import Base, Restorer
from edgewhisk.sandbox.outcome import INTERRUPT, OutOfTime, Trap
from edgewhisk.sandbox.runtimes import Runtime
from edgewhisk.sandbox.wasmtime_ffi import Deadline
from edgewhisk.spi import LARGEST_REQUEST

_STRING: Final = 12  # wasmtime_component_valkind_t
_dll: Final = ctypes.CDLL(_ffi.dll._name)
_call: Final = _dll["wasmtime_component_func_call"]
_call.restype = ctypes.c_void_p
_delete: Final = _dll["wasmtime_component_val_delete"]
_delete.restype = None
_OWN: Final = ('{"op": "sleep"', '{"op": "zone"')  # what is no capability, as the guest's library writes it
_PACE: Final = 10.0  # seconds a component may take to start


class TextFunction:
    """An exported function of text that gives text, past the wrapper: 5 us where that takes 32."""

    def __init__(self, store: wasmtime.Store, function: Any) -> None:
        """Prepare to call `function`."""
        self._keep = (store, function)
        self._function = ctypes.byref(function._func)
        self._context = ctypes.byref(store._context().contents)
        self._argument = _bindings.wasmtime_component_val_t()
        self._argument.kind = _STRING
        self._result = _bindings.wasmtime_component_val_t()

    def __call__(self, text: bytes) -> bytes:
        """Call it with UTF-8. Raises `Trap`."""
        string = self._argument.of.string
        string.size = len(text)
        string.data = ctypes.cast(ctypes.c_char_p(text), type(string.data))
        result = ctypes.byref(self._result)
        error = _call(
            self._function, self._context, ctypes.byref(self._argument), ctypes.c_size_t(1), result,
            ctypes.c_size_t(1),
        )  # fmt: skip
        if error:
            pointer = ctypes.cast(error, ctypes.POINTER(_ffi.wasmtime_error_t))
            raise Trap(str(wasmtime.WasmtimeError._from_ptr(pointer)), UNFORESEEN.take())
        found = self._result.of.string
        answer = ctypes.string_at(found.data, found.size)
        _delete(result)
        return answer


class ComponentParts:
    """What all instances share: the compiled component and what it imports.

    Loaded with the first instance: it takes 80 ms and 5 MB, and many gateways have no action for it.
    """

    def __init__(self, engine: Engine, runtime: Runtime, ask: Callable[[object, str], str]) -> None:
        """`ask` is the component's one way out."""
        self.engine = engine
        self._runtime = runtime
        self._ask = ask
        self._loading = threading.Lock()
        self._loaded: tuple[Linker, Component] | None = None

    def compile(self, progress: Callable[[str], None]) -> None:
        """Have it compiled, if it is not yet (blocking); raises `SandboxError`."""
        wasm = self._runtime.wasm()
        if self.engine.announce(wasm, self._runtime.engine, progress):
            self.engine.component(wasm, str(self._runtime.module))

    def loaded(self) -> tuple[Linker, Component]:
        """Load it, once (blocking); raises `SandboxError`."""
        with self._loading:
            if self._loaded is None:
                component, _ = self.engine.component(self._runtime.wasm(), str(self._runtime.module))
                linker = Linker(self.engine.wasmtime)
                linker.add_wasip2()
                with linker.root() as root:
                    root.add_func("ask", self._ask)
                self._loaded = linker, component
            return self._loaded


class Live:
    """One instance. One thread at a time; after a `Trap` it is done for."""

    def __init__(self, parts: ComponentParts) -> None:
        """Start it: 15 ms. Raises `Trap`, `MemoryError`, or `SandboxError` where it cannot be loaded."""
        linker, component = parts.loaded()
        self._parts = parts
        self._serving: CallContext | None = None
        self._store = wasmtime.Store(parts.engine.wasmtime)
        self._store.set_wasi(wasmtime.WasiConfig())  # no files, no sockets, no streams
        self._deadline = Deadline(self._store)
        self.share = parts.engine.creator.open()
        with parts.engine.epochs.ticking():
            self._deadline.set(parts.engine.epochs.upto(time.monotonic() + _PACE))
            try:
                instance = linker.instantiate(self._store, component)
            except wasmtime.WasmtimeError as error:
                raise Trap(str(error)) from error
        (self.linear,) = parts.engine.creator.created()
        self.load = TextFunction(self._store, instance.get_func(self._store, "load"))
        self.run = TextFunction(self._store, instance.get_func(self._store, "run"))

    def deadline(self, until: float) -> None:
        """Stop what runs after `until`, monotonic seconds."""
        self.share.begin(until)
        self._deadline.set(self._parts.engine.epochs.upto(until))


class ComponentSlot:
    """A live instance that shows some action's memory, or the base's."""

    def __init__(self, live: Live, base: Base) -> None:
        """Show the base."""
        self.live = live
        self.size = live.linear.size
        self.broken = False
        self.revision: object = None
        self.restorer = Restorer(live.linear, base)

    def attach(self, revision: object, image: Image) -> None:
        """Show another memory."""
        self.restorer.show(image)
        self.revision = revision

    @property
    def spoilt(self) -> bool:
        """Whether it must be dropped: after a trap, or with a memory that grew and cannot shrink."""
        return self.broken or self.live.linear.size != self.size


def answer(serving: CallContext, request: str) -> str:
    """Serve what a component asks for: a pause and time zones here, all else through the one door.

    Raises `wasmtime.WasmtimeError` to stop it, and nothing else: the wrapper keeps any other exception for
    whoever calls into wasmtime next.
    """
    try:
        return _answer(serving, request)
    except OutOfTime as error:
        raise wasmtime.WasmtimeError(INTERRUPT) from error
    except BaseException as error:
        raise wasmtime.WasmtimeError(UNFORESEEN.stop("ask", error)) from error


def _answer(serving: CallContext, request: str) -> str:
    if request.startswith(_OWN):
        return jsontext.dumps(_perform(serving, request)).decode()
    text = request[: LARGEST_REQUEST + 1].encode()  # one more is refused, and not copied whole
    found = serving.ask(text)
    if found.refusal:
        serving.refusals.append((serving.done(), found.refusal))
    return found.text.decode()


def _perform(serving: CallContext, request: str) -> dict[str, Any]:
    """Do what the guest's own library asks for."""
    try:
        fields = jsontext.parse(request.encode()).value
    except jsontext.NotJson as error:
        return {"error": f"the request is not JSON: {error}"}
    if fields["op"] == "zone":
        data = zone(str(fields.get("name")))
        return {"ok": data.decode() if data is not None else None}
    ms = fields.get("ms")
    if not isinstance(ms, int | float):
        return {"error": "sleep: 'ms' must be a number"}
    pause(serving, ms / 1000)
    return {}


__all__ = ["ComponentParts", "ComponentSlot", "Linear", "Live", "TextFunction", "answer"]
