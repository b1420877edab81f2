"""Images: the memories of actions that are loaded, each as its difference from the blank guest. Pure.

A hello action differs from the blank guest in 27 of 401 KiB, and two actions of one kind from each other in
fewer. So an image is the granules that differ, equal granules of different actions are kept once, and a slot
changes from one action to any other by the granules of both: some 20 us, however many actions there are.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

GRANULE: Final = 1024  # bytes; what the guest's marks stand for, and what a patch is made of
MOST: Final = 48 << 20  # bytes that the images of one guest take; those used last stay, others load anew
_ENTRY: Final = 128  # bytes that a granule costs besides its own, in each image and once


@dataclass(frozen=True, slots=True)
class Image:
    """An action that is loaded: where the guest's memory differs from the blank one."""

    granules: Mapping[int, bytes]  # by their address
    high: int  # address of the memory's end
    pages: int  # its size


class Blank:
    """The guest before an action is loaded."""

    def __init__(self, data: bytes, start: int, pages: int) -> None:
        """`data`: the memory from `start` on, a multiple of a granule; zeros follow."""
        self.data = data
        self.image = Image({}, start + len(data), pages)
        self._start = start

    def difference(self, data: bytes, pages: int) -> Image:
        """Returns the image of a memory that is `data` from the same address on."""
        granules = {}
        for at in range(self._start, self._start + len(data), GRANULE):
            one = data[at - self._start : at - self._start + GRANULE].ljust(GRANULE, b"\0")
            if one != self._granule(at):
                granules[at] = one
        for at in range(len(data) + -len(data) % GRANULE, len(self.data), GRANULE):
            granules[self._start + at] = bytes(GRANULE)  # it ends below the blank one
        return Image(granules, self._start + len(data), pages)

    def patch(self, old: Image, new: Image) -> bytes:
        """Returns the driver's table for the change from `old` to `new`: addresses as u32, then granules."""
        changed = changes(old, new, self._granule)
        return struct.pack(f"<{len(changed)}I", *changed) + b"".join(changed.values())

    def _granule(self, address: int) -> bytes:
        at = address - self._start
        return self.data[at : at + GRANULE].ljust(GRANULE, b"\0")


def changes(old: Image, new: Image, blank: Callable[[int], bytes]) -> dict[int, bytes]:
    """The granules to be written to make `new` of `old`, by address; `blank` gives those of no action."""
    changed = {at: one for at, one in new.granules.items() if old.granules.get(at) != one}
    for at in old.granules.keys() - new.granules.keys():
        changed[at] = blank(at)
    return changed


class Images:
    """The images of one guest's actions, those used last. Not thread-safe."""

    def __init__(self, most: int = MOST) -> None:
        """None yet; they may take `most` bytes, the newest alone more."""
        self._most = most
        self._known: OrderedDict[object, Image] = OrderedDict()
        self._granules: dict[bytes, bytes] = {}
        self._uses: Counter[bytes] = Counter()
        self._entries = 0  # granules of all images

    def __len__(self) -> int:
        """Actions whose image is kept."""
        return len(self._known)

    def __contains__(self, key: object) -> bool:
        """Whether there is an image of this action."""
        return key in self._known

    @property
    def weight(self) -> int:
        """Bytes that they take."""
        return len(self._granules) * (GRANULE + _ENTRY) + self._entries * _ENTRY

    def find(self, key: object) -> Image | None:
        """The image of an action, if it is kept."""
        image = self._known.get(key)
        if image is not None:
            self._known.move_to_end(key)
        return image

    def keep(self, key: object, image: Image) -> Image:
        """Remember an image, and return it as it is kept; what was not used for longest is forgotten."""
        if key in self._known:
            self._drop(key)
        kept = Image(
            {at: self._granules.setdefault(one, one) for at, one in image.granules.items()},
            image.high,
            image.pages,
        )
        self._uses.update(kept.granules.values())
        self._entries += len(kept.granules)
        self._known[key] = kept
        while self.weight > self._most and len(self._known) > 1:
            self._drop(next(iter(self._known)))
        return kept

    def _drop(self, key: object) -> None:
        gone = self._known.pop(key)
        self._entries -= len(gone.granules)
        self._uses.subtract(gone.granules.values())
        for one in gone.granules.values():
            if self._uses[one] <= 0:
                self._granules.pop(one, None)
                del self._uses[one]
