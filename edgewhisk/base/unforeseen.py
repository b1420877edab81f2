"""Keeps exceptions that nobody foresaw away from guests and from wasmtime.

An exception cannot cross a callback of C. ctypes prints it and returns whatever lies in the place of
the result, which wasmtime takes for the address of a trap: SIGSEGV of the whole process. So every
callback asks `UNFORESEEN` what to answer when it fails in a way that nobody foresaw.
"""

from __future__ import annotations

import logging
import threading
import traceback
from typing import Final

_log = logging.getLogger(__name__)

_MOST_TOLD: Final = 100  # kinds of faults whose traceback is logged; all are counted


class Unforeseen:
    """Counts and tells the faults of what guests call. Thread-safe."""

    def __init__(self) -> None:
        """Nothing failed yet."""
        self.count = 0
        self._told: set[tuple[str, type[BaseException]]] = set()
        self._thread = threading.local()

    def tell(self, operation: str, error: BaseException) -> str:
        """Returns the text for whoever asked for `operation`; counts the fault, and logs each kind once.

        Once, because an action may cause the same fault in each of its calls.
        """
        self.count += 1
        kind = (operation, type(error))
        if kind not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(kind)
            what = "the gateway failed in %s; further faults like it are only counted"
            _log.error(what, operation, exc_info=error)
        return f"The gateway failed in {operation}: {traceback.format_exception_only(error)[-1].strip()}"

    def stop(self, operation: str, error: BaseException) -> str:
        """The same, for a guest that must be stopped: whoever ran it asks `take` for the text.

        What is no `Exception`, like KeyboardInterrupt, is kept for `take` to raise behind the guest.
        """
        text = self.tell(operation, error)
        self._thread.fault = text
        self._thread.passing = None if isinstance(error, Exception) else error
        return text

    def take(self) -> str:
        """Returns the text of the fault that stopped this thread's guest, or "".

        Raises what is to pass through the guest.
        """
        found: str = getattr(self._thread, "fault", "")
        if found:
            self._thread.fault = ""
            passing, self._thread.passing = self._thread.passing, None
            if passing is not None:
                raise passing
        return found


UNFORESEEN: Final = Unforeseen()  # of the process: its callbacks have no owner
