"""What is known of a log's newest segment from outside of it: the name of an empty file. Pure.

Without it nobody could tell that the newest segment is gone, or cut short, from its not having been written.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_NAME: Final = re.compile(r"newest-(\d{8})(?:-(\d{10})-(\d{12}))?")


class Witness(NamedTuple):
    """The newest segment, and after a clean end also where it ended."""

    serial: int
    size: int = 0  # where it ended; 0: its life did not end by itself
    last: int = 0  # number of the last record then

    @property
    def name(self) -> str:
        """Of the file."""
        ended = f"-{self.size:010d}-{self.last:012d}" if self.size else ""
        return f"newest-{self.serial:08d}{ended}"


def witness_of(name: str) -> Witness | None:
    """What the name of a file tells, if it is a witness."""
    found = _NAME.fullmatch(name)
    return Witness(*(int(one or 0) for one in found.groups())) if found else None
