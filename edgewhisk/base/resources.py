"""Finds the files that ship beside the code: runtimes, device profiles, units.

The administrator's file wins over the shipped one, as in systemd: `/etc/edgewhisk/KIND/NAME`, then the
gateway's state directory, then the wheel's copy, then the checkout the code runs from.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_ETC: Final = Path("/etc/edgewhisk")
_SHIPPED: Final = (_PACKAGE / "_share", _PACKAGE.parent)
_own: Path | None = None  # the state directory of this process's gateway


def own(state_dir: Path) -> None:
    """Say where this gateway's state is: who may not write below /etc has device profiles there."""
    global _own  # one process serves one state directory
    _own = state_dir


def _roots() -> tuple[Path, ...]:
    return tuple(root for root in (_ETC, _own, *_SHIPPED) if root is not None and _is_open(root))


def _is_open(root: Path) -> bool:
    """Whether this user may look into a folder: a gateway's own are closed to others, who have the rest."""
    try:
        (root / "devices").exists()
    except PermissionError:
        return False
    return True


def find(kind: str, name: str) -> Path:
    """The file `name` of a `kind` ("devices", "sandboxes", "systemd").

    Raises `FileNotFoundError` naming every place that was looked at.
    """
    places = [root / kind / name for root in _roots()]
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(str(place) for place in places)
    raise FileNotFoundError(f"{kind}/{name} is in none of: {looked}")


def every(kind: str, pattern: str) -> Iterator[tuple[str, Path]]:
    """All files of a `kind` matching a glob, as (name below the kind's folder, path), by name."""
    found: dict[str, Path] = {}
    for root in _roots():
        folder = root / kind
        for path in sorted(folder.glob(pattern)):
            if path.is_file():
                found.setdefault(path.relative_to(folder).as_posix(), path)
    yield from sorted(found.items())
