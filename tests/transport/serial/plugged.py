"""Ports that are plugged in for the time of a test."""

from __future__ import annotations

import contextlib
import os
import tty
from collections.abc import Iterator
from pathlib import Path


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
