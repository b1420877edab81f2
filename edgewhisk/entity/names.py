"""Names and paths of entities: `guest`, `guest/pkg`, `/guest/pkg/hello`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from edgewhisk.errors import BadRequest, MalformedContent

MAX_SEGMENT: Final = 256  # characters, OpenWhisk's EntityName
_NAME: Final = re.compile(r"(\w|\w[\w@ .&-]{0,254}[\w@.&-])", re.ASCII)
DEFAULT_NAMESPACE: Final = "_"


def entity_name(text: str) -> str:
    """Return `text` if it is a legal name of an action, trigger, rule or package.

    Raises `BadRequest` with OpenWhisk's text (its spelling included, clients compare it).
    """
    if len(text) > MAX_SEGMENT:
        raise BadRequest(f"Name segement longer than allowed: {len(text)} > {MAX_SEGMENT}.")
    if not _NAME.fullmatch(text):
        raise BadRequest("The name of the entity contains illegal characters.")
    return text


def namespace_name(text: str) -> str:
    """Return `text` if it is a legal namespace; raises `BadRequest`."""
    if len(text) > MAX_SEGMENT:
        raise BadRequest(f"Namespace longer than allowed: {len(text)} > {MAX_SEGMENT}.")
    if not _NAME.fullmatch(text):
        raise BadRequest("The namespace contains illegal characters.")
    return text


class FullyQualifiedName(NamedTuple):
    """`/namespace/name` or `/namespace/package/name`."""

    namespace: str
    package: str | None
    name: str

    @property
    def path(self) -> str:
        """Namespace and package, as OpenWhisk shows them in `namespace`: `guest` or `guest/pkg`."""
        return f"{self.namespace}/{self.package}" if self.package else self.namespace

    @property
    def key(self) -> str:
        """Key in the one name space that all entities of a namespace share: `guest/pkg/name`."""
        return f"{self.path}/{self.name}"

    @property
    def local(self) -> str:
        """Name inside the namespace: `name` or `pkg/name`."""
        return f"{self.package}/{self.name}" if self.package else self.name

    def __str__(self) -> str:
        """The form with a leading slash."""
        return f"/{self.path}/{self.name}"

    def to_json(self) -> dict[str, str]:
        """`{"path", "name"}`, as rules and triggers carry it."""
        return {"path": self.path, "name": self.name}


_NO_PATH: Final = "requirement failed: path undefined"
_TOO_FEW: Final = (
    "requirement failed: The fully qualified name of the entity must contain at least "
    "the namespace and the name of the entity."
)


def segments(path: str) -> list[str]:
    """The names in a path, without slashes."""
    return [one for one in path.split("/") if one]


def parse_name(text: str, namespace: str) -> FullyQualifiedName:
    """Parse `/ns/x`, `ns/x`, `/ns/pkg/x` or `/_/x`; `_` becomes `namespace`, and two slashes are one.

    Raises `MalformedContent` for fewer than two or more than three segments, `BadRequest` for
    illegal characters.
    """
    return _parsed(text.strip(), namespace)


@lru_cache(maxsize=4096)
def _parsed(text: str, namespace: str) -> FullyQualifiedName:
    """Without the blanks around it: they have no end, and would be remembered, too."""
    parts = segments(text)
    if len(parts) not in (2, 3):
        raise MalformedContent(_TOO_FEW if parts else _NO_PATH)
    owner = namespace if parts[0] == DEFAULT_NAMESPACE else namespace_name(parts[0])
    package = entity_name(parts[1]) if len(parts) == 3 else None
    return FullyQualifiedName(owner, package, entity_name(parts[-1]))


def parse_reference(value: object, namespace: str) -> FullyQualifiedName:
    """Parse a name in a body: a string, or `{"path": "ns[/pkg]", "name": "x"}`."""
    if isinstance(value, str):
        return parse_name(value, namespace)
    if isinstance(value, dict):
        path, name = value.get("path"), value.get("name")
        if isinstance(path, str) and isinstance(name, str):
            return parse_name(f"{path}/{name}", namespace)
    raise MalformedContent("fully qualified name malformed")
