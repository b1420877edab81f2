"""What a person should know of this gateway: told by `status`, and in the log once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

_log = logging.getLogger(__name__)

MAX_LINES: Final = 100  # lines of one source; more are counted


class Incidents:
    """Lines from whoever has some, asked for whenever they are shown."""

    def __init__(self) -> None:
        """None yet."""
        self._sources: list[Callable[[], Iterable[str]]] = []
        self._logged: set[str] = set()

    def follow(self, *sources: Callable[[], Iterable[str]]) -> None:
        """Show what `sources` say, too; empty lines are none."""
        self._sources += sources

    def lines(self) -> list[str]:
        """All, those of the first source first."""
        found: list[str] = []
        for source in self._sources:
            said = [line for line in source() if line]
            found += said[:MAX_LINES]
            if len(said) > MAX_LINES:
                found.append(f"and {len(said) - MAX_LINES} more like the one before")
        return found

    def log(self) -> None:
        """Log what was not logged before."""
        lines = self.lines()
        for line in lines:
            if line not in self._logged:
                _log.warning("%s", line)
        self._logged = set(lines)
