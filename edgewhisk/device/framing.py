"""Cuts what a port sends into frames. Pure: bytes in, frames out, whatever the chunks are.

Every framer finds the next good frame again after any garbage. Where a start or a length turns out to
be none, it goes on one byte behind it, not behind the whole. What the framing itself cannot tell apart:
garbage directly before a frame that has an end but no start (line, slip, cobs) is part of that frame;
garbage that begins like a frame holds what follows back until more bytes or a pause (`idle`) show it; and
garbage that passes for a frame by its length, its end and its checksum, where there are any, is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from edgewhisk.device.checksum import crc16_reflected, is_nmea, passes
from edgewhisk.device.profile import Framing

_SIZES: Final = {"u8": 1, "u16": 2, "u32": 4}


class Framer(Protocol):
    """One port's. Holds at most one unfinished frame."""

    overlong: int  # frames dropped for their length
    corrupt: int  # frames dropped for their checksum or escapes; of binary ones also false starts
    skipped: int  # bytes before a start; of frames that have none 0

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are whole now, in order."""
        ...

    def idle(self) -> list[bytes]:
        """The line was quiet for long: what is unfinished is none; frames that hid behind it."""
        ...

    def reset(self) -> bool:
        """Forget an unfinished frame; whether there was one."""
        ...


def framer(framing: Framing) -> Framer:
    """A fresh framer."""
    return _KINDS[framing.kind](framing)


class Delimited:
    """Frames that end with known bytes, among them lines. Empty ones are no frames."""

    def __init__(self, framing: Framing, end: bytes, unwrap: Callable[[bytes], bytes | None]) -> None:
        """`unwrap` makes the frame of what stood before `end`: None if it is corrupt, b"" if none."""
        self._longest, self._end, self._unwrap = framing.longest, end, unwrap
        self._rest = b""
        self._skipping = False
        self.overlong = self.corrupt = self.skipped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """See `Framer`."""
        *parts, rest = (self._rest + data).split(self._end)
        frames = []
        for part in parts:
            if self._skipping:
                self._skipping = False
            elif len(part) > self._longest:
                self.overlong += 1
            elif (frame := self._unwrap(part)) is None:
                self.corrupt += 1
            elif frame:
                frames.append(frame)
        # Of what is too long only what may be the beginning of `end` counts.
        begun = len(self._end) - 1
        if len(rest) > self._longest + begun and not self._skipping:
            self.overlong += 1
            self._skipping = True
        self._rest = rest[len(rest) - min(begun, len(rest)) :] if self._skipping else rest
        return frames

    def idle(self) -> list[bytes]:
        """See `Framer`. A line may be sent in pieces by hand: it is kept."""
        return []

    def reset(self) -> bool:
        """See `Framer`."""
        torn = bool(self._rest)
        self._rest, self._skipping = b"", False
        return torn


Measure = Callable[[bytes, int, int], int | None]


class Searched:
    """Frames that begin with known bytes; `measure` tells how long one is."""

    def __init__(self, framing: Framing, start: bytes, measure: Measure) -> None:
        """`measure` of what begins with `start` in `data`, from `at` and to `end` at most.

        Its length, None if more must come, 0 if it is no frame. It searches in place: copies of what
        is left would make garbage that is full of starts cost its length squared.
        """
        self._longest, self._check = framing.longest, framing.check
        self._start, self._measure = start, measure
        self._rest = b""
        self.overlong = self.corrupt = self.skipped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """See `Framer`."""
        return self._cut(self._rest + data, final=False)

    def idle(self) -> list[bytes]:
        """See `Framer`."""
        return self._cut(self._rest, final=True)

    def reset(self) -> bool:
        """See `Framer`."""
        torn, self._rest = bool(self._rest), b""
        return torn

    def _cut(self, data: bytes, *, final: bool) -> list[bytes]:
        """The frames of `data`; `final`: nothing more will come."""
        frames, at, most = [], 0, self._longest
        while True:
            found = data.find(self._start, at)
            if found < 0:  # but its first bytes may stand at the end
                found = len(data) if final else max(at, len(data) - len(self._start) + 1)
            self.skipped += found - at
            at = found
            if not data.startswith(self._start, at):
                break
            size = self._measure(data, at, min(len(data), at + most))
            if size is None or size > len(data) - at:
                if len(data) - at > most:
                    self.overlong += 1
                elif final:
                    self.corrupt += 1
                else:
                    break
                at += 1
            elif size and passes(self._check, data[at : at + size]):
                frames.append(data[at : at + size])
                at += size
            else:
                self.corrupt += 1
                at += 1
        self._rest = b"" if final else data[at:]
        return frames


def _line(framing: Framing) -> Framer:
    return Delimited(framing, framing.end, lambda part: part.strip(b"\r\n"))


def _nmea(framing: Framing) -> Framer:
    """NMEA 0183: `$` ... `*` and the checksum in two digits, CR LF.

    Found by its `$`, so that noise without an end of line does not take the sentence behind it along.
    """

    def measure(data: bytes, at: int, end: int) -> int | None:
        line = data.find(b"\n", at, end)
        again = data.find(b"$", at + 1, end if line < 0 else line)
        if again >= 0:
            return 0  # the first one was torn
        if line < 0:
            return None
        return line + 1 - at if is_nmea(data[at:line].rstrip(b"\r")) else 0

    return Stripped(framing, b"$", measure)


class Stripped(Searched):
    """Without the end of the line."""

    def _cut(self, data: bytes, *, final: bool) -> list[bytes]:
        return [frame.rstrip(b"\r\n") for frame in super()._cut(data, final=final)]


def _slip(framing: Framing) -> Framer:
    def unwrap(part: bytes) -> bytes | None:
        """RFC 1055: END is DB DC inside a frame, DB is DB DD."""
        pieces = part.split(b"\xdb")
        if any(piece[:1] not in (b"\xdc", b"\xdd") for piece in pieces[1:]):
            return None
        tail = (b"\xc0" + p[1:] if p[:1] == b"\xdc" else b"\xdb" + p[1:] for p in pieces[1:])
        return _checked(framing, pieces[0] + b"".join(tail))

    return Delimited(framing, b"\xc0", unwrap)


def _cobs(framing: Framing) -> Framer:
    def unwrap(part: bytes) -> bytes | None:
        """Cheshire and Baker, "Consistent Overhead Byte Stuffing", 1999."""
        frame, at = bytearray(), 0
        while at < len(part):
            code = part[at]
            if at + code > len(part):
                return None
            frame += part[at + 1 : at + code]
            at += code
            if code < 0xFF and at < len(part):
                frame += b"\0"
        return _checked(framing, bytes(frame))

    return Delimited(framing, b"\0", unwrap)


def _checked(framing: Framing, frame: bytes) -> bytes | None:
    return frame if not frame or passes(framing.check, frame) else None


def _fixed(framing: Framing) -> Framer:
    size, last = framing.size, framing.end

    def measure(data: bytes, at: int, end: int) -> int | None:
        if end - at < size:
            return None
        return size if data.endswith(last, at, at + size) else 0

    return Searched(framing, framing.start, measure)


def _length(framing: Framing) -> Framer:
    first, last = framing.size_at, framing.size_at + _SIZES[framing.size_type]
    least = max(last, len(framing.start))

    def measure(data: bytes, at: int, end: int) -> int | None:
        if end - at < last:
            return None
        big = framing.size_order == "big"
        told = int.from_bytes(data[at + first : at + last], "big" if big else "little")
        size = told + framing.size_extra
        if not least <= size <= framing.longest:
            return 0
        return size if size > end - at or data.endswith(framing.end, at, at + size) else 0

    return Searched(framing, framing.start, measure)


def _delimited(framing: Framing) -> Framer:
    begin, last = framing.start, framing.end

    def measure(data: bytes, at: int, end: int) -> int | None:
        found = data.find(last, at + len(begin), end)
        if begin != last and data.find(begin, at + 1, end if found < 0 else found) >= 0:
            return 0  # the first one was torn: its end never came
        return None if found < 0 else found + len(last) - at

    return Searched(framing, begin, measure)


def _telegram(framing: Framing) -> Framer:
    """DSMR P1 companion standard 5.0.2, section 6.2: `/XXX5` ... `!` CRC16 in four digits, CR LF.

    Of older meters without a checksum the line ends at once.
    """

    def measure(data: bytes, at: int, end: int) -> int | None:
        if end - at > 1 and not data[at + 1 : min(at + 4, end)].isalpha():  # XXX is the maker
            return 0
        last = data.find(b"!", at, end)
        # A slash at the start of a line before the end: the next telegram began, this one was torn.
        if data.find(b"\n/", at + 1, end if last < 0 else last) >= 0:
            return 0
        line = data.find(b"\n", last, end) if last >= 0 else -1
        if line < 0:
            return None
        digits = data[last + 1 : line].rstrip(b"\r")
        if not digits:
            return line + 1 - at
        try:
            right = len(digits) == 4 and int(digits, 16) == crc16_reflected(data[at : last + 1], 0)
        except ValueError:
            right = False
        return line + 1 - at if right else 0

    return Searched(framing, b"/", measure)


_KINDS: Final[Mapping[str, Callable[[Framing], Framer]]] = {
    "line": _line,
    "nmea": _nmea,
    "telegram": _telegram,
    "fixed": _fixed,
    "length": _length,
    "delimited": _delimited,
    "slip": _slip,
    "cobs": _cobs,
}
