"""Devices on serial ports: bytes, or a command of the device's profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from edgewhisk.actuator.request import COMMON, Body, Command, expires, octets
from edgewhisk.actuator.target import OneByOne
from edgewhisk.errors import BadRequest
from edgewhisk.transport.serial.ports import SerialPorts


class SerialTarget(OneByOne):
    """The action `serial/write`."""

    kind: ClassVar = "serial"
    action: ClassVar = "write"
    description: ClassVar = (
        "Writes bytes to a serial port; a device that answers is read by a feed of the port."
    )
    parameters: ClassVar = {
        "port": "name of a [serial.NAME] section, a path below /dev, or usb:VENDOR:PRODUCT[:SERIAL]",
        "profile": "vendor/model of the device (default: what the section or a feed says)",
        "command": "name of a command in the profile",
        "data": "text instead",
        "hex": "or bytes in hexadecimal",
        "data64": "or as base64",
        **COMMON,
    }

    def __init__(self, ports: SerialPorts) -> None:
        """Over `ports`."""
        super().__init__()
        self._ports = ports

    @classmethod
    def command(cls, given: Mapping[str, Any]) -> Command:
        """See `Target`."""
        port = given.get("port")
        if not isinstance(port, str) or not port:
            raise BadRequest("port must be the name of a [serial.NAME] section, or a path below /dev")
        ways = [key for key in ("data", "data64", "hex", "command") if key in given]
        if len(ways) != 1:
            raise BadRequest("one of data (text), data64, hex and command (of the port's profile) is needed")
        value = given[ways[0]]
        if not isinstance(value, str):
            raise BadRequest(f"{ways[0]} must be text, not {value!r}")
        profile = given.get("profile", "")
        if not isinstance(profile, str):
            raise BadRequest("profile must be the name of a device profile")
        body: Body = {"port": port, "profile": profile}
        data = b""
        if ways[0] == "command":
            body["command"] = value
        else:
            data = value.encode() if ways[0] == "data" else octets(ways[0], value)
        return Command("serial", f"serial:{port}", port, body, expires(given), data=data)

    @classmethod
    def told(cls, command: Command) -> str:
        """See `Target`."""
        what = command.body.get("command") or f"{len(command.data)} bytes"
        return f"write {what} to {command.name}"

    def check(self, command: Command) -> None:
        """See `Target`."""
        body = command.body
        self._ports.check_write(body["port"], body.get("command"), body["profile"])

    async def send(self, command: Command) -> None:
        """See `OneByOne`."""
        body, data = command.body, command.data
        if "command" in body:
            data = self._ports.command(body["port"], body["command"], body["profile"])
        await self._ports.write(body["port"], data, body["profile"])
