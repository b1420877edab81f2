"""The serial feed: the only door to pyserial.

The port's descriptor is on the event loop; there is no thread and no polling while it is open. A
port that is unplugged is looked for once a second by its path: with a /dev/serial/by-id name it is
found again whatever number the kernel gave it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import serial

from edgewhisk.config import Serial
from edgewhisk.device import profile as profiles
from edgewhisk.device.decode import Undecodable, decode, payload
from edgewhisk.device.framing import LineFramer
from edgewhisk.device.profile import Profile
from edgewhisk.entity.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import CapabilityError, ConfigError, FeedError
from edgewhisk.feed.garbage import Garbage
from edgewhisk.spi import Clock, FeedAction, Fire

_log = logging.getLogger(__name__)

CHUNK: Final = 16_384  # bytes read in one go
LOOK_AGAIN: Final = 1.0  # seconds between looks for a port that is away


@dataclass(frozen=True, slots=True)
class PortSettings:
    """What a port is opened with."""

    name: str  # as events carry it
    path: str
    baudrate: int
    profile: Profile


@dataclass(slots=True)
class Port:
    """One open or missing port, and the triggers it feeds."""

    settings: PortSettings
    framer: LineFramer
    triggers: list[FullyQualifiedName] = field(default_factory=list)
    device: serial.Serial | None = None
    state: str = "waiting"
    last_error: str = ""
    garbage: Garbage = field(default_factory=Garbage)
    readings: int = 0
    opened: int = 0
    torn: int = 0  # lines that an unplugging cut
    pauses: int = 0


class SerialFeed:
    """`spi.Feed` over serial ports."""

    actions: ClassVar[Sequence[FeedAction]] = (
        FeedAction(
            "serial",
            "reading",
            "Fires the trigger with each reading of a device on a serial port.",
            {
                "port": "name of a [serial.NAME] section, or a path below /dev",
                "profile": "vendor/model of the device; default: what the section says",
            },
        ),
    )

    def __init__(self, sections: Mapping[str, Serial], fire: Fire, clock: Clock) -> None:
        """`sections`: the ports of the configuration."""
        self._sections = sections
        self._fire = fire
        self._clock = clock
        self._ports: dict[str, Port] = {}  # by path
        self._wake = asyncio.Event()

    def check(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `spi.Feed`."""
        del action
        if unknown := sorted(set(parameters) - {"port", "profile"}):
            raise FeedError(f"unknown parameter {unknown[0]!r}; known are port and profile")
        port, kind = parameters.get("port"), parameters.get("profile", "")
        if not isinstance(port, str) or not isinstance(kind, str):
            raise FeedError("port and profile must be text")
        settings = self._settings(port, kind)
        return {"port": port, "profile": settings.profile.name}

    async def add(self, trigger: FullyQualifiedName, action: str, parameters: Mapping[str, Any]) -> None:
        """See `spi.Feed`."""
        del action
        settings = self._settings(parameters["port"], parameters["profile"])
        await self.remove(trigger)
        port = self._ports.get(settings.path)
        if port is None:
            port = Port(settings, LineFramer(settings.profile.longest))
            self._ports[settings.path] = port
        elif port.settings.profile != settings.profile:
            raise FeedError(f"{settings.path} is read as {port.settings.profile.name} already")
        port.triggers.append(trigger)
        self._wake.set()

    async def remove(self, trigger: FullyQualifiedName) -> None:
        """See `spi.Feed`."""
        for path, port in list(self._ports.items()):
            if trigger in port.triggers:
                port.triggers.remove(trigger)
            if not port.triggers:
                self._close(port)
                del self._ports[path]

    def write(self, name: str, data: bytes) -> None:
        """Write to a port for an action; raises `CapabilityError` if not all of it went."""
        port = next((one for one in self._ports.values() if one.settings.name == name), None)
        if port is None:
            raise CapabilityError(f"serial.write: no trigger reads the port {name!r}, so it is not open")
        if port.device is None:
            raise CapabilityError(f"serial.write: {port.settings.path}: {port.last_error or 'not open yet'}")
        try:
            sent = os.write(port.device.fileno(), data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise CapabilityError(f"serial.write: {port.settings.path}: {_problem(error)}") from error
        if sent < len(data):
            raise CapabilityError(f"serial.write: {port.settings.path} took {sent} of {len(data)} bytes")

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """See `spi.Feed`."""
        for port in self._ports.values():
            if trigger in port.triggers:
                return {
                    "state": port.state,
                    "port": port.settings.path,
                    "profile": port.settings.profile.name,
                    "readings": port.readings,
                    "opened": port.opened,
                    "overlong": port.framer.overlong,
                    "torn": port.torn,
                    "pauses": port.pauses,
                    "last_error": port.last_error,
                    **port.garbage.describe(),
                }
        return {}

    async def run(self) -> None:
        """See `spi.Feed`."""
        try:
            while True:
                missing = [port for port in self._ports.values() if port.device is None]
                for port in missing:
                    await self._open(port)
                self._wake.clear()
                away = any(port.device is None for port in self._ports.values())
                try:
                    async with asyncio.timeout(LOOK_AGAIN if away else None):
                        await self._wake.wait()
                except TimeoutError:
                    continue
        finally:
            for port in self._ports.values():
                self._close(port)

    def _settings(self, name: str, kind: str) -> PortSettings:
        section = self._sections.get(name)
        if section is None and not os.path.normpath(name).startswith("/dev/"):
            known = ", ".join(self._sections) or "none"
            raise FeedError(
                f"port {name!r} is neither a [serial.NAME] section (there are: {known}) nor a path below /dev"
            )
        path = section.port if section else os.path.normpath(name)
        kind = kind or (section.profile if section else "")
        if not kind:
            raise FeedError(f"profile is missing; there are: {', '.join(profiles.names())}")
        try:
            profile = profiles.load(kind)
        except ConfigError as error:
            raise FeedError(str(error)) from error
        baudrate = (section.baudrate if section else 0) or profile.baudrate
        return PortSettings(name, path, baudrate, profile)

    async def _open(self, port: Port) -> None:
        try:
            device = await asyncio.to_thread(_connect, port.settings)
        except (OSError, serial.SerialException) as error:
            port.state, problem = "waiting", _problem(error)
            if problem != port.last_error:
                _log.warning("serial port %s: %s", port.settings.path, problem)
            port.last_error = problem
            return
        if port.settings.path not in self._ports:  # removed while it was being opened
            device.close()
            return
        port.device, port.state, port.last_error = device, "running", ""
        port.opened += 1
        asyncio.get_running_loop().add_reader(device.fileno(), self._readable, port)

    def _readable(self, port: Port) -> None:
        device = port.device
        if device is None:
            return
        try:
            data = os.read(device.fileno(), CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            data, port.last_error = b"", _problem(error)
        if not data:  # a terminal has no end of file: the device is gone
            port.last_error = port.last_error or "the device was unplugged"
            _log.warning("serial port %s: %s", port.settings.path, port.last_error)
            self._close(port)
            self._wake.set()
            return
        self._deliver(port, port.framer.feed(data))

    def _deliver(self, port: Port, frames: Sequence[bytes]) -> None:
        now = self._clock.now()
        events: list[TriggerEvent] = []
        for frame in frames:
            try:
                readings = decode(port.settings.profile, frame)
            except Undecodable as error:
                line = port.garbage.add(str(error), frame, self._clock.monotonic())
                if line is not None:
                    _log.warning("serial port %s: %s", port.settings.path, line)
                continue
            port.readings += 1
            text = payload(port.settings.profile, port.settings.name, now, readings)
            events += (TriggerEvent(trigger, text, now) for trigger in port.triggers)
        if not events:
            return
        self._fire(events)
        if self._fire.full() and port.device is not None:
            port.pauses += 1
            device = port.device
            asyncio.get_running_loop().remove_reader(device.fileno())
            self._fire.on_room(lambda: self._read_on(port, device))

    def _read_on(self, port: Port, device: serial.Serial) -> None:
        if port.device is device:
            asyncio.get_running_loop().add_reader(device.fileno(), self._readable, port)

    def _close(self, port: Port) -> None:
        device, port.device, port.state = port.device, None, "waiting"
        port.torn += port.framer.reset()
        if device is not None:
            asyncio.get_running_loop().remove_reader(device.fileno())
            device.close()


def _connect(settings: PortSettings) -> serial.Serial:
    """Open a port for us alone; may block for a while on odd devices."""
    return serial.Serial(settings.path, settings.baudrate, timeout=0, exclusive=True)


def _problem(error: OSError) -> str:
    text = error.strerror or str(error)
    if isinstance(error, PermissionError) or error.errno == 13:
        return f"{text}: the service's user must be in the group dialout"
    return text
