"""One serial port: what comes goes to its reader, what is written goes out in order, whoever writes it.

The port's descriptor is on the event loop; there is no thread and no polling while it is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import serial

from edgewhisk.base.backoff import Backoff
from edgewhisk.device.profile import Line, Profile
from edgewhisk.errors import CapabilityError, Undelivered
from edgewhisk.spi import Clock
from edgewhisk.transport.serial import discovery
from edgewhisk.transport.serial.opener import Opener

_log = logging.getLogger(__name__)

CHUNK: Final = 16_384  # bytes read in one go
SAMPLE: Final = 24  # bytes of what came last that `sample` keeps
WRITE_TIMEOUT: Final = 15.0  # seconds for one write
LOOK_AGAIN: Final = 1.0  # seconds between looks for a port that is away
MAX_RETRY_PAUSE: Final = 10.0  # seconds at most between tries of one that is there and fails
SOONEST: Final = 0.2  # seconds between tries at least, whatever happens in its folder


class PortReader(Protocol):
    """Who reads a port; called on the event loop."""

    def opened(self) -> None:
        """The port is open now, perhaps again."""
        ...

    def take(self, data: bytes) -> None:
        """Take what came, in order."""
        ...

    def closed(self) -> None:
        """The port is open no more; it is looked for unless nobody wants it."""
        ...


@dataclass(slots=True, eq=False)
class SerialPort:
    """One open or missing port. It is ours alone while it is open."""

    path: str
    line: Line
    clock: Clock
    lost: Callable[[], None]  # called when the open port is gone
    profile: Profile | None = None  # of the device that is read; None: it is only written to
    reader: PortReader | None = None
    state: str = "waiting"
    last_error: str = ""
    opened: int = 0  # times
    received: int = 0  # bytes since it was first opened
    sample: bytes = b""  # of what came last
    heard: float = 0.0  # monotonic, last bytes
    search: asyncio.Task[None] | None = None  # for the port while it is away
    tried: float = -math.inf  # monotonic, when it was last opened or tried to
    due: float = -math.inf  # monotonic, when it is tried again
    _device: serial.Serial | None = None
    _dropped: bool = False
    _holds: set[str] = field(default_factory=set)  # why it is not read
    _opener: Opener = field(default_factory=Opener)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _writable: asyncio.Event = field(default_factory=asyncio.Event)
    _backoff: Backoff = field(default_factory=lambda: Backoff(LOOK_AGAIN, MAX_RETRY_PAUSE))

    @property
    def is_open(self) -> bool:
        """Whether it is there and ours."""
        return self._device is not None

    async def open(self) -> None:
        """Open the port if it is not; `last_error` says why it is not open then."""
        async with self._opening:  # a write and the search for missing ports may want it at once
            if self._device is None:
                await self._connect()

    async def write(self, data: bytes) -> None:
        """Write all of `data`, behind what others are writing; opens the port if it is not.

        Raises `Undelivered` for what may work later, else `CapabilityError`.
        """
        async with self._writing:
            await self.open()
            if self._device is None:
                raise Undelivered(f"serial.write: {self.path}: {self.last_error or 'it is not open'}")
            await self._send(self._device, data)

    def put(self, data: bytes) -> bool:
        """Write a few bytes now; false, and nothing is done, while others write."""
        if self._device is None or self._writing.locked():
            return False
        try:
            os.write(self._device.fileno(), data)
        except OSError as error:  # reading tells when the device is gone
            self.last_error = discovery.problem(error)
        return True

    def hold(self, why: str) -> Callable[[], None]:
        """Read no more until what this returns was called for each `why`: the kernel holds the bytes back."""
        self._holds.add(why)
        if self._device is not None:
            asyncio.get_running_loop().remove_reader(self._device.fileno())
        device = self._device

        def resume() -> None:
            if device is not None and self._device is device:
                self._holds.discard(why)
                if not self._holds:
                    asyncio.get_running_loop().add_reader(device.fileno(), self._readable)

        return resume

    def is_held(self, why: str) -> bool:
        """Whether it is not read for that."""
        return why in self._holds

    def close(self) -> None:
        """Give the port back."""
        device, self._device, self.state = self._device, None, "waiting"
        if self.reader is not None:
            self.reader.closed()
        if device is not None:
            asyncio.get_running_loop().remove_reader(device.fileno())
            asyncio.get_running_loop().remove_writer(device.fileno())
            self._writable.set()  # who writes is told now
            discovery.discard_output(device)
            device.close()

    def drop(self) -> None:
        """Give the port back for good."""
        self._dropped = True
        self.close()

    def failed(self, now: float, jitter: float, error: Exception | None = None) -> None:
        """Plan the next try: soon for a port that is not there, ever later for one that fails.

        `now`: monotonic seconds; `jitter` in [0, 1).
        """
        if error is not None and discovery.is_absent(error):
            self.due = now + LOOK_AGAIN
        else:
            self.due = now + self._backoff.pause(jitter)

    def news(self) -> None:
        """Something happened where the port is looked for: it is tried soon."""
        self.due = min(self.due, self.tried + SOONEST)

    async def _connect(self) -> None:
        self.tried = self.clock.monotonic()
        try:
            device = await self._opener.open(self.path, self.line)
        except (OSError, serial.SerialException, ValueError) as error:
            self.state, trouble = "waiting", discovery.problem(error)
            self.failed(self.clock.monotonic(), random.random(), error)  # noqa: S311 - jitter
            if trouble != self.last_error:
                _log.warning("serial port %s: %s", self.path, trouble)
            self.last_error = trouble
            return
        if self._dropped:
            device.close()
            return
        self._device, self.state, self.last_error = device, "running", ""
        self._holds.clear()
        self.opened += 1
        self.heard = self.clock.monotonic()
        asyncio.get_running_loop().add_reader(device.fileno(), self._readable)
        if self.reader is not None:
            self.reader.opened()

    def _readable(self) -> None:
        if self._device is None:
            return
        try:
            data = os.read(self._device.fileno(), CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            data, self.last_error = b"", discovery.problem(error)
        if not data:  # a terminal has no end of file: the device is gone
            self.last_error = self.last_error or "the device was unplugged"
            _log.warning("serial port %s: %s", self.path, self.last_error)
            self.close()
            self.failed(self.clock.monotonic(), random.random())  # noqa: S311 - jitter
            self.lost()
            return
        self._backoff.reset()
        self.heard = self.clock.monotonic()
        self.received += len(data)
        self.sample = data[:SAMPLE]
        if self.reader is not None:
            self.reader.take(data)

    async def _send(self, device: serial.Serial, data: bytes) -> None:
        """Write all of `data`, as fast as the line takes it."""
        sent = 0
        try:
            async with asyncio.timeout(WRITE_TIMEOUT):
                while True:
                    with contextlib.suppress(BlockingIOError):
                        sent += os.write(device.fileno(), data[sent:])
                    if sent == len(data):
                        return
                    await self._takes_more(device)
        except (OSError, serial.SerialException) as error:
            why, took = discovery.problem(error), f"it took {sent} of {len(data)} bytes"
            if isinstance(error, TimeoutError):
                why = f"{took} within {WRITE_TIMEOUT:g} s"
            elif sent:
                why = f"{self.last_error or why}: {took}"
            # Begun is not undone: a device must not get its beginning twice.
            kind = CapabilityError if sent else Undelivered
            raise kind(f"serial.write: {self.path}: {why}") from error

    async def _takes_more(self, device: serial.Serial) -> None:
        """Wait until the port takes more, or is closed."""
        loop = asyncio.get_running_loop()
        self._writable.clear()
        loop.add_writer(device.fileno(), self._writable.set)
        try:
            await self._writable.wait()
        finally:
            if self._device is device:
                loop.remove_writer(device.fileno())
