"""What to drop first when there is no room for all. Pure.

Whole segments only, the oldest of a lane first. Across lanes: what the cloud has before what it has
not, and of that the lane that is worth least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from edgewhisk.config.schema import EVICT_OLDEST, REJECT, LaneConfig
from edgewhisk.entity.annotations.lane import ERRORS, LANES, TELEMETRY

CLOCK_SET: Final = 1_577_836_800_000  # 2020, ms: a clock that shows less was never set
_PARTS: Final = {ERRORS: 4, TELEMETRY: 2}  # of the whole buffer a lane has at most, as 1/n


class LaneUsage(NamedTuple):
    """What a lane has on disk."""

    lane: str
    policy: LaneConfig
    bytes: int
    spare: bool  # its next segment needs no new space
    segments: int
    synced: bool  # the cloud has all of its oldest segment
    upto: int  # start of the newest record of its oldest segment, ms; 0: unknown

    @property
    def can_give(self) -> bool:
        """Whether its oldest segment may go without loss."""
        return self.segments > 1 and self.synced

    @property
    def may_lose(self) -> bool:
        """Whether its oldest segment may go at all."""
        return self.segments > 1 and (self.synced or self.policy.full == EVICT_OLDEST)


def fitting(max_bytes: int, min_free_bytes: int, size: int) -> int:
    """`max_bytes`, or half of what is left to the buffer on a disk of `size` bytes where that cannot be.

    So a disk of its own that is too small goes round as a large one does, instead of being taken for one
    that others have filled.
    """
    if not min_free_bytes or max_bytes + min_free_bytes <= size:
        return max_bytes
    return max(0, size - min_free_bytes) // 2


def policies(given: Mapping[str, LaneConfig], max_bytes: int) -> dict[str, LaneConfig]:
    """The policy of each lane, with its usual part of the buffer where none is given."""
    found = {}
    for name in LANES:
        lane = given.get(name, LaneConfig())
        size = lane.max_bytes or max_bytes // _PARTS.get(name, 1)
        found[name] = LaneConfig(size, lane.ttl, lane.full)
    return found


def expired(held: LaneUsage, now: int) -> bool:
    """Whether all of the oldest segment is older than the lane keeps it."""
    ttl = held.policy.ttl * 1000
    return bool(ttl and held.upto) and held.upto + ttl < now


def over_quota(held: LaneUsage, segment: int) -> bool:
    """Whether a lane's next segment of `segment` bytes would be too much for it."""
    return held.bytes + (0 if held.spare else segment) > held.policy.max_bytes


def victim(lanes: Sequence[LaneUsage], *, lose: bool) -> str | None:
    """The lane whose oldest segment goes next; `lose`: even if the cloud does not have it."""
    ranked = sorted(lanes, key=lambda held: LANES.index(held.lane))
    givers = [held.lane for held in ranked if held.can_give]
    losers = [held.lane for held in ranked if held.may_lose]
    return next(iter([*givers, *(losers if lose else [])]), None)


def rejects(held: LaneUsage, segment: int) -> bool:
    """Whether a lane that must begin a new segment takes no more records."""
    return held.policy.full == REJECT and not held.can_give and over_quota(held, segment)
