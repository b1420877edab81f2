"""Activations: read, list, count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.controller.auth.entitlement import check_owner
from edgewhisk.entity.activation import activation_id, document_of, listing_of
from edgewhisk.entity.identity import Identity
from edgewhisk.errors import NotFound
from edgewhisk.spi import ActivationStore, Query

PIECE: Final = 256 << 10  # bytes that are sent together
_Show = Callable[[Mapping[str, Any]], dict[str, Any]]


class Listing(NamedTuple):
    """A JSON array in pieces, as large ones never are in memory as a whole."""

    begin: bytes  # all of it without `more`
    more: AsyncIterator[bytes] | None = None


class Activations:
    """The collection `activations`."""

    def __init__(self, store: ActivationStore) -> None:
        """Over the buffer."""
        self._store = store

    async def list(self, identity: Identity, query: Query, *, docs: bool) -> Listing:
        """Newest first, as a JSON array; whole documents with `docs`."""
        check_owner(identity, query.namespace, query.namespace)
        records, show = self._store.records(query), document_of if docs else listing_of
        found, ended = await asyncio.to_thread(_some, records, show)
        if ended:
            return Listing(b"[%b]" % found)
        return Listing(b"[" + found, _rest(records, show))

    async def count(self, identity: Identity, query: Query) -> int:
        """How many the filter finds, less `skip`."""
        check_owner(identity, query.namespace, query.namespace)
        return max(0, await asyncio.to_thread(self._store.count, query) - query.skip)

    async def get(self, identity: Identity, namespace: str, text: str) -> dict[str, Any]:
        """The document with the id `text`; raises `BadRequest` or `NotFound`."""
        check_owner(identity, namespace, f"{namespace}/{text}")
        stored = await asyncio.to_thread(self._store.get, activation_id(text))
        if stored is None or stored["namespace"] != namespace:
            raise NotFound
        return document_of(stored)


def _some(records: Iterator[Mapping[str, Any]], show: _Show) -> tuple[bytes, bool]:
    """Some rows of an array, and whether they were the last; blocks."""
    rows: list[bytes] = []
    size = 0
    for record in records:
        rows.append(jsontext.dumps(show(record)))
        size += len(rows[-1])
        if size >= PIECE:
            return b",".join(rows), False
    return b",".join(rows), True


async def _rest(records: Iterator[Mapping[str, Any]], show: _Show) -> AsyncIterator[bytes]:
    """The rows behind the first ones, and the end of the array."""
    ended = False
    while not ended:
        found, ended = await asyncio.to_thread(_some, records, show)
        yield (b"," + found if found else b"") + (b"]" if ended else b"")
