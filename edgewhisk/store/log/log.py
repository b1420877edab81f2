"""A directory of segments: append, roll, recycle, read, drop. Not thread-safe; its owner locks.

A segment is written to in one life of its owner only: whatever a crash tore at its end stays behind
it, and starting needs no write. Segments that are dropped become spares, which the next segments
overwrite in place: their blocks are allocated, so a commit costs no journal of the file system.
A file gets a segment's name when its header is on disk, and its name only once.
"""

from __future__ import annotations

import contextlib
import errno
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from edgewhisk import jsontext
from edgewhisk.errors import UNREADABLE, StorageError
from edgewhisk.store.log.disk import Disk
from edgewhisk.store.log.frames import Frame, Scan, encode, parse_name, read_line, scan, seed_of, segment_name
from edgewhisk.store.log.witness import Witness, witness_of

SEGMENT: Final = 1 << 20  # bytes after which a new segment is begun
HEADER: Final = "H"  # op of a segment's first frame; its text is a JSON object
FOOTER: Final = "F"  # op of the line at the end of a sealed file: where the last frame of the footer stands
SPARES: Final = 2
BAD: Final = 4  # files set aside that are kept, the newest: about 4 MB
_FOOTER_SIZE: Final = len("00000000 F 0 0000000000 0000000000\n")
_BAD: Final = ".bad"
BLOCK: Final = 4096  # bytes
_SMALL: Final = 12 << 10  # bytes of a commit: below, allocating ahead costs less than the journal does
FEW: Final = 16  # commits that say nothing about their size yet
_HEADER_SIZE: Final = 16 << 10  # bytes that are read to find a header, at first
_HINTS: Final = {
    errno.ENOSPC: "the disk is full: free some space, or lower [buffer] max_bytes",
    errno.EROFS: "the file system is read-only: the card may be worn out",
    errno.EIO: "the disk fails: replace the card",
}


def storage_error(path: Path, error: OSError) -> StorageError:
    """`error` as ours, with what to do."""
    hint = _HINTS.get(error.errno or 0, "")
    return StorageError(error.strerror or str(error), hint=hint, where=str(path))


class Segment:
    """One file of the log."""

    __slots__ = ("ended", "first", "held", "path", "seed", "serial", "size")

    def __init__(self, path: Path, serial: int, first: int, held: int, size: int) -> None:
        """`first` is the number of the first record that may be in it."""
        self.path = path
        self.serial = serial
        self.first = first
        self.held = held  # bytes on disk
        self.size = size  # bytes of it that count; what is behind is of no meaning
        self.ended = False  # whether `size` is known; else it is the file's
        self.seed = seed_of(path.name)


class Log:
    """Segments, oldest first; the last one is written to."""

    def __init__(self, disk: Disk, directory: Path) -> None:
        """Open or make `directory`; raises `StorageError`. Nothing is read yet."""
        self.disk = disk
        self.directory = directory
        self.segments: list[Segment] = []
        self.written = 0  # bytes since start
        self.commits = 0  # fdatasync calls since start
        self.witness: Witness | None = None
        self._file = -1
        self._rolled = False  # whether the newest segment is of this life
        self._spares: list[tuple[Path, int]] = []
        try:
            disk.make_directory(directory)
            names = disk.names(directory)
        except OSError as error:
            raise storage_error(directory, error) from error
        for name, size in names.items():
            if (found := parse_name(name)) is not None:
                self.segments.append(Segment(directory / name, *found, size, size))
            elif name.startswith("spare-"):
                self._spares.append((directory / name, size))
            elif (told := witness_of(name)) is not None:
                self.witness = told
        newest = self.segments[-1].serial if self.segments else 0
        self._serial = max(newest, self.witness.serial if self.witness else 0)
        self._keep_spares()

    @property
    def held(self) -> int:
        """Bytes on disk, spares included."""
        return sum(segment.held for segment in self.segments) + sum(size for _, size in self._spares)

    @property
    def next_serial(self) -> int:
        """Of the segment that is begun next."""
        return self._serial + 1

    @property
    def full(self) -> bool:
        """Whether the next append must go to a new segment."""
        return self._file < 0 or self.segments[-1].size >= SEGMENT

    @property
    def writing(self) -> bool:
        """Whether the newest segment is written to."""
        return self._file >= 0

    @property
    def has_spare(self) -> bool:
        """Whether a new segment needs no new space."""
        return bool(self._spares)

    # -- writing ---------------------------------------------------------------------------------

    def roll(self, first: int, header: dict[str, Any]) -> Segment:
        """Begin a new segment; durable on return. Raises `StorageError`.

        The header tells where the segment before it ended.
        """
        self._serial += 1  # never again, even if this fails half-way
        nonce = secrets.token_hex(8)
        path = self.directory / segment_name(self._serial, first, nonce)
        before = self.segments[-1] if self.segments else None
        # An end that nobody has looked for is not told: behind what counts a torn round may stand.
        ended = [before.serial, before.size if before.ended else 0] if before else [0, 0]
        text = jsontext.dumps({**header, "ended": ended})
        data, _ = encode([Frame(HEADER, first, text)], seed_of(path.name))
        file, draft = -1, self.directory / f"spare-{nonce}.ewj"
        try:
            file, draft, held = self._draft(draft)
            self.disk.write(file, data, 0)
            self.disk.sync(file)
            self.disk.rename(draft, path)
            self.disk.sync_directory(self.directory)
        except OSError as error:
            if file >= 0:
                self.disk.close(file)
            for name in (draft, path):
                with contextlib.suppress(OSError):
                    self.disk.remove(name)
            raise storage_error(path, error) from error
        self.give_up()
        segment = Segment(path, self._serial, first, max(held, len(data)), len(data))
        segment.ended = True
        self._file = file
        self._rolled = True
        self._count(len(data))
        self.segments.append(segment)
        self._testify(Witness(segment.serial))
        return segment

    def append(self, frames: Sequence[Frame], last: int | None = None) -> list[int]:
        """Write a round and wait for the disk; where each line ends in the segment.

        `last`: the number before that of the first record, as `encode` takes it.

        On an error nothing of it counts, and the segment is given up: after a failed fdatasync the
        kernel may have dropped the pages and will not say so twice.
        """
        segment = self.segments[-1]
        base = segment.size
        data, ends = encode(frames, segment.seed, last)
        try:
            self.disk.write(self._file, data, base)
            self.disk.sync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                self.disk.truncate(self._file, base)
                segment.held = base
            self.give_up()
            raise storage_error(segment.path, error) from error
        self._count(len(data))
        segment.size = base + len(data)
        segment.held = max(segment.held, segment.size)
        return [base + end for end in ends]

    def seal(self, frames: Sequence[Frame]) -> None:
        """Write a footer behind what is there, and at the end of the file where it stands.

        Nothing of the file is allocated or freed by that. Where the disk refuses, the segment does
        without a footer.
        """
        segment = self.segments[-1]
        data, ends = encode(frames, segment.seed)
        at = segment.size
        place = b"%010d %010d" % (at + ends[-2], ends[-1] - ends[-2] - 1)
        last, _ = encode([Frame(FOOTER, 0, place)], _footer_seed(segment))
        foot = max(segment.held, at + len(data) + len(last)) - len(last)
        try:
            self.disk.write(self._file, data, at)
            self.disk.write(self._file, last, foot)
            self.disk.sync(self._file)
        except OSError:
            pass
        else:
            self._count(len(data) + len(last))
            segment.size = at + len(data)
            segment.held = foot + len(last)
        self.give_up()

    def footer(self, segment: Segment) -> Frame | None:
        """The last frame of a segment's footer, which tells of the others; raises `StorageError`."""
        line = self.read(segment, segment.held - _FOOTER_SIZE, _FOOTER_SIZE)
        last = read_line(line[:-1], _footer_seed(segment))
        if last is None or last.op != FOOTER:
            return None
        try:
            start, size = map(int, last.text.split())
        except ValueError:
            return None
        return self.frame(segment, start, size)

    def give_up(self) -> None:
        """Write to the newest segment no more."""
        if self._file >= 0:
            self.disk.close(self._file)
            self._file = -1

    def close(self, last: int = 0) -> None:
        """End this life of the log, whose last record has the number `last`."""
        self.give_up()
        if self._rolled and self.segments:
            newest = self.segments[-1]
            self._testify(Witness(newest.serial, newest.size, last))
            with contextlib.suppress(OSError):
                self.disk.sync_directory(self.directory)

    def _testify(self, found: Witness) -> None:
        """Rename the witness; where the disk refuses, or power is cut, the old one says less but no lie."""
        with contextlib.suppress(OSError):
            if self.witness is not None:
                self.disk.rename(self.directory / self.witness.name, self.directory / found.name)
            else:
                self.disk.close(self.disk.open(self.directory / found.name, new=True))
            self.witness = found

    def drop(self, segment: Segment) -> None:
        """Remove a segment for good; raises `StorageError`."""
        spare = self.directory / f"spare-{secrets.token_hex(8)}.ewj"
        try:
            if segment.held >= SEGMENT and len(self._spares) < SPARES:
                self.disk.rename(segment.path, spare)
                self._spares.append((spare, segment.held))
            else:
                self.disk.remove(segment.path)
            self.segments.remove(segment)
            self.disk.sync_directory(self.directory)
        except OSError as error:
            raise storage_error(segment.path, error) from error

    def drop_spares(self, keep: int = 0) -> None:
        """Give space back."""
        while len(self._spares) > keep:
            path, _ = self._spares.pop()
            with contextlib.suppress(OSError):
                self.disk.remove(path)

    def set_aside(self, segment: Segment) -> str:
        """Keep an unreadable segment under another name and go on without it; what was done, for a person.

        The newest `BAD` of them are kept: somebody may want to look, and a failing card must not fill itself.
        """
        self.segments.remove(segment)
        try:
            self.disk.rename(segment.path, segment.path.with_suffix(_BAD))
            oldest = [name for name in self.disk.names(self.directory) if name.endswith(_BAD)][:-BAD]
            for name in oldest:
                self.disk.remove(self.directory / name)
            self.disk.sync_directory(self.directory)
        except OSError as error:
            return f"left out ({error.strerror})"
        return "set aside" + (f"; {len(oldest)} set aside earlier removed" if oldest else "")

    # -- reading ---------------------------------------------------------------------------------

    def scan(self, segment: Segment) -> Scan:
        """All of a segment, and from then on where it ended; raises `StorageError`."""
        ended = self._ended(segment)
        data = self.read(segment, 0, segment.size if segment.ended else segment.held)
        found = scan(data[:ended] if ended else data, segment.seed, ended)
        if not segment.ended:
            segment.size, segment.ended = (min(ended, segment.held) if ended else found.end), True
        return found

    def read(self, segment: Segment, start: int, size: int) -> bytes:
        """Some bytes of a segment; raises `StorageError`."""
        try:
            return self.disk.read(segment.path, start, size)
        except OSError as error:
            raise storage_error(segment.path, error) from error

    def frame(self, segment: Segment, start: int, size: int) -> Frame | None:
        """The frame whose line stands there; None if it is damaged. Raises `StorageError`."""
        return read_line(self.read(segment, start, size), segment.seed, start)

    def frames(self, segment: Segment, ops: str) -> list[Frame]:
        """The frames of some kinds in the whole rounds of a segment; raises `StorageError`.

        Quick where it is known where the segment ended: all before that was acknowledged. Else its
        rounds tell, for what a power cut tore behind them never happened.
        """
        if not (ended := self._ended(segment)):
            return [frame for frame in self.scan(segment).frames if frame.op in ops]
        data = self.read(segment, 0, ended)
        # Behind a line break, as the header is: to look for that is fast.
        lines = re.finditer(rb"\n([0-9a-f]{8} [%b]\d* \d+ .*)" % (ops + ops.lower()).encode(), data)
        found = (read_line(line[1], segment.seed, line.start(1)) for line in lines)
        return [frame for frame in found if frame is not None]

    def header(self, segment: Segment) -> Frame | None:
        """The header of a segment; None if it is damaged. Raises `StorageError`."""
        data = self.read(segment, 0, _HEADER_SIZE)
        if b"\n" not in data:
            data = self.read(segment, 0, segment.held)
        line, found, _ = data.partition(b"\n")
        frame = read_line(line, segment.seed) if found else None
        return frame if frame is not None and frame.op == HEADER else None

    def cut(self, segment: Segment) -> None:
        """Give back what is behind the end of a segment of an earlier life, if the disk will."""
        if segment.held <= segment.size:
            return
        with contextlib.suppress(OSError):
            file = self.disk.open(segment.path)
            try:
                self.disk.truncate(file, segment.size)
                segment.held = segment.size
            finally:
                self.disk.close(file)

    def _ended(self, segment: Segment) -> int:
        """Where a segment is known to end; 0 if it is not."""
        if segment.ended:
            return segment.size
        at = self.segments.index(segment) + 1
        if at == len(self.segments):
            return self.witness.size if self.witness and self.witness.serial == segment.serial else 0
        serial, end = self.before(self.segments[at])
        return end if serial == segment.serial else 0

    def before(self, segment: Segment) -> tuple[int, int]:
        """Serial of the segment that was written before, and where it ended; zeros where that is not known.

        No other was the newest when this one was begun, even if the serials between are missing.
        """
        with contextlib.suppress(*UNREADABLE):
            if (header := self.header(segment)) is not None:
                serial, end = jsontext.loads(header.text).get("ended", (0, 0))
                return int(serial), int(end)
        return 0, 0

    def _draft(self, path: Path) -> tuple[int, Path, int]:
        """A file to become a segment: a spare, or a new one; its name and its size."""
        while self._spares:
            spare, size = self._spares.pop()
            with contextlib.suppress(FileNotFoundError):
                return self.disk.open(spare), spare, size
        file = self.disk.open(path, new=True)
        if self.commits < FEW or self.written > self.commits * _SMALL:
            return file, path, 0
        try:
            for at in range(0, SEGMENT, BLOCK):  # written, not reserved: reserved blocks cost as new ones
                self.disk.write(file, bytes(BLOCK), at)
        except OSError:
            self.disk.close(file)
            self.disk.remove(path)
            raise
        return file, path, SEGMENT

    def _keep_spares(self) -> None:
        """Few, and whole ones; a spare holds nothing that could be taken for a segment's."""
        kept = [spare for spare in self._spares if spare[1] >= SEGMENT][:SPARES]
        for path, _ in set(self._spares) - set(kept):
            with contextlib.suppress(OSError):
                self.disk.remove(path)
        self._spares = kept

    def _count(self, size: int) -> None:
        self.written += size
        self.commits += 1


def _footer_seed(segment: Segment) -> int:
    """Not that of the frames: whoever reads those does not meet this line far behind them."""
    return segment.seed ^ 0xFFFFFFFF
