"""What makes a running gateway one of its kind: its directory, its name, its signs of life."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import resource
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from edgewhisk.base import checked
from edgewhisk.errors import InstanceError, StorageError

_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1  # malloc.h
_LARGE = 1 << 20  # bytes
_DONTNEED = 4  # sys/mman.h
_MAPPED = re.compile(r"([0-9a-f]+)-([0-9a-f]+) r-[-x]p [0-9a-f]+ \S+ [1-9]\d* ")  # a file, not for writing
_MOST_FILES = 65_536  # more are of no use, and some programs close each one that they might have
_PRIVATE = 0o600
_NAME = re.compile(r"[!-~]{1,128}")  # of a client
_HINTS = {  # of a disk that takes nothing
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk's quota is used up: free some space",
    errno.EROFS: "the file system is read-only: mount it for writing once; the card may be worn out",
}


def frugal_heaps() -> None:
    """Have heaps keep little of what they once used.

    Two for all threads, and what is large by itself. Else glibc raises both thresholds to what it sees freed,
    up to 32 and 64 MB, and each heap keeps as much for good: 29 MB for a batch of large payloads.
    """
    _glibc("mallopt", _ARENA_MAX, 2)
    _glibc("mallopt", _MMAP_THRESHOLD, _LARGE)
    _glibc("mallopt", _TRIM_THRESHOLD, _LARGE)


def many_files() -> None:
    """Have as many files and connections open as the system lets this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def return_memory() -> None:
    """Give back to the system what is free."""
    _glibc("malloc_trim", 0)


def return_pages() -> None:
    """Give back the pages of programs and libraries that are not in use.

    A start reads nearly all of them: wasmtime's relocations and names are 12 MB, of which calls use 1. The
    kernel maps what is used again from its cache, 16 pages at a time. Mappings in which something was changed
    stay.
    """
    with contextlib.suppress(OSError, AttributeError):  # no /proc, or another C library
        give = ctypes.CDLL(None).madvise
        for start, end in _unchanged(Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace")):
            give(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _DONTNEED)


def _unchanged(smaps: str) -> Iterator[tuple[int, int]]:
    """Yields (start, end) of the read-only mappings of files that hold no page of this process's own."""
    found: tuple[int, int] | None = None
    for line in smaps.splitlines():
        if line.startswith("Anonymous:"):
            if found and line.split()[1] == "0":
                yield found
            found = None
        elif (mapped := _MAPPED.match(line)) is not None:
            found = int(mapped[1], 16), int(mapped[2], 16)


def _glibc(function: str, *arguments: int) -> None:
    """Call a function of glibc, where that is the C library."""
    with contextlib.suppress(AttributeError):
        getattr(ctypes.CDLL(None), function)(*arguments)


@contextlib.contextmanager
def state_directory(path: Path) -> Iterator[None]:
    """Own the state directory; raises `InstanceError` if another gateway does.

    One that cannot be written is owned as well: what is in it can be served.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _lock_file(path)
    except OSError as error:
        hint = "run as another user, or set state_dir to a directory you may write"
        hint = _HINTS.get(error.errno or 0, hint)
        raise StorageError(f"state directory {path}: {error.strerror}", hint=hint) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = "unknown"
        with contextlib.suppress(OSError):  # a directory has no text
            owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or owner
        os.close(lock)
        hint = "stop it, or give this one another state_dir and port"
        raise InstanceError(f"another gateway (process {owner}) uses {path}", hint=hint) from None
    try:
        with contextlib.suppress(OSError):  # who owns it is for a person; a full disk takes no name
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def _lock_file(path: Path) -> int:
    """Open what is locked: a file, or the directory itself where none can be made; raises `OSError`."""
    try:
        return os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in _HINTS:
            raise
    with contextlib.suppress(FileNotFoundError):
        return os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


@contextlib.contextmanager
def told(path: Path, text: str) -> Iterator[str]:
    """Tell the command line where this gateway listens, as long as it does; yields why it cannot, or "".

    Without the file, the command line goes by the configuration.
    """
    trouble = ""
    try:
        _private(path, text + "\n")
    except OSError as error:
        trouble = f"{path} cannot be written ({error.strerror}): commands go by the configured port"
        with contextlib.suppress(OSError):  # what is half written, or of an earlier life
            path.unlink()
    try:
        yield trouble
    finally:
        with contextlib.suppress(OSError):  # the next life takes this one for cut off, and is careful
            path.unlink()


def process() -> dict[str, int]:
    """Memory and disk use of this process, as the kernel counts them, in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    used = {"rss": pages * os.sysconf("SC_PAGE_SIZE"), "written": 0}
    with contextlib.suppress(OSError):  # hidden from some containers
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
        used["written"] = next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))
    return used


def occupied(directory: Path, but: str) -> int:
    """Bytes of the files in `directory`, without those in its folder `but`."""
    found = 0
    for folder, names, files in os.walk(directory):
        if Path(folder) == directory and but in names:
            names.remove(but)
        for name in files:
            with contextlib.suppress(OSError):  # gone meanwhile
                found += (Path(folder) / name).lstat().st_blocks * 512
    return found


def notify(state: str) -> None:
    """Tell systemd, where it asked to be told (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def _private(path: Path, text: str) -> None:
    """Write a file that only the service reads."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE), "w") as file:
        os.fchmod(file.fileno(), _PRIVATE)
        file.write(text)


def lasting_name(path: Path) -> tuple[str, str]:
    """A client id made once, and what was wrong with it: the broker keeps the session, and what waits in it.

    One that cannot be read is made anew, and the old file kept beside it: the gateway must connect.
    """
    trouble = ""
    try:
        data, trouble = checked.read(path)
        name = data.decode("ascii").strip()
        if not _NAME.fullmatch(name):
            raise ValueError("it holds no client id")
    except FileNotFoundError:
        name, trouble = "", f"{path} is gone" if checked.was_there(path) else ""
    except (OSError, ValueError) as error:
        name, trouble = "", f"{path} is damaged: {error}; set aside as {path.name}.bad"
        with contextlib.suppress(OSError):
            path.rename(path.with_name(f"{path.name}.bad"))
    if name and not trouble:
        with contextlib.suppress(OSError):
            path.chmod(_PRIVATE)  # it was readable for others once
        return name, ""
    lost = not name
    name = name or f"edgewhisk-{secrets.token_hex(4)}"
    if trouble and lost:
        trouble += f"; the gateway is {name} to brokers now: what the old session held there is not delivered"
    try:
        checked.write(path, name.encode())
    except OSError as error:
        return name, f"{path} cannot be written: {error.strerror}; the client id holds for this life only"
    return name, trouble
