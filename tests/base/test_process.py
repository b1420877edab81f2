"""What a process gives back to the system."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

from edgewhisk.base.process import return_pages

PAGES = 64


def mapped(folder: Path, name: str) -> tuple[mmap.mmap, str]:
    """A file of our own, mapped privately, all of whose pages were read."""
    path = folder / name
    path.write_bytes(bytes(range(256)) * (PAGES * mmap.PAGESIZE // 256))
    with path.open("rb") as file:
        found = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    assert sum(found[:: mmap.PAGESIZE]) == 0
    return found, str(path)


def protect(what: mmap.mmap) -> None:
    """Nobody may write to it any more, as the loader leaves what it relocated."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(what))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address), ctypes.c_size_t(len(what)), 1) == 0


def resident(path: str) -> int:
    """KB of a file that this process has mapped and in memory."""
    _, found = Path("/proc/self/smaps").read_text().split(path)
    return int(next(line for line in found.splitlines() if line.startswith("Rss:")).split()[1])


def test_pages_of_files_that_only_the_start_read_are_given_back(tmp_path: Path) -> None:
    untouched, path = mapped(tmp_path, "library")
    protect(untouched)
    assert resident(path) > 0
    return_pages()
    assert resident(path) == 0
    assert untouched[5 * mmap.PAGESIZE + 7] == 7  # and come back when they are used


def test_what_this_process_changed_in_a_file_of_its_own_stays(tmp_path: Path) -> None:
    relocated, _ = mapped(tmp_path, "library")
    relocated[3 * mmap.PAGESIZE] = 99
    protect(relocated)
    writable, _ = mapped(tmp_path, "memory")
    writable[4 * mmap.PAGESIZE] = 98
    return_pages()
    assert (relocated[3 * mmap.PAGESIZE], writable[4 * mmap.PAGESIZE]) == (99, 98)
