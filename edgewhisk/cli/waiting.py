"""Tells whoever waits at a terminal for an answer how long it has been, and what it waits for."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

_QUIET: Final = 2.0  # seconds without a word
_STEP: Final = 1.0  # seconds between two looks
_CLEAR: Final = "\r\x1b[K"


@contextlib.contextmanager
def told(status: Callable[[], Any]) -> Iterator[None]:
    """Show on stderr, while the block runs, that it does; `status` asks the gateway why.

    Nothing is shown where stderr is no terminal.
    """
    if not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()
    shown = threading.Thread(target=_show, args=[ended, status], daemon=True)
    shown.start()
    try:
        yield
    finally:
        ended.set()
        shown.join(0.5)  # it may wait for an answer itself


def _show(ended: threading.Event, status: Callable[[], Any]) -> None:
    begun = time.monotonic()
    if ended.wait(_QUIET):
        return
    while True:
        text = f"waiting for {time.monotonic() - begun:.0f} s{why(status())}"
        if ended.is_set():
            return
        print(f"{_CLEAR}{text}", end="", file=sys.stderr, flush=True)
        if ended.wait(_STEP):
            print(_CLEAR, end="", file=sys.stderr, flush=True)
            return


def why(document: Any) -> str:
    """What may keep an action waiting, by what `status` gives; "" if nothing of it is known."""
    if not isinstance(document, Mapping):
        return ""
    sandboxes = document.get("sandboxes")
    for kind, found in sandboxes.items() if isinstance(sandboxes, Mapping) else ():
        if isinstance(found, Mapping) and found.get("state") == "compiling":
            return f": {kind} {compiling(found)}"
    return ""


def compiling(found: Mapping[str, Any]) -> str:
    """How far a runtime is that is being compiled."""
    seconds = f", {found['compiling_seconds']:.0f} s so far" if "compiling_seconds" in found else ""
    return f"is being compiled for this device, once{seconds}"
