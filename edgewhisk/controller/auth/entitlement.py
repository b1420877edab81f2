"""Who may do what, and how often. Pure: time arrives as an argument."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from edgewhisk import jsontext
from edgewhisk.base.mqtt_topics import covers
from edgewhisk.config.schema import GrantsConfig
from edgewhisk.entity.identity import GUEST, Identity
from edgewhisk.entity.names import DEFAULT_NAMESPACE, FullyQualifiedName, namespace_name
from edgewhisk.entity.package import Package
from edgewhisk.errors import Forbidden, NotGranted, Throttled

MINUTE: Final = 60_000  # ms


def resolve_namespace(text: str, identity: Identity) -> str:
    """The namespace a path segment means; `_` is the caller's. Raises `BadRequest`."""
    return identity.namespace if text == DEFAULT_NAMESPACE else namespace_name(text)


def check_owner(identity: Identity, namespace: str, resource: str) -> None:
    """Raise `Forbidden` unless the caller owns `namespace`; `resource` is what the text names."""
    if identity.namespace != namespace:
        raise Forbidden(resource)


def check_readable(namespace: str, name: FullyQualifiedName, package: Package | None) -> None:
    """Raise `Forbidden` unless a caller in `namespace` may read and run `name` inside `package`.

    Somebody else's package must be published; a missing one is refused alike, so that nothing
    leaks.
    """
    if namespace == name.namespace:
        return
    if package is None or not package.publish or package.binding is not None:
        raise Forbidden(name.key if name.package is None else name.path)


def is_granted(grants: Mapping[str, GrantsConfig], subject: str, kind: str, name: str) -> bool:
    """Whether `[grants.SUBJECT]` has what `spi.Resource` names.

    The subject `guest` owns the gateway: without a section of its own it may reach everything.
    """
    held = grants.get(subject)
    if held is None:
        return subject == GUEST
    allowed: tuple[str, ...] = getattr(held, kind)
    return any(covers(wide, name) for wide in allowed) if kind == "mqtt" else name in allowed


def check_granted(grants: Mapping[str, GrantsConfig], subject: str, kind: str, name: str) -> None:
    """Raise `NotGranted` unless it is."""
    if not is_granted(grants, subject, kind, name):
        hint = f"[grants.{subject}]  {kind} = [{jsontext.dumps(name).decode()}]"
        raise NotGranted(f"{kind} {name} is not granted to {subject}", hint=hint)


@dataclass(slots=True)
class RateThrottle:
    """Calls of each namespace in the current calendar minute; refused ones count too."""

    allowed: int
    _minute: int = 0
    _counts: Counter[str] = field(default_factory=Counter)

    def check(self, namespace: str, now: int) -> None:
        """Count one call at `now` (ms); raises `Throttled` above the limit."""
        if (minute := now // MINUTE) != self._minute:
            self._minute = minute
            self._counts.clear()
        self._counts[namespace] += 1
        if (count := self._counts[namespace]) > self.allowed:
            raise Throttled(
                f"Too many requests in the last minute (count: {count}, allowed: {self.allowed})."
            )


@dataclass(slots=True)
class ConcurrencyThrottle:
    """Invocations of each namespace that are in flight."""

    allowed: int
    _flying: Counter[str] = field(default_factory=Counter)

    def start(self, namespace: str) -> None:
        """Count one in; raises `Throttled` when `allowed` are flying."""
        if (count := self._flying[namespace]) >= self.allowed:
            raise Throttled(
                f"Too many concurrent requests in flight (count: {count}, allowed: {self.allowed})."
            )
        self._flying[namespace] += 1

    def end(self, namespace: str) -> None:
        """Count one out."""
        self._flying[namespace] -= 1
        if not self._flying[namespace]:
            del self._flying[namespace]
