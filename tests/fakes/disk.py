"""`Disk` in memory, and every state that a power cut can leave of it; a real disk that is slow or full.

What was not synced is lost, kept, or torn: a write anywhere, sector by sector, in any order; names
that were made, changed or removed without a sync of their directory likewise.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from edgewhisk.store.log.disk import RealDisk

SECTOR = 64  # bytes that are written whole or not at all; small, as the records of the tests are
Image = Mapping[Path, bytes]  # what is on the medium


class Op(NamedTuple):
    """One thing that was done: `write`, `cut`, `sync`, `make`, `rename`, `remove`, `names`."""

    what: str
    file: int = 0
    at: int = 0
    data: bytes = b""
    path: Path = Path()
    new: Path = Path()


class MemoryDisk:
    """`Disk` over an image; what is done is in `trace`."""

    def __init__(self, image: Image | None = None) -> None:
        """Begin with the files of `image`."""
        self.worn = 0
        self.free = 1 << 40  # bytes
        self.refuse: dict[str, int] = {}  # what -> errno
        self.refuse_once: dict[str, int] = {}
        self.octets = 0  # that were read
        self.trace: list[Op] = []
        self.before: list[tuple[Path, int, bytes]] = []
        self._contents: dict[int, bytearray] = {}
        self._names: dict[Path, int] = {}
        for number, (path, data) in enumerate((image or {}).items()):
            self._names[path] = number
            self._contents[number] = bytearray(data)
            self.before.append((path, number, data))
        self._handles: dict[int, int] = {}
        self._next = len(self._names)

    def image(self) -> dict[Path, bytes]:
        """As if all were synced."""
        return {path: bytes(self._contents[file]) for path, file in self._names.items()}

    def make_directory(self, directory: Path) -> None:
        pass

    def names(self, directory: Path) -> dict[str, int]:
        self._check("list")
        found = {
            path.name: len(self._contents[file])
            for path, file in self._names.items()
            if path.parent == directory
        }
        return dict(sorted(found.items()))

    def open(self, path: Path, *, new: bool = False) -> int:
        self._check("open")
        if new and path in self._names:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        if new:
            self._next += 1
            self._names[path] = self._next
            self._contents[self._next] = bytearray()
            self._did(Op("make", self._next, path=path))
        file = self._file(path)
        handle = len(self._handles) + 100
        while handle in self._handles:
            handle += 1
        self._handles[handle] = file
        return handle

    def write(self, file: int, data: bytes, at: int) -> None:
        self._check("write")
        number = self._handles[file]
        content = self._contents[number]
        grows = max(0, at + len(data) - len(content))
        if grows > self.free:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.free -= grows
        _overwrite(content, at, data)
        self._did(Op("write", number, at, data))

    def truncate(self, file: int, size: int) -> None:
        self._check("truncate")
        number = self._handles[file]
        _cut(self._contents[number], size)
        self._did(Op("cut", number, size))

    def sync(self, file: int) -> None:
        self._check("sync")
        self._did(Op("sync", self._handles[file]))

    def close(self, file: int) -> None:
        del self._handles[file]

    def read(self, path: Path, start: int, length: int) -> bytes:
        self._check("read")
        data = bytes(self._contents[self._file(path)][start : start + length])
        self.octets += len(data)
        return data

    def rename(self, old: Path, new: Path) -> None:
        self._check("rename")
        file = self._file(old)
        self._names[new] = self._names.pop(old)
        self._did(Op("rename", file, path=old, new=new))

    def remove(self, path: Path) -> None:
        self._check("remove")
        file = self._file(path)
        self.free += len(self._contents[file])
        del self._names[path]
        self._did(Op("remove", file, path=path))

    def sync_directory(self, directory: Path) -> None:
        self._check("sync_directory")
        self._did(Op("names", path=directory))

    def room(self, directory: Path) -> int:
        return self.free

    def size(self, directory: Path) -> int:
        return self.free + sum(map(len, self._contents.values()))

    def _file(self, path: Path) -> int:
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return self._names[path]

    def _check(self, what: str) -> None:
        if (number := self.refuse_once.pop(what, self.refuse.get(what))) is not None:
            raise OSError(number, f"refused to {what}")

    def _did(self, op: Op) -> None:
        self.trace.append(op)


class FaultyDisk(RealDisk):
    """A real disk whose syncs a test holds, and whose writes it lets fail."""

    def __init__(self) -> None:
        """Without any fault."""
        super().__init__()
        self.go, self.begun = threading.Event(), threading.Event()  # syncs may end; one has begun
        self.go.set()
        self.full = False

    def hold(self) -> None:
        """Let no sync end from now on; `begun` tells of the next one, `go` lets it end."""
        self.begun.clear()
        self.go.clear()

    def write(self, file: int, data: bytes, at: int) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "the disk is full")
        super().write(file, data, at)

    def sync(self, file: int) -> None:
        self.begun.set()
        assert self.go.wait(20)
        super().sync(file)


class Cuts:
    """The states after a cut of what `disk` did."""

    def __init__(self, disk: MemoryDisk, *, syncs: bool = True, names: bool = True) -> None:
        """`syncs`, `names`: whether syncs of files and of directories do anything (mutants)."""
        self._disk = disk
        self._syncs = syncs
        self._renames = names
        self._contents: dict[int, bytearray] = {}
        self._names: dict[Path, int] = {}
        self._writes: list[Op] = []  # not synced
        self._changes: list[Op] = []  # of names, not synced

    def states(self, random: Random, *, every: int = 1, shuffled: int = 2) -> Iterator[tuple[int, Image]]:
        """How many operations were begun, and what a cut then leaves.

        The last write is torn at each `every`th byte; `shuffled` states besides have some of what was
        not synced.
        """
        for path, file, data in self._disk.before:
            self._names[path] = file
            self._contents[file] = bytearray(data)
        yield 0, self._image([], [])
        for count, op in enumerate(self._disk.trace, 1):
            writes, changes = list(self._writes), list(self._changes)
            if op.what == "write":
                for torn in range(0, len(op.data), every):
                    part = op._replace(data=op.data[:torn])
                    yield count, self._image([*writes, part], changes)
            self._follow(op)
            yield count, self._image(self._writes, self._changes)
            yield count, self._image([], self._changes)
            yield count, self._image(self._writes, [])
            for _ in range(shuffled):
                yield (
                    count,
                    self._image(self._some(random), [c for c in self._changes if random.random() < 0.5]),
                )

    def _follow(self, op: Op) -> None:
        if op.what in ("write", "cut"):
            self._writes.append(op)
        elif op.what == "sync":
            if self._syncs:
                _settle(self._contents, [one for one in self._writes if one.file == op.file])
                self._writes = [one for one in self._writes if one.file != op.file]
        elif op.what == "names":
            if self._renames:
                mine = [one for one in self._changes if one.path.parent == op.path]
                _apply(self._names, mine)
                self._changes = [one for one in self._changes if one.path.parent != op.path]
        else:
            self._changes.append(op)

    def _some(self, random: Random) -> list[Op]:
        """Some sectors of some of the writes."""
        kept: list[Op] = []
        for op in self._writes:
            if op.what == "cut":
                kept += [op] if random.random() < 0.5 else []
                continue
            at = 0
            while at < len(op.data):
                size = SECTOR - (op.at + at) % SECTOR
                if random.random() < 0.5:
                    kept.append(op._replace(at=op.at + at, data=op.data[at : at + size]))
                at += size
        return kept

    def _image(self, writes: list[Op], changes: list[Op]) -> Image:
        names = dict(self._names)
        _apply(names, changes)
        touched = {op.file for op in writes}
        contents: dict[int, Any] = {
            file: bytearray(self._contents.get(file, b""))
            if file in touched
            else self._contents.get(file, b"")
            for file in names.values()
        }
        _settle(contents, [op for op in writes if op.file in contents])
        return {path: bytes(contents[file]) for path, file in names.items()}


def _apply(names: dict[Path, int], changes: list[Op]) -> None:
    for op in changes:
        if op.what == "make":
            names[op.path] = op.file
            continue
        if names.get(op.path) == op.file:
            del names[op.path]
        if op.what == "rename":
            names[op.new] = op.file


def _settle(contents: dict[int, bytearray], writes: list[Op]) -> None:
    for op in writes:
        content = contents.setdefault(op.file, bytearray())
        if op.what == "cut":
            _cut(content, op.at)
        else:
            _overwrite(content, op.at, op.data)


def _overwrite(content: bytearray, at: int, data: bytes) -> None:
    if len(content) < at:
        content += bytes(at - len(content))
    content[at : at + len(data)] = data


def _cut(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content += bytes(size - len(content))
