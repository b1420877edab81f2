"""Which files are in the archive of an action that is a folder. Reads folders, and writes nothing.

`include` and `exclude` as in wskdeploy (its utils/zip.go): sources are patterns beside the
manifest, destinations paths in the archive, and what is included explicitly is not excluded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from posixpath import dirname, normpath
from typing import Final

_WILD: Final = "*"


def files_of(
    folder: Path, beside: Path, include: Sequence[Sequence[str]], exclude: Sequence[str]
) -> Mapping[str, Path]:
    """Names in the archive, and files; raises `ValueError` for what leads out of it, or to nothing."""
    gone = {file for pattern in exclude for file in _below(_matching(beside, pattern))}
    found = {path.relative_to(folder).as_posix(): path for path in _below([folder]) if path not in gone}
    for entry in include:
        source, target = entry[0], entry[1] if len(entry) > 1 else entry[0]
        matched = list(_matching(beside, source))
        if not matched:
            raise ValueError(f"there is no file {source}")
        for path in matched:
            place = _place(source, target, path, beside)
            for file in _below([path]):
                inner = file.relative_to(path).as_posix() if path.is_dir() else ""
                found[_name(f"{place}/{inner}" if inner else place, source)] = file
    return dict(sorted(found.items()))


def _place(source: str, target: str, path: Path, beside: Path) -> str:
    """Where in the archive a file or folder goes that a pattern found."""
    if _WILD not in source:
        return f"{target}{path.name}" if path.is_file() and target.endswith("/") else target
    into = dirname(target) if "." in target.rpartition("/")[2] else target
    fixed = source.partition(_WILD)[0].rpartition("/")[0]  # up to the first folder that varies
    return f"{into.partition(_WILD)[0]}/{path.relative_to(beside / fixed).as_posix()}"


def _name(place: str, source: str) -> str:
    name = normpath(place).lstrip("/")
    if name.startswith(".."):
        raise ValueError(f"{source} would be outside of the archive, at {name}")
    return name


def _matching(beside: Path, pattern: str) -> Iterator[Path]:
    if pattern.startswith("/"):
        raise ValueError(f"{pattern} must be a path beside the manifest")
    found = beside.glob(normpath(pattern)) if _WILD in pattern else [beside / pattern]
    yield from sorted(path for path in found if path.exists())


def _below(paths: Iterator[Path] | list[Path]) -> Iterator[Path]:
    """All files of `paths`, and in them."""
    for path in paths:
        yield from sorted(filter(Path.is_file, path.rglob("*"))) if path.is_dir() else [path]
