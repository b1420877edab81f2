"""The real clock: what the operating system knows of time."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from pathlib import Path
from typing import Final

from edgewhisk.clock.busy import busy
from edgewhisk.clock.offset import MARK, ClockOffset

ID_LENGTH: Final = 32  # lower-case hex characters of an activation id, as `entity.activation` takes them
_STOCK: Final = 512  # ids made at a time
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_SYNCHRONIZED: Final = Path("/run/systemd/timesync/synchronized")  # made once the time is known
_KEEPERS: Final = ("/run/systemd/timesync", "/run/chrony", "/run/ntpd.pid", "/run/ntpsec")
_RTC: Final = Path("/sys/class/rtc/rtc0")
_UNSYNC: Final = 0x40  # STA_UNSYNC of <sys/timex.h>
_STATUS: Final = slice(40, 44)  # where `status` is in struct timex of 64-bit Linux
_TIMEX: Final = 208  # bytes of it
_AGREES: Final = 2  # seconds between the battery's clock and the system's: it counts whole ones
_NOISE: Final = 2  # ms between two readings on a busy machine, which are no change of the clock


class SystemClock:
    """`spi.Clock` over the operating system. Thread-safe."""

    def __init__(self) -> None:
        """With an empty stock of ids."""
        self._ids: list[str] = []
        self._lock = threading.Lock()  # guards them
        offset = self._offset()
        self.timing = ClockOffset(_boot(), offset, self.up() + offset)

    def now(self) -> int:
        """Milliseconds since the epoch; moves evenly between two calls of `look`."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000 + self.timing.offset

    def monotonic(self) -> float:
        """Seconds since some fixed point."""
        return time.monotonic()

    def busy(self) -> float:
        """See `edgewhisk.clock.busy`."""
        return busy()

    def up(self) -> int:
        """Milliseconds since the machine booted, its sleep included."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000

    def look(self) -> int:
        """Take over how the system's clock was set since the last call; by how many ms."""
        offset = self._offset()
        by = offset - self.timing.offset
        if abs(by) <= _NOISE:
            return 0
        self.timing = self.timing.set_to(offset, self.up())
        return by

    def kept(self) -> bool:
        """Whether something vouches for the clock: the kernel, a time service, or a battery."""
        return _SYNCHRONIZED.exists() or _kernel_is_synchronized() or _battery_agrees(self.system() / 1000)

    def expected(self) -> bool:
        """Whether a time service runs that will set the clock once it has a network."""
        return any(Path(keeper).exists() for keeper in _KEEPERS)

    def system(self) -> int:
        """What the system's clock says, in ms since the epoch. Tests put a wrong one here."""
        return time.time_ns() // 1_000_000

    def activation_ids(self, count: int) -> list[str]:
        """Ids from the kernel's random numbers, read many at a time: it may have other threads go first."""
        with self._lock:
            if len(self._ids) < count:
                self._ids += _ids(max(count, _STOCK))
            found = self._ids[-count:]
            del self._ids[-count:]
        return found

    def _offset(self) -> int:
        """What the system's clock said when the machine booted. Read twice around: the calmest counts."""
        found: list[tuple[int, int]] = []
        for _ in range(3):
            before = self.up()
            system = self.system()
            found.append((self.up() - before, system - before))
        return min(found)[1]


def _boot() -> str:
    """The beginning of the boot's id; where the kernel gives none, of what it booted at."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").replace("-", "")[:MARK]
    except OSError:
        return f"{time.time_ns() // 10**9 - int(time.clock_gettime(time.CLOCK_BOOTTIME)):08x}"[-MARK:]


def _kernel_is_synchronized() -> bool:
    """Whether a time service told the kernel within its patience that the time is right."""
    timex = ctypes.create_string_buffer(_TIMEX)
    if ctypes.CDLL(None).adjtimex(timex) < 0:
        return False
    return not int.from_bytes(timex.raw[_STATUS], "little") & _UNSYNC


def _battery_agrees(now: float) -> bool:
    """Whether the system's clock was set from a battery's at the start and still agrees with it."""
    try:
        if (_RTC / "hctosys").read_text().strip() != "1":
            return False
        return abs(int((_RTC / "since_epoch").read_text()) - now) <= _AGREES
    except (OSError, ValueError):
        return False


def _ids(count: int) -> list[str]:
    text = os.urandom(ID_LENGTH // 2 * count).hex()
    return [text[at : at + ID_LENGTH] for at in range(0, len(text), ID_LENGTH)]
