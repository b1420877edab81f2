"""Semantic versions of entities: created as 0.0.1, the patch rises with each update."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from edgewhisk.errors import MalformedContent

_VERSION: Final = re.compile(r"(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?", re.ASCII)


class SemVer(NamedTuple):
    """`major.minor.patch`."""

    major: int = 0
    minor: int = 0
    patch: int = 1

    @classmethod
    def parse(cls, text: object) -> SemVer:
        """Parse one to three numbers (wskdeploy sends two); raises `MalformedContent`."""
        match = _VERSION.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise MalformedContent("semantic version malformed")
        version = cls(*(int(part or 0) for part in match.groups()))
        if version == (0, 0, 0):
            raise MalformedContent("semantic version malformed")
        return version

    def bumped(self) -> SemVer:
        """The version of the next update."""
        return self._replace(patch=self.patch + 1)

    def __str__(self) -> str:
        """Dotted."""
        return f"{self.major}.{self.minor}.{self.patch}"
