"""The serial feed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from edgewhisk.device import library
from edgewhisk.device.profile import Profile
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import FeedError
from edgewhisk.feed.parameters import asked
from edgewhisk.feed.serial.source import PortSource
from edgewhisk.spi import Clock, FeedAction, Fire, Resource
from edgewhisk.transport.serial.ports import SerialPorts

_RATE: Final = 1000  # frames a second of a port without a section


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

    def __init__(self, ports: SerialPorts, fire: Fire, clock: Clock) -> None:
        """Over `ports`, which somebody else runs."""
        self.ports = ports
        self._fire = fire
        self._clock = clock
        self._sources: dict[str, PortSource] = {}  # by path

    def check(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """See `spi.Feed`."""
        del action
        with asked(parameters, ("port", "profile")) as given:
            port, kind = given.text("port", None), given.text("profile")
            profile = self._profile(port, kind)
            self.ports.path(port)
            return {"port": port, "profile": profile.name}

    def required_grants(self, action: str, parameters: Mapping[str, Any]) -> Sequence[Resource]:
        """See `spi.Feed`."""
        del action
        return [Resource("serial", parameters["port"])]

    async def add(self, trigger: FullyQualifiedName, action: str, parameters: Mapping[str, Any]) -> None:
        """See `spi.Feed`."""
        del action
        name = parameters["port"]
        profile, path = self._profile(name, parameters["profile"]), self.ports.path(name)
        await self.remove(trigger)
        source = self._sources.get(path)
        if source is None:
            section = self.ports.sections.get(name)
            rate = section.rate if section else _RATE
            source = self._sources[path] = PortSource(
                self.ports, name, profile, rate, self._fire, self._clock
            )
        elif source.profile.name != profile.name:
            raise FeedError(f"{path} is read as {source.profile.name} already")
        source.triggers.append(trigger)

    async def remove(self, trigger: FullyQualifiedName, *, keep: bool = False) -> None:
        """See `spi.Feed`."""
        del keep
        for path, source in list(self._sources.items()):
            if trigger in source.triggers:
                source.triggers.remove(trigger)
                if not source.triggers:
                    del self._sources[path]
                    self.ports.drop(source.port)

    def describe(self, trigger: FullyQualifiedName) -> dict[str, Any]:
        """See `spi.Feed`."""
        found = (source for source in self._sources.values() if trigger in source.triggers)
        return next((source.describe() for source in found), {})

    async def run(self) -> None:
        """See `spi.Feed`."""
        await asyncio.Event().wait()

    def _profile(self, name: str, kind: str) -> Profile:
        section = self.ports.sections.get(name)
        kind = kind or (section.profile if section else "")
        if not kind:
            raise FeedError(f"profile is missing; there are: {', '.join(library.names())}")
        return library.of_transport(kind, "serial")
