"""Any web service: the same batch by POST, no OpenWhisk. `../README.md` tells what it must answer."""

from __future__ import annotations

from typing import Final

from edgewhisk.sync.credential import Scheme
from edgewhisk.sync.dialects.dialect import Dialect, Endpoints


def endpoints(url: str, _namespace: str, _ingest: str) -> Endpoints:
    """The URL is the ingest."""
    return Endpoints(url, {}, "", "", url)


DIALECT: Final = Dialect(
    kind="https",
    schemes=(Scheme.BEARER, Scheme.HMAC, Scheme.BASIC),
    key="bearer TOKEN, hmac SECRET, or name:secret",
    endpoints=endpoints,
    late_results=False,
    compressed=True,
    has=frozenset(),
)
