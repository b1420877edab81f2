"""A slot: one live guest with its driver. It runs any action whose image it is given.

One thread at a time. After a trap a slot is done for: its caller drops it.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import wasmtime

from edgewhisk.sandbox.engine import Engine
from edgewhisk.sandbox.guest import abi
from edgewhisk.sandbox.guest.image import GRANULE, Blank, Image
from edgewhisk.sandbox.host.hostcalls import CallContext, HostCalls
from edgewhisk.sandbox.memory.linear import PAGE, memory_file, show
from edgewhisk.sandbox.outcome import LoadFailure, Trap, lines
from edgewhisk.sandbox.runtimes import Runtime
from edgewhisk.sandbox.wasmtime_ffi import Deadline, Function, base_address, read, view, write

_PAGE: Final = 65536
_DRIVER: Final = Path(__file__).with_name("driver.wat")
_SLACK: Final = 64  # pages that a guest may grow in a call before its slot is dropped: 4 MiB
_BATCH: Final = 8 << 20  # bytes that a batch's arguments and results may leave in a slot that is kept
_OUTPUT: Final = 4 << 20  # bytes of results and logs after which a batch is cut
_BOOT: Final = 30.0  # seconds a guest may take to start
_REPLY: Final = 24  # bytes of the guest's reply
_MEGABYTE: Final = 1 << 20
_GAP: Final = 2048  # zeros behind the image: granules that begin in it are put back with 16 bytes more
_ROOM: Final = 64  # MB that a slot may use for the engine's own start, and for its driver


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
        self.reply_at = 0  # where each guest leaves its reply; told by the first
        self.blank: Blank | None = None  # taken from the first slot; all others show it too
        self.file = -1  # the same in memory, at the guest's addresses, for mapping


class GuestSlot:
    """One live guest."""

    def __init__(self, parts: Parts) -> None:
        """Start a guest; takes 1 to 2 ms."""
        self._parts = parts
        self._stack = parts.runtime.stack
        self.revision: object = None  # of the action whose image is in place
        self._store = wasmtime.Store(parts.engine.wasmtime)
        self._deadline = Deadline(self._store)
        self._limit = _ROOM
        self.share = parts.engine.creator.open()
        self._store.set_limits(memory_size=_ROOM * _MEGABYTE)
        with parts.engine.epochs.ticking():
            self._deadline.set(parts.engine.epochs.upto(time.monotonic() + _BOOT))
            guest: Any = parts.linker.instantiate(self._store, parts.guest).exports(self._store)
            self._memory: Any = guest["memory"]
            if parts.blank is None:
                Function(self._store, guest["_initialize"])()
                parts.reply_at = Function(self._store, guest["ew_boot"])(parts.runtime.reserve)
                if not parts.reply_at:
                    raise RuntimeError("the guest did not start")
            else:
                self._memory.grow(self._store, parts.blank.image.pages - self._memory.size(self._store))
            wanted: Any = [guest[name] for name in ("memory", "marks", "ew_run", "ew_alloc")]
            driver: Any = wasmtime.Instance(self._store, parts.driver, wanted).exports(self._store)
        self._guest = guest
        self._own: Any = driver["own"]
        self._top, self._alloc, self._load = self._functions(guest, "ew_top", "ew_alloc", "ew_load")
        self._batch, self._show, self._patch = self._functions(driver, "batch", "show", "patch")
        # The engine's memories never move: see Engine.
        self._guest_at = base_address(self._store, self._memory)
        self._marks_at = base_address(self._store, guest["marks"])
        self._own_at = base_address(self._store, self._own)
        self._view = view(self._own_at)  # of the driver's memory
        self._room = self._own.data_len(
            self._store
        )  # bytes of the driver's memory that are known to be there
        self._table = 0
        self._ended = abi.Done(0, 0, 0)  # how far the last batch came
        self.blank = parts.blank or self._first(parts)
        self._image = self.blank.image
        self._share(parts.file)
        self._show_blank()

    def load(self, bundle: bytes, memory: int, serving: CallContext) -> Image:
        """Load an action on a blank guest; its image. Raises `LoadFailure` or `Trap`."""
        self.attach(None, self.blank.image, memory)
        serving.wrote = self._mark
        with self._parts.engine.epochs.ticking(), self._parts.calls.serving(serving):
            self._set_deadline(serving)
            place = self._alloc(len(bundle) + 1)  # room for the end that the guest's parser wants
            if not place:
                raise LoadFailure("The action exhausted its memory and was aborted.")
            write(self._guest_at + place, bundle)
            self._load(place, len(bundle))
        status, result, size, *_ = self._reply()
        if status:
            text, printed = self._read(result, size).decode(errors="replace"), lines(self.log())
            self._place(self.blank.data, self._top())
            raise LoadFailure(text, printed)
        data, pages = self._taken()
        image = self._image = self.blank.difference(data, pages)
        self._place(data, image.high)
        return image

    def attach(self, revision: object, image: Image, memory: int) -> None:
        """Show the image of another action; raises `Trap`. `memory`: MB its calls may use."""
        if memory != self._limit:
            self._store.set_limits(memory_size=max(memory, _ROOM) * _MEGABYTE)
            self._limit = memory
        missing = image.pages - self._memory.size(self._store)
        if missing > 0:
            self._grow(self._memory, missing)
        if image is not self._image:
            self._apply(image)
        self.revision = revision

    def run(self, given: abi.Given, largest: int, serving: CallContext) -> None:
        """Run calls, each on pristine memory; not all of them if the batch had to be cut.

        Raises `Trap`. `finished` tells what became of those that were run.
        """
        table = self._table
        data = abi.table(given, table)
        out = table + len(data)
        self._reserve(out)
        self._view[table:out] = data
        serving.done, serving.wrote = self._count_done, self._mark
        epochs, calls = self._parts.engine.epochs, self._parts.calls
        epochs.begin(inline=serving.inline)
        calls.enter(serving)
        try:
            self._set_deadline(serving)
            self._batch.wide(len(given.arguments), table, out, _OUTPUT, largest, self._image.pages + _SLACK)
        finally:
            calls.leave()
            epochs.end(inline=serving.inline)
            self._ended = abi.done(self._view, table)

    def uniform(self, count: int, largest: int) -> list[bytes] | None:
        """The results if all `count` calls went well and printed nothing."""
        done, table = self._ended, self._table
        if done.calls != count:
            return None
        return abi.uniform(bytes(self._view[table : done.end]), table, count, largest)

    def finished(self, largest: int) -> list[abi.Reply]:
        """Replies of the calls that were done, also after a trap."""
        done, table = self._ended, self._table
        if not done.calls:
            return []
        return abi.replies(bytes(self._view[table : done.end]), table, done.calls, largest)

    def log(self) -> bytes:
        """What loading logged, or the call that trapped."""
        _, _, _, log, size, _ = self._reply()
        return self._read(log, size)

    @property
    def large(self) -> bool:
        """Whether the guest's memory is one of which many must not be kept; it cannot shrink."""
        return self._ended.pages > self.blank.image.pages + _SLACK

    @property
    def grown(self) -> bool:
        """Whether the last run left the memory so much larger that the slot should be dropped.

        The guest's, or the driver's, where arguments and results of a batch are: neither can shrink.
        """
        return self._ended.pages > self._image.pages + _SLACK or self._room - self._table > _BATCH

    def memory(self) -> bytes:
        """The guest's whole memory, for the tests of isolation."""
        return self._read(0, self._memory.data_len(self._store))

    def view(self) -> tuple[int, int]:
        """Address and size of the guest's memory now."""
        return self._guest_at, self._memory.data_len(self._store)

    def _first(self, parts: Parts) -> Blank:
        """The blank guest: one that has started just now."""
        data, pages = self._taken()
        parts.blank = Blank(data, self._stack, pages)
        parts.file = memory_file("edgewhisk-blank", (bytes(self._stack), data, bytes(PAGE)))
        return parts.blank

    def _share(self, file: int) -> None:
        """Have guest and driver see the pages of the blank image that nobody writes only once.

        A slot has 150 to 250 KB of its own then, instead of 1.1 MB.
        """
        size = self.blank.image.high // PAGE * PAGE
        self._reserve(size)
        for address in (self._guest_at, self._own_at):
            show(address, size, file, 0)

    def _functions(self, exports: Any, *names: str) -> list[Function]:
        return [Function(self._store, exports[name]) for name in names]

    def _count_done(self) -> int:
        return abi.done(self._view, self._table).calls

    def _mark(self, at: int, size: int) -> None:
        """The host wrote into the guest's memory: that must be undone like the guest's own writes."""
        if size:
            first, last = at // GRANULE, (at + size - 1) // GRANULE
            write(self._marks_at + first, b"\1" * (last - first + 1))

    def _set_deadline(self, serving: CallContext) -> None:
        self.share.begin(serving.until)
        self._deadline.set(self._parts.engine.epochs.upto(serving.until))

    def _taken(self) -> tuple[bytes, int]:
        """The guest's memory from the end of its stack to its heap's top, and its size in pages."""
        self._deadline.set(1 << 40)
        size = self._top() - self._stack
        return self._read(self._stack, size), self._memory.size(self._store)

    def _show_blank(self) -> None:
        """Show the blank guest, all of which but the last page is mapped."""
        first = self.blank.image.high // PAGE * PAGE
        self._raise(self.blank.image.high)
        write(self._own_at + first, self.blank.data[first - self._stack :])
        self._deadline.set(1 << 40)
        self._show(first, self.blank.image.high, self.blank.image.high)

    def _place(self, data: bytes, top: int) -> None:
        """Show `data` in a guest that was written up to `top`, whoever marked what."""
        high = self._stack + len(data)
        self._raise(high)
        write(self._own_at + self._stack, data)
        ctypes.memset(self._own_at + high, 0, self._table - high)
        self._deadline.set(1 << 40)
        self._show(0, high, max(top, high))

    def _apply(self, image: Image) -> None:
        """Make `image` of the one that is shown."""
        self._raise(image.high)
        patch = self.blank.patch(self._image, image)
        self._reserve(self._table + len(patch))
        write(self._own_at + self._table, patch)
        self._deadline.set(1 << 40)
        self._patch(self._table, len(patch) // (GRANULE + 4))
        self._image = image

    def _raise(self, high: int) -> None:
        """Have room for an image that ends at `high`, with zeros behind it."""
        table = -(-(high + _GAP) // _PAGE) * _PAGE
        if table > self._table:
            self._reserve(table)
            zeros = self._table or high  # at first the blank guest is mapped below
            ctypes.memset(self._own_at + zeros, 0, table - zeros)
            self._table = table

    def _reserve(self, end: int) -> None:
        if end > self._room:
            missing = -(-end // _PAGE) - self._own.size(self._store)
            if missing > 0:
                self._grow(self._own, missing)
            self._room = self._own.data_len(self._store)

    def _grow(self, memory: Any, pages: int) -> None:
        """Raises `Trap`: the slot is done for."""
        try:
            memory.grow(self._store, pages)
        except wasmtime.WasmtimeError as error:
            self._ended = abi.Done(0, 0, 0)
            raise Trap(str(error)) from error

    def _reply(self) -> tuple[int, ...]:
        text = self._read(self._parts.reply_at, _REPLY)
        return tuple(int.from_bytes(text[at : at + 4], "little") for at in range(0, _REPLY, 4))

    def _read(self, at: int, size: int) -> bytes:
        if at < 0 or at + size > self._memory.data_len(self._store):
            return b""
        return read(self._guest_at + at, size)
