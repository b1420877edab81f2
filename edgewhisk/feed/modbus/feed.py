"""The Modbus feed: polls devices over RTU and TCP as their profiles say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

from edgewhisk.config.schema import SerialConfig
from edgewhisk.device import library
from edgewhisk.device.decode import payload
from edgewhisk.device.profile import Line, Profile
from edgewhisk.device.reading import Quality, Reading
from edgewhisk.entity.invocation.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import CapabilityError, FeedError, Undelivered, shown
from edgewhisk.feed.heard import Moment, heard, this_moment
from edgewhisk.feed.modbus.bus import Bus, Silence
from edgewhisk.feed.modbus.device import Address, Device
from edgewhisk.feed.parameters import asked
from edgewhisk.spi import Clock, FeedAction, Fire, Resource
from edgewhisk.transport.serial import discovery

_TCP_PORT: Final = 502
_KNOWN: Final = {
    "profile": "vendor/model of the device",
    "port": "of an RTU line: name of a [serial.NAME], a path below /dev, or usb:VENDOR:PRODUCT[:SERIAL]",
    "host": "of Modbus TCP: HOST or HOST:PORT",
    "unit": "address of the device, 0 to 247 (default: the profile's)",
    "points": "names of those that are read (default: all): several triggers may share a device",
    "every": "seconds between two readings (default: the profile's)",
    "timeout": "seconds for an answer (default: the profile's)",
}


class ModbusFeed:
    """`spi.Feed` over buses."""

    actions: ClassVar[Sequence[FeedAction]] = (
        FeedAction("modbus", "reading", "Fires the trigger with each reading of a Modbus device.", _KNOWN),
    )

    def __init__(self, sections: Mapping[str, SerialConfig], fire: Fire, clock: Clock) -> None:
        """`sections`: the ports of the configuration."""
        self._sections = sections
        self._fire = fire
        self._clock = clock
        self._buses: dict[Address, Bus] = {}
        self._tasks: asyncio.TaskGroup | None = None  # while it runs

    def check(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `spi.Feed`."""
        del action
        with asked(parameters, _KNOWN) as given:
            profile = library.of_transport(parameters.get("profile"), "modbus")
            where = {key: parameters[key] for key in ("port", "host") if key in parameters}
            usual, known = profile.modbus, [point.name for point in profile.points]
            checked = {
                "profile": profile.name,
                "unit": given.whole("unit", usual.unit, 0, 247),
                "every": given.number("every", usual.every, 0.05, 86_400),
                "timeout": given.number("timeout", usual.timeout, 0.05, 86_400),
                **where,
            }
            if "points" in parameters:
                some = f"a list of some of {', '.join(known)}"
                checked["points"] = given.read("points", None, partial(_are_some, known), some)
            self.address(where)
            return checked

    def required_grants(self, action: str, parameters: Mapping[str, Any]) -> Sequence[Resource]:
        """See `spi.Feed`."""
        del action
        where = (parameters.get("port"), parameters.get("host"))
        return [Resource("modbus", str(name)) for name in where if name is not None]

    async def add(self, trigger: FullyQualifiedName, action: str, parameters: Mapping[str, Any]) -> None:
        """See `spi.Feed`."""
        del action
        await self.remove(trigger)
        profile = library.of_transport(parameters["profile"], "modbus")
        bus = self.bus(parameters, profile)
        wanted = tuple(parameters.get("points", ()))
        device = Device(
            trigger, parameters["unit"], profile, parameters["every"], parameters["timeout"], wanted
        )
        device.since = this_moment(self._clock)
        bus.devices.append(device)
        bus.changed.set()

    async def remove(self, trigger: FullyQualifiedName, *, keep: bool = False) -> None:
        """See `spi.Feed`."""
        del keep
        for bus in self._buses.values():
            bus.devices = [device for device in bus.devices if device.trigger != trigger]
            bus.changed.set()

    async def write(
        self,
        where: Mapping[str, Any],
        unit: int,
        table: str,
        address: int,
        values: Sequence[int],
        single: bool = False,
    ) -> None:
        """Write for an action; raises `CapabilityError`. `single`: with the functions for one value."""
        try:
            await self.bus(where, None).write(unit, table, address, values, single)
        except Silence as error:
            kind = CapabilityError if error.answered else Undelivered
            raise kind(f"modbus.write: unit {unit} at {self.address(where)}: {error}") from error

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """See `spi.Feed`."""
        for bus in self._buses.values():
            for device in bus.devices:
                if device.trigger == trigger:
                    return {
                        "state": "silent" if device.failed and bus.state == "running" else bus.state,
                        "bus": str(bus.address),
                        "unit": device.unit,
                        "profile": device.profile.name,
                        "polls": device.polls,
                        "errors": device.errors,
                        "bad": device.errors,
                        **heard(device.last, device.since, self._clock.monotonic()),
                        "questions": len(device.questions),
                        "short_questions": device.short,
                        "connects": bus.connects,
                        "last_error": device.last_error or bus.last_error,
                    }
        return {}

    async def run(self) -> None:
        """See `spi.Feed`."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for bus in self._buses.values():
                    self._start(self._tasks, bus)
                await asyncio.Event().wait()
        finally:
            self._tasks = None

    def address(self, where: Mapping[str, Any]) -> Address:
        """Where `port` or `host` is; raises `FeedError`."""
        port, host = where.get("port"), where.get("host")
        if (port is None) == (host is None):
            raise FeedError("either port (an RTU line) or host (Modbus TCP) is needed")
        if host is not None:
            name, _, number = str(host).partition(":")
            if not name or (
                number and not (number.isdecimal() and len(number) < 6 and 0 < int(number) < 65_536)
            ):
                raise FeedError(f"host must be HOST or HOST:PORT, not {shown(host)}")
            return Address(host=name, tcp_port=int(number or _TCP_PORT))
        if not isinstance(port, str):
            raise FeedError("port must be text")
        section = self._sections.get(port)
        return Address(port=section.port if section else discovery.check_name(port))

    def bus(self, where: Mapping[str, Any], profile: Profile | None) -> Bus:
        """The bus at an address; begins to serve it."""
        address = self.address(where)
        bus = self._buses.get(address)
        section = self._sections.get(where.get("port", ""))
        line = discovery.line_of(profile.line if profile else Line(), section)
        if bus is not None and profile is not None and bus.line != line and not address.host:
            if bus.devices:
                raise FeedError(
                    f"{address} is open with other settings ({_told(bus.line)}): not {_told(line)}"
                )
            bus.relined(line)
        if bus is None:
            bus = self._buses[address] = Bus(address, line, self._clock, self._take)
            if self._tasks is not None:
                self._start(self._tasks, bus)
        return bus

    def _start(self, tasks: asyncio.TaskGroup, bus: Bus) -> None:
        tasks.create_task(bus.run(), name=f"modbus {bus.address}")

    def _take(self, device: Device, readings: Sequence[Reading]) -> None:
        bus = next((bus for bus in self._buses.values() if device in bus.devices), None)
        if bus is None or not readings:
            return  # removed while it was being asked
        now = self._clock.now()
        if any(reading.quality is not Quality.FAILED for reading in readings):
            device.last = Moment(now, self._clock.monotonic())
        text = payload(device.profile, str(bus.address), now, readings, {"unit": str(device.unit)})
        self._fire([TriggerEvent(device.trigger, text, now)])
        if self._fire.full([device.trigger]):
            bus.held.clear()
            self._fire.on_room(bus.held.set, [device.trigger])


def _told(line: Line) -> str:
    return f"{line.baudrate} {line.bytesize} {line.parity} {line.stopbits:g}"


def _are_some(known: Sequence[str], wanted: object) -> bool:
    return isinstance(wanted, list) and bool(wanted) and all(name in known for name in wanted)
