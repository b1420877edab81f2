"""Time zones for guests: files of the time zone database (RFC 9636), of the system or the package tzdata."""

from __future__ import annotations

import base64
import re
import zoneinfo
from functools import lru_cache
from pathlib import Path
from typing import Final

FOLDER: Final = "zone/"  # of the library that guests see
_LIST: Final = "zones"  # names of all, a line each
_NAME: Final = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}")  # no dots: no way out of the folder
_LARGEST: Final = 1 << 16  # bytes; those of 2026 have 3,500 at most


@lru_cache(maxsize=64)
def zone(name: str) -> bytes | None:
    """Returns a zone's file as base64, for "zone/" the names of all; None if there is no such zone."""
    if not name:
        return _tzdata(_LIST)
    if not _NAME.fullmatch(name):
        return None
    for folder in zoneinfo.TZPATH:
        found = _file(Path(folder, name))
        if found is not None:
            return found
    found = _tzdata("zoneinfo", *name.split("/"))
    return None if found is None else _encoded(found)


def _file(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return _encoded(file.read(_LARGEST))
    except OSError:  # a folder, or nothing
        return None


def _tzdata(*parts: str) -> bytes | None:
    from importlib import resources  # most systems have zones of their own

    try:
        return resources.files("tzdata").joinpath(*parts).read_bytes()
    except OSError:
        return None


def _encoded(data: bytes) -> bytes | None:
    return base64.b64encode(data) if data[:4] == b"TZif" else None
