"""A directory of segments: append, roll, read, drop. Not thread-safe; its owner locks.

Files are made and removed with an fsync of the directory, so a power cut never brings back what was
dropped or loses what was acknowledged.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgewhisk.buffer.journal import Frame, Scan, encode, parse_name, scan, seed_of, segment_name
from edgewhisk.errors import StorageError

SEGMENT: Final = 1 << 20  # bytes after which a new segment is begun
_HINTS: Final = {
    errno.ENOSPC: "the disk is full: free some space, or lower [buffer] max_bytes",
    errno.EROFS: "the file system is read-only: the card may be worn out",
    errno.EIO: "the disk fails: replace the card",
}


def storage_error(path: Path, error: OSError) -> StorageError:
    """`error` as ours, with what to do."""
    return StorageError(f"{path}: {error.strerror or error}", hint=_HINTS.get(error.errno or 0, ""))


class Segment:
    """One file of the log."""

    def __init__(self, path: Path, serial: int, first: int, size: int) -> None:
        """`first` is the number of the first record that may be in it."""
        self.path = path
        self.serial = serial
        self.first = first
        self.size = size
        self.seed = seed_of(path.name)

    def read(self) -> bytes:
        """All that is acknowledged of it; raises `StorageError`."""
        try:
            with self.path.open("rb") as file:
                return file.read(self.size)
        except OSError as error:
            raise storage_error(self.path, error) from error

    def scan(self) -> Scan:
        """Its frames."""
        return scan(self.read(), self.seed)


class Log:
    """Segments, oldest first; the last one is written to."""

    def __init__(self, directory: Path) -> None:
        """Open or make `directory`; raises `StorageError`. Segments are there after `recover`."""
        self.directory = directory
        self.segments: list[Segment] = []
        self.written = 0  # bytes
        self.commits = 0  # fdatasync calls
        self._file = -1
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in sorted(directory.iterdir()):
                if (found := parse_name(path.name)) is not None:
                    self.segments.append(Segment(path, *found, path.stat().st_size))
        except OSError as error:
            raise storage_error(directory, error) from error

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self.segments)

    @property
    def full(self) -> bool:
        """Whether the next append should go to a new segment."""
        return not self.segments or self._file < 0 or self.segments[-1].size >= SEGMENT

    def resume(self, end: int) -> None:
        """Go on writing to the newest segment, after cutting off what a crash tore.

        The cut is on disk before anything is written behind it: a torn half and a later frame must
        never meet. A disk that refuses (full, read-only) does not stop the boot: then the next
        append begins a new segment, and the torn bytes stay behind the end that scans find.
        """
        segment = self.segments[-1]
        try:
            file = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            segment.size = end
            return
        try:
            if segment.size != end:
                os.ftruncate(file, end)
                os.fsync(file)
        except OSError:
            os.close(file)
        else:
            self._file = file
        segment.size = end

    def roll(self, first: int, header: Frame) -> Segment:
        """Begin a new segment with `header`; durable on return. Raises `StorageError`."""
        serial = self.segments[-1].serial + 1 if self.segments else 1
        path = self.directory / segment_name(serial, first, secrets.token_hex(8))
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise storage_error(path, error) from error
        segment = Segment(path, serial, first, 0)
        try:
            data, _ = encode([header], segment.seed)
            _write(file, data, 0)
            os.fdatasync(file)
            self._sync_directory()
        except OSError as error:
            os.close(file)
            with contextlib.suppress(OSError):
                path.unlink()
            raise storage_error(path, error) from error
        segment.size = len(data)
        self.written += len(data)
        self.commits += 1
        self._close_file()
        self._file = file
        self.segments.append(segment)
        return segment

    def append(self, groups: Sequence[Sequence[Frame]]) -> list[tuple[int, ...]]:
        """Write groups and wait for the disk; where each frame's text stands in the segment.

        On an error nothing of it remains, and the segment is given up: after a failed fdatasync the
        kernel may have dropped the pages and will not say so twice.
        """
        segment = self.segments[-1]
        base, parts, places = segment.size, [], []
        for group in groups:
            data, starts = encode(group, segment.seed)
            places.append(tuple(base + start for start in starts))
            parts.append(data)
            base += len(data)
        try:
            _write(self._file, b"".join(parts), segment.size)
            os.fdatasync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, segment.size)
            self._close_file()
            raise storage_error(segment.path, error) from error
        self.written += base - segment.size
        self.commits += 1
        segment.size = base
        return places

    def drop(self, segment: Segment) -> None:
        """Remove a segment; raises `StorageError`."""
        try:
            segment.path.unlink()
            self._sync_directory()
        except OSError as error:
            raise storage_error(segment.path, error) from error
        finally:
            if not segment.path.exists():
                self.segments.remove(segment)

    def set_aside(self, segment: Segment) -> None:
        """Keep an unreadable segment under another name and go on without it."""
        self.segments.remove(segment)
        with contextlib.suppress(OSError):
            segment.path.rename(segment.path.with_suffix(".bad"))
            self._sync_directory()

    def close(self) -> None:
        """Close the file."""
        self._close_file()

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _sync_directory(self) -> None:
        folder = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _write(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(file, view, at)
        view, at = view[count:], at + count
