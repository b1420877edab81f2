"""The files of the archive for `open`, `os` and all that stands on them (pathlib, glob, importlib.resources).

The guest itself has no files. What is in the archive can be read, from the folder / that the action runs in;
all else is as the guest's system has it: not there.
"""

import builtins
import errno
import io
import os
import stat

_READ = {"r", "rb", "rt", "br", "tr"}
_FILE, _FOLDER = stat.S_IFREG | 0o444, stat.S_IFDIR | 0o555


class Entry:
    """What `os.scandir` gives."""

    def __init__(self, folder, name):
        self.name = name
        self.path = os.path.join(folder, name) if folder else name

    def __fspath__(self):
        return self.path

    def is_dir(self, *, follow_symlinks=True):
        """Whether it is a folder."""
        return stat.S_ISDIR(self.stat().st_mode)

    def is_file(self, *, follow_symlinks=True):
        """Whether it is a file."""
        return not self.is_dir()

    def is_symlink(self):
        """It never is."""
        return False

    def is_junction(self):
        """It never is."""
        return False

    def stat(self, *, follow_symlinks=True):
        """See `os.stat`."""
        return os.stat(self.path)

    def inode(self):
        """There is none."""
        return 0


class Scan(list):
    """`os.scandir`'s iterator, which may be used by `with`."""

    def __enter__(self):
        return iter(self)

    def __exit__(self, *_):
        """Nothing to close."""

    def close(self):
        """Nothing to close."""


class Reader:
    """`open`, `os.stat`, `os.listdir` and `os.scandir`, which look into `archive.files` first."""

    def __init__(self, archive):
        self.archive = archive
        self.usual_open, self.usual_stat, self.usual_listdir = io.open, os.stat, os.listdir

    def find(self, path):
        """(path in the archive, its bytes): without bytes it is a folder or not there."""
        if isinstance(path, int) or not self.archive.files:
            return None, None
        place = os.path.normpath("/" + os.fsdecode(path)).lstrip("/")
        return place, self.archive.files.get(place)

    def names(self, path):
        """What is in a folder of the archive; empty for what is none."""
        place, data = self.find(path)
        if place is None or data is not None:
            return []
        head = f"{place}/" if place else ""
        return sorted({
            one[len(head) :].split("/", 1)[0] for one in self.archive.files if one.startswith(head)
        })  # fmt: skip

    def open(self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *rest, **named):
        """See `io.open`."""
        data = self.find(file)[1]
        if data is None:
            return self.usual_open(file, mode, buffering, encoding, errors, newline, *rest, **named)
        if mode not in _READ:
            raise PermissionError(errno.EROFS, "the files of an action can only be read", os.fsdecode(file))
        raw = io.BytesIO(data)
        raw.name = os.fsdecode(file)
        return raw if "b" in mode else io.TextIOWrapper(raw, encoding or "utf-8", errors, newline)

    def stat(self, path, **named):
        """See `os.stat`."""
        data = self.find(path)[1]
        if data is None and not self.names(path):
            return self.usual_stat(path, **named)
        mode, size = (_FOLDER, 0) if data is None else (_FILE, len(data))
        return os.stat_result((mode, 0, 0, 1, 0, 0, size, 0, 0, 0))

    def listdir(self, path="."):
        """See `os.listdir`."""
        return self.names(path) or self.usual_listdir(path)

    def scandir(self, path="."):
        """See `os.scandir`."""
        return Scan(Entry("" if path == "." else os.fspath(path), name) for name in self.listdir(path))


def install(archive):
    """Have `open` and `os` look into `archive.files` first; called once, while the component is built."""
    reader = Reader(archive)
    builtins.open = io.open = reader.open
    os.stat = os.lstat = reader.stat
    os.listdir, os.scandir = reader.listdir, reader.scandir
