"""The body of an HTTP answer from somebody who may lie about it: read up to a limit, whatever it unpacks to.

httpx unpacks a whole chunk at once: 64 KB from the network can become 64 MB before anybody has counted.
"""

from __future__ import annotations

import zlib
from typing import Final

_PACKED: Final = ("gzip", "x-gzip", "deflate")
_EITHER: Final = 32 + zlib.MAX_WBITS  # with the header of gzip or of zlib


class BadBody(Exception):
    """It is too large, or not what its header says."""


class Body:
    """A body that comes piece by piece."""

    def __init__(self, encoding: str, most: int) -> None:
        """`encoding`: the Content-Encoding header; `most` bytes are taken. Raises `BadBody`."""
        kind = encoding.strip().lower()
        if kind not in ("", "identity", *_PACKED):
            raise BadBody(f"the answer has the encoding {kind[:40]!r}, which was not asked for")
        self._unpack = zlib.decompressobj(_EITHER) if kind in _PACKED else None
        self._most = most
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, raw: bytes) -> None:
        """Take a piece as it came; raises `BadBody`."""
        left = self._most - self._size + 1
        if self._unpack is not None:
            try:
                raw = self._unpack.decompress(raw, left)
            except zlib.error as error:
                raise BadBody(f"the answer cannot be unpacked: {error}") from None
        self._size += len(raw)
        if self._size > self._most:
            raise BadBody(f"the answer has more than {self._most} bytes")
        self._parts.append(raw)

    @property
    def data(self) -> bytes:
        """All that came."""
        return b"".join(self._parts)
