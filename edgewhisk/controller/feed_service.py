"""What a source offers beyond `spi.Feed` that OpenWhisk has a package for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.spi import Feed


@runtime_checkable
class FeedService(Feed, Protocol):
    """A source that OpenWhisk has a package for, which knows of each trigger what feeds it.

    Any of its actions reads, changes and deletes a trigger of another one, CREATE replaces what was there,
    and what means nothing is ignored with a warning. Its `check` raises `ServiceError`.
    """

    retire: Callable[[FullyQualifiedName, bool], Awaitable[None]]  # deletes a trigger and, True, its rules

    def change(self, action: str, before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters to be stored after an UPDATE of those `before`; raises `ServiceError`."""
        ...

    def warnings(self, action: str, given: Mapping[str, Any], *, changing: bool) -> list[str]:
        """What is said of parameters that are ignored at a CREATE, or at an UPDATE (`changing`)."""
        ...

    def told(
        self,
        trigger: FullyQualifiedName,
        action: str,
        parameters: Mapping[str, Any],
        status: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The answer to READ of stored parameters; `status`: what a `Feed` tells."""
        ...
