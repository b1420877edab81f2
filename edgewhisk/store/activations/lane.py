"""One lane: a log of activations with numbers of its own, and what follows from it.

Written to by the commit thread only. The lane `normal` also holds what concerns all lanes: accepted
events, how far other gateways' records are here, what was lost.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from edgewhisk import jsontext
from edgewhisk.clock.history import ClockHistory
from edgewhisk.clock.offset import LATEST
from edgewhisk.entity.records.record_block import BlockIndex
from edgewhisk.errors import UNREADABLE, StorageError
from edgewhisk.store.activations.catalog import Catalog
from edgewhisk.store.activations.damage import Cleared, Damage
from edgewhisk.store.activations.index import Index
from edgewhisk.store.activations.log_state import EVENT, NORMAL, TELLING, LogState, Place
from edgewhisk.store.activations.retention import CLOCK_SET
from edgewhisk.store.log import log as logs
from edgewhisk.store.log.disk import Disk
from edgewhisk.store.log.frames import ACTIVATION, RECORD_BLOCK, Frame, Scan
from edgewhisk.store.log.identity import store_identity
from edgewhisk.store.log.log import HEADER, Log, Segment


class Lane:
    """A log, its log state and its catalog."""

    def __init__(
        self,
        disk: Disk,
        directory: Path,
        name: str,
        lock: threading.RLock,
        wear: Callable[[], tuple[int, float]],
        history: ClockHistory,
    ) -> None:
        """Open or make `directory`; nothing is read before `recover`. Raises `StorageError`.

        `wear`: bytes that the card had to write, and seconds that the gateway ran, in this life.
        """
        self.name = name
        self.log = Log(disk, directory)
        self.log_state = LogState()
        self.catalog = Catalog(self.log, lock, history)
        self.incidents: list[str] = []
        self.corrupt = self.repaired = 0  # records or other lines; lines: seen when they were read at start
        self._blind = False  # whether records may have stood behind the last that can be read
        self.damage: list[Damage] = []  # found at start, to be told
        self._old = list(self.log.segments)  # not looked through yet
        self.device = self.epoch = ""
        self._lock = lock
        self._wear = wear

    # -- writing -----------------------------------------------------------------------------------

    def write(self, frames: Sequence[Frame]) -> None:
        """Number the records among `frames`, write all and follow them; raises `StorageError`."""
        begun, ends = self._append(frames)
        starts = [begun, *ends[:-1]]
        sizes = [end - 1 - start for start, end in zip(starts, ends, strict=True)]
        with self._lock:
            known = [
                frame.about for frame in frames if frame.about and not isinstance(frame.about, BlockIndex)
            ]
            if len(known) == len(frames):
                self.catalog.active.extend(known, self.log_state.last + 1, starts, sizes)
                self.log_state.record(self.log_state.last + len(frames), [key for _, _, key, _ in known])
            else:
                self._follow(frames, starts, sizes)

    def _follow(self, frames: Sequence[Frame], starts: Sequence[int], sizes: Sequence[int]) -> None:
        """Follow frames of all kinds."""
        serial, log_state, index = self.log.segments[-1].serial, self.log_state, self.catalog.active
        for frame, start, size in zip(frames, starts, sizes, strict=True):
            about, number = frame.about, log_state.last + 1
            if isinstance(about, BlockIndex):
                index.gather(about, number, start, size)
                log_state.record(log_state.last + about.records, about.ids() if log_state.open else ())
            elif about is not None:
                index.extend((about,), number, (start,), (size,))
                log_state.record(number, (about[2],))
            elif frame.records:
                index.put(frame, number, start, size)
                log_state.record(log_state.last + frame.records, _ids(frame) if log_state.open else ())
            else:
                log_state.apply(frame._replace(start=start, size=size), serial)

    def roll(self) -> None:
        """Begin a new segment, after the footer of the one before; raises `StorageError`."""
        if self.log.writing:
            self.log.seal(self.catalog.footer())
        self.catalog.end()
        self.catalog.begin(self.log.roll(self.log_state.last + 1, self.log_state.header(*self._wear())))

    def keep(self, segment: Segment) -> list[Frame]:
        """Unfinished events in `segment`, to be written again before it is dropped."""
        serial = segment.serial
        places = [place for place in self.log_state.open.values() if place.serial == serial]
        frames = [self.log.frame(segment, place.start, place.size) for place in places]
        kept = [Frame(EVENT, 0, frame.text) for frame in frames if frame is not None and frame.op == EVENT]
        if damaged := len(frames) - len(kept):
            self.corrupt += damaged
            self.incidents.append(f"{segment.path}: {damaged} accepted event(s) are damaged, and not kept")
        return kept

    def drop(self, segment: Segment) -> None:
        """Drop the oldest segment; raises `StorageError`."""
        with self._lock:
            self.log.drop(segment)
            self.catalog.forget(segment)

    def _append(self, frames: Sequence[Frame]) -> tuple[int, list[int]]:
        """Where the first line begins, and where each ends."""
        if self.log.full:
            self.roll()
        start = self.log.segments[-1].size
        return start, self.log.append(frames, self.log_state.last)

    # -- numbers -----------------------------------------------------------------------------------

    @property
    def oldest(self) -> int:
        """Number of the oldest record that is still here (or would be)."""
        return self.log.segments[0].first if self.log.segments else self.log_state.last + 1

    def last_of(self, segment: Segment) -> int:
        """Number of the last record that may be in `segment`."""
        at = self.log.segments.index(segment) + 1
        return self.log.segments[at].first - 1 if at < len(self.log.segments) else self.log_state.last

    def unsynced_of(self, segment: Segment) -> int:
        """How many records of `segment` the cloud does not have."""
        return max(0, self.last_of(segment) - max(self.log_state.confirmed, segment.first - 1))

    def unsynced(self) -> int:
        """How many records the cloud does not have."""
        return self.log_state.last - max(self.log_state.confirmed, self.oldest - 1)

    def dated(self) -> int:
        """How new the oldest segment is, ms: as the first whose records are of a time when the clock was set.

        What stands before that one is older, whatever the clock said; and before the newest one as well.
        """
        segments = self.log.segments
        if not segments:
            return 0
        upto = (self.catalog.times(self.catalog.summary(segment))[1] for segment in segments)
        found = next((time for time in upto if CLOCK_SET <= time < LATEST), 0)
        newest = self.catalog.times(self.catalog.summary(segments[-1]))[1]
        return min(found, newest) if newest >= CLOCK_SET else found

    def backlog(self) -> Iterator[tuple[int, bytes]]:
        """Numbers and texts of what the cloud does not have, in order."""
        with self._lock:
            confirmed, segments = self.log_state.confirmed, list(self.log.segments)
        while len(segments) > 1 and segments[1].first <= confirmed + 1:
            segments.pop(0)
        return self.catalog.after(confirmed, segments)

    # -- start -------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Replay the newest segment over its header; raises `StorageError` for a later format only.

        What cannot be read is skipped or set aside, and named in `incidents`; where numbers may have
        stood in it, the cloud must take those that follow for others.
        """
        known = list(self.log.segments)
        self._replay()
        lost = self._blind or known != self.log.segments
        lost |= self._shortened()
        self._missing_between()
        found = store_identity(self.log.disk, self.log.directory, fresh=lost or not self.log.segments)
        self.device, self.epoch = found.device, found.epoch
        self.incidents += found.incidents

    def _replay(self) -> None:
        read, upto, places = self._newest()  # newest first
        self._remember(read)
        for segment in self._older(read) if upto else []:
            if segment.first >= upto and (scan := self._read(segment)):
                read.append((segment, scan))
        self._reopen(places)
        for segment, scan in reversed(read):
            for frame in scan.frames:
                if frame.op != HEADER:
                    self._again(frame, segment)
        if read:
            newest, scan = read[0]
            self._blind |= scan.blind
            self.log_state.last = max(self.log_state.last, newest.first - 1)
            self.log.cut(newest)

    def _remember(self, read: list[tuple[Segment, Scan]]) -> None:
        """Where the events of some older segments came from: of a full one's worth."""
        found: list[list[Frame]] = []
        size = 0
        for segment in self._older(read) if self.name == NORMAL else []:
            if size >= logs.SEGMENT:
                break
            size += segment.held
            with contextlib.suppress(StorageError):
                found.append(self.log.frames(segment, TELLING))
        for frames in reversed(found):
            self.log_state.remember(frames)

    def _newest(self) -> tuple[list[tuple[Segment, Scan]], int, list[Place]]:
        """Segments back to the newest header, and what `LogState.load` makes of it."""
        read: list[tuple[Segment, Scan]] = []
        for segment in self.log.segments[::-1]:
            if (scan := self._read(segment)) is None:
                continue
            read.append((segment, scan))
            if scan.frames[0].op == HEADER:
                try:
                    return read, *self.log_state.load(scan.frames[0])
                except StorageError:
                    raise
                except UNREADABLE:
                    self.log_state = LogState()
            self.incidents.append(f"{segment.path}: the header is damaged; its records are read")
        return read, 0, []

    def _older(self, read: list[tuple[Segment, Scan]]) -> list[Segment]:
        segments = self.log.segments
        return segments[: segments.index(read[-1][0])][::-1] if read else []

    def _read(self, segment: Segment) -> Scan | None:
        """A segment's frames; None if it had to be set aside."""
        try:
            scan = self.log.scan(segment)
        except StorageError as error:
            self.incidents.append(f"{error}; {self.log.set_aside(segment)}")
            return None
        if not scan.frames:
            done = self.log.set_aside(segment)
            self.incidents.append(f"{segment.path}: nothing in it is readable; {done}")
            return None
        self.repaired += scan.repaired
        if scan.corrupt:
            missing = scan.missing(segment.first)
            self.corrupt += max(scan.corrupt, missing)
            told = f", {missing} record(s) are lost" if missing else ""
            self.incidents.append(f"{segment.path}: {scan.corrupt} damaged line(s) skipped{told}")
        self.catalog.scanned(segment, scan.frames)
        return scan

    def _again(self, frame: Frame, segment: Segment) -> None:
        """Follow a frame of an earlier life; one that cannot be read is told, and stays where it is."""
        try:
            self.log_state.replay(frame, segment.serial)
        except UNREADABLE as error:
            self.corrupt += 1
            self.incidents.append(
                f"{segment.path}: a line at {frame.start} is whole but cannot be read; left out: {error!r}"
            )
            if frame.op in (ACTIVATION, RECORD_BLOCK):
                self.log_state.last = max(self.log_state.last, frame.number + max(1, frame.records) - 1)
                self._blind |= not frame.records  # nobody knows how many numbers it has

    # -- what is gone --------------------------------------------------------------------------------

    def _shortened(self) -> bool:
        """Whether the end that the witness tells of is not there; what is lost with it is told."""
        witness, segments, last = self.log.witness, self.log.segments, self.log_state.last
        newest = segments[-1] if segments else None
        if witness is None or (newest is not None and newest.serial > witness.serial):
            return False
        lost = max(0, witness.last - last)
        if newest is not None and newest.serial == witness.serial and not lost:
            return False
        if newest is not None and newest.serial == witness.serial:
            self._gone(newest.serial, lost, f"{newest.path} was cut short")
        else:
            self._gone(witness.serial, max(1, lost), f"{self.log.directory}: the newest segment is gone")
        return True

    def _missing_between(self) -> None:
        """Tell of segments that should stand between those that are here."""
        for before, segment in pairwise(self.log.segments):
            if segment.serial == before.serial + 1:
                continue
            serial, _ = self.log.before(segment)
            if serial > before.serial:
                last = max(before.first - 1, self.catalog.summary(before).last)
                lost = segment.first - 1 - last
                self._gone(serial, lost, f"{self.log.directory}: segment {serial} is gone")

    def missing_first(self, cleared: Cleared) -> None:
        """Tell of the oldest segments, if more are gone than were cleared on purpose."""
        if not self.log.segments:
            return
        oldest = self.log.segments[0]
        serial, _ = self.log.before(oldest) if oldest.serial > cleared.serial + 1 else (0, 0)
        if serial > cleared.serial:
            lost = oldest.first - 1 - cleared.number
            self._gone(serial, lost, f"{self.log.directory}: segment {serial} is gone")

    def _gone(self, serial: int, records: int, what: str) -> None:
        self.incidents.append(f"{what}: {records} record(s) are lost")
        if records > 0:
            self.damage.append(Damage(self.name, serial, records))

    def unlooked(self, most: int) -> list[Segment]:
        """Some segments that were not looked through in this life, or where something was missed since."""
        with self._lock:
            self._old = [one for one in self._old if one in self.log.segments]
            self._old += [one for one in self.catalog.take_suspects() if one not in self._old]
            found, self._old = self._old[:most], self._old[most:]
            return found

    def look(self, segment: Segment) -> Damage | None:
        """Read all of a segment that is not written to any more; what is lost in it.

        `None` if nothing is, or it was dropped meanwhile.
        """
        try:
            found = sum(map(_readable, self.log.scan(segment).frames))
        except StorageError:
            if not segment.held:
                return None
            found = 0
        try:
            with self._lock:
                lost = self._owed(segment) - found
        except ValueError:  # it was dropped, perhaps while it was read
            return None
        if lost <= 0:
            return None
        told = f"{segment.path}: {lost} record(s) cannot be read any more; what else stands in it is kept"
        if told not in self.incidents:  # a list that is asked for again has it looked through again
            self.incidents.append(told)
        return Damage(self.name, segment.serial, lost)

    def _owed(self, segment: Segment) -> int:
        """How many records should stand in a segment, by the numbers around it; `ValueError` if it went."""
        segments = self.log.segments
        at = segments.index(segment) + 1
        if at == len(segments):
            return self.log_state.last + 1 - segment.first
        serial = segments[at].serial
        if serial > segment.serial + 1 and self.log.before(segments[at])[0] > segment.serial:
            return self.catalog.summary(segment).count  # what stood in the next one is told by itself
        return segments[at].first - segment.first

    def _reopen(self, places: Sequence[Place]) -> None:
        """Take up the unfinished events of earlier segments."""
        by_serial = {segment.serial: segment for segment in self.log.segments}
        for place in places:
            if (segment := by_serial.get(place.serial)) is None:
                continue  # was dropped, after the event was written again
            try:
                frame = self.log.frame(segment, place.start, place.size)
            except StorageError:
                frame = None
            if frame is not None and frame.op == EVENT:
                self._again(frame, segment)
            else:
                self.incidents.append(
                    f"{self.log.directory}: an accepted event is damaged and will not be run"
                )


def _ids(frame: Frame) -> list[str]:
    """The activation ids of the records in a frame, if they can be read."""
    try:
        return frame.ids()
    except UNREADABLE:
        return []


def _readable(frame: Frame) -> int:
    """How many records of a frame can be found, read and shown."""
    if not frame.records or not Index().put(frame, 1, 0, 0):
        return 0
    found = 0
    with contextlib.suppress(*UNREADABLE):
        for text in frame.texts():
            jsontext.loads(text)
            found += 1
    return found
