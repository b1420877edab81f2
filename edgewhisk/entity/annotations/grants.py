"""What an action may ask of the gateway: its annotation `edge-capabilities`, deny by default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from edgewhisk.entity.parameters import Parameters
from edgewhisk.errors import MalformedContent

ANNOTATION: Final = "edge-capabilities"
DEFAULT_QUOTA: Final = 65_536  # bytes of keys and values as JSON
LARGEST_QUOTA: Final = 1 << 20
_HOST: Final = re.compile(r"(\*\.)?[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_LISTS: Final = {
    "http": 'hosts: ["api.example.com", "10.0.0.5:8080", "*.example.org"]',
    "mqtt": 'topic filters: ["plant/+/alarm"]',
    "serial": 'names of ports: ["meter"]',
    "invoke": 'names of actions: ["alarm", "/guest/tools/*"]',
    "fire": 'names of triggers: ["overheated"]',
}


@dataclass(frozen=True, slots=True)
class Grants:
    """What one action may do beyond computing."""

    quota: int = 0  # bytes of state; 0: no state
    http: tuple[str, ...] = ()
    mqtt: tuple[str, ...] = ()
    serial: tuple[str, ...] = ()
    invoke: tuple[str, ...] = ()
    fire: tuple[str, ...] = ()

    @classmethod
    def of(cls, annotations: Parameters) -> Grants:
        """Read the annotation; raises `MalformedContent` naming what is wrong with it."""
        value = annotations.get(ANNOTATION)
        if value is None:
            return cls()
        if not isinstance(value, dict):
            raise _malformed("must be an object", '{"state": true, "http": ["api.example.com"]}')
        if unknown := sorted(set(value) - {"state", *_LISTS}):
            raise _malformed(f"has no {unknown[0]!r}", f"known are state, {', '.join(_LISTS)}")
        lists = {key: _names(key, value.get(key)) for key in _LISTS}
        if wrong := [host for host in lists["http"] if not _HOST.fullmatch(host)]:
            raise _malformed(f"http: {wrong[0]!r} is no host", _LISTS["http"])
        return cls(_quota(value.get("state")), **lists)

    def allows_host(self, host: str, port: int, usual: int) -> bool:
        """Whether `http` names this host; without a port it means the scheme's `usual` one."""
        for granted in self.http:
            name, _, wanted = granted.rpartition(":") if _has_port(granted) else (granted, "", "")
            if port == (int(wanted) if wanted else usual) and _matches_host(name.strip("[]"), host):
                return True
        return False

    def allows_name(self, kind: str, path: str, namespace: str) -> bool:
        """Whether `invoke` or `fire` names the entity `path` ("guest/pkg/name")."""
        for granted in getattr(self, kind):
            full = granted[1:] if granted.startswith("/") else f"{namespace}/{granted}"
            full = full.removeprefix("_/") if not full.startswith("_/") else f"{namespace}/{full[2:]}"
            if full == path or (full.endswith("/*") and path.startswith(full[:-1])):
                return True
        return False


def _matches_host(granted: str, host: str) -> bool:
    granted, host = granted.lower(), host.lower()
    return host.endswith(granted[1:]) if granted.startswith("*.") else host == granted


def _has_port(granted: str) -> bool:
    return bool(re.search(r":\d+$", granted)) and (granted.count(":") == 1 or "]:" in granted)


def _quota(value: object) -> int:
    if value is None or value is False:
        return 0
    if value is True:
        return DEFAULT_QUOTA
    quota = value.get("quota") if isinstance(value, Mapping) and set(value) == {"quota"} else None
    if isinstance(quota, bool) or not isinstance(quota, int) or not 0 < quota <= LARGEST_QUOTA:
        raise _malformed("state: must be true or a quota", f'{{"quota": {DEFAULT_QUOTA}}} (bytes)')
    return quota


def _names(key: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise _malformed(f"{key}: must be a list of {_LISTS[key].split(':')[0]}", _LISTS[key])
    return tuple(value)


def _malformed(problem: str, example: str) -> MalformedContent:
    return MalformedContent(f"annotation '{ANNOTATION}' {problem}; for example {example}")
