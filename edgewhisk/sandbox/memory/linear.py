"""Linear memory that this process owns, so that it can be put back after a call (`sandbox.memory.restorer`).

wasmtime asks us for a component's memory instead of taking it from the kernel. It is a private mapping
of an image: a page that a call writes becomes a private copy, the kernel knows which ones (pagemap),
and copying the image's bytes into those pages undoes the call: 25 to 30 us where a new instance takes
4 ms. A write to a page that is not private yet must fault, so while a thread's fault counter stands
still the known list of private pages is complete.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import resource
import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

from edgewhisk.sandbox.memory.budget import Share

PAGE: Final = resource.getpagesize()
_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_FAILED: Final = ctypes.c_void_p(-1).value
_READ_WRITE: Final = mmap.PROT_READ | mmap.PROT_WRITE
_PRIVATE, _FIXED, _ANONYMOUS, _NORESERVE = 0x02, 0x10, 0x20, 0x4000
_DONTNEED = 4
_PAGEMAP_SCAN: Final = 0xC0606610  # ioctl of Linux 6.7 and later: lists pages by what they are
_FILE, _PRESENT, _SWAPPED, _PFNZERO = 4, 8, 16, 32
_STEP: Final = 2 << 20  # bytes asked for at once: with more than 512 ranges its end mark is stale
_REGIONS: Final = 512
_RESIDENT: Final = 1 << 18  # bytes that are zeroed rather than given back to the kernel: no faults later
_FEW: Final = 32  # runs of pages in them
_SCANNED: Final = 64 << 20  # bytes of a memory that are looked through for them
_PAGEMAP_SCAN_END: Final = 24  # offset of the end in what the ioctl is given


class Linear:
    """One linear memory."""

    def __init__(self, reserved: int, guard: int, spared: int) -> None:
        """Reserve address space. Raises `MemoryError`. `spared`: bytes that are not counted."""
        self.span = reserved + guard
        base = _libc.mmap(None, self.span, 0, _PRIVATE | _ANONYMOUS | _NORESERVE, -1, 0)
        if base in (_FAILED, None):
            raise MemoryError("no address space for a sandbox")
        self.base: int = base
        self.reserved = reserved
        self.size = 0
        self.limit = reserved  # bytes it may grow to now
        self._spared = spared
        self._share: Share | None = None
        self._counted = 0
        self.bytes = memoryview((ctypes.c_ubyte * reserved).from_address(base)).cast("B")  # there or not
        self._runs = (ctypes.c_uint64 * (3 * _FEW))()
        self._request = bytearray(_request(base, base, self._runs, _FEW))

    def open(self, minimum: int, share: Share) -> None:
        """Make `minimum` bytes usable, all zero, and count against `share`. Raises `MemoryError`."""
        self._share = share
        if self.size > minimum:
            _libc.mprotect(self.base + minimum, self.size - minimum, 0)
            self.size = minimum
        if not self.grow(minimum):
            raise MemoryError("no memory for a sandbox: the budget of all is used up")

    def grow(self, size: int) -> bool:
        """Make `size` bytes usable; false if that is over the limit, or over what all may have."""
        if size > min(self.limit, self.reserved):
            return False
        more = size - self._spared - self._counted
        if more > 0 and self._share is not None:
            if not self._share.budget.take(self._share, more):
                return False
            self._counted += more
        self._reach(size)
        return True

    def close(self) -> None:
        """Forget what is in it, and give back what was counted."""
        if not self._wiped():
            self.drop()
        if self._counted:
            self._give_back()
        self._share = None

    def free(self) -> None:
        """Give the address space back, and what was counted."""
        _libc.munmap(self.base, self.span)
        self._give_back()

    def map(self, file: int, pages: Iterable[tuple[int, int]], *, packed: bool) -> None:
        """Show ranges of pages (first, end) of `file`; `packed`: they lie one after the other there."""
        at = 0
        for first, end in pages:
            size = (end - first) * PAGE
            offset = at if packed else first * PAGE
            found = _libc.mmap(self.base + first * PAGE, size, _READ_WRITE, _PRIVATE | _FIXED, file, offset)
            if found == _FAILED:
                raise MemoryError(f"mmap: {os.strerror(ctypes.get_errno())}")
            at += size

    def drop(self) -> None:
        """Forget all private pages."""
        _libc.madvise(self.base, self.size, _DONTNEED)

    def view(self) -> memoryview:
        """All bytes, writable."""
        return memoryview((ctypes.c_char * self.size).from_address(self.base)).cast("B")

    def private(self) -> list[int]:
        """Numbers of the pages that were written since they were mapped."""
        return list(_scanned(self.base, self.size) if SCANS else _read_pagemap(self.base, self.size))

    def _wiped(self) -> bool:
        """Zero what was written, if that is little: given back, each page would fault again.

        Of a large memory only the pages that are there: a program with a stack of 16 MB writes some twenty.
        Asking which takes 6 us, zeroing 128 KB takes 3.
        """
        if self.size <= _RESIDENT:
            ctypes.memset(self.base, 0, self.size)
            return True
        if not SCANS or self.size > _SCANNED:
            return False
        struct.pack_into("<Q", self._request, _PAGEMAP_SCAN_END, self.base + self.size)
        count = fcntl.ioctl(_pagemap, _PAGEMAP_SCAN, self._request)
        runs = self._runs[: 3 * count]
        if count == _FEW or sum(runs[1::3]) - sum(runs[::3]) > _RESIDENT:
            return False
        for at in range(0, 3 * count, 3):
            ctypes.memset(runs[at], 0, runs[at + 1] - runs[at])
        return True

    def _give_back(self) -> None:
        if self._share is not None and self._counted:
            self._share.budget.give(self._share, self._counted)
        self._share, self._counted = None, 0

    def _reach(self, size: int) -> None:
        if size > self.size and _libc.mprotect(self.base + self.size, size - self.size, _READ_WRITE):
            raise MemoryError(f"mprotect: {os.strerror(ctypes.get_errno())}")
        self.size = size


def show(address: int, size: int, file: int, offset: int) -> None:
    """Map part of `file` privately over what is at `address`; all page-aligned. Raises `MemoryError`."""
    if _libc.mmap(address, size, _READ_WRITE, _PRIVATE | _FIXED, file, offset) == _FAILED:
        raise MemoryError(f"mmap: {os.strerror(ctypes.get_errno())}")


def faults() -> int:
    """Page faults of this thread so far."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt


def memory_file(name: str, parts: Iterable[bytes]) -> int:
    """A file in memory."""
    file = os.memfd_create(name)
    data = b"".join(parts)
    os.ftruncate(file, len(data))
    os.pwrite(file, data, 0)
    return file


def ranges(pages: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(first, end) of the runs of consecutive numbers."""
    first = end = -1
    for page in pages:
        if page != end:
            if first >= 0:
                yield first, end
            first = page
        end = page + 1
    if first >= 0:
        yield first, end


def _open_pagemap() -> int:
    """-1 where it may not be read: then no memory can be restored, and the self-test says so."""
    try:
        return os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


_pagemap: Final = _open_pagemap()


def _request(start: int, end: int, vector: Any, most: int) -> bytes:
    """What PAGEMAP_SCAN is given to put at most so many runs of private pages into `vector`."""
    inverted = _FILE | _PFNZERO
    return struct.pack(
        "<12Q", 96, 0, start, end, 0, ctypes.addressof(vector), most, 0, inverted, inverted,
        _PRESENT | _SWAPPED, _PRESENT,
    )  # fmt: skip


def _scanned(base: int, size: int) -> Iterator[int]:
    """Private pages by PAGEMAP_SCAN."""
    vector = (ctypes.c_uint64 * (3 * _REGIONS))()
    for start in range(base, base + size, _STEP):
        end = min(start + _STEP, base + size)
        count = fcntl.ioctl(_pagemap, _PAGEMAP_SCAN, bytearray(_request(start, end, vector, _REGIONS)))
        for at in range(count):
            yield from range((vector[3 * at] - base) // PAGE, (vector[3 * at + 1] - base) // PAGE)


def _read_pagemap(base: int, size: int) -> Iterator[int]:
    """Private pages by reading /proc/self/pagemap (Documentation/admin-guide/mm/pagemap.rst)."""
    data = os.pread(_pagemap, size // PAGE * 8, base // PAGE * 8)
    for number, (entry,) in enumerate(struct.iter_unpack("<Q", data)):
        if entry >> 62 and not entry >> 61 & 1:  # present or swapped, and no page of a file
            yield number


def _can_scan() -> bool:
    probe = mmap.mmap(-1, PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # shared ones count as a file
    try:
        probe[0] = 1
        address = ctypes.addressof(ctypes.c_char.from_buffer(probe))
        return list(_scanned(address, PAGE)) == [0]
    except (OSError, BufferError):
        return False


SCANS: Final = _can_scan()
