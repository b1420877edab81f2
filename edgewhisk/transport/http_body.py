"""The body of an HTTP answer from somebody who may lie about it: read up to a limit, whatever it unpacks to.

httpx unpacks a whole chunk at once: 64 KB from the network can become 64 MB before anybody has counted.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

_PACKED: Final = ("gzip", "x-gzip", "deflate")
_EITHER: Final = 32 + zlib.MAX_WBITS  # with the header of gzip or of zlib
_PIECE: Final = 64 << 10  # bytes unpacked at a time


class BadBody(Exception):
    """It is too large, or not what its header says."""


class Unpacking:
    """A Content-Encoding that is undone piece by piece."""

    def __init__(self, encoding: str) -> None:
        """`encoding`: the header; raises `BadBody` for one that was not asked for."""
        kind = encoding.strip().lower()
        if kind not in ("", "identity", *_PACKED):
            raise BadBody(f"the answer has the encoding {kind[:40]!r}, which was not asked for")
        self._unpack = zlib.decompressobj(_EITHER) if kind in _PACKED else None

    def pieces(self, raw: bytes) -> Iterator[bytes]:
        """What was packed in `raw`, little at a time; raises `BadBody`."""
        if self._unpack is None:
            yield raw
            return
        while raw:
            try:
                yield self._unpack.decompress(raw, _PIECE)
            except zlib.error as error:
                raise BadBody(f"the answer cannot be unpacked: {error}") from None
            raw = self._unpack.unconsumed_tail


class Body:
    """A body that comes piece by piece, and is wanted as a whole."""

    def __init__(self, encoding: str, most: int) -> None:
        """`encoding`: as `Unpacking` takes it; `most` bytes are taken. Raises `BadBody`."""
        self._unpacking = Unpacking(encoding)
        self._most = most
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, raw: bytes) -> None:
        """Take a piece as it came; raises `BadBody`."""
        for piece in self._unpacking.pieces(raw):
            self._size += len(piece)
            if self._size > self._most:
                raise BadBody(f"the answer has more than {self._most} bytes")
            self._parts.append(piece)

    @property
    def data(self) -> bytes:
        """All that came."""
        return b"".join(self._parts)
