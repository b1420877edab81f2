"""Puts a component's memory back after each call, and changes it from one action to another.

A slot's memory maps an image; the pages that calls write are private copies, and their bytes as they must
be are kept in a file: copying those back undoes a call. Two hello actions differ in 16 of 568 pages, so
another action is shown by writing what differs into the memory and into that file: 0.1 ms, where mapping an
image takes 3.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from typing import Final

from edgewhisk.sandbox.guest.image import GRANULE, NO_GRANULES, Image, changes
from edgewhisk.sandbox.memory.linear import PAGE, Linear, faults, memory_file, ranges

NOTHING: Final = Image({}, NO_GRANULES, 0, 0)  # no action is loaded
MOST_HOT: Final = 4 << 20  # bytes copied back after a call; beyond, forgetting all pages is cheaper
_WIDE: Final = 2 << 20  # bytes copied back above which the next action does not inherit them
_LARGE: Final = 512  # granules of a change that is mapped rather than written
_GAP: Final = 8  # pages: copying so many is cheaper than another mapping
_MOST_VECTORS: Final = 1024  # of preadv(2)


class Base:
    """The memory of a guest before an action is loaded, in a file."""

    def __init__(self, file: int) -> None:
        """Take the file."""
        self.file = file

    def page(self, number: int) -> bytes:
        """The bytes of one page."""
        return os.pread(self.file, PAGE, number * PAGE).ljust(PAGE, b"\0")

    def granule(self, address: int) -> bytes:
        """The bytes of one granule."""
        return os.pread(self.file, GRANULE, address).ljust(GRANULE, b"\0")

    def difference(self, linear: Linear) -> Image:
        """The image of what is in a memory that showed this base."""
        view, granules = linear.view(), {}
        for number in linear.private():
            page = bytes(view[number * PAGE : (number + 1) * PAGE])
            known = self.page(number)
            for at in range(0, PAGE, GRANULE) if page != known else ():
                if page[at : at + GRANULE] != known[at : at + GRANULE]:
                    granules[number * PAGE + at] = page[at : at + GRANULE]
        return Image(granules, NO_GRANULES, 0, 0)


class Restorer:
    """Of one memory."""

    def __init__(self, linear: Linear, base: Base) -> None:
        """Show the base; nothing is private then."""
        self._linear = linear
        self._base = base
        self._shown = NOTHING
        self._mapped = NOTHING  # what the memory is without its private pages
        self._known = True  # that it is what it should be
        self._file = -1  # the bytes of the hot pages as they must be
        self._hot: dict[int, int] = {}  # pages that calls write -> where they are in the file
        self._vectors: list[list[memoryview]] = []
        self._faults = 0
        self._map()

    def show(self, image: Image) -> None:
        """Have the memory be what an image says."""
        changed = changes(self._shown, image, self._base.granule)
        self._shown = image
        if self._known and len(changed) <= _LARGE and len(self._hot) * PAGE <= _WIDE:
            self._write(changed)
        else:
            self._map()

    def change(self) -> None:
        """What is shown will be changed for good, by loading an action."""
        self._known = False

    def page(self, number: int) -> bytes:
        """The bytes of a page as they must be."""
        found = bytearray(self._base.page(number))
        for at in range(0, PAGE, GRANULE):
            if (one := self._shown.get(number * PAGE + at)) is not None:
                found[at : at + GRANULE] = one
        return bytes(found)

    def watch(self) -> None:
        """A call begins, on this thread."""
        self._faults = faults()

    def restore(self) -> None:
        """Undo the call, on the thread that ran it."""
        if faults() != self._faults:
            pages = self._linear.private()
            if len(pages) * PAGE > MOST_HOT:
                self._forget()
                return
            if not self._hot.keys() >= set(pages):
                self._heat(sorted({*self._hot, *pages}))
        offset = 0
        for vectors in self._vectors:
            offset += os.preadv(self._file, vectors, offset)

    def _write(self, changed: dict[int, bytes]) -> None:
        """Change the memory, and what hot pages must be; pages that are private from now on are hot."""
        for address, data in changed.items():
            ctypes.memmove(self._linear.base + address, data, GRANULE)
            if (at := self._hot.get(address // PAGE)) is not None:
                os.pwrite(self._file, data, at + address % PAGE)
        written = {address // PAGE for address in changed}
        if not self._hot.keys() >= written:
            self._heat(sorted({*self._hot, *written}))

    def _map(self) -> None:
        """Map all anew; nothing is private then, and nothing hot."""
        self._linear.map(self._base.file, [(0, self._linear.size // PAGE)], packed=False)
        pages = _bridged(sorted({address // PAGE for address in self._shown.addresses()}))
        if pages:
            file = memory_file("edgewhisk-action", map(self.page, pages))
            try:
                self._linear.map(file, ranges(pages), packed=True)
            finally:
                os.close(file)  # what is mapped stays
        self._heat([])
        self._mapped, self._known = self._shown, True

    def _forget(self) -> None:
        """Undo a call that wrote too much to be copied back."""
        if self._mapped is self._shown:
            self._linear.drop()
            self._heat([])
        else:
            self._map()

    def _heat(self, pages: Sequence[int]) -> None:
        """Put back these pages after each call."""
        self._close()
        self._hot = {page: at * PAGE for at, page in enumerate(pages)}
        self._file = memory_file("edgewhisk-hot", map(self.page, pages)) if pages else -1
        view = self._linear.view()
        parts = [view[first * PAGE : end * PAGE] for first, end in ranges(pages)]
        self._vectors = [parts[at : at + _MOST_VECTORS] for at in range(0, len(parts), _MOST_VECTORS)]

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        """Close the file."""
        self._close()


def _bridged(pages: Sequence[int]) -> list[int]:
    """The pages with short gaps between them filled: each range costs a mapping of its own."""
    found: list[int] = []
    for page in pages:
        if found and page - found[-1] <= _GAP:
            found.extend(range(found[-1] + 1, page))
        found.append(page)
    return found
