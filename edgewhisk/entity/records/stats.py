"""Counters of the buffer. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BufferStats:
    """What `status` shows of the buffer."""

    records: int  # activations on disk
    unsynced: int  # of those, not yet confirmed by the cloud
    unfinished: int  # accepted events without a record yet
    bytes: int  # on disk
    written: int  # bytes written since start
    commits: int  # fdatasync calls since start
    evicted: int  # unsynced activations dropped for space since the store was made
    expired: int  # and those that became too old
    rejected: int  # and those that a full lane did not take
    refused: int  # and those that the cloud refused, each alone, while it took others
    corrupt: int  # records and other lines that are lost because their checksum did not match
    repaired: int  # frames in which a flipped bit was put right
    oldest: int | None  # start of the oldest unsynced activation, ms
    worn: int  # bytes the card had to write since the store was made, in whole pages
    ran: int  # seconds the gateway ran since then
    lanes: Mapping[str, Mapping[str, int]]  # lane -> records, unsynced, bytes, max_bytes, and losses
