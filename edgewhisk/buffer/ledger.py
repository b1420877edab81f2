"""What the activation log knows besides its records: open events, sync marks, counts. Pure.

All of it follows from the frames, replayed in order. The header of each segment carries a snapshot,
so that only the segments with unfinished events and the newest ones are read at start.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from edgewhisk.buffer.index import ACTIVATION, id_of
from edgewhisk.buffer.journal import FORMAT, Frame
from edgewhisk.entity.activation import activation_id, filed_under
from edgewhisk.entity.message import ActivationMessage
from edgewhisk.entity.names import parse_name
from edgewhisk.entity.timing import Timing
from edgewhisk.errors import EdgeWhiskError, MalformedContent, StorageError
from edgewhisk.spi import Moment, Starts

HEADER: Final = "H"
EVENT: Final = "E"  # an accepted message; number unused
STARTED: Final = "T"  # runs of accepted messages were begun; number unused
CONFIRMED: Final = "S"  # the cloud has all records up to the number
ABSORBED: Final = "B"  # all records of another gateway up to the number are here
ORIGINS: Final = "O"  # of messages whose records are in the same group; number unused
EVICTED: Final = "V"  # unconfirmed records dropped so far
REMEMBERED: Final = 4096  # origins of accepted messages
DEVICES: Final = 1024  # remembered gateways that send here


def event_frame(message: ActivationMessage, timing: Timing) -> Frame:
    """The frame of an accepted message; `timing` is how the clock stands now."""
    head = orjson.dumps(
        {
            "id": message.activation_id,
            "action": str(message.action),
            "ns": message.namespace,
            "subject": message.subject,
            "at": message.at,
            "trigger": message.trigger,
            "binding": message.binding,
            "origin": message.origin,
        }
    )
    stamp = timing.boot.encode(), timing.up(message.at)
    return Frame(EVENT, 0, b'%b,"boot":["%b",%d],"payload":%b}' % (head[:-1], *stamp, message.payload))


def started_frame(activation_ids: Sequence[str], boot: str) -> Frame:
    """The frame that says which accepted messages are begun to be run, in which boot."""
    return Frame(STARTED, 0, orjson.dumps({"boot": boot, "ids": list(activation_ids)}))


def origins_frame(origins: Sequence[str]) -> Frame:
    """The frame that remembers where messages came from that were never journalled."""
    return Frame(ORIGINS, 0, orjson.dumps(origins))


def message_of(frame: Frame, moment: Moment, now: int) -> ActivationMessage:
    """The message in an event's frame; `moment` as `Boots.moment`. Accepted `now` if that is not known."""
    value = orjson.loads(frame.text)
    at: int | None = value["at"]
    if "boot" in value:
        mark, up = value["boot"]
        at = moment(mark, up, value["at"])
    start = frame.text.index(b',"payload":') + len(b',"payload":')
    return ActivationMessage(
        value["id"],
        parse_name(value["action"], "_"),
        value["ns"],
        value["subject"],
        frame.text[start:-1],
        now if at is None else at,
        value["trigger"],
        value["binding"],
        value["origin"],
        durable=True,
    )


def checked_id(text: bytes, number: int) -> str:
    """The activation id of a record from elsewhere; raises `MalformedContent` if it is none."""
    try:
        value = orjson.loads(text)
        filed_under(value)
        return activation_id(value["activationId"])
    except (orjson.JSONDecodeError, EdgeWhiskError, KeyError, TypeError, AttributeError) as error:
        raise MalformedContent(f"record {number} is no activation: {error!r}") from None


class Ledger:
    """The state that follows from the frames."""

    def __init__(self) -> None:
        """Of an empty log."""
        self.last = 0  # number of the newest record
        self.confirmed = 0
        self.evicted = 0
        self.absorbed: dict[str, int] = {}  # "device:epoch" -> highest number that is here
        self.open: dict[str, int] = {}  # activation id of an unfinished event -> its segment's first
        self.events: dict[str, Frame] = {}  # of earlier lives, until `unfinished` hands them out
        self.origins: deque[str] = deque(maxlen=REMEMBERED)
        self.starts: dict[str, list[str]] = {}  # activation id of one of `events` -> boots it was begun in

    def header(self, first: int) -> Frame:
        """The header of a segment that begins at number `first`."""
        snapshot = {
            "format": FORMAT,
            "last": first - 1,
            "confirmed": self.confirmed,
            "evicted": self.evicted,
            "absorbed": self.absorbed,
            "oldest": min(self.open.values(), default=first),
        }
        return Frame(HEADER, first, orjson.dumps(snapshot))

    def load(self, header: Frame) -> int:
        """Start from a header; returns the segment that holds the oldest unfinished event.

        Raises `StorageError` for a format of a later version.
        """
        snapshot: Mapping[str, Any] = orjson.loads(header.text)
        if snapshot["format"] > FORMAT:
            raise StorageError(
                f"the log has format {snapshot['format']}, this version reads up to {FORMAT}",
                hint="install the version that wrote it, or a later one",
            )
        self.last = max(self.last, snapshot["last"])
        self.confirmed = max(self.confirmed, snapshot["confirmed"])
        self.evicted = max(self.evicted, snapshot["evicted"])
        self.absorbed.update(snapshot["absorbed"])
        oldest: int = snapshot["oldest"]
        return oldest

    def apply(self, frame: Frame, segment: int) -> None:
        """Follow one frame that is on disk, in the segment that begins at `segment`."""
        if frame.op == ACTIVATION:
            self.last = max(self.last, frame.number)
            self.finish(id_of(frame.text))
        elif frame.op == CONFIRMED:
            self.confirmed = max(self.confirmed, frame.number)
        elif frame.op == EVICTED:
            self.evicted = max(self.evicted, frame.number)
        elif frame.op == ABSORBED:
            self.absorb(frame.text.decode(), frame.number)

    def replay(self, frame: Frame, segment: int) -> None:
        """Follow a frame of an earlier life."""
        if frame.op == EVENT:
            value = orjson.loads(frame.text)
            self.open[value["id"]] = segment
            self.events[value["id"]] = frame
            if value["origin"]:
                self.origins.append(value["origin"])
        elif frame.op == ORIGINS:
            self.origins.extend(orjson.loads(frame.text))
        elif frame.op == STARTED:
            value = orjson.loads(frame.text)
            for found in self.events.keys() & value["ids"]:
                self.starts.setdefault(found, []).append(value["boot"])
        else:
            self.apply(frame, segment)

    def begun(self, boot: str) -> dict[str, Starts]:
        """How often unfinished events of earlier lives were begun, altogether and in `boot`."""
        return {key: Starts(len(found), found.count(boot)) for key, found in self.starts.items()}

    def absorb(self, sender: str, number: int) -> None:
        """Remember how far a sender's records are here; forget the longest unheard one if need be."""
        self.absorbed[sender] = max(number, self.absorbed.pop(sender, 0))
        if len(self.absorbed) > DEVICES:
            del self.absorbed[next(iter(self.absorbed))]

    def finish(self, activation_id: str) -> None:
        """The event with this id has its record."""
        if self.open.pop(activation_id, None) is not None:
            self.events.pop(activation_id, None)
            self.starts.pop(activation_id, None)
