"""What a log of activations knows besides its records: open events, sync marks, losses. Pure.

All of it follows from the frames, replayed in order. The header of each segment carries a snapshot,
so only the newest segment is replayed at start.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.invocation.message import ActivationMessage
from edgewhisk.entity.names import parse_name
from edgewhisk.entity.records.record_block import origins_in
from edgewhisk.errors import UNREADABLE, StorageError
from edgewhisk.spi import Moment, Starts
from edgewhisk.store.activations import loss as losses
from edgewhisk.store.activations.damage import (
    CLEARED,
    DAMAGED,
    TOLD_MOST,
    Cleared,
    Damage,
    cleared_of,
    damage_of,
)
from edgewhisk.store.activations.loss import EVICTED, Loss
from edgewhisk.store.log.frames import ACTIVATION, FORMAT, RECORD_BLOCK, Frame

EVENT: Final = "E"  # an accepted message; number unused
STARTED: Final = "N"  # runs of accepted messages were begun; number unused
FINISHED: Final = "D"  # the event with this id has its record in the log of another lane
CONFIRMED: Final = "S"  # the cloud has all records up to the number
ABSORBED: Final = "B"  # all records of another gateway up to the number are here
DROPPED: Final = "V"  # format 1: unconfirmed records dropped so far
ORIGINS: Final = "O"  # of messages whose records are in the same round; number unused
LOST: Final = "L"  # a loss
TOLD: Final = "T"  # a loss stands in an activation now
PASSED: Final = "R"  # numbers of records that the cloud is not sent: it refuses each alone; number unused
WORN: Final = "W"  # number: bytes the card had to write since the store was made; seconds it ran since
TELLING: Final = EVENT + ORIGINS + RECORD_BLOCK  # of where messages came from
REMEMBERED: Final = 4096  # origins of accepted messages
DEVICES: Final = 1024  # remembered gateways that send here
NORMAL: Final = "normal"  # the lane whose log holds events and losses
_EVENT_ID: Final = b'{"id":"'


class Place(NamedTuple):
    """Where a line stands in a log."""

    serial: int  # of its segment
    start: int
    size: int


def event_frame(message: ActivationMessage, timing: ClockOffset) -> Frame:
    """The frame of an accepted message; `timing` is how the clock stands now."""
    head = jsontext.dumps(
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
    return Frame(STARTED, 0, jsontext.dumps({"boot": boot, "ids": list(activation_ids)}))


def origins_frame(origins: Sequence[str]) -> Frame:
    """The frame that remembers where messages came from that were never journalled."""
    return Frame(ORIGINS, 0, jsontext.dumps(origins))


def origins_of(frame: Frame) -> Sequence[str]:
    """Where the messages came from that a frame tells of, if it does."""
    if frame.op == RECORD_BLOCK:
        return origins_in(frame.text)
    if frame.op == ORIGINS:
        return [one for one in jsontext.loads(frame.text) if isinstance(one, str)]
    if frame.op == EVENT and (origin := jsontext.loads(frame.text)["origin"]):
        return (origin,)
    return ()


def message_of(frame: Frame, moment: Moment, now: int) -> ActivationMessage:
    """The message in an event's frame; `moment` as `ClockHistory.moment`. Accepted `now` if that is not
    known.
    """
    value = jsontext.loads(frame.text)
    at = _moment(value, moment)
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


def accepted_at(frame: Frame, moment: Moment) -> int:
    """When an event was accepted at the earliest, ms; 0 if nobody knows."""
    with suppress(*UNREADABLE):
        value = jsontext.loads(frame.text)
        if (at := _moment(value, moment)) is not None:
            return min(at, int(value["at"]))
    return 0


def _moment(event: Mapping[str, Any], moment: Moment) -> int | None:
    at: int = event["at"]
    if "boot" not in event:
        return at
    mark, up = event["boot"]
    return moment(mark, up, at)


def event_id(text: bytes) -> str:
    """The activation id in an event's text."""
    return text[len(_EVENT_ID) : len(_EVENT_ID) + 32].decode()


def lost_frame(loss: Loss, segment: str = "") -> Frame:
    """The frame of a loss; `segment`: name of what will be dropped after this is on disk."""
    return Frame(LOST, 0, jsontext.dumps([*loss, segment]))


def told_frame(loss: Loss) -> Frame:
    """The frame that says that a loss stands in an activation."""
    return Frame(TOLD, loss.records, jsontext.dumps([loss.lane, loss.reason]))


def worn_frame(worn: int, ran: float) -> Frame:
    """The frame that remembers wear and running time for later lives."""
    return Frame(WORN, worn, b"%d" % ran)


def passed_frame(numbers: Sequence[int]) -> Frame:
    """The frame that says which records the cloud is not sent."""
    return Frame(PASSED, 0, jsontext.dumps(list(numbers)))


class LogState:
    """The state that follows from the frames of one log."""

    def __init__(self) -> None:
        """Of an empty log."""
        self.last = 0  # number of the newest record
        self.confirmed = 0
        self.passed: tuple[int, ...] = ()  # not sent: up to `confirmed` refused for good, beyond in doubt
        self.absorbed: dict[str, int] = {}  # "device:epoch" -> highest number that is here
        self.open: dict[str, Place] = {}  # activation ids of unfinished events
        self.events: dict[str, Frame] = {}  # of earlier lives, until they are finished
        self.starts: dict[
            str, list[str]
        ] = {}  # activation id of an unfinished event -> boots it was begun in
        self.origins: deque[str] = deque(maxlen=REMEMBERED)
        self.lost: dict[tuple[str, str], int] = {}  # lane, reason -> records since the store was made
        self.untold: dict[tuple[str, str], Loss] = {}  # not yet in an activation
        self.gone: dict[str, str] = {}  # lane -> name of the segment that went last with a loss
        self.damaged: dict[str, int] = {}  # segment (`Damage.key`) -> records that were told to be lost in it
        self.cleared: dict[str, Cleared] | None = {}  # lane -> what went on purpose; None: nobody knows
        self.worn = 0  # bytes the card had to write before this life
        self.ran = 0.0  # seconds the gateway ran before this life

    def header(self, worn: int, ran: float) -> dict[str, Any]:
        """The snapshot for the header of a new segment; `worn` and `ran`: of this life."""
        return {
            "format": FORMAT,
            "last": self.last,
            "confirmed": self.confirmed,
            "passed": self.passed,
            "absorbed": self.absorbed,
            "open": [list(place) for place in self.open.values()],
            "starts": {key: boots for key, boots in self.starts.items() if key in self.open},
            "lost": [[*key, count] for key, count in self.lost.items()],
            "untold": [list(loss) for loss in self.untold.values()],
            "gone": self.gone,
            "damaged": self.damaged,
            "cleared": {lane: list(found) for lane, found in (self.cleared or {}).items()},
            "worn": self.worn + worn,
            "ran": round(self.ran + ran, 1),
        }

    def load(self, header: Frame) -> tuple[int, list[Place]]:
        """Start from a header.

        Returns the first number of the segment from which on all must be replayed (format 1; else 0)
        and the places of the unfinished events. Raises `StorageError` for a format of a later version.
        """
        snapshot: Mapping[str, Any] = jsontext.loads(header.text)
        if snapshot["format"] > FORMAT:
            raise StorageError(
                f"the log has format {snapshot['format']}, this version reads up to {FORMAT}",
                hint="install the version that wrote it, or a later one",
            )
        self.last = snapshot["last"]
        self.confirmed = snapshot["confirmed"]
        self.absorbed = dict(snapshot["absorbed"])
        if snapshot["format"] == 1:
            self.lost = {(NORMAL, EVICTED): snapshot["evicted"]} if snapshot["evicted"] else {}
            self.cleared = None
            return max(1, snapshot["oldest"]), []
        self.lost = {(lane, reason): count for lane, reason, count in snapshot["lost"]}
        self.untold = {
            (lane, reason): Loss(lane, reason, *rest) for lane, reason, *rest in snapshot["untold"]
        }
        self.gone = dict(snapshot["gone"])
        self.damaged = dict(snapshot.get("damaged", {}))
        self.passed = tuple(snapshot.get("passed", ()))
        if (cleared := snapshot.get("cleared")) is not None:
            self.cleared = {lane: Cleared(*found) for lane, found in cleared.items()}
        else:
            self.cleared = None
        self.starts = dict(snapshot.get("starts", {}))
        self.worn, self.ran = snapshot["worn"], snapshot["ran"]
        return 0, [Place(*place) for place in snapshot["open"]]

    def apply(self, frame: Frame, serial: int) -> None:
        """Follow one frame that is on disk, in the segment `serial`."""
        op, number, text = frame.op, frame.number, frame.text
        if op in (ACTIVATION, RECORD_BLOCK):
            self.record(max(self.last, number + frame.records - 1), frame.ids() if self.open else ())
        elif op == EVENT:
            self.open[event_id(text)] = Place(serial, frame.start, frame.size)
        elif op == FINISHED:
            self.finish(text.decode())
        elif op == STARTED:
            self._start(jsontext.loads(text))
        elif op == CONFIRMED:
            self.confirmed = max(self.confirmed, number)
            self.last = max(self.last, number)  # a damaged record's number is not given again
        elif op == ABSORBED:
            self.absorb(text.decode(), number)
        else:
            self._account(op, number, text)

    def record(self, last: int, ids: Iterable[str]) -> None:
        """Records up to `last` are on disk, of the events with these `ids` if they were any."""
        self.last = last
        if self.open:
            for activation_id in ids:
                self.finish(activation_id)

    def replay(self, frame: Frame, serial: int) -> None:
        """Follow a frame of an earlier life."""
        self.apply(frame, serial)
        if frame.op == EVENT:
            self.events[event_id(frame.text)] = frame
        elif frame.op == WORN:
            self.worn, self.ran = frame.number, float(frame.text)
        self.remember([frame])

    def remember(self, frames: Iterable[Frame]) -> None:
        """Where the messages that `frames` tell of came from; one that cannot be read tells nothing."""
        for frame in frames:
            with suppress(*UNREADABLE):
                self.origins.extend(origins_of(frame))

    def begun(self, boot: str) -> dict[str, Starts]:
        """How often unfinished events of earlier lives were begun, altogether and in `boot`."""
        return {
            key: Starts(len(found), found.count(boot))
            for key, found in self.starts.items()
            if key in self.events
        }

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

    def _start(self, told: Mapping[str, Any]) -> None:
        for found in told["ids"]:
            if found in self.open:
                self.starts.setdefault(found, []).append(told["boot"])

    def news(self, damage: Damage) -> bool:
        """Whether more is damaged than was told."""
        return damage.records > self.damaged.get(damage.key, 0)

    def _damage(self, damage: Damage) -> None:
        if not self.news(damage):
            return
        fresh = damage.records - self.damaged.pop(damage.key, 0)
        self.damaged[damage.key] = damage.records
        if len(self.damaged) > TOLD_MOST:
            del self.damaged[next(iter(self.damaged))]
        self._lose(Loss(damage.lane, losses.DAMAGED, fresh, 0, 0))

    def _lose(self, loss: Loss) -> None:
        key = loss.lane, loss.reason
        self.lost[key] = self.lost.get(key, 0) + loss.records
        self.untold[key] = self.untold[key].plus(loss) if key in self.untold else loss

    def _account(self, op: str, number: int, text: bytes) -> None:
        if op == LOST:
            *told, segment = jsontext.loads(text)
            loss = Loss(*told)
            self._lose(loss)
            if segment:
                self.gone[loss.lane] = segment
        elif op == TOLD:
            lane, reason = jsontext.loads(text)
            if (left := self.untold.pop((lane, reason), None)) is not None and left.records > number:
                self.untold[lane, reason] = left._replace(records=left.records - number)
        elif op == PASSED:
            self.passed = tuple(map(int, jsontext.loads(text)))
        elif op == DAMAGED:
            self._damage(damage_of(text))
        elif op == CLEARED and self.cleared is not None:
            lane, cleared = cleared_of(Frame(op, number, text))
            self.cleared[lane] = cleared
        elif op == DROPPED:
            self.lost[NORMAL, EVICTED] = max(self.lost.get((NORMAL, EVICTED), 0), number)
