"""The Modbus feed: polls devices over RTU and TCP as their profiles say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from edgewhisk.device import library
from edgewhisk.device.decode import payload
from edgewhisk.device.profile import Profile
from edgewhisk.device.reading import Quality, Reading
from edgewhisk.entity.invocation.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import ConfigError, FeedError
from edgewhisk.feed.heard import Moment, heard, this_moment
from edgewhisk.feed.modbus.device import Device
from edgewhisk.feed.modbus.poller import Poller
from edgewhisk.spi import Clock, FeedAction, Fire, Resource
from edgewhisk.transport.modbus.bus import Address
from edgewhisk.transport.modbus.buses import ModbusBuses

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

    def __init__(self, buses: ModbusBuses, fire: Fire, clock: Clock) -> None:
        """Over `buses`, which others write to."""
        self._buses = buses
        self._fire = fire
        self._clock = clock
        self._pollers: dict[Address, Poller] = {}
        self._tasks: asyncio.TaskGroup | None = None  # while it runs

    def check(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `spi.Feed`."""
        del action
        if unknown := sorted(set(parameters) - set(_KNOWN)):
            raise FeedError(f"unknown parameter {unknown[0]!r}; known are {', '.join(_KNOWN)}")
        profile = _profile(parameters.get("profile"))
        where = {key: parameters[key] for key in ("port", "host") if key in parameters}
        self._buses.address(where)
        unit = parameters.get("unit", profile.modbus.unit)
        if not isinstance(unit, int) or isinstance(unit, bool) or not 0 <= unit <= 247:
            raise FeedError(f"unit must be a whole number from 0 to 247, not {unit!r}")
        times = {"every": profile.modbus.every, "timeout": profile.modbus.timeout}
        for key, usual in times.items():
            times[key] = value = parameters.get(key, usual)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.05 <= value <= 86_400:
                raise FeedError(f"{key} must be 0.05 to 86400 seconds, not {value!r}")
        checked = {"profile": profile.name, "unit": unit, **times, **where}
        if "points" in parameters:
            checked["points"] = _points(profile, parameters["points"])
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
        profile = _profile(parameters["profile"])
        bus = self._buses.bus(parameters, profile.line)
        wanted = tuple(parameters.get("points", ()))
        device = Device(
            trigger, parameters["unit"], profile, parameters["every"], parameters["timeout"], wanted
        )
        device.since = this_moment(self._clock)
        poller = self._pollers.get(bus.address)
        if poller is None:
            poller = self._pollers[bus.address] = Poller(bus, self._clock, self._take)
            if self._tasks is not None:
                self._start(self._tasks, poller)
        poller.add(device)

    async def remove(self, trigger: FullyQualifiedName, *, keep: bool = False) -> None:
        """See `spi.Feed`."""
        del keep
        for poller in self._pollers.values():
            poller.remove(trigger)

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """See `spi.Feed`."""
        for poller in self._pollers.values():
            bus = poller.bus
            for device in poller.devices:
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
                for poller in self._pollers.values():
                    self._start(self._tasks, poller)
                await asyncio.Event().wait()
        finally:
            self._tasks = None

    def _start(self, tasks: asyncio.TaskGroup, poller: Poller) -> None:
        tasks.create_task(poller.run(), name=f"modbus {poller.bus.address}")

    def _take(self, device: Device, readings: Sequence[Reading]) -> None:
        poller = next((one for one in self._pollers.values() if device in one.devices), None)
        if poller is None or not readings:
            return  # removed while it was being asked
        now = self._clock.now()
        if any(reading.quality is not Quality.FAILED for reading in readings):
            device.last = Moment(now, self._clock.monotonic())
        text = payload(device.profile, str(poller.bus.address), now, readings, {"unit": str(device.unit)})
        self._fire([TriggerEvent(device.trigger, text, now)])
        if self._fire.full([device.trigger]):
            poller.held.clear()
            self._fire.on_room(poller.held.set, [device.trigger])


def _points(profile: Profile, wanted: object) -> list[str]:
    known = [point.name for point in profile.points]
    if not isinstance(wanted, list) or not wanted or not all(name in known for name in wanted):
        raise FeedError(f"points must be a list of some of {', '.join(known)}, not {wanted!r}")
    return wanted


def _profile(name: object) -> Profile:
    if not isinstance(name, str):
        raise FeedError("profile must name the device, for example eastron/sdm120")
    try:
        profile = library.load(name)
    except ConfigError as error:
        raise FeedError(str(error)) from error
    if profile.transport != "modbus":
        raise FeedError(f"{name} does not speak Modbus: use the {profile.transport} feed")
    return profile
