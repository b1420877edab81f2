"""Images: the memories of actions that are loaded, at rest and in use. Pure.

Two images of one guest are nearly the same: hello actions differ in 27 of 401 KiB. So an action at
rest is kept as what differs from the blank guest, compressed to about 10 KB, and a slot that changes
from one action to another is patched.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

GRANULE: Final = 1024  # bytes; what the guest's marks stand for, and what a patch is made of
HOT: Final = 16  # images kept as they are: 0.4 MB each
COLD: Final = 1024  # images kept compressed
PATCHES: Final = 64  # changes from one hot image to another: about 30 KB each


@dataclass(frozen=True, slots=True)
class Image:
    """An action that is loaded: the guest's memory from the end of its stack to its heap's top."""

    data: bytes
    high: int  # address of its end
    pages: int  # size of the memory


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
        self._hot: OrderedDict[object, Image] = OrderedDict()
        self._cold: OrderedDict[object, Packed] = OrderedDict()
        self._patches: OrderedDict[tuple[int, int], tuple[Image, Image, bytes]] = OrderedDict()

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
            self._hot.move_to_end(key)
            return image
        packed = self._cold.pop(key, None)
        if packed is None:
            return None
        image = unpack(packed, blank)
        self.keep(key, image, blank)
        return image

    def keep(self, key: object, image: Image, blank: Image) -> None:
        """Remember an image; the one that was not used for longest is packed."""
        self._hot[key] = image
        if len(self._hot) > HOT:
            old, cooled = self._hot.popitem(last=False)
            self._cold[old] = pack(cooled, blank)
            if len(self._cold) > COLD:
                self._cold.popitem(last=False)

    def patch(self, old: Image, new: Image, start: int) -> bytes:
        """The driver's table for the change from `old` to `new`."""
        key = (id(old), id(new))
        found = self._patches.get(key)
        if found is None:
            found = (old, new, patch(old, new, start).table())  # keeps both, so that the ids stay theirs
            self._patches[key] = found
            if len(self._patches) > PATCHES:
                self._patches.popitem(last=False)
        else:
            self._patches.move_to_end(key)
        return found[2]


def _xor(one: bytes, other: bytes) -> bytes:
    size = max(len(one), len(other))
    mixed = int.from_bytes(one, "little") ^ int.from_bytes(other, "little")
    return mixed.to_bytes(size, "little")
