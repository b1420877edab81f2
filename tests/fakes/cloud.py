"""A cloud without a network, which fails as a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import orjson

from edgewhisk.errors import CloudError
from edgewhisk.spi import ActivationStore, SyncBatch
from edgewhisk.sync import batch
from edgewhisk.sync.ingest import Ingest

Fault = Callable[[SyncBatch], CloudError | None]  # what is sent -> how that fails, None: not


class AnswerLost(CloudError):
    """The batch arrived, and nobody hears of it."""


class FaultyCloud:
    """`spi.Cloud`: a real gateway's ingest behind a network that fails."""

    def __init__(self, store: ActivationStore, fault: Fault = lambda _: None) -> None:
        """`fault`: how a request fails. `AnswerLost` fails behind the ingest: the batch has arrived."""
        self._ingest = Ingest(store)
        self._fault = fault
        self._flying = False

    async def send(self, device: str, epoch: str, sent: SyncBatch) -> int:
        """See `spi.Cloud`."""
        assert not self._flying, "one batch at a time"
        self._flying = True
        fault = self._fault(sent)
        try:
            if fault is not None and not isinstance(fault, AnswerLost):
                raise fault
            answer = await self._ingest("guest", orjson.loads(batch.body(device, epoch, sent)))
            if fault is not None:
                raise fault
            return batch.have(answer)
        finally:
            self._flying = False


def in_turn(faults: Iterable[CloudError | None]) -> Fault:
    """How the next requests fail, one after the other; those behind the last do not."""
    left = iter(faults)
    return lambda _: next(left, None)
