"""The serial ports that are in use, for feeds, actuators and capabilities alike.

A port that is unplugged is found again when its file appears, whatever number the kernel gave it, if
it is named by /dev/serial/by-id or by its USB identity.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from edgewhisk.base.file_watch import Watch
from edgewhisk.config.schema import SerialConfig
from edgewhisk.device import library
from edgewhisk.device.profile import Line, Profile
from edgewhisk.errors import CapabilityError, ConfigError, FeedError
from edgewhisk.spi import Clock
from edgewhisk.transport.serial import discovery
from edgewhisk.transport.serial.port import LOOK_AGAIN, SOONEST, PortReader, SerialPort


class SerialPorts:
    """All ports, by path. Called on the event loop."""

    def __init__(self, sections: Mapping[str, SerialConfig], clock: Clock) -> None:
        """`sections`: the ports of the configuration."""
        self.sections = sections
        self._clock = clock
        self._ports: dict[str, SerialPort] = {}
        self._wake = asyncio.Event()

    def path(self, name: str) -> str:
        """Where a section or a port is; raises `FeedError`."""
        section = self.sections.get(name)
        if section is not None:
            return section.port
        try:
            return discovery.check_name(name)
        except FeedError as error:
            known = ", ".join(self.sections) or "none"
            raise FeedError(f"{error} (sections: {known})") from error

    def read(self, name: str, profile: Profile, reader: PortReader) -> SerialPort:
        """Open a port, now and whenever it is there again, for one reader."""
        path = self.path(name)
        if path in self._ports:
            self.drop(self._ports[path])  # it was only written to
        port = self._made(name, path, profile)
        port.reader = reader
        self._wake.set()
        return port

    def drop(self, port: SerialPort) -> None:
        """Give a port back for good."""
        port.drop()
        del self._ports[port.path]

    async def write(self, name: str, data: bytes, kind: str = "") -> None:
        """Write to a port, all of it; opens it if nobody reads it, as its profile says.

        Raises `Undelivered` for what may work later, else `CapabilityError`.
        """
        path = self.path(name)
        port = self._ports.get(path)
        if port is None:
            port = self._made(name, path, None, self._written(name, kind))
        await port.write(data)

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
        self.path(name)
        if command is None:
            self._written(name, kind)
        else:
            self.command(name, command, kind)

    async def run(self) -> None:
        """Look for the ports that are away, until cancelled."""
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
                port.close()

    async def _look(self, watch: Watch, searches: asyncio.TaskGroup) -> None:
        """Search for the ports that are away, and wait until it is worth searching again."""
        self._wake.clear()
        now = self._clock.monotonic()
        missing = [port for port in self._ports.values() if not port.is_open]
        watch.follow(port.path for port in missing)
        for port in missing:  # at once: opening a wedged one may take long
            if port.due <= now and (port.search is None or port.search.done()):
                port.search = searches.create_task(port.open())
        under_way = [port.search for port in missing if port.search and not port.search.done()]
        if under_way:
            await asyncio.wait(under_way, timeout=LOOK_AGAIN)
        away = [port.due for port in self._ports.values() if not port.is_open]
        try:
            async with asyncio.timeout(max(SOONEST, min(away) - self._clock.monotonic()) if away else None):
                await self._wake.wait()
        except TimeoutError:
            return

    def _made(self, name: str, path: str, read: Profile | None, written: Profile | None = None) -> SerialPort:
        """A port that is opened with the settings of its section and of a profile."""
        profile = read or written
        line = discovery.line_of(profile.line if profile else Line(), self.sections.get(name))
        port = self._ports[path] = SerialPort(path, line, self._clock, self._wake.set, read)
        return port

    def _written(self, name: str, kind: str) -> Profile | None:
        """The profile of a port that is written to: as asked, as it is read, or as its section says."""
        section = self.sections.get(name)
        port = self._ports.get(section.port if section else name)
        if not kind and port is not None and port.profile is not None:
            return port.profile
        kind = kind or (section.profile if section else "")
        try:
            return library.load(kind) if kind else None
        except ConfigError as error:
            raise CapabilityError(f"serial.write: {error}") from error
