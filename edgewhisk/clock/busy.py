"""How long a thread has been busy: what it computed and waited for, but not for its turn at the interpreter.

How long a run takes by the clock says little on a busy machine: where fifteen threads want the interpreter, a
run of 0.1 ms takes 5. Measured so, no action would ever count as brief again once all were slow together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class _Waited(threading.local):
    """Of this thread."""

    seconds = 0.0


_waited = _Waited()


def busy() -> float:
    """Returns the seconds that this thread has computed, and those of its `waiting`."""
    return time.thread_time() + _waited.seconds


@contextmanager
def waiting() -> Iterator[None]:
    """Count the time that the block takes by the clock: it sleeps, or waits for others."""
    wall, computed = time.monotonic(), time.thread_time()
    try:
        yield
    finally:
        _waited.seconds += max(0.0, time.monotonic() - wall - (time.thread_time() - computed))
