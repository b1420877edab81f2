"""One serial port that is read or written: how it is set, and its state."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from dataclasses import dataclass, field
from typing import Any, Final

import serial

from edgewhisk.device.decode import Decode
from edgewhisk.device.framing import Framer
from edgewhisk.device.profile import Line, Profile
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import CapabilityError, Undelivered
from edgewhisk.feed.backoff import Backoff
from edgewhisk.feed.heard import BEGINNING, Moment, heard
from edgewhisk.feed.rejects import RejectCounter
from edgewhisk.transport.serial import discovery

WRITE_TIMEOUT: Final = 15.0  # seconds for one write
LOOK_AGAIN: Final = 1.0  # seconds between looks for a port that is away
MAX_RETRY_PAUSE: Final = 10.0  # seconds at most between tries of one that is there and fails
SOONEST: Final = 0.2  # seconds between tries at least, whatever happens in its folder


@dataclass(frozen=True, slots=True)
class PortSettings:
    """What a port is opened with."""

    name: str  # as events carry it
    path: str
    line: Line
    rate: int  # frames a second
    profile: Profile | None  # None: only written to


@dataclass(slots=True)
class Port:
    """One open or missing port, and the triggers it feeds."""

    settings: PortSettings
    framer: Framer | None = None
    decode: Decode | None = None
    triggers: list[FullyQualifiedName] = field(default_factory=list)
    device: serial.Serial | None = None
    state: str = "waiting"
    last_error: str = ""
    rejects: RejectCounter = field(default_factory=RejectCounter)
    readings: int = 0
    opened: int = 0
    torn: int = 0  # frames that an unplugging cut
    pauses: int = 0
    floods: int = 0  # seconds in which more came than may
    second: float = 0.0  # monotonic, when the current second began
    frames: int = 0  # in the current second
    octets: int = 0
    received: int = 0  # bytes since it was first opened
    sample: bytes = b""  # of what came last
    heard: float = 0.0  # monotonic, last bytes
    asking: dict[bytes, asyncio.TimerHandle] = field(default_factory=dict)  # question -> when it is next
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    search: asyncio.Task[None] | None = None  # for the port while it is away
    backoff: Backoff = field(default_factory=lambda: Backoff(LOOK_AGAIN, MAX_RETRY_PAUSE))
    tried: float = -math.inf  # monotonic, when it was last opened or tried to
    due: float = -math.inf  # monotonic, when it is tried again
    holds: set[str] = field(default_factory=set)  # why it is not read: "full", "flood"
    listening: asyncio.TimerHandle | None = None  # for the silence behind an unfinished frame
    since: Moment = BEGINNING  # when it was first read
    last: Moment | None = None  # when it last gave an event

    def describe(self, now: float) -> dict[str, Any]:
        """State and counters of a port that is read, for `status`; `now`: monotonic seconds."""
        profile, framer = self.settings.profile, self.framer
        if profile is None or framer is None:
            return {}
        quiet = profile.line.quiet
        silent = quiet and self.device is not None and now - self.heard > quiet
        return {
            "state": "silent" if silent else self.state,
            "port": self.settings.path,
            "profile": profile.name,
            "readings": self.readings,
            "bad": self.rejects.count + framer.corrupt + framer.overlong + self.torn,
            **heard(self.last, self.since, now),
            "opened": self.opened,
            "received": self.received,
            "sample": self.sample.hex(" "),
            "overlong": framer.overlong,
            "corrupt": framer.corrupt,
            "skipped": framer.skipped,
            "torn": self.torn,
            "pauses": self.pauses,
            "floods": self.floods,
            "last_error": self.last_error,
            **self.rejects.describe(),
        }

    def failed(self, now: float, random: float, error: Exception | None = None) -> None:
        """Plan the next try: soon for a port that is not there, ever later for one that fails.

        `now`: monotonic seconds; `random` in [0, 1).
        """
        if error is not None and discovery.is_absent(error):
            self.due = now + LOOK_AGAIN
        else:
            self.due = now + self.backoff.pause(random)

    def news(self) -> None:
        """Something happened where the port is looked for: it is tried soon."""
        self.due = min(self.due, self.tried + SOONEST)


async def send(device: serial.Serial, path: str, data: bytes) -> None:
    """Write all of `data`, as fast as the line takes it."""
    sent = 0
    try:
        async with asyncio.timeout(WRITE_TIMEOUT):
            while True:
                with contextlib.suppress(BlockingIOError):
                    sent += os.write(device.fileno(), data[sent:])
                if sent == len(data):
                    return
                await _writable(device.fileno())
    except (OSError, serial.SerialException) as error:
        kind: type[CapabilityError] = Undelivered
        why = discovery.problem(error)
        if isinstance(error, TimeoutError):
            why = f"it took {sent} of {len(data)} bytes within {WRITE_TIMEOUT:g} s"
            # Begun is not undone: a device must not get its beginning twice.
            kind = CapabilityError if sent else Undelivered
        raise kind(f"serial.write: {path}: {why}") from error


async def _writable(number: int) -> None:
    """Wait until a port takes more."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(number, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(number)
