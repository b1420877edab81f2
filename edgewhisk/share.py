"""Finds the files that ship beside the code: runtimes, device profiles, units.

The administrator's file wins over the shipped one, as in systemd: `/etc/edgewhisk/KIND/NAME`, then
the wheel's copy, then the checkout the code runs from.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).resolve().parent
_ROOTS: Final = (Path("/etc/edgewhisk"), _PACKAGE / "_share", _PACKAGE.parent)


def find(kind: str, name: str) -> Path:
    """The file `name` of a `kind` ("devices", "sandboxes", "systemd").

    Raises `FileNotFoundError` naming every place that was looked at.
    """
    places = [root / kind / name for root in _ROOTS]
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(str(place) for place in places)
    raise FileNotFoundError(f"{kind}/{name} is in none of: {looked}")


def every(kind: str, pattern: str) -> Iterator[tuple[str, Path]]:
    """All files of a `kind` matching a glob, as (name below the kind's folder, path), by name."""
    found: dict[str, Path] = {}
    for root in _ROOTS:
        folder = root / kind
        for path in sorted(folder.glob(pattern)):
            found.setdefault(path.relative_to(folder).as_posix(), path)
    yield from sorted(found.items())
