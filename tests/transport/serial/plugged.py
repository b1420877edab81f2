"""Ports that are plugged in for the time of a test, or hang when they are opened."""

from __future__ import annotations

import contextlib
import os
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.device.profile import Line
from edgewhisk.transport.serial import discovery


@contextlib.contextmanager
def plugged(link: Path) -> Iterator[int]:
    """A device that appears at `link`; its own end."""
    master, slave = os.openpty()
    tty.setraw(slave)
    link.symlink_to(os.ttyname(slave))
    os.close(slave)
    try:
        yield master
    finally:
        link.unlink()
        os.close(master)


def hanging(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, list[str]]:
    """Ports hang when they are opened, until the event is set; which ones were tried."""
    release, connect, tries = threading.Event(), discovery.connect, list[str]()

    def slow(path: str, line: Line) -> Any:
        tries.append(path)
        release.wait(20)
        return connect(path, line)

    monkeypatch.setattr(discovery, "connect", slow)
    return release, tries
