"""Who is calling: a subject with its namespace and key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from edgewhisk.errors import BadRequest

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
KEY_LENGTH: Final = 64  # characters; OpenWhisk refuses any other
SYSTEM_NAMESPACE: Final = "whisk.system"
GUEST: Final = "guest"  # the subject that is always there


@dataclass(frozen=True, slots=True)
class AuthKey:
    """`uuid:key` of a subject. Never printed: its repr hides the secret."""

    uuid: str
    key: str

    def __post_init__(self) -> None:
        """Refuse what OpenWhisk would refuse."""
        if not _UUID.fullmatch(self.uuid) or len(self.key) != KEY_LENGTH:
            raise BadRequest("an authentication key is a uuid, a colon and 64 characters")

    @classmethod
    def parse(cls, text: str) -> AuthKey:
        """Parse `uuid:key`; raises `BadRequest`."""
        uuid, _, key = text.strip().partition(":")
        return cls(uuid, key)

    @property
    def compact(self) -> str:
        """`uuid:key`, as `wsk --auth` takes it."""
        return f"{self.uuid}:{self.key}"

    def __repr__(self) -> str:
        """Safe to log."""
        return f"AuthKey({self.uuid}:***)"


@dataclass(frozen=True, slots=True)
class Identity:
    """An authenticated caller."""

    subject: str
    namespace: str
    auth: AuthKey
