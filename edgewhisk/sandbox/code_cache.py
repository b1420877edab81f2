"""The directory of compiled code. An entry is machine code: it counts only with the digest made of it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path
from typing import Final

_MOST_CACHED: Final = 256 << 20  # bytes of compiled code
_ABANDONED: Final = 3600.0  # seconds after which a draft is nobody's: its writer was killed


def is_whole(entry: Path) -> bool:
    """Whether a cache entry is ours and what was written."""
    try:
        if entry.parent.stat().st_uid != os.geteuid() or entry.stat().st_uid != os.geteuid():
            return False
        with entry.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.utime(entry)  # used now: mounts with noatime would not tell
        return _sum_of(entry).read_text(encoding="ascii") == digest
    except (OSError, UnicodeDecodeError):
        return False


def store(entry: Path, code: bytes) -> None:
    """Keep compiled code, and drop what was not used for longest; raises `OSError`."""
    entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(entry, code)
    _write(_sum_of(entry), hashlib.sha256(code).hexdigest().encode())
    _trim(entry.parent)


def _sum_of(entry: Path) -> Path:
    return entry.with_suffix(".sha256")


def _write(path: Path, data: bytes) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def _trim(cache: Path) -> None:
    """Drop the entries that were not used for longest when the cache is over its limit, and old drafts."""
    with contextlib.suppress(OSError):
        for draft in cache.glob("*.[cs]*.[0-9]*"):
            if draft.stat().st_mtime < time.time() - _ABANDONED:
                draft.unlink()
        entries = sorted(cache.glob("*.cwasm"), key=lambda entry: -entry.stat().st_atime)
        total = 0
        for entry in entries:
            total += entry.stat().st_size
            if total > _MOST_CACHED:
                entry.unlink()
                _sum_of(entry).unlink(missing_ok=True)
