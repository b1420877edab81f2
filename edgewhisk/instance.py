"""What makes a running gateway one of its kind: its directory, its name, its signs of life."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from edgewhisk import checked
from edgewhisk.errors import InstanceError, StorageError

_ARENA_MAX = -8  # malloc.h
_NAME = re.compile(r"[!-~]{1,128}")  # of a client


def few_arenas() -> None:
    """Have all threads share two heaps: each of its own keeps what its thread once used."""
    _glibc("mallopt", _ARENA_MAX, 2)


def return_memory() -> None:
    """Give back what starting took."""
    _glibc("malloc_trim", 0)


def _glibc(function: str, *arguments: int) -> None:
    """Call a function of glibc, where that is the C library."""
    with contextlib.suppress(AttributeError):
        getattr(ctypes.CDLL(None), function)(*arguments)


@contextlib.contextmanager
def state_directory(path: Path) -> Iterator[None]:
    """Own the state directory; raises `InstanceError` if another gateway does."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        hint = "run as another user, or set state_dir to a directory you may write"
        raise StorageError(f"state directory {path}: {error.strerror}", hint=hint) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
        os.close(lock)
        hint = "stop it, or give this one another state_dir and port"
        raise InstanceError(f"another gateway (process {owner}) uses {path}", hint=hint) from None
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def told(path: Path, text: str) -> Iterator[None]:
    """Tell the command line where this gateway listens, as long as it does."""
    path.write_text(text + "\n", encoding="ascii")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


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
