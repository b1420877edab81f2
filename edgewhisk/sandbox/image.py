"""Images: the memories of actions that are loaded, at rest and in use. Pure.

Two images of one guest are nearly the same: hello actions differ in 27 of 401 KiB. So an action at
rest is kept as what differs from the blank guest, compressed to about 10 KB, and a slot that changes
from one action to another is patched.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

from edgewhisk.recent import Recent

GRANULE: Final = 1024  # bytes; what the guest's marks stand for, and what a patch is made of
HOT: Final = (16, 16 << 20)  # images kept as they are, bytes of all: 0.4 MB each
COLD: Final = (1024, 32 << 20)  # images kept compressed, bytes of all
PATCHES: Final = (64, 16 << 20)  # changes from one image to another, bytes: about 30 KB each
LARGE: Final = 4 << 20  # bytes of an image that is loaded anew rather than compressed


@dataclass(frozen=True, slots=True)
class Image:
    """An action that is loaded: the guest's memory from the end of its stack to its heap's top."""

    data: bytes
    high: int  # address of its end
    pages: int  # size of the memory

    @property
    def large(self) -> bool:
        """Whether one of its kind is enough to be kept: its action made much of it while it was loaded."""
        return len(self.data) > LARGE


@dataclass(frozen=True, slots=True)
class Packed:
    """An image as its difference from the blank one."""

    difference: bytes
    size: int
    high: int
    pages: int


def pack(image: Image, blank: Image) -> Packed:
    """Compress; about 2 ms."""
    return Packed(zlib.compress(_xor(image.data, blank.data), 1), len(image.data), image.high, image.pages)


def unpack(packed: Packed, blank: Image) -> Image:
    """What `pack` was given; about 1 ms."""
    data = _xor(zlib.decompress(packed.difference), blank.data)[: packed.size]
    return Image(data.ljust(packed.size, b"\0"), packed.high, packed.pages)


@dataclass(frozen=True, slots=True)
class Patch:
    """The granules to be written to make one image of another."""

    addresses: tuple[int, ...]  # in the guest's memory
    data: bytes  # a granule for each

    def table(self) -> bytes:
        """For the driver: the addresses as u32, then the granules."""
        return b"".join(address.to_bytes(4, "little") for address in self.addresses) + self.data


def patch(old: Image, new: Image, start: int) -> Patch:
    """From `old` to `new`, whose data begins at `start`, a multiple of a granule."""
    size = max(len(old.data), len(new.data))
    size = -(-size // GRANULE) * GRANULE
    before, after = old.data.ljust(size, b"\0"), new.data.ljust(size, b"\0")
    changed = [at for at in range(0, size, GRANULE) if before[at : at + GRANULE] != after[at : at + GRANULE]]
    addresses = tuple(start + at for at in changed)
    return Patch(addresses, b"".join(after[at : at + GRANULE] for at in changed))


class Images:
    """The images of one guest's actions, the most recently used ready at hand. Not thread-safe."""

    def __init__(self) -> None:
        """None yet."""
        self._hot = Recent[object, Image](*HOT)
        self._cold = Recent[object, Packed](*COLD)
        self._patches = Recent[tuple[int, int], tuple[Image, Image, bytes]](*PATCHES)

    def __len__(self) -> int:
        """Actions whose image is kept."""
        return len(self._hot) + len(self._cold)

    def __contains__(self, key: object) -> bool:
        """Whether there is an image of this action."""
        return key in self._hot or key in self._cold

    def find(self, key: object, blank: Image) -> Image | None:
        """The image of an action, which is at hand then."""
        image = self._hot.get(key)
        if image is not None:
            self._hot.touch(key)
            return image
        packed = self._cold.get(key)
        if packed is None:
            return None
        self._cold.drop(key)
        image = unpack(packed, blank)
        self.keep(key, image, blank)
        return image

    def keep(self, key: object, image: Image, blank: Image) -> None:
        """Remember an image; what was not used for longest is packed, or forgotten if it is large."""
        for old, cooled in self._hot.keep(key, image, len(image.data)):
            if not cooled.large:
                packed = pack(cooled, blank)
                self._cold.keep(old, packed, len(packed.difference))

    def patch(self, old: Image, new: Image, start: int) -> bytes:
        """The driver's table for the change from `old` to `new`."""
        key = (id(old), id(new))
        found = self._patches.get(key)
        if found is not None:
            self._patches.touch(key)
            return found[2]
        table = patch(old, new, start).table()
        if not (old.large or new.large):  # it keeps both, so that the ids stay theirs
            self._patches.keep(key, (old, new, table), len(table))
        return table


def _xor(one: bytes, other: bytes) -> bytes:
    size = max(len(one), len(other))
    mixed = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return mixed.to_bytes(size, "little")
