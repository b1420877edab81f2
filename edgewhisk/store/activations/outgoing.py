"""What of a lane goes to the cloud next, and what does not go. Reads the log, changes nothing."""

from __future__ import annotations

from typing import Final

from edgewhisk import jsontext
from edgewhisk.clock.history import ClockHistory
from edgewhisk.errors import UNREADABLE
from edgewhisk.spi import SyncBatch
from edgewhisk.store.activations.lane import Lane
from edgewhisk.store.activations.loss import REFUSED, Loss

_REMEMBERED: Final = 500  # records refused for good, of which `export` tells that the cloud has them not


def batch(lane: Lane, history: ClockHistory, max_records: int, max_bytes: int) -> SyncBatch:
    """What the cloud is sent next of a lane; ends before a number that is missing or passed over."""
    confirmed, passed = lane.log_state.confirmed, frozenset(lane.log_state.passed)
    first, size = 0, 0
    texts: list[bytes] = []
    for number, text in lane.backlog():
        if number in passed or not _legible(text):  # a cloud could not read the others of its batch
            continue
        first = first or number
        size += len(text)
        full = len(texts) >= max_records or size > max_bytes
        if texts and (full or number != first + len(texts)):
            break
        texts.append(straight(history, text))
    return SyncBatch(first or confirmed + 1, tuple(texts), confirmed, lane.epoch)


def passing(lane: Lane, numbers: tuple[int, ...]) -> tuple[int, ...]:
    """What a lane passes over with `numbers` in doubt; what was refused for good stays so."""
    confirmed = lane.log_state.confirmed
    settled = [number for number in lane.log_state.passed if number <= confirmed]
    return (*settled[-_REMEMBERED:], *(number for number in numbers if number > confirmed))


def refused(lane: Lane, upto: int) -> Loss | None:
    """What is lost to the cloud once it has all others up to a number: the records that were passed over."""
    known = max(lane.log_state.confirmed, lane.oldest - 1)  # what was evicted meanwhile is counted as that
    numbers = [number for number in lane.log_state.passed if known < number <= upto]
    if not numbers:
        return None
    return Loss(lane.name, REFUSED, len(numbers), 0, 0)


def oldest(lane: Lane) -> int | None:
    """Start of a lane's oldest unsynced record, or of one that stands in the same segment."""
    if not lane.unsynced():
        return None
    number = lane.log_state.confirmed + 1
    segment = next((one for one in lane.log.segments if lane.last_of(one) >= number), None)
    return lane.catalog.times(lane.catalog.summary(segment))[0] or None if segment is not None else None


def straight(history: ClockHistory, text: bytes) -> bytes:
    """A record told right; one in which that cannot be done as it stands."""
    try:
        return history.straight(text)
    except UNREADABLE:
        return text


def _legible(text: bytes) -> bool:
    try:
        jsontext.loads(text)
    except ValueError:
        return False
    return True
