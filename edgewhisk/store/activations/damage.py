"""What cannot be read any more, told in the log state once. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.store.log.frames import Frame

DAMAGED: Final = "U"  # op: how many records of a segment cannot be read, as far as is known
CLEARED: Final = "C"  # op: segments that went on purpose: of a lane up to which; number: of the last record
TOLD_MOST: Final = 1024  # segments that are remembered as told


class Damage(NamedTuple):
    """Records of one segment that are lost; of a segment that is gone, all that stood in it."""

    lane: str
    serial: int  # of the segment
    records: int

    @property
    def key(self) -> str:
        """What tells segments of all lanes apart."""
        return f"{self.lane}:{self.serial}"

    def frame(self) -> Frame:
        """What stands in the log of it."""
        return Frame(DAMAGED, 0, jsontext.dumps(list(self)))


def damage_of(text: bytes) -> Damage:
    """The damage in its frame."""
    lane, serial, records = jsontext.loads(text)
    return Damage(str(lane), int(serial), int(records))


class Cleared(NamedTuple):
    """How far a lane's segments went on purpose: for space, or because they were too old."""

    serial: int  # of the last segment that did
    number: int  # of its last record

    def frame(self, lane: str) -> Frame:
        """What stands in the log of it."""
        return Frame(CLEARED, self.number, jsontext.dumps([lane, self.serial]))


def cleared_of(frame: Frame) -> tuple[str, Cleared]:
    """The lane, and how far it was cleared."""
    lane, serial = jsontext.loads(frame.text)
    return str(lane), Cleared(int(serial), frame.number)
