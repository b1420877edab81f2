"""What every test run stands on: signals as a terminal has them, and no process that outlives its tests."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("any machine", deadline=None)  # how long an example takes says nothing here
settings.load_profile("any machine")

pytest_plugins = ["tests.coverage"]

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2): what a dead child leaves behind becomes our child


def pytest_configure() -> None:
    """Take SIGINT as a shell's foreground job does.

    A job in the background starts with SIGINT ignored, and so would every program that a test starts:
    a handler is not inherited by what is executed, but being ignored is (execve(2)).
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@pytest.fixture(autouse=True, scope="session")
def nothing_is_left_running() -> Iterator[None]:
    """End what tests started and did not end, and say so: their folders tell whose it was."""
    before = _children()
    yield
    left = {pid: command for pid in _children() - before if (command := _command(pid))}
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert not left, f"left running: {left}"


def _children() -> set[int]:
    """The processes that this one would have to wait for."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            # proc_pid_stat(5): pid, (name, which may hold anything), state, parent
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(stat.parent.name))
    return found


def _command(pid: int) -> str:
    """The command line of a process; "" for one that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
