"""The other side: what `/whisk.system/edge/ingest` does for a gateway that is the cloud of others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from edgewhisk.spi import ActivationStore
from edgewhisk.sync import batch


class Ingest:
    """Stores other gateways' activations, each once."""

    def __init__(self, store: ActivationStore) -> None:
        """Into `store`."""
        self._store = store

    async def __call__(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Take one batch; raises `MalformedContent` or `StorageError`."""
        device, epoch, taken = batch.read(parameters)
        number = await asyncio.to_thread(self._store.absorb, device, epoch, taken)
        return {"device": device, "epoch": epoch, "have": number}
