"""The Modbus feed: polls devices over RTU and TCP as their profiles say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

from edgewhisk.device import library
from edgewhisk.device.decode import payload
from edgewhisk.device.reading import Quality, Reading
from edgewhisk.entity.invocation.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.feed.heard import Moment, heard, this_moment
from edgewhisk.feed.modbus.device import Device
from edgewhisk.feed.modbus.poller import Poller
from edgewhisk.feed.parameters import asked
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
            self._buses.address(where)
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


def _are_some(known: Sequence[str], wanted: object) -> bool:
    return isinstance(wanted, list) and bool(wanted) and all(name in known for name in wanted)
