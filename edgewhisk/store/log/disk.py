"""What the log asks of a file system, and the real one.

Few and small on purpose: `tests/fakes/disk.py` has the same over memory, with every state that a
power cut can leave behind, and `tests/contract/test_disk.py` holds both to the same words.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Protocol

PAGE: Final = 4096  # bytes: what reaches the card for one changed byte


class Disk(Protocol):
    """Files and directories. All methods raise `OSError` and nothing else.

    Nothing is certain to survive a power cut before `sync` (contents and size of a file) or
    `sync_directory` (names in it) has returned.
    """

    worn: int  # bytes in pages that were synced: about what the card had to write

    def make_directory(self, directory: Path) -> None:
        """With its parents; nothing happens if it is there."""
        ...

    def names(self, directory: Path) -> dict[str, int]:
        """Files with their sizes, sorted by name."""
        ...

    def open(self, path: Path, *, new: bool = False) -> int:
        """For writing. `new`: it must not be there yet, else it must."""
        ...

    def write(self, file: int, data: bytes, at: int) -> None:
        """All of `data`, or raise."""
        ...

    def truncate(self, file: int, size: int) -> None:
        """Cut off what is behind `size`."""
        ...

    def sync(self, file: int) -> None:
        """Wait until all that was written to `file` is on the medium."""
        ...

    def close(self, file: int) -> None:
        """Give up `file`."""
        ...

    def read(self, path: Path, start: int, length: int) -> bytes:
        """Up to `length` bytes from `start`; fewer at the end."""
        ...

    def rename(self, old: Path, new: Path) -> None:
        """Within one directory; replaces what has the name `new`."""
        ...

    def remove(self, path: Path) -> None:
        """The name, and with it the file."""
        ...

    def sync_directory(self, directory: Path) -> None:
        """Wait until the names in it are on the medium."""
        ...

    def room(self, directory: Path) -> int:
        """Bytes that can still be written to its file system."""
        ...

    def size(self, directory: Path) -> int:
        """Bytes that could be written to its file system if it was empty."""
        ...


class RealDisk:
    """`Disk` of this machine."""

    def __init__(self) -> None:
        """Nothing is touched yet."""
        self.worn = 0
        self._pages: dict[int, int] = {}  # file -> bytes in pages written since its last sync

    def make_directory(self, directory: Path) -> None:
        """See `Disk`."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def names(self, directory: Path) -> dict[str, int]:
        """See `Disk`."""
        with os.scandir(directory) as entries:
            found = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        return dict(sorted(found.items()))

    def open(self, path: Path, *, new: bool = False) -> int:
        """See `Disk`."""
        how = os.O_CREAT | os.O_EXCL if new else 0
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | how, 0o600)

    def write(self, file: int, data: bytes, at: int) -> None:
        """See `Disk`."""
        end = -(-(at + len(data)) // PAGE) * PAGE
        self._pages[file] = self._pages.get(file, 0) + end - at // PAGE * PAGE
        view = memoryview(data)
        while view:
            count = os.pwrite(file, view, at)
            view, at = view[count:], at + count

    def truncate(self, file: int, size: int) -> None:
        """See `Disk`."""
        os.ftruncate(file, size)

    def sync(self, file: int) -> None:
        """See `Disk`."""
        os.fdatasync(file)
        self.worn += self._pages.pop(file, 0)

    def close(self, file: int) -> None:
        """See `Disk`."""
        self._pages.pop(file, None)
        os.close(file)

    def read(self, path: Path, start: int, length: int) -> bytes:
        """See `Disk`."""
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts = []
            while length > 0 and (part := os.pread(file, length, start)):
                parts.append(part)
                start, length = start + len(part), length - len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            os.close(file)

    def rename(self, old: Path, new: Path) -> None:
        """See `Disk`."""
        old.rename(new)

    def remove(self, path: Path) -> None:
        """See `Disk`."""
        path.unlink()

    def sync_directory(self, directory: Path) -> None:
        """See `Disk`."""
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self.worn += PAGE

    def room(self, directory: Path) -> int:
        """See `Disk`."""
        found = os.statvfs(directory)
        return found.f_bavail * found.f_frsize

    def size(self, directory: Path) -> int:
        """See `Disk`."""
        found = os.statvfs(directory)
        return (found.f_blocks - found.f_bfree + found.f_bavail) * found.f_frsize
