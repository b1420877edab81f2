"""Images: the memories of actions that are loaded, each as its difference from the blank guest. Pure.

A small JavaScript action differs from the blank guest in 155 of 401 KiB, and from another small action in 8.
So an image is the granules in which it differs from the first that was loaded, equal granules of different
actions are kept once, and a slot changes from one action to any other by those of both, of any number.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from edgewhisk.entity.action import Revision

GRANULE: Final = 1024  # bytes; what the guest's marks stand for, and what a patch is made of
# bytes that the images of one guest take; those used last stay, others load anew
MAX_IMAGE_BYTES: Final = 48 << 20
_COMMON: Final = 1024  # granules of an image that others may be told by
NO_GRANULES: Final[Mapping[int, bytes]] = MappingProxyType({})
_ENTRY: Final = 128  # bytes that a granule costs besides its own, in each image and once


@dataclass(frozen=True, slots=True)
class Image:
    """An action that is loaded: the granules in which it differs from the blank guest, by address."""

    own: Mapping[int, bytes]  # where it is not as `common`
    common: Mapping[int, bytes]  # of many actions
    high: int  # address of the memory's end
    pages: int  # its size

    def get(self, address: int) -> bytes | None:
        """A granule, if it is not the blank guest's."""
        return self.own.get(address) or self.common.get(address)

    def addresses(self) -> set[int]:
        """Of all granules that may differ from the blank guest's."""
        return {*self.common, *self.own}


class Blank:
    """The guest before an action is loaded."""

    def __init__(self, data: bytes, start: int, pages: int) -> None:
        """`data`: the memory from `start` on, a multiple of a granule; zeros follow."""
        self.data = data
        self.image = Image({}, NO_GRANULES, start + len(data), pages)
        self._start = start

    def difference(self, data: bytes, pages: int) -> Image:
        """Returns the image of a memory that is `data` from the same address on."""
        granules = {}
        for at in range(self._start, self._start + len(data), GRANULE):
            one = data[at - self._start : at - self._start + GRANULE].ljust(GRANULE, b"\0")
            if one != self.granule(at):
                granules[at] = one
        for at in range(len(data) + -len(data) % GRANULE, len(self.data), GRANULE):
            granules[self._start + at] = bytes(GRANULE)  # it ends below the blank one
        return Image(granules, NO_GRANULES, self._start + len(data), pages)

    def patch(self, old: Image, new: Image) -> bytes:
        """Returns the driver's table for the change from `old` to `new`: addresses as u32, then granules."""
        changed = changes(old, new, self.granule)
        return struct.pack(f"<{len(changed)}I", *changed) + b"".join(changed.values())

    def granule(self, address: int) -> bytes:
        """The bytes of one granule."""
        at = address - self._start
        return self.data[at : at + GRANULE].ljust(GRANULE, b"\0")


def changes(old: Image, new: Image, blank: Callable[[int], bytes]) -> dict[int, bytes]:
    """The granules to be written to make `new` of `old`, by address; `blank` gives those of no action."""
    if old.common is new.common:
        addresses: Iterable[int] = {**old.own, **new.own}
    else:
        addresses = old.addresses() | new.addresses()
    changed = {}
    for at in addresses:
        wanted = new.get(at) or blank(at)
        if wanted != (old.get(at) or blank(at)):
            changed[at] = wanted
    return changed


class Images:
    """The images of one guest's actions, those used last. Not thread-safe."""

    def __init__(self, blank: Callable[[int], bytes], most: int = MAX_IMAGE_BYTES) -> None:
        """None yet; they may take `most` bytes, the newest alone more. `blank`: see `changes`."""
        self._blank = blank
        self._most = most
        self._common = NO_GRANULES
        self._known: OrderedDict[Revision, Image] = OrderedDict()
        self._newest: dict[str, Revision] = {}  # by the name of the action
        self._granules: dict[bytes, bytes] = {}  # of all images, each once
        self._uses: Counter[bytes] = Counter()
        self._entries = 0

    def __len__(self) -> int:
        """Actions whose image is kept."""
        return len(self._known)

    def __contains__(self, key: object) -> bool:
        """Whether there is an image of this action."""
        return key in self._known

    @property
    def weight(self) -> int:
        """Bytes that they take."""
        granules = len(self._granules) + len(self._common)
        return granules * (GRANULE + _ENTRY) + self._entries * _ENTRY

    def find(self, key: Revision) -> Image | None:
        """The image of an action, if it is kept."""
        image = self._known.get(key)
        if image is not None:
            self._known.move_to_end(key)
        return image

    def keep(self, key: Revision, image: Image) -> Image:
        """Remember an image, and return it as it is kept; what was not used for longest is forgotten.

        So is the one of an earlier revision.
        """
        self.forget(key[0])
        self._newest[key[0]] = key
        if not self._common and len(image.own) <= _COMMON:
            self._common = MappingProxyType(dict(image.own))
        own = {
            at: self._granules.setdefault(one, one)
            for at, one in changes(Image({}, self._common, 0, 0), image, self._blank).items()
        }
        kept = Image(own, self._common, image.high, image.pages)
        self._uses.update(own.values())
        self._entries += len(own)
        self._known[key] = kept
        while self.weight > self._most and len(self._known) > 1:
            self._drop(next(iter(self._known)))
        return kept

    def forget(self, name: str) -> None:
        """An action ("guest/pkg/a") is gone."""
        if name in self._newest:
            self._drop(self._newest[name])

    def _drop(self, key: Revision) -> None:
        gone = self._known.pop(key)
        del self._newest[key[0]]
        self._entries -= len(gone.own)
        self._uses.subtract(gone.own.values())
        for one in gone.own.values():
            if self._uses[one] <= 0:
                self._granules.pop(one, None)
                del self._uses[one]
