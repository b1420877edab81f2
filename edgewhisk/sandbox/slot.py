"""A slot: one live guest with its driver. It runs any action whose image it is given.

One thread at a time. After a trap a slot is done for: its caller drops it.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import wasmtime

from edgewhisk.sandbox import abi
from edgewhisk.sandbox.engine import Engine
from edgewhisk.sandbox.hostcalls import HostCalls, Serving
from edgewhisk.sandbox.native import Deadline, Function, Trap, base_address, read, write
from edgewhisk.sandbox.outcome import LoadFailure
from edgewhisk.sandbox.runtimes import Runtime

_PAGE: Final = 65536
_DRIVER: Final = Path(__file__).with_name("driver.wat")
_SLACK: Final = 64  # pages that a guest may grow in a call before its slot is dropped: 4 MiB
_OUTPUT: Final = 4 << 20  # bytes of results and logs after which a batch is cut
_BOOT: Final = 30.0  # seconds a guest may take to start
_REPLY: Final = 24  # bytes of the guest's reply
_MEGABYTE: Final = 1 << 20
_ROOM: Final = 64  # MB that a slot may use for the engine's own start, and for its driver


@dataclass(frozen=True, slots=True)
class Image:
    """An action that is loaded: the guest's memory from the end of its stack to its heap's top."""

    data: bytes
    high: int  # address of its end
    pages: int  # size of the memory


class Parts:
    """What all slots of one runtime share: compiled modules and host functions."""

    def __init__(self, engine: Engine, runtime: Runtime, now: Callable[[], float]) -> None:
        """Compile or load the guest; raises `SandboxError`. `now` gives ms since the epoch."""
        self.engine = engine
        self.runtime = runtime
        self.guest, self.compiled = engine.module(runtime.wasm(), str(runtime.module))
        self.driver = wasmtime.Module(engine.wasmtime, bytes(wasmtime.wat2wasm(_DRIVER.read_text())))
        self.linker = wasmtime.Linker(engine.wasmtime)
        self.calls = HostCalls(self.linker, now, runtime.modules())


class Slot:
    """One live guest."""

    def __init__(self, parts: Parts) -> None:
        """Start a guest; takes 1 to 2 ms."""
        self._parts = parts
        self._stack = parts.runtime.stack
        self.revision: object = None  # of the action whose image is in place
        self._store = wasmtime.Store(parts.engine.wasmtime)
        self._deadline = Deadline(self._store)
        self._limit = _ROOM
        self._store.set_limits(memory_size=_ROOM * _MEGABYTE)
        with parts.engine.ticking():
            self._deadline.set(parts.engine.epochs(_BOOT))
            guest = parts.linker.instantiate(self._store, parts.guest).exports(self._store)
            self._memory: Any = guest["memory"]
            for name in ("_initialize", "ew_boot"):
                function: Any = guest[name]
                booted = Function(self._store, function)(*((parts.runtime.reserve,) * (name == "ew_boot")))
            if not booted:
                raise RuntimeError("the guest did not start")
            functions: dict[str, Any] = {name: guest[name] for name in ("ew_run", "ew_alloc", "ew_top")}
            wanted = [self._memory, *functions.values()]
            driver = wasmtime.Instance(self._store, parts.driver, wanted).exports(self._store)
        self._guest = guest
        self._own: Any = driver["own"]
        self._done: Any = driver["done"]
        self._top = Function(self._store, functions["ew_top"])
        self._alloc = Function(self._store, functions["ew_alloc"])
        load: Any = guest["ew_load"]
        self._load = Function(self._store, load)
        batch: Any = driver["batch"]
        self._batch = Function(self._store, batch)
        restore: Any = driver["restore"]
        self._restore = Function(self._store, restore)
        self._reply_at = 0
        self.blank = self._take_image()
        self._image = self.blank
        self._place_image(self.blank)

    def load(self, bundle: bytes, memory: int, serving: Serving) -> Image:
        """Load an action on a blank guest; its image. Raises `LoadFailure` or `Trap`."""
        self.attach(None, self.blank, memory)
        with self._parts.engine.ticking(), self._parts.calls.serving(serving):
            self._set_deadline(serving)
            place = self._alloc(len(bundle) + 1)  # room for the end that the guest's parser wants
            if not place:
                raise LoadFailure("The action exhausted its memory and was aborted.")
            write(base_address(self._store, self._memory) + place, bundle)
            self._reply_at = self._load(place, len(bundle))
        status, result, size, *_ = self._reply()
        if status:
            raise LoadFailure(self._read(result, size).decode(errors="replace"))
        return self._take_image()

    def attach(self, revision: object, image: Image, memory: int) -> None:
        """Put the image of another action in place. `memory`: MB its calls may use."""
        if memory != self._limit:
            self._store.set_limits(memory_size=max(memory, _ROOM) * _MEGABYTE)
            self._limit = memory
        missing = image.pages - self._memory.size(self._store)
        if missing > 0:
            self._memory.grow(self._store, missing)
        self._place_image(image)
        self._image = image
        self.revision = revision

    def run(self, calls: Sequence[abi.Given], largest: int, serving: Serving) -> list[abi.Reply]:
        """Run calls on pristine copies; fewer replies than calls if the batch had to be cut.

        Raises `Trap`; `finished` then tells how many were done before.
        """
        base = -(-self._image.high // _PAGE) * _PAGE  # behind the image, in the driver's memory
        rows = abi.ROW * len(calls)
        given = abi.table(calls, base)
        self._reserve(base + len(given) - rows)
        own = base_address(self._store, self._own)
        write(own, given[:rows])
        write(own + base, given[rows:])
        out = base + len(given) - rows
        serving.done = self._count_done
        with self._parts.engine.ticking(), self._parts.calls.serving(serving):
            self._set_deadline(serving)
            pages = self._image.pages + _SLACK
            self._batch(len(calls), self._stack, self._image.high, out, _OUTPUT, largest, pages)
        return self.finished(largest, out)

    def finished(self, largest: int, out: int | None = None) -> list[abi.Reply]:
        """Replies of the calls that were done, also after a trap."""
        done = self._count_done()
        own = base_address(self._store, self._own)
        rows = [read(own + at * abi.ROW, abi.ROW) for at in range(done)]
        if not rows:
            return []
        first = int.from_bytes(rows[0][32:36], "little") if out is None else out
        last_at, last_size = (int.from_bytes(rows[-1][at : at + 4], "little") for at in (40, 44))
        memory = read(own + first, last_at + last_size - first)
        return [abi.reply(row, memory, first, largest) for row in rows]

    def log(self) -> bytes:
        """What loading logged, or the call that trapped."""
        if not self._reply_at:
            return b""
        _, _, _, log, size, _ = self._reply()
        return self._read(log, size)

    @property
    def grown(self) -> bool:
        """Whether a call left the memory so much larger that the slot should be dropped."""
        pages: int = self._memory.size(self._store)
        return pages > self._image.pages + _SLACK

    def memory(self) -> bytes:
        """The guest's whole memory, for the tests of isolation."""
        return self._read(0, self._memory.data_len(self._store))

    def view(self) -> tuple[int, int]:
        """Address and size of the guest's memory now."""
        return base_address(self._store, self._memory), self._memory.data_len(self._store)

    def _count_done(self) -> int:
        done: int = self._done.value(self._store)
        return done

    def _set_deadline(self, serving: Serving) -> None:
        left = max(0.0, serving.until - time.monotonic())
        self._deadline.set(self._parts.engine.epochs(left))

    def _take_image(self) -> Image:
        self._deadline.set(1 << 40)
        high = self._top()
        return Image(self._read(self._stack, high - self._stack), high, self._memory.size(self._store))

    def _place_image(self, image: Image) -> None:
        self._reserve(image.high)
        write(base_address(self._store, self._own) + self._stack, image.data)
        self._deadline.set(1 << 40)
        self._restore(self._stack, image.high)
        ctypes.memset(base_address(self._store, self._memory), 0, self._stack)

    def _reserve(self, end: int) -> None:
        missing = -(-end // _PAGE) - self._own.size(self._store)
        if missing > 0:
            self._own.grow(self._store, missing)

    def _reply(self) -> tuple[int, ...]:
        text = self._read(self._reply_at, _REPLY)
        return tuple(int.from_bytes(text[at : at + 4], "little") for at in range(0, _REPLY, 4))

    def _read(self, at: int, size: int) -> bytes:
        if at < 0 or at + size > self._memory.data_len(self._store):
            return b""
        return read(base_address(self._store, self._memory) + at, size)


__all__ = ["Image", "Parts", "Slot", "Trap"]
