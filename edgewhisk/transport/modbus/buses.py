"""The Modbus lines and TCP gateways that are in use, for feeds and actuators alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from edgewhisk.config.schema import SerialConfig
from edgewhisk.device.profile import Line
from edgewhisk.errors import CapabilityError, FeedError, Undelivered, shown
from edgewhisk.spi import Clock
from edgewhisk.transport.modbus.bus import Address, Bus, Silence
from edgewhisk.transport.serial import discovery

_TCP_PORT: Final = 502


class ModbusBuses:
    """All buses, by address. Called on the event loop."""

    def __init__(self, sections: Mapping[str, SerialConfig], clock: Clock) -> None:
        """`sections`: the ports of the configuration."""
        self._sections = sections
        self._clock = clock
        self._buses: dict[Address, Bus] = {}

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

    def bus(self, where: Mapping[str, Any], polled: Line | None = None) -> Bus:
        """The bus at an address.

        Who polls it says how its devices want the line; raises `FeedError` if others want it otherwise.
        """
        address = self.address(where)
        bus = self._buses.get(address)
        line = discovery.line_of(polled or Line(), self._sections.get(where.get("port", "")))
        if bus is None:
            bus = self._buses[address] = Bus(address, line, self._clock)
        if polled is not None and bus.line != line and not address.host:
            if bus.polled is not None:
                raise FeedError(
                    f"{address} is open with other settings ({_told(bus.line)}): not {_told(line)}"
                )
            bus.relined(line)
        return bus

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
            await self.bus(where).write(unit, table, address, values, single)
        except Silence as error:
            kind = CapabilityError if error.answered else Undelivered
            raise kind(f"modbus.write: unit {unit} at {self.address(where)}: {error}") from error


def _told(line: Line) -> str:
    return f"{line.baudrate} {line.bytesize} {line.parity} {line.stopbits:g}"
