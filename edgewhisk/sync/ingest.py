"""The other side: what `/whisk.system/edge/ingest` does for a gateway that is the cloud of others."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any

from edgewhisk.spi import ActivationStore
from edgewhisk.sync import batch


class Ingest:
    """Stores other gateways' activations, each once."""

    def __init__(self, store: ActivationStore) -> None:
        """Into `store`."""
        self._store = store

    async def __call__(self, namespace: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Take one batch from a caller in `namespace`; raises `MalformedContent` or `StorageError`.

        The records become the caller's, and its devices are kept apart from those of other
        callers: nobody can write into another namespace, or make another gateway's records be
        taken for known.
        """
        device, epoch, taken = batch.read(parameters)
        own = hashlib.sha256(f"{namespace}/{device}".encode()).hexdigest()[:32]
        theirs = batch.owned(taken, namespace)
        number = await asyncio.to_thread(self._store.absorb, own, epoch, theirs)
        return {"device": device, "epoch": epoch, "have": number}
