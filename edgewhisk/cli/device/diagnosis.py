"""What a person should look at when a device gives no readings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgewhisk.device.profile import Line, Profile


def settings(line: Line) -> str:
    """How a serial line is set: "9600 baud, 8N1"."""
    return f"{line.baudrate} baud, {line.bytesize}{line.parity[0].upper()}{line.stopbits:g}"


def advice(profile: Profile, line: Line, found: Mapping[str, Any]) -> str:
    """What to check; `found` is what the feed says of itself. Empty while nothing is wrong."""
    error = str(found.get("last_error") or "")
    if profile.transport == "modbus":
        return _modbus(profile, line, found, error) if error else ""
    if error:
        held = "another program" in error
        return (
            f"{error}; if it is the gateway: edgewhisk activation poll shows what it reads" if held else error
        )
    if profile.transport == "mqtt":
        return _mqtt(found)
    return _serial(profile, line, found)


def _serial(profile: Profile, line: Line, found: Mapping[str, Any]) -> str:
    received, at = found.get("received", 0), settings(line)
    if not received:
        way = "asked and nothing came back" if profile.asks else "and nothing was received"
        return (
            f"the port is open {way} at {at}: has the device power? do TX and RX cross, is ground joined? "
            "is it this port (edgewhisk device scan)?"
        )
    if refused := found.get("last_garbage"):
        return f"frames come that are not those of {profile.name}: {refused}"
    return (
        f"{received} bytes came and none is a frame of {profile.name} (corrupt: {found.get('corrupt', 0)}, "
        f"too long: {found.get('overlong', 0)}): is it that device? is {at} right (--baud tries another)? "
        f"last: {found.get('sample', '')}"
    )


def _mqtt(found: Mapping[str, Any]) -> str:
    where = f"{found.get('topic')} at {found.get('broker')}"
    if refused := found.get("last_garbage"):
        return f"messages on {where} are refused: {refused}"
    if found.get("state") not in ("running", "full"):
        return f"the broker {found.get('broker')} does not answer yet"
    return f"connected, and nothing was published to {where} yet: is that the device's topic and broker?"


def _modbus(profile: Profile, line: Line, found: Mapping[str, Any], error: str) -> str:
    unit, bus = found.get("unit"), str(found.get("bus", ""))
    if "no answer" not in error:
        return f"{bus}: {error}"
    if not bus.startswith(("/dev/", "usb:")):
        return f"unit {unit} at {bus}: {error}: is that its address (--unit)?"
    return (
        f"unit {unit} at {bus}: {error}: is that its address (--unit)? is {settings(line)} right "
        f"(--baud tries another)? are A and B swapped? is it a {profile.name}?"
    )
