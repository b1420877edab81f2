"""Activations: read, list, count."""

from __future__ import annotations

import asyncio
from typing import Any

from edgewhisk.controller.entitlement import check_owner
from edgewhisk.entity.activation import activation_id, document_of, listing_of
from edgewhisk.entity.identity import Identity
from edgewhisk.errors import NotFound
from edgewhisk.spi import ActivationStore, Query


class Activations:
    """The collection `activations`."""

    def __init__(self, store: ActivationStore) -> None:
        """Over the buffer."""
        self._store = store

    async def list(self, identity: Identity, query: Query, *, docs: bool) -> list[dict[str, Any]]:
        """Newest first; whole documents with `docs`."""
        check_owner(identity, query.namespace, query.namespace)
        found = await asyncio.to_thread(self._store.list, query)
        return [document_of(stored) if docs else listing_of(stored) for stored in found]

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
