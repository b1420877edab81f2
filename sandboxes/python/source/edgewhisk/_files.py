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


def install(archive):
    """Have `open` and `os` look into `archive.files` first; called once, while the component is built."""
    usual = io.open, os.stat, os.listdir, os.scandir

    def find(path):
        """(path in the archive, its bytes); the bytes are None for a folder or what is not there."""
        if isinstance(path, int) or not archive.files:
            return None, None
        place = os.path.normpath("/" + os.fsdecode(path)).lstrip("/")
        return place, archive.files.get(place)

    def names(place):
        """What is in a folder; empty for one that is not there."""
        head = f"{place}/" if place else ""
        return sorted({one[len(head) :].split("/", 1)[0] for one in archive.files if one.startswith(head)})

    def open_file(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
        place, data = find(file)
        if data is None:
            return usual[0](file, mode, buffering, encoding, errors, newline, closefd, opener)
        if mode not in _READ:
            raise PermissionError(errno.EROFS, "the files of an action can only be read", os.fsdecode(file))
        raw = io.BytesIO(data)
        raw.name = os.fsdecode(file)
        return raw if "b" in mode else io.TextIOWrapper(raw, encoding or "utf-8", errors, newline)

    def status(path, *, dir_fd=None, follow_symlinks=True):
        place, data = find(path)
        if data is None and not (place is not None and names(place)):
            return usual[1](path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        mode, size = (_FOLDER, 0) if data is None else (_FILE, len(data))
        return os.stat_result((mode, 0, 0, 1, 0, 0, size, 0, 0, 0))

    def listed(path="."):
        place, data = find(path)
        if place is None or data is not None or not (found := names(place)):
            return usual[2](path)
        return found

    def scanned(path="."):
        return Scan(Entry("" if path == "." else os.fspath(path), name) for name in listed(path))

    builtins.open = io.open = open_file
    os.stat = os.lstat = status
    os.listdir, os.scandir = listed, scanned
