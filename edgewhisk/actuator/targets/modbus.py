"""Modbus devices: holding registers and coils."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from edgewhisk.actuator.request import COMMON, Command, expires, whole
from edgewhisk.actuator.target import OneByOne
from edgewhisk.errors import BadRequest
from edgewhisk.transport.modbus.buses import ModbusBuses

_MOST: Final = 120  # registers or coils of one write; Modbus takes 123 and 1968
_WORDS: Final[Mapping[str, tuple[str, int, int]]] = {  # format, least, most
    "u16": ("H", 0, (1 << 16) - 1), "i16": ("h", -(1 << 15), (1 << 15) - 1),
    "u32": ("I", 0, (1 << 32) - 1), "i32": ("i", -(1 << 31), (1 << 31) - 1),
    "f32": ("f", 0, 0),
}  # fmt: skip


class ModbusTarget(OneByOne):
    """The action `modbus/write`."""

    kind: ClassVar = "modbus"
    action: ClassVar = "write"
    description: ClassVar = "Writes holding registers or coils of a Modbus device."
    parameters: ClassVar = {
        "port": "of an RTU line",
        "host": "of Modbus TCP: HOST or HOST:PORT",
        "unit": "address of the device (default 1)",
        "register": "first holding register",
        "coil": "or first coil",
        "value": "what to write, by functions 5 and 6",
        "values": "or several, by functions 15 and 16 (a list of one where a device knows only those)",
        "type": f"of register values: {', '.join(_WORDS)} (default u16)",
        "swapped": "the low word of 32 bits first (default false)",
        **COMMON,
    }

    def __init__(self, buses: ModbusBuses) -> None:
        """Over `buses`."""
        super().__init__()
        self._buses = buses

    @classmethod
    def command(cls, given: Mapping[str, Any]) -> Command:
        """See `Target`."""
        where = {key: given[key] for key in ("port", "host") if key in given}
        if len(where) != 1 or not all(isinstance(value, str) and value for value in where.values()):
            raise BadRequest("either port (an RTU line) or host (Modbus TCP) is needed, as text")
        tables = [key for key in ("register", "coil") if key in given]
        if len(tables) != 1:
            raise BadRequest("either register or coil (its address) is needed")
        unit, address = whole("unit", given.get("unit", 1), 247), whole(tables[0], given[tables[0]], 65_535)
        if ("value" in given) == ("values" in given):
            raise BadRequest("either value, or values (a list), is needed")
        values = given["values"] if "values" in given else [given["value"]]
        if not isinstance(values, list) or not values:
            raise BadRequest(f"values must be a list, not {values!r}")
        numbers = _coils(values) if tables[0] == "coil" else _registers(given, values)
        if len(numbers) > _MOST or address + len(numbers) > 65_536:
            raise BadRequest(f"at most {_MOST} {tables[0]}s can be written at once, and none beyond 65535")
        name = next(iter(where.values()))
        table = "coil" if tables[0] == "coil" else "holding"
        body = {"where": where, "unit": unit, "table": table, "address": address, "values": numbers}
        body["single"] = "value" in given and len(numbers) == 1
        return Command("modbus", f"modbus:{name} {unit}", name, body, expires(given))

    @classmethod
    def told(cls, command: Command) -> str:
        """See `Target`."""
        body = command.body
        values = ", ".join(map(str, body["values"][:4])) + (" ..." if len(body["values"]) > 4 else "")
        return f"set {body['table']} {body['address']} of unit {body['unit']} at {command.name} to {values}"

    def check(self, command: Command) -> None:
        """See `Target`."""
        self._buses.address(command.body["where"])

    async def send(self, command: Command) -> None:
        """See `OneByOne`."""
        body = command.body
        values, single = body["values"], body.get("single", False)
        await self._buses.write(body["where"], body["unit"], body["table"], body["address"], values, single)


def _coils(values: list[Any]) -> list[int]:
    for value in values:
        if value not in (0, 1):
            raise BadRequest(f"values of coils must be true or false, not {value!r}")
    return [int(value) for value in values]


def _registers(given: Mapping[str, Any], values: list[Any]) -> list[int]:
    """The 16-bit words of `values`, as `type` and `swapped` say."""
    kind, swapped = given.get("type", "u16"), given.get("swapped", False)
    if kind not in _WORDS:
        raise BadRequest(f"type must be one of {', '.join(_WORDS)}, not {kind!r}")
    if not isinstance(swapped, bool):
        raise BadRequest(f"swapped must be true or false, not {swapped!r}")
    numbers: list[int] = []
    for value in values:
        words = _words(kind, value)
        numbers += words[::-1] if swapped else words
    return numbers


def _words(kind: str, value: Any) -> list[int]:
    form, least, most = _WORDS[kind]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest(f"values must be numbers, not {value!r}")
    if kind != "f32":
        if not least <= value <= most or value != int(value):
            raise BadRequest(f"values must be whole numbers from {least} to {most} ({kind}), not {value!r}")
        value = int(value)
    try:
        if not math.isfinite(value):
            raise OverflowError
        data = struct.pack(f">{form}", value)
    except (struct.error, OverflowError):
        raise BadRequest(f"values must be numbers that 32 bits hold (f32), not {value!r}") from None
    return list(struct.unpack(f">{len(data) // 2}H", data))
