"""Cuts what a port sends into frames. Pure: bytes in, frames out, whatever the chunks are.

Every framer finds the next good frame again after any garbage: where a start or a length turns out
to be none, it goes on one byte behind it, not behind the whole.
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


class Ended:
    """Frames that end with a byte, among them lines. Empty ones are no frames."""

    def __init__(self, framing: Framing, end: bytes, unwrap: Callable[[bytes], bytes | None]) -> None:
        """`unwrap` makes the frame of what stood before `end`: None if it is corrupt, b"" if none."""
        self._longest, self._end, self._unwrap = framing.longest, end, unwrap
        self._rest = b""
        self._skipping = False
        self.overlong = self.corrupt = 0

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
        if len(rest) > self._longest and not self._skipping:
            self.overlong += 1
            self._skipping = True
        self._rest = b"" if self._skipping else rest
        return frames

    def idle(self) -> list[bytes]:
        """See `Framer`. A line may be sent in pieces by hand: it is kept."""
        return []

    def reset(self) -> bool:
        """See `Framer`."""
        torn = bool(self._rest)
        self._rest, self._skipping = b"", False
        return torn


class Searched:
    """Frames that begin with known bytes; `measure` tells how long one is."""

    def __init__(self, framing: Framing, start: bytes, measure: Callable[[bytes], int | None]) -> None:
        """`measure` of what begins with `start`: its length, None if more must come, 0 if it is no frame."""
        self._framing, self._start, self._measure = framing, start, measure
        self._rest = b""
        self.overlong = self.corrupt = 0

    def feed(self, data: bytes) -> list[bytes]:
        """See `Framer`."""
        rest, frames, at = self._rest + data, [], 0
        while (at := rest.find(self._start, at)) >= 0:
            size = self._measure(rest[at : at + self._framing.longest + 1])
            if size is None or size > len(rest) - at:
                if len(rest) - at <= self._framing.longest:
                    break
                self.overlong += 1
                at += 1
            elif size and passes(self._framing.check, rest[at : at + size]):
                frames.append(rest[at : at + size])
                at += size
            else:
                self.corrupt += 1
                at += 1
        # Without a start, its first bytes may stand at the end.
        self._rest = rest[at:] if at >= 0 else rest[len(rest) - len(self._start) + 1 :]
        return frames

    def idle(self) -> list[bytes]:
        """See `Framer`."""
        frames: list[bytes] = []
        while self._rest.startswith(self._start):
            self.corrupt += 1
            rest, self._rest = self._rest[1:], b""
            frames += self.feed(rest)
        self._rest = b""
        return frames

    def reset(self) -> bool:
        """See `Framer`."""
        torn, self._rest = bool(self._rest), b""
        return torn


def _line(framing: Framing) -> Framer:
    return Ended(framing, framing.end, lambda part: part.strip(b"\r\n"))


def _nmea(framing: Framing) -> Framer:
    def unwrap(part: bytes) -> bytes | None:
        sentence = part[max(0, part.rfind(b"$")) :].rstrip(b"\r")
        return sentence if not sentence or (sentence[:1] == b"$" and is_nmea(sentence)) else None

    return Ended(framing, b"\n", unwrap)


def _slip(framing: Framing) -> Framer:
    def unwrap(part: bytes) -> bytes | None:
        """RFC 1055: END is DB DC inside a frame, DB is DB DD."""
        pieces = part.split(b"\xdb")
        if any(piece[:1] not in (b"\xdc", b"\xdd") for piece in pieces[1:]):
            return None
        tail = (b"\xc0" + p[1:] if p[:1] == b"\xdc" else b"\xdb" + p[1:] for p in pieces[1:])
        return _checked(framing, pieces[0] + b"".join(tail))

    return Ended(framing, b"\xc0", unwrap)


def _cobs(framing: Framing) -> Framer:
    def unwrap(part: bytes) -> bytes | None:
        """Cheshire and Baker, "Consistent Overhead Byte Stuffing", 1999."""
        frame, at = b"", 0
        while at < len(part):
            code = part[at]
            if at + code > len(part):
                return None
            frame += part[at + 1 : at + code]
            at += code
            if code < 0xFF and at < len(part):
                frame += b"\0"
        return _checked(framing, frame)

    return Ended(framing, b"\0", unwrap)


def _checked(framing: Framing, frame: bytes) -> bytes | None:
    return frame if not frame or passes(framing.check, frame) else None


def _fixed(framing: Framing) -> Framer:
    def measure(rest: bytes) -> int | None:
        if len(rest) < framing.size:
            return None
        return framing.size if rest[: framing.size].endswith(framing.end) else 0

    return Searched(framing, framing.start, measure)


def _length(framing: Framing) -> Framer:
    first, last = framing.size_at, framing.size_at + _SIZES[framing.size_type]
    least = max(last, len(framing.start))

    def measure(rest: bytes) -> int | None:
        if len(rest) < last:
            return None
        big = framing.size_order == "big"
        size = int.from_bytes(rest[first:last], "big" if big else "little") + framing.size_extra
        if not least <= size <= framing.longest:
            return 0
        return size if size > len(rest) or rest[:size].endswith(framing.end) else 0

    return Searched(framing, framing.start, measure)


def _delimited(framing: Framing) -> Framer:
    begin, end = framing.start, framing.end

    def measure(rest: bytes) -> int | None:
        at = rest.find(end, len(begin))
        again = rest.find(begin, 1)
        if again > 0 and (again < at or at < 0) and begin != end:
            return 0  # the first one was torn: its end never came
        return None if at < 0 else at + len(end)

    return Searched(framing, begin, measure)


def _telegram(framing: Framing) -> Framer:
    """DSMR P1 companion standard 5.0.2, section 6.2: `/` ... `!` CRC16 in four digits, CR LF.

    Of older meters without a checksum the line ends at once.
    """

    def measure(rest: bytes) -> int | None:
        end = rest.find(b"!")
        line = rest.find(b"\n", end)
        if end < 0 or line < 0:
            return 0 if rest.find(b"/", 1) > 0 and end < 0 and _torn(rest) else None
        digits = rest[end + 1 : line].rstrip(b"\r")
        if not digits:
            return line + 1
        try:
            right = len(digits) == 4 and int(digits, 16) == crc16_reflected(rest[: end + 1], 0)
        except ValueError:
            right = False
        return line + 1 if right else 0

    return Searched(framing, b"/", measure)


def _torn(rest: bytes) -> bool:
    """Whether a second telegram begins before the first one ended: a slash at the start of a line."""
    return b"\n/" in rest


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
