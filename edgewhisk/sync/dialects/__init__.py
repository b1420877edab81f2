"""Kinds of clouds, a file each. To add one: a file with its `DIALECT`, and its name here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from edgewhisk.sync.dialects import adobe, digitalocean, https, openserverless, openwhisk
from edgewhisk.sync.dialects.dialect import Dialect, Endpoints

KINDS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {one.DIALECT.kind: one.DIALECT for one in (openwhisk, openserverless, adobe, digitalocean, https)}
)


def dialect(kind: str, url: str) -> Dialect:
    """The dialect of a kind; of none, the one by the URL: by its host, or `https` if it leads to a page.

    A URL without a path is an OpenWhisk controller's.
    """
    if kind:
        return KINDS[kind]
    parts = urlsplit(url)
    for one in KINDS.values():
        if one.hosts and (parts.hostname or "").endswith(one.hosts):
            return one
    return https.DIALECT if parts.path.strip("/") else openwhisk.DIALECT


__all__ = ["KINDS", "Dialect", "Endpoints", "dialect"]
