"""Small files with their checksum beside them: a changed byte is put right, worse damage is told.

The checksum of `client_id` stands in `.client_id.crc32`, so that the file itself stays what it is: one line
that anybody may read. A file without one, of an older version or written by hand, is taken as it is.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

_LONGEST: Final = 256  # bytes of a file in which a changed byte is searched for: 20 ms
_DIGITS: Final = 8
_SUFFIX: Final = ".crc32"


class CheckedFile(NamedTuple):
    """What stands in a file."""

    data: bytes
    trouble: str = ""  # what is wrong with it, and was put right


def read(path: Path) -> CheckedFile:
    """The contents of a file; raises `OSError`, and `ValueError` for one that is damaged beyond mending."""
    data = path.read_bytes()
    try:
        told = _beside(path).read_bytes().strip()
    except OSError:
        return CheckedFile(data)
    found = b"%08x" % crc32(data)
    if found == told:
        return CheckedFile(data)
    if sum(one != other for one, other in zip(found, told, strict=False)) + abs(len(told) - _DIGITS) <= 1:
        return CheckedFile(data, f"{_beside(path)} was damaged; {path} is as it was")
    if (mended := _mended(data, told)) is None:
        raise ValueError(f"it is not what its checksum in {_beside(path).name} was made of")
    return CheckedFile(mended, f"{path} had a damaged byte, which was put right")


def was_there(path: Path) -> bool:
    """Whether there was a file once, which may be gone."""
    return _beside(path).exists()


def told_by(name: str) -> str:
    """The name of the file whose checksum a file of this name holds; "" if it holds none."""
    return name[1 : -len(_SUFFIX)] if name.startswith(".") and name.endswith(_SUFFIX) else ""


def forget(path: Path) -> None:
    """Remove the checksum of a file that is removed."""
    _beside(path).unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file, if it is there, and its checksum; durable on return. Raises `OSError`."""
    path.unlink(missing_ok=True)
    forget(path)
    sync(path.parent)


def write(path: Path, data: bytes, mode: int = 0o600, owner: os.stat_result | None = None) -> None:
    """Put a file in place, then its checksum; durable on return. Raises `OSError`.

    The checksum of what stood there goes first: cut off anywhere, the old file or the new one is whole, if
    without a checksum.
    """
    forget(path)
    for where, what in ((path, data), (_beside(path), b"%08x\n" % crc32(data))):
        draft = where.with_name(f".{path.name}.new")
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            if owner is not None:
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.write(what)
            file.flush()
            os.fsync(file.fileno())
        sync(path.parent)
        draft.rename(where)
    sync(path.parent)


def sync(path: Path) -> None:
    """Make a folder's names durable, or what a file holds; raises `OSError`."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}{_SUFFIX}")


def _mended(data: bytes, told: bytes) -> bytes | None:
    """The data in which one byte is another, if that makes it right."""
    if len(data) > _LONGEST:
        return None
    for at in range(len(data)):
        before = crc32(data[:at])
        for value in range(256):
            if b"%08x" % crc32(data[at + 1 :], crc32(bytes([value]), before)) == told:
                return data[:at] + bytes([value]) + data[at + 1 :]
    return None
