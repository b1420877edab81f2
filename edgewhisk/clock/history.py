"""What is known of the clock in each boot, and records told right by it. Pure.

A boot begins with a clock that is `unset` (it says what no clock can, see `timing.is_known`) or
`unconfirmed` (it may go on from where it stood when the power went). Once it has been `set` (it was
moved, which only a person or a time server does) or is `kept` (the kernel, a time service or a battery
vouches for it), everything of that boot before that moment can be told right: the record says how long
after the boot it began.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from edgewhisk.clock.offset import ClockOffset, is_known

COLLECTION: Final = "boots"  # in the document store: documents by mark, each with its `number`
TOLERANCE: Final = 1000  # ms by which a clock may be moved without anything being corrected
MAX_BOOTS: Final = 1024  # boots that are remembered: about a month of one an hour
# Boot and milliseconds since, in a record: `entity.activation` writes it.
_STAMP: Final = re.compile(rb'\{"key":"edge-boot","value":\["([0-9a-f]{8})",(\d{1,18})\]\}')
_MARKED: Final = b',{"key":"edge-clock","value":"%b"}'
_TIMES: Final = re.compile(rb',"start":(\d{1,18})(?:,"end":(\d{1,18}))?')
_LOGS: Final = b'"logs":['
_ANNOTATIONS: Final = b'],"annotations":['
_LINE: Final = re.compile(rb'([\[,]")(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})000000Z')


class ClockTrust(StrEnum):
    """How far the clock is to be believed."""

    UNSET = "unset"  # it says a time before this program was written, or decades after
    UNCONFIRMED = "unconfirmed"  # it may be right, or stand still while the power is off
    SET = "set"  # somebody set it
    KEPT = "kept"  # something that knows vouches for it


@dataclass(slots=True)
class Boot:
    """The clock of one boot."""

    offset: int  # ms since the epoch when the machine booted, as far as is known
    sureness: ClockTrust
    until: int = 0  # ms since the boot: what happened before was stamped by a clock that was wrong


class ClockHistory:
    """All boots that may still have records here."""

    def __init__(self, kept: Mapping[str, Mapping[str, Any]]) -> None:
        """`kept`: documents by mark, oldest first."""
        self._boots = {
            mark: Boot(one["offset"], ClockTrust(one["sureness"]), one["until"]) for mark, one in kept.items()
        }
        self._odd: frozenset[bytes] = frozenset()  # boots whose records have to be looked at
        self._ranks: dict[str, int] = {}  # the older the lower
        self._known: list[tuple[int, int]] = []  # offsets and ranks of boots that knew the time
        self._look()

    def see(self, timing: ClockOffset, up: int, *, kept: bool) -> str | None:
        """Follow the clock of this boot, `up` ms after it; `kept`: something vouches for the clock.

        Returns the mark of the boot if its document is to be written, None if nothing is new.
        """
        now = _sureness(timing.offset + up, kept=kept)
        boot = self._boots.get(timing.boot)
        if boot is None:
            self._boots[timing.boot] = Boot(timing.offset, now)
            self._look()
            return timing.boot
        moved = abs(timing.offset - boot.offset) > TOLERANCE
        was, surer = boot.sureness, now is ClockTrust.KEPT and boot.sureness is not ClockTrust.KEPT
        if was is ClockTrust.KEPT or not (moved or surer):
            return None
        if moved:
            boot.offset, boot.until = timing.offset, up
            boot.sureness = ClockTrust.SET if now is ClockTrust.UNCONFIRMED else now
        if surer:
            boot.sureness = ClockTrust.KEPT
        self._look()
        return timing.boot

    def forget(self) -> list[str]:
        """Forget the boots that are too many; their marks."""
        gone = list(self._boots)[:-MAX_BOOTS]
        for mark in gone:
            del self._boots[mark]
        self._look()
        return gone

    def document(self, mark: str) -> dict[str, Any]:
        """What must survive of a boot."""
        return asdict(self._boots[mark])

    def sureness(self, mark: str) -> ClockTrust:
        """Of a boot's clock."""
        boot = self._boots.get(mark)
        return boot.sureness if boot else ClockTrust.UNCONFIRMED

    def moment(self, mark: str, up: int, said: int) -> int | None:
        """The ms since the epoch of a moment when the clock said `said`; None if it cannot be known."""
        boot = self._boots.get(mark)
        if boot is not None and up <= boot.until and boot.sureness is not ClockTrust.UNSET:
            return up + boot.offset
        return said if is_known(said) else None

    def odd(self, mark: str) -> bool:
        """Whether records of a boot may have to be told otherwise than they stand there."""
        return bool(self._odd) and mark.encode() in self._odd

    def shown(self, mark: str, up: int, said: int) -> int:
        """As `moment`, but as `straight` tells it: what cannot be known, or nearly right is, stays."""
        true = self.moment(mark, up, said)
        return said if true is None or abs(true - said) <= TOLERANCE else true

    def order(self, mark: str, up: int, said: int) -> tuple[int, int]:
        """What comes later is greater, whatever the clock said.

        Records of no boot that is known (of other gateways, or of before there were marks) go between
        those of others by what their clock said.
        """
        if (rank := self._ranks.get(mark)) is not None:
            return rank, up
        at = bisect_right(self._known, (said, MAX_BOOTS))
        offset, rank = self._known[at - 1] if at else (0, 0)
        return rank, said - offset

    def straight(self, text: bytes) -> bytes:
        """A record as it should read: its times corrected, or marked as never known."""
        if not self._odd:
            return text
        at = text.rfind(b'{"key":"edge-boot"')  # the last one: a result may hold the same words
        found = _STAMP.match(text, at) if at >= 0 else None
        if found is None or found[1] not in self._odd:
            return text
        times = _TIMES.search(text)
        if times is None:
            return text
        start = int(times[1])
        true = self.moment(found[1].decode(), int(found[2]), start)
        if true is None:
            return _marked(text, found.end(), b"unset")
        if abs(true - start) <= TOLERANCE:
            return text
        return _shifted(_marked(text, found.end(), b"corrected"), times, true - start)

    def describe(self, mark: str) -> dict[str, Any]:
        """For `status`."""
        others = [boot for other, boot in self._boots.items() if other != mark]
        unset = sum(boot.sureness is ClockTrust.UNSET for boot in others)
        return {"sureness": self.sureness(mark).value, "boots": len(self._boots), "never_set": unset}

    def _look(self) -> None:
        self._odd = frozenset(
            mark.encode()
            for mark, boot in self._boots.items()
            if boot.until or boot.sureness is ClockTrust.UNSET
        )
        self._ranks = {mark: rank for rank, mark in enumerate(self._boots, 1)}
        self._known = sorted(
            (boot.offset, self._ranks[mark])
            for mark, boot in self._boots.items()
            if boot.sureness is not ClockTrust.UNSET
        )


def stamp_of(text: bytes) -> tuple[str, int] | None:
    """The boot that a record belongs to, and the milliseconds since; None if it does not say."""
    at = text.rfind(b'{"key":"edge-boot"')
    found = _STAMP.match(text, at) if at >= 0 else None
    return (found[1].decode(), int(found[2])) if found else None


def _sureness(now: int, *, kept: bool) -> ClockTrust:
    if not is_known(now):
        return ClockTrust.UNSET
    return ClockTrust.KEPT if kept else ClockTrust.UNCONFIRMED


def _marked(text: bytes, at: int, how: bytes) -> bytes:
    return text[:at] + _MARKED % how + text[at:]


def _shifted(text: bytes, times: re.Match[bytes], by: int) -> bytes:
    """A record with `by` ms added to its start, its end and its log lines; nothing else is touched."""
    begin, end = text.rfind(_LOGS), text.rfind(_ANNOTATIONS)
    if 0 <= begin < end:
        lines = _LINE.sub(lambda line: _later(line, by), text[begin:end])
        text = text[:begin] + lines + text[end:]
    ended = b',"end":%d' % (int(times[2]) + by) if times[2] else b""
    return text[: times.start()] + b',"start":%d' % (int(times[1]) + by) + ended + text[times.end() :]


def _later(line: re.Match[bytes], by: int) -> bytes:
    at = datetime.fromisoformat(f"{line[2].decode()}+00:00").timestamp() * 1000
    moment = datetime.fromtimestamp(round(at + by) / 1000, UTC)
    return line[1] + f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}000000Z".encode()
