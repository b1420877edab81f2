"""WASI preview 1 for commands: streams, environment, clocks, random numbers. No files, no sockets.

Our own few functions instead of wasmtime's: they cost 0.5 us a call, need no files for the streams
and start no threads (sandbox-wide measurement: 42 us for a printf program against 130 to 170). Source:
the specification's witx, https://github.com/WebAssembly/WASI (legacy/preview1).
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from edgewhisk.sandbox.host.hostcalls import CallContext, GuestFault, HostCalls, pause
from edgewhisk.sandbox.memory.linear import Linear
from edgewhisk.sandbox.module.streams import Streams
from edgewhisk.spi import Answer

MODULE: Final = "wasi_snapshot_preview1"
EXIT: Final = "proc_exit"
_OK, _BADF, _FAULT, _INVAL, _NOSYS, _SPIPE, _NOTCAPABLE = 0, 8, 21, 28, 52, 70, 76
_NAMES: Final = {1: "stdout", 2: "stderr"}
_CHARACTER_DEVICE: Final = 2
_MOST_RANDOM: Final = 1 << 20  # bytes in one call
_MOST_VECTORS: Final = 1024
_MOST_WRITTEN: Final = 1 << 20  # bytes in one call; a program writes the rest in another
_RIGHTS: Final = 0x1FFFFFFF
_VECTOR: Final = struct.Struct("<II")

# Parameters of every function of preview 1 (i: i32, j: i64); all but proc_exit give an errno.
SIGNATURES: Final[Mapping[str, str]] = {
    "args_get": "ii", "args_sizes_get": "ii", "environ_get": "ii", "environ_sizes_get": "ii",
    "clock_res_get": "ii", "clock_time_get": "iji", "fd_advise": "ijji", "fd_allocate": "ijj",
    "fd_close": "i", "fd_datasync": "i", "fd_fdstat_get": "ii", "fd_fdstat_set_flags": "ii",
    "fd_fdstat_set_rights": "ijj", "fd_filestat_get": "ii", "fd_filestat_set_size": "ij",
    "fd_filestat_set_times": "ijji", "fd_pread": "iiiji", "fd_prestat_get": "ii",
    "fd_prestat_dir_name": "iii", "fd_pwrite": "iiiji", "fd_read": "iiii", "fd_readdir": "iiiji",
    "fd_renumber": "ii", "fd_seek": "ijii", "fd_sync": "i", "fd_tell": "ii", "fd_write": "iiii",
    "path_create_directory": "iii", "path_filestat_get": "iiiii", "path_filestat_set_times": "iiiijji",
    "path_link": "iiiiiii", "path_open": "iiiiijjii", "path_readlink": "iiiiii",
    "path_remove_directory": "iii", "path_rename": "iiiiii", "path_symlink": "iiiii",
    "path_unlink_file": "iii", "poll_oneoff": "iiii", "proc_exit": "i", "proc_raise": "i",
    "sched_yield": "", "random_get": "ii", "sock_accept": "iii", "sock_recv": "iiiiii",
    "sock_send": "iiiii", "sock_shutdown": "ii",
}  # fmt: skip


class WasiCommand(CallContext):
    """A call of a command: its memory, its streams and environment."""

    def __init__(
        self,
        until: float,
        made: Sequence[Linear],
        ask: Callable[[bytes], Answer],
        *,
        streams: Streams,
        environment: Callable[[], Mapping[str, str]],
    ) -> None:
        """See `CallContext`. `made`: the instance's one memory, once it is there.

        `environment` is asked when the command does.
        """
        super().__init__(until, _nowhere, ask)
        self._made = made
        self._bytes = memoryview(bytearray())
        self.streams = streams
        self.arguments = [b"action"]
        self._environment = environment
        self.exit_code: int | None = None

    @cached_property
    def environment(self) -> list[bytes]:
        """`KEY=value` of each variable."""
        variables = self._environment().items()
        return [f"{key}={value}".encode(errors="replace") for key, value in variables]

    def get(self, at: int, size: int) -> bytes:
        """Bytes of the guest's memory; raises `GuestFault`."""
        if at + size > self._end:
            self._look(at + size)
        return self._bytes[at : at + size].tobytes()

    def put(self, at: int, data: bytes) -> None:
        """Write into the guest's memory; raises `GuestFault`."""
        end = at + len(data)
        if end > self._end:
            self._look(end)
        self._bytes[at:end] = data

    def _look(self, end: int) -> None:
        for memory in self._made:
            self._end, self._bytes = memory.size, memory.bytes
        if end > self._end:
            raise GuestFault


def _nowhere() -> tuple[int, int]:
    """A command finds its memory itself."""
    return 0, 0


class Wasi:
    """The functions, linked once for all commands."""

    def __init__(self, calls: HostCalls, now: Callable[[], float]) -> None:
        """Define all of preview 1; `now` gives ms since the epoch."""
        self._calls = calls
        self._now = now
        for name, parameters in SIGNATURES.items():
            results = "" if name == EXIT else "i"
            calls.functions.define(MODULE, name, parameters, results, self._function(name, len(parameters)))

    def _function(self, name: str, count: int) -> Callable[[Any], str | None]:
        if name == EXIT:
            return self._exit
        run: Callable[..., int] | None = getattr(self, f"_{name}", None)
        if run is None:
            errno = _NOTCAPABLE if name.startswith("path_") else _NOSYS
            return lambda values: _answer(values, errno)

        upto = 2 * count

        def call(values: Any) -> None:
            try:
                # `[:0:2]` of a ctypes pointer has one element.
                values[0] = run(self._calls.current, *(values[:upto:2] if upto else ()))
            except (GuestFault, struct.error):
                values[0] = _FAULT

        return call

    def _exit(self, values: Any) -> str:
        self._calls.current.exit_code = _low(values[0])
        return EXIT

    def _args_sizes_get(self, command: WasiCommand, count_at: int, size_at: int) -> int:
        return _sizes(command, command.arguments, count_at, size_at)

    def _args_get(self, command: WasiCommand, pointers_at: int, texts_at: int) -> int:
        return _texts(command, command.arguments, pointers_at, texts_at)

    def _environ_sizes_get(self, command: WasiCommand, count_at: int, size_at: int) -> int:
        return _sizes(command, command.environment, count_at, size_at)

    def _environ_get(self, command: WasiCommand, pointers_at: int, texts_at: int) -> int:
        return _texts(command, command.environment, pointers_at, texts_at)

    def _clock_res_get(self, command: WasiCommand, _clock: int, at: int) -> int:
        return _put(command, at, "<Q", 1_000_000)

    def _clock_time_get(self, command: WasiCommand, clock: int, _precision: int, at: int) -> int:
        return _put(command, at, "<Q", self._time(_low(clock)))

    def _time(self, clock: int) -> int:
        return int(self._now() * 1e6) if clock == 0 else time.monotonic_ns()

    def _fd_write(self, command: WasiCommand, file: int, vectors: int, count: int, size_at: int) -> int:
        stream = _NAMES.get(_low(file))
        if stream is None:
            return _BADF
        data = b""
        for at, size in _vectors(command, vectors, count):
            data += command.get(at, min(size, _MOST_WRITTEN - len(data)))
        command.streams.write(stream, data)
        return _put(command, size_at, "<I", len(data))

    def _fd_read(self, command: WasiCommand, file: int, vectors: int, count: int, size_at: int) -> int:
        if _low(file):
            return _BADF
        total = 0
        for at, size in _vectors(command, vectors, count):
            data = command.streams.read(size)
            command.put(at, data)
            total += len(data)
        return _put(command, size_at, "<I", total)

    def _fd_close(self, _command: WasiCommand, file: int) -> int:
        return _OK if _low(file) <= 2 else _BADF

    def _fd_fdstat_get(self, command: WasiCommand, file: int, at: int) -> int:
        if _low(file) > 2:
            return _BADF
        return _put(command, at, "<BxHxxxxQQ", _CHARACTER_DEVICE, 0, _RIGHTS, _RIGHTS)

    def _fd_fdstat_set_flags(self, _command: WasiCommand, file: int, _flags: int) -> int:
        return _OK if _low(file) <= 2 else _BADF

    def _fd_filestat_get(self, command: WasiCommand, file: int, at: int) -> int:
        if _low(file) > 2:
            return _BADF
        return _put(command, at, "<QQB7xQQQQQ", 0, 0, _CHARACTER_DEVICE, 1, 0, 0, 0, 0)

    def _fd_prestat_get(self, _command: WasiCommand, _file: int, _at: int) -> int:
        return _BADF

    def _fd_seek(self, _command: WasiCommand, file: int, _by: int, _whence: int, _at: int) -> int:
        return _SPIPE if _low(file) <= 2 else _BADF

    def _sched_yield(self, _command: WasiCommand) -> int:
        return _OK

    def _random_get(self, command: WasiCommand, at: int, size: int) -> int:
        size = _low(size)
        if size > _MOST_RANDOM:
            return _INVAL
        command.put(_low(at), os.urandom(size))
        return _OK

    def _poll_oneoff(self, command: WasiCommand, wanted: int, events: int, count: int, count_at: int) -> int:
        """Ready streams at once, or sleep until the first clock of the subscriptions."""
        count = _low(count)
        if not 0 < count <= _MOST_VECTORS:
            return _INVAL
        waits: list[tuple[int, int, int]] = []  # (ns to wait, user data, type)
        for number in range(count):
            entry = command.get(_low(wanted) + 48 * number, 48)
            userdata, kind = struct.unpack_from("<QB", entry)
            clock, timeout, flags = struct.unpack_from("<I4xQ8xH", entry, 16)
            left = timeout - self._time(clock) if flags & 1 else timeout
            waits.append((max(0, left) if kind == 0 else 0, userdata, kind))
        first = min(wait for wait, _, _ in waits)
        pause(command, first / 1e9)
        ready = [(userdata, kind) for wait, userdata, kind in waits if wait == first]
        for number, (userdata, kind) in enumerate(ready):
            command.put(_low(events) + 32 * number, struct.pack("<QHB21x", userdata, 0, kind))
        return _put(command, count_at, "<I", len(ready))


def _answer(values: Any, errno: int) -> None:
    values[0] = errno


def _low(value: int) -> int:
    return value & 0xFFFFFFFF


def _put(command: WasiCommand, at: int, form: str, *values: int) -> int:
    command.put(_low(at), struct.pack(form, *values))
    return _OK


def _vectors(command: WasiCommand, at: int, count: int) -> list[tuple[int, int]]:
    """(address, size) of the parts of a read or write."""
    count = min(_low(count), _MOST_VECTORS)
    if count == 1:
        return [_VECTOR.unpack(command.get(_low(at), 8))]
    words = struct.unpack(f"<{2 * count}I", command.get(_low(at), 8 * count))
    return list(zip(words[::2], words[1::2], strict=True))


def _sizes(command: WasiCommand, texts: list[bytes], count_at: int, size_at: int) -> int:
    _put(command, count_at, "<I", len(texts))
    return _put(command, size_at, "<I", sum(len(text) + 1 for text in texts))


def _texts(command: WasiCommand, texts: list[bytes], pointers_at: int, texts_at: int) -> int:
    at = _low(texts_at)
    pointers = []
    for text in texts:
        pointers.append(at)
        at += len(text) + 1
    command.put(_low(texts_at), b"".join(text + b"\0" for text in texts))
    return _put(command, pointers_at, f"<{len(pointers)}I", *pointers)
