"""All lanes together: rounds of frames to the logs they belong to, and what goes when there is no room.

No threads of its own: the commit thread (`activations`) and the crash simulator drive it.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from edgewhisk.clock.history import ClockHistory
from edgewhisk.config.schema import EVICT_OLDEST, BufferConfig
from edgewhisk.config.schema import LaneConfig as Policy
from edgewhisk.entity.annotations.lane import ERRORS, NORMAL, TELEMETRY
from edgewhisk.errors import NoRoom, StorageError
from edgewhisk.spi import Clock
from edgewhisk.store.activations.damage import Cleared, Damage
from edgewhisk.store.activations.lane import Lane
from edgewhisk.store.activations.log_state import (
    EVENT,
    FINISHED,
    LogState,
    accepted_at,
    event_id,
    lost_frame,
    origins_frame,
    told_frame,
)
from edgewhisk.store.activations.loss import EVICTED, EXPIRED, REJECTED, Loss, loss_record
from edgewhisk.store.activations.retention import (
    LaneUsage,
    expired,
    fitting,
    over_quota,
    policies,
    rejects,
    victim,
)
from edgewhisk.store.activations.routes import ids_of, is_new, routed, without_records
from edgewhisk.store.activations.wear import Wear
from edgewhisk.store.log import log as logs
from edgewhisk.store.log.disk import Disk
from edgewhisk.store.log.frames import ACTIVATION, Frame
from edgewhisk.store.log.log import Segment

TELL_EVERY: Final = 60.0  # seconds between two activations about losses of one kind, at least
_SLOW: Final = 3_600_000  # ms that the clock may have been set back since an event was accepted
_OTHERS: Final = (ERRORS, TELEMETRY)  # lanes with a directory of their own, inside that of `normal`


class Partitions:
    """The lanes of one store. Written to by one thread; `lock` guards what others read."""

    def __init__(
        self,
        disk: Disk,
        directory: Path,
        settings: BufferConfig,
        clock: Clock,
        *,
        lanes: Mapping[str, Policy] | None = None,
        others: Callable[[], int] = lambda: 0,
        history: ClockHistory | None = None,
        earliest: Callable[[], int] | None = None,
    ) -> None:
        """Open or make `directory`; raises `StorageError`.

        `others`: bytes of the state directory that are not this store's; `boots` tell times right;
        `earliest`: the time by which records are old enough to expire, if it is not the clock's.
        """
        self.lock = threading.RLock()
        self._disk = disk
        self._settings = settings
        self._clock = clock
        self._others = others
        self._earliest = earliest or clock.now
        self.history = history or ClockHistory({})
        self._directory = directory
        self._told = -TELL_EVERY
        self.wear = Wear(disk, clock)
        self.refusal = ""  # why the disk took nothing new when it was last asked
        self._finished: list[Frame] = []  # marks that go along with the next round of `normal`
        self.normal = Lane(disk, directory, NORMAL, self.lock, self.wear, self.history)
        self.lanes = {NORMAL: self.normal}
        for name in _OTHERS:
            self.lanes[name] = Lane(disk, directory / name, name, self.lock, self.wear, self.history)
        self._most = settings.max_bytes
        with contextlib.suppress(OSError):
            self._most = fitting(settings.max_bytes, settings.min_free_bytes, disk.size(directory))
        self.policies = policies(lanes or {}, self._most)

    @property
    def held(self) -> int:
        """Bytes on disk."""
        return sum(lane.log.held for lane in self.lanes.values())

    # -- start and end -----------------------------------------------------------------------------

    def recover(self) -> None:
        """Take up what is there; raises `StorageError` for a format of a later version only."""
        for lane in self.lanes.values():
            lane.recover()
        if self._most < self._settings.max_bytes:
            self.normal.incidents.append(
                f"[buffer] max_bytes does not fit on the disk beside min_free_bytes: "
                f"{self._most / 1e6:.0f} MB are used"
            )
        log_state = self.normal.log_state
        self._missing(log_state)
        for name, segment in log_state.gone.items():  # a crash came between a loss and its drop
            lane = self.lanes[name]
            with contextlib.suppress(StorageError):
                if len(lane.log.segments) > 1 and lane.log.segments[0].path.name == segment:
                    lane.drop(lane.log.segments[0])
        for activation_id, event in list(log_state.events.items()):
            since = accepted_at(event, self.history.moment) - _SLOW
            if any(self._recorded(self.lanes[name], activation_id, since) for name in _OTHERS):
                log_state.finish(activation_id)
                self._finished.append(Frame(FINISHED, 0, activation_id.encode()))

    def _missing(self, log_state: LogState) -> None:
        """Tell of the oldest segments that went without being dropped; stores of old begin to know now."""
        if log_state.cleared is None:
            oldest = {name: lane.log.segments[0] for name, lane in self.lanes.items() if lane.log.segments}
            log_state.cleared = {name: Cleared(one.serial - 1, one.first - 1) for name, one in oldest.items()}
        for name, lane in self.lanes.items():
            lane.missing_first(log_state.cleared.get(name, Cleared(0, 0)))

    def damage(self) -> list[Damage]:
        """What was found lost at start and is not told yet."""
        found = [one for lane in self.lanes.values() for one in lane.damage]
        return [one for one in found if self.normal.log_state.news(one)]

    def _recorded(self, lane: Lane, activation_id: str, since: int = 0) -> bool:
        return bool(lane.log.segments) and lane.catalog.find(activation_id, since) is not None

    def close(self) -> None:
        """Write the marks that wait, and give the files up."""
        with contextlib.suppress(StorageError):
            if self._finished:
                self._write_normal([])
            if not self.normal.log.full:
                self._write_normal([self.wear.frame(self.normal.log_state)])
        for lane in self.lanes.values():
            lane.log.close(lane.log_state.last)

    # -- writing -----------------------------------------------------------------------------------

    def write(self, frames: Iterable[Frame]) -> None:
        """Make a round durable; raises `StorageError` if not all of it is.

        What is new is refused with `NoRoom` while others have filled the disk; what is here is kept.
        """
        own, others = routed(frames)
        try:
            self._write(own, others)
        except StorageError as error:
            self.refusal = f"{error.message}; {error.hint}" if error.hint else error.message
            raise
        if self.refusal and any(map(is_new, chain(own, *others.values()))):
            self.refusal = ""

    def _write(self, own: list[Frame], others: Mapping[str, list[Frame]]) -> None:
        """Write a round. What goes to other lanes is written before `normal`.

        So an event is never finished before its record is on disk. `NoRoom` is raised before anything is
        written: the groups of the round are tried again alone.
        """
        self._check_room({self.lanes[name]: theirs for name, theirs in others.items()} | {self.normal: own})
        ids: list[str] = []
        for name, theirs in others.items():
            lane = self.lanes[name]
            ids += ids_of(theirs)
            if self._admit(lane):
                self._write_lane(lane, theirs)
            else:
                own += self._refusal(lane, theirs)
        if own and not self._admit(self.normal):
            own = without_records(own, self._clock.now())
        if ids:
            fresh = {event_id(frame.text) for frame in own if frame.op == EVENT}
            self._finished += [
                Frame(FINISHED, 0, found.encode())
                for found in ids
                if found in self.normal.log_state.open or found in fresh
            ]
            with self.lock:
                for found in ids:
                    self.normal.log_state.finish(found)
        if own:
            self._write_normal(own)
        if self.normal.log_state.untold and self._clock.monotonic() - self._told >= TELL_EVERY:
            self._tell()

    def tend(self) -> None:
        """Let expire what is too old, and give way to others on the disk; try one that has refused."""
        for lane in self.lanes.values():
            self._expire(lane)
        self._fit(0)
        grows = logs.SEGMENT if self.normal.log.full else 0  # nothing goes for the sake of a number
        if self.wear.due and self.held + grows <= self._bound():
            with contextlib.suppress(StorageError):
                self._write_normal([self.wear.frame(self.normal.log_state)])
        if self.refusal:
            with contextlib.suppress(StorageError):
                self.write([origins_frame([])])

    def _write_normal(self, frames: Sequence[Frame]) -> None:
        marks = list(self._finished)
        self._write_lane(self.normal, [*frames, *marks])
        self._finished = self._finished[
            len(marks) :
        ]  # what came while room was made waits for the next round

    def _write_lane(self, lane: Lane, frames: Sequence[Frame]) -> None:
        try:
            lane.write(frames)
        except StorageError:
            # Make room (full disk) and begin a new segment (failing one), then try once more.
            self._give()
            lane.write(frames)

    def _refusal(self, lane: Lane, frames: Sequence[Frame]) -> list[Frame]:
        """What is written instead of records that a lane does not take; marks it takes always."""
        marks = [frame for frame in frames if not frame.records]
        if marks:
            self._write_lane(lane, marks)
        now = self._clock.now()
        count = sum(frame.records for frame in frames)
        return [lost_frame(Loss(lane.name, REJECTED, count, now, now))] if count else []

    def _tell(self) -> None:
        """Put losses into activations; what cannot be told now is told later."""
        self._told = self._clock.monotonic()
        log_state, errors = self.normal.log_state, self.lanes[ERRORS]
        for loss in list(log_state.untold.values()):
            told = log_state.lost[loss.lane, loss.reason] - loss.records
            record = loss_record(loss, self.normal.epoch, told, self._clock.now(), self._clock.timing)
            with contextlib.suppress(StorageError):
                if not self._recorded(errors, record.activation_id):
                    told_by = [Frame(ACTIVATION, 0, record.text)]
                    self._check_room({errors: told_by})
                    if not self._admit(errors):
                        continue
                    errors.write(told_by)
                self.normal.write([told_frame(loss)])

    # -- room --------------------------------------------------------------------------------------

    def _check_room(self, work: Mapping[Lane, Sequence[Frame]]) -> None:
        """Raise `NoRoom` if others have filled the disk, and something new would begin a segment.

        While the disk refuses, anything new is asked for. Marks are taken always: what the cloud has can go.
        """
        asked = [
            lane.log
            for lane, frames in work.items()
            if (lane.log.full or self.refusal) and any(map(is_new, frames))
        ]
        if asked:
            self._give_way(logs.SEGMENT * sum(log.full and not log.has_spare for log in asked))

    def _admit(self, lane: Lane) -> bool:
        """Make room for a lane's next segment, if it needs one; false if it takes no more records."""
        if not lane.log.full:
            return True
        self._expire(lane)
        for _ in list(lane.log.segments):  # once each: unfinished events are written again, not dropped
            held = self._held(lane)
            if not over_quota(held, logs.SEGMENT):
                break
            if rejects(held, logs.SEGMENT):
                return False
            if not held.may_lose:
                break
            self._drop(lane, EVICTED)
            lane.log.drop_spares(keep=1)
        return self._fit(0 if lane.log.has_spare else logs.SEGMENT, lane)

    def _fit(self, need: int, lane: Lane | None = None) -> bool:
        """Keep the whole within its own bounds when it grows by `need`; false if it cannot be.

        Without a `lane`, give only what the cloud has.
        """
        bound = self._bound()
        for _ in range(sum(len(one.log.segments) for one in self.lanes.values())):
            if self.held + need <= bound:
                break
            name = victim([self._held(one) for one in self.lanes.values()], lose=lane is not None)
            if name is None:
                return lane is None or self._policy(lane).full == EVICT_OLDEST
            grows = lane is not None and name == lane.name
            self._evict(self.lanes[name], keep=int(grows))
            need = 0 if grows else need
        if lane is None:
            with contextlib.suppress(NoRoom):
                self._give_way(0)
        return True

    def _give_way(self, need: int) -> None:
        """Leave others on the disk their space, by what the cloud has; raises `NoRoom` if that is not enough.

        What it does not have is never dropped for the sake of a file of somebody else.
        """
        floor = self._settings.min_free_bytes
        for _ in range(sum(len(one.log.segments) for one in self.lanes.values()) + 1):
            try:
                free = self._disk.room(self._directory)
            except OSError:
                return
            if not floor or free >= need + floor:
                return
            name = victim([self._held(one) for one in self.lanes.values()], lose=False)
            if name is None:
                raise NoRoom(
                    f"others have filled the disk: {free / 1e6:.1f} MB are free, and [buffer] min_free_bytes "
                    f"leaves {floor / 1e6:.1f} MB to them; what is here is kept, nothing new is taken",
                    hint="free some space, or lower min_free_bytes",
                )
            self._evict(self.lanes[name], keep=0)

    def _evict(self, lane: Lane, keep: int) -> None:
        """Drop a lane's oldest segment, and its spares but some to `keep`."""
        self._drop(lane, EVICTED)
        lane.log.drop_spares(keep=keep)

    def _bound(self) -> int:
        """Bytes this store may have.

        The state directory's quota stops its growth; a file that somebody puts there costs nothing.
        """
        bound = self._most
        if self._settings.max_state_bytes:
            bound = min(bound, max(self.held, self._settings.max_state_bytes - self._others()))
        return bound

    def _policy(self, lane: Lane) -> Policy:
        return self.policies[lane.name]

    def _held(self, lane: Lane) -> LaneUsage:
        segments = lane.log.segments
        oldest = segments[0] if segments else None
        return LaneUsage(
            lane.name,
            self._policy(lane),
            lane.log.held,
            lane.log.has_spare,
            len(segments),
            oldest is not None and not lane.unsynced_of(oldest),
            lane.dated(),
        )

    def _expire(self, lane: Lane) -> None:
        """Drop what is older than the lane keeps it, if it was not synced."""
        now = self._earliest()
        for _ in list(lane.log.segments):
            held = self._held(lane)
            if held.synced or not expired(held, now):
                break  # what is synced is history: it goes when the space is needed
            if held.segments == 1:
                lane.roll()
            self._drop(lane, EXPIRED)

    def _give(self) -> None:
        """Free some space without loss, if that is possible."""
        for lane in self.lanes.values():
            lane.log.drop_spares()
        name = victim([self._held(lane) for lane in self.lanes.values()], lose=False)
        if name is not None:
            self._evict(self.lanes[name], keep=0)

    def _drop(self, lane: Lane, reason: str) -> None:
        """Drop a lane's oldest segment: what is lost with it is on disk before, and what is unfinished."""
        segment = lane.log.segments[0]
        frames = lane.keep(segment) + self._loss(lane, segment, reason)
        # A record that goes is no proof any more that its event is finished: the mark must be there.
        marks, cleared = self._finished, Cleared(segment.serial, lane.last_of(segment)).frame(lane.name)
        try:
            self.normal.write([*frames, *marks, cleared])
            self._finished = []
        except StorageError:
            if frames or (lane is not self.normal and any(mark.op == FINISHED for mark in marks)):
                raise
            # A full disk, and what the cloud has may go: that it went on purpose is told with the next round.
            self._finished = [*marks, cleared]
        lane.drop(segment)

    def _loss(self, lane: Lane, segment: Segment, reason: str) -> list[Frame]:
        count, name = lane.unsynced_of(segment), segment.path.name
        if not count or self.normal.log_state.gone.get(lane.name) == name:  # or told, but the drop failed
            return []
        since, upto = lane.catalog.times(lane.catalog.summary(segment))
        return [lost_frame(Loss(lane.name, reason, count, since, upto), name)]
