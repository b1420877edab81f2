"""The serial feed.

The port's descriptor is on the event loop; there is no thread and no polling while it is open. A
port that is unplugged is found again when its file appears, whatever number the kernel gave it, if
it is named by /dev/serial/by-id or by its USB identity.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import termios
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

import serial

from edgewhisk.base.file_watch import Watch
from edgewhisk.base.threads import apart
from edgewhisk.config.schema import SerialConfig
from edgewhisk.device import library
from edgewhisk.device.decode import Undecodable, decoder, payload
from edgewhisk.device.framing import framer
from edgewhisk.device.profile import Ask, Line, Profile
from edgewhisk.entity.invocation.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import CapabilityError, ConfigError, FeedError, Undelivered
from edgewhisk.feed.heard import Moment, this_moment
from edgewhisk.feed.parameters import asked
from edgewhisk.feed.serial.serial_port import LOOK_AGAIN, SOONEST, Port, PortSettings, send
from edgewhisk.spi import Clock, FeedAction, Fire, Resource
from edgewhisk.transport.serial import discovery

_log = logging.getLogger(__name__)

CHUNK: Final = 16_384  # bytes read in one go
SAMPLE: Final = 24  # bytes of what came last that `describe` shows
IDLE: Final = 0.25  # seconds of silence after which an unfinished binary frame is none
_BYTES: Final = 1 << 18  # a second from one port; more is a device gone mad
_RATE: Final = 1000  # frames a second of a port without a section
_NO_PARTS: Final[Mapping[str, str]] = {}


class SerialFeed:
    """`spi.Feed` over serial ports."""

    actions: ClassVar[Sequence[FeedAction]] = (
        FeedAction(
            "serial",
            "reading",
            "Fires the trigger with each reading of a device on a serial port.",
            {
                "port": "name of a [serial.NAME] section, a path below /dev, or usb:VENDOR:PRODUCT[:SERIAL]",
                "profile": "vendor/model of the device; default: what the section says",
            },
        ),
    )

    def __init__(self, sections: Mapping[str, SerialConfig], fire: Fire, clock: Clock) -> None:
        """`sections`: the ports of the configuration."""
        self._sections = sections
        self._fire = fire
        self._clock = clock
        self._ports: dict[str, Port] = {}  # by path
        self._wake = asyncio.Event()

    def check(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `spi.Feed`."""
        del action
        with asked(parameters, ("port", "profile")) as given:
            port, kind = given.text("port", None), given.text("profile")
            profile = self._profile(port, kind)
            self._settings(port, profile)
            return {"port": port, "profile": profile.name}

    def required_grants(self, action: str, parameters: Mapping[str, Any]) -> Sequence[Resource]:
        """See `spi.Feed`."""
        del action
        return [Resource("serial", parameters["port"])]

    async def add(self, trigger: FullyQualifiedName, action: str, parameters: Mapping[str, Any]) -> None:
        """See `spi.Feed`."""
        del action
        profile = self._profile(parameters["port"], parameters["profile"])
        settings = self._settings(parameters["port"], profile)
        await self.remove(trigger)
        port = self._ports.get(settings.path)
        if port is not None and port.settings.profile is None:
            self._drop(port)  # it was only written to
            port = None
        if port is None:
            port = Port(settings, framer(profile.framing), decoder(profile))
            port.since = this_moment(self._clock)
            self._ports[settings.path] = port
        elif port.settings.profile is not None and port.settings.profile.name != profile.name:
            raise FeedError(f"{settings.path} is read as {port.settings.profile.name} already")
        port.triggers.append(trigger)
        self._wake.set()

    async def remove(self, trigger: FullyQualifiedName, *, keep: bool = False) -> None:
        """See `spi.Feed`."""
        del keep
        for port in list(self._ports.values()):
            if trigger in port.triggers:
                port.triggers.remove(trigger)
                if not port.triggers:
                    self._drop(port)

    async def write(self, name: str, data: bytes, kind: str = "") -> None:
        """Write to a port, all of it; opens it if nobody reads it, as its profile says.

        Raises `Undelivered` for what may work later, else `CapabilityError`.
        """
        path = self._path(name)
        port = self._ports.get(path)
        if port is None:
            profile = self._written(name, kind)
            line = discovery.line_of(profile.line if profile else Line(), self._sections.get(name))
            port = self._ports[path] = Port(PortSettings(name, path, line, _RATE, None))
        if port.device is None:
            await self._open(port)
        if port.device is None:
            raise Undelivered(f"serial.write: {path}: {port.last_error or 'it is not open'}")
        async with port.writing:
            await send(port.device, path, data)

    def command(self, name: str, command: str, kind: str = "") -> bytes:
        """The bytes of a command that the profile of a port has; raises `CapabilityError`."""
        profile = self._written(name, kind)
        known = profile.writes if profile else {}
        if command not in known:
            raise CapabilityError(
                f"serial.write: {name} has no command {command!r}; known: {', '.join(known)}"
            )
        return known[command]

    def check_write(self, name: str, command: str | None, kind: str) -> None:
        """Raise `FeedError` or `CapabilityError` for what can never be written."""
        self._path(name)
        if command is None:
            self._written(name, kind)
        else:
            self.command(name, command, kind)

    def _written(self, name: str, kind: str) -> Profile | None:
        """The profile of a port that is written to: as asked, as it is read, or as its section says."""
        section = self._sections.get(name)
        port = self._ports.get(section.port if section else name)
        if not kind and port is not None and port.settings.profile is not None:
            return port.settings.profile
        kind = kind or (section.profile if section else "")
        try:
            return library.load(kind) if kind else None
        except ConfigError as error:
            raise CapabilityError(f"serial.write: {error}") from error

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """See `spi.Feed`."""
        port = next((port for port in self._ports.values() if trigger in port.triggers), None)
        return {} if port is None else port.describe(self._clock.monotonic())

    async def run(self) -> None:
        """See `spi.Feed`."""
        watch = Watch()
        loop = asyncio.get_running_loop()

        def appeared() -> None:
            watch.changed()
            for port in self._ports.values():
                port.news()
            self._wake.set()

        loop.add_reader(watch.fileno(), appeared)
        try:
            async with asyncio.TaskGroup() as searches:
                while True:
                    await self._look(watch, searches)
        finally:
            loop.remove_reader(watch.fileno())
            watch.close()
            for port in self._ports.values():
                self._close(port)

    async def _look(self, watch: Watch, searches: asyncio.TaskGroup) -> None:
        """Search for the ports that are away, and wait until it is worth searching again."""
        self._wake.clear()
        now = self._clock.monotonic()
        missing = [port for port in self._ports.values() if port.device is None]
        watch.follow(port.settings.path for port in missing)
        for port in missing:  # at once: opening a wedged one may take long
            if port.due <= now and (port.search is None or port.search.done()):
                port.search = searches.create_task(self._open(port))
        under_way = [port.search for port in missing if port.search and not port.search.done()]
        if under_way:
            await asyncio.wait(under_way, timeout=LOOK_AGAIN)
        away = [port.due for port in self._ports.values() if port.device is None]
        try:
            async with asyncio.timeout(max(SOONEST, min(away) - self._clock.monotonic()) if away else None):
                await self._wake.wait()
        except TimeoutError:
            return

    def _path(self, name: str) -> str:
        section = self._sections.get(name)
        if section is not None:
            return section.port
        try:
            return discovery.check_name(name)
        except FeedError as error:
            known = ", ".join(self._sections) or "none"
            raise FeedError(f"{error} (sections: {known})") from error

    def _profile(self, name: str, kind: str) -> Profile:
        section = self._sections.get(name)
        kind = kind or (section.profile if section else "")
        if not kind:
            raise FeedError(f"profile is missing; there are: {', '.join(library.names())}")
        return library.of_transport(kind, "serial")

    def _settings(self, name: str, profile: Profile) -> PortSettings:
        section = self._sections.get(name)
        line = discovery.line_of(profile.line, section)
        return PortSettings(name, self._path(name), line, section.rate if section else _RATE, profile)

    async def _open(self, port: Port) -> None:
        async with port.opening:  # a write and the search for missing ports may want it at once
            if port.device is None:
                await self._connect(port)

    async def _connect(self, port: Port) -> None:
        port.tried = self._clock.monotonic()
        try:
            device = await apart(
                "open serial port", discovery.connect, port.settings.path, port.settings.line
            )
        except (OSError, serial.SerialException, ValueError) as error:
            port.state, trouble = "waiting", discovery.problem(error)
            port.failed(self._clock.monotonic(), random.random(), error)  # noqa: S311 - jitter
            if trouble != port.last_error:
                _log.warning("serial port %s: %s", port.settings.path, trouble)
            port.last_error = trouble
            return
        if self._ports.get(port.settings.path) is not port:
            device.close()  # removed meanwhile
            return
        port.device, port.state, port.last_error = device, "running", ""
        port.holds.clear()
        port.opened += 1
        port.heard = self._clock.monotonic()
        asyncio.get_running_loop().add_reader(device.fileno(), self._readable, port)
        for ask in port.settings.profile.asks if port.settings.profile else ():
            self._ask(port, device, ask)

    def _ask(self, port: Port, device: serial.Serial, ask: Ask) -> None:
        """Send a question, now and every so often as long as the port is open."""
        if port.device is not device:
            return
        try:
            os.write(device.fileno(), ask.send)
        except OSError as error:  # reading tells when the device is gone
            port.last_error = discovery.problem(error)
        loop = asyncio.get_running_loop()
        port.asking[ask.send] = loop.call_later(ask.every, self._ask, port, device, ask)

    def _readable(self, port: Port) -> None:
        device = port.device
        if device is None:
            return
        try:
            data = os.read(device.fileno(), CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            data, port.last_error = b"", discovery.problem(error)
        if not data:  # a terminal has no end of file: the device is gone
            port.last_error = port.last_error or "the device was unplugged"
            _log.warning("serial port %s: %s", port.settings.path, port.last_error)
            self._close(port)
            port.failed(self._clock.monotonic(), random.random())  # noqa: S311 - jitter
            self._wake.set()
            return
        port.backoff.reset()
        port.heard = self._clock.monotonic()
        port.received += len(data)
        port.sample = data[:SAMPLE]
        if port.framer is None:
            return
        frames = port.framer.feed(data)
        self._deliver(port, frames)
        self._restrain(port, device, len(data), len(frames))
        if port.listening is None:
            self._listen(port, device)

    def _listen(self, port: Port, device: serial.Serial) -> None:
        """Once the line is quiet, let frames out that hid behind the false start of another."""

        def look() -> None:
            port.listening = None
            if port.device is not device or port.framer is None:
                return
            if self._clock.monotonic() - port.heard < IDLE:
                self._listen(port, device)
            else:
                self._deliver(port, port.framer.idle())

        port.listening = asyncio.get_running_loop().call_later(IDLE, look)

    def _restrain(self, port: Port, device: serial.Serial, octets: int, frames: int) -> None:
        """Do not read a port until the next second if more comes than may: the kernel holds it back."""
        if port.heard - port.second >= 1.0:
            port.second, port.frames, port.octets = port.heard, 0, 0
        port.frames += frames
        port.octets += octets
        if (port.frames > port.settings.rate or port.octets > _BYTES) and port.device is device:
            if not port.floods:
                _log.warning(
                    "serial port %s: more than %d frames a second", port.settings.path, port.settings.rate
                )
            port.floods += 1
            self._hold(port, device, "flood")
            wait = max(0.0, port.second + 1.0 - port.heard)
            asyncio.get_running_loop().call_later(wait, self._read_on, port, device, "flood")

    def _deliver(self, port: Port, frames: Sequence[bytes]) -> None:
        profile, decode = port.settings.profile, port.decode
        if profile is None or decode is None:
            return
        now = self._clock.now()
        events: list[TriggerEvent] = []
        for frame in frames:
            try:
                readings = decode(frame, _NO_PARTS, "")
            except Undecodable as error:
                line = port.rejects.add(str(error), frame, self._clock.monotonic())
                if line is not None:
                    _log.warning("serial port %s: %s", port.settings.path, line)
                continue
            if not readings:
                continue
            port.readings += 1
            text = payload(profile, port.settings.name, now, readings)
            events += (TriggerEvent(trigger, text, now) for trigger in port.triggers)
        if not events:
            return
        self._fire(events)
        port.last = Moment(now, self._clock.monotonic())
        if self._fire.full(port.triggers) and port.device is not None:
            port.pauses += 1
            if "full" not in port.holds:
                self._hold(port, port.device, "full")
                self._fire.on_room(partial(self._read_on, port, port.device, "full"), port.triggers)

    def _hold(self, port: Port, device: serial.Serial, why: str) -> None:
        """Read no more until nothing holds the port any more: the kernel holds its bytes back."""
        port.holds.add(why)
        asyncio.get_running_loop().remove_reader(device.fileno())

    def _read_on(self, port: Port, device: serial.Serial, why: str) -> None:
        if port.device is device:
            port.holds.discard(why)
            if not port.holds:
                asyncio.get_running_loop().add_reader(device.fileno(), self._readable, port)

    def _drop(self, port: Port) -> None:
        self._close(port)
        del self._ports[port.settings.path]

    def _close(self, port: Port) -> None:
        device, port.device, port.state = port.device, None, "waiting"
        port.torn += port.framer.reset() if port.framer is not None else 0
        for timer in port.asking.values():
            timer.cancel()
        port.asking.clear()
        if device is not None:
            asyncio.get_running_loop().remove_reader(device.fileno())
            with contextlib.suppress(OSError, termios.error):
                # Else closing waits up to 30 s for a wedged device to take what was written.
                termios.tcflush(device.fileno(), termios.TCOFLUSH)
            device.close()
