"""Devices: which are known, what is plugged in, what it says; and tokens for devices that POST.

edgewhisk device list                                  every profile there is
edgewhisk device show nova/sds011                       what a profile says
edgewhisk device test nova/sds011                       does the profile read what was recorded?
edgewhisk device scan                                  ports of this machine, with guesses
edgewhisk device try nova/sds011 --port /dev/ttyUSB0   what does it say?
edgewhisk device try eastron/sdm120 --port /dev/ttyUSB1 --unit 3
edgewhisk device try eastron/sdm120 --host 10.0.0.9
edgewhisk device try tasmota/energy --broker mqtt://10.0.0.5
edgewhisk device record --port /dev/ttyUSB0 fault.capture
edgewhisk device record --topic 'zigbee2mqtt/#' fault.capture
edgewhisk device replay fault.capture --speed 10
edgewhisk device replay nova/sds011 --loop             a simulated one, to try things with
edgewhisk device token --trigger post --device greenhouse-1
edgewhisk device tokens
edgewhisk device untoken 3f9a
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewhisk.cli.output import complain, document, done, note, table
from edgewhisk.cli.parser import add_verb

if TYPE_CHECKING:
    from edgewhisk.device.profile import Profile


def options(parser: argparse.ArgumentParser) -> None:
    """All verbs of devices."""
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    def verb(name: str, run: object, what: str) -> argparse.ArgumentParser:
        own = add_verb(verbs, parser, name, what)
        own.add_argument("--config", type=Path, metavar="FILE", help="configuration of the gateway")
        own.add_argument("--json", action="store_true", help="print JSON only, for scripts")
        own.set_defaults(run=run)
        return own

    verb("list", _list, "list the profiles of known devices")
    verb("show", _show, "show one profile").add_argument("profile")
    verb("scan", _scan, "list serial ports with their lasting names, and guess what is there")
    test = verb("test", _live("device_test", "examine"), "run a profile against its golden file")
    test.add_argument("profile", nargs="+")
    test.add_argument("--golden", type=Path, metavar="FILE", help="another capture with what must come of it")
    trying = verb(
        "try", _live("device_try", "attempt"), "print the readings of a device as they come; Ctrl-C ends"
    )
    trying.add_argument("profile")
    trying.add_argument("--port", help="of a serial or Modbus RTU device, or a [serial.NAME]")
    trying.add_argument("--baud", type=int, help="instead of what the profile says")
    trying.add_argument("--host", help="of a Modbus TCP device: HOST or HOST:PORT")
    trying.add_argument("--unit", type=int, help="address of a Modbus device")
    trying.add_argument("--every", type=float, help="seconds between two polls of a Modbus device")
    trying.add_argument("--count", type=int, default=0, help="end after so many readings")
    trying.add_argument("--seconds", type=float, default=0, help="end after so long: 1 if nothing came")
    record = verb(
        "record", _live("recording", "record"), "write what a device says to a file, with its timing"
    )
    record.add_argument("file", type=Path)
    record.add_argument("--port", help="the port of the device, or a [serial.NAME]")
    record.add_argument("--baud", type=int, help="instead of what the profile says")
    record.add_argument("--topic", action="append", help="of a broker; several are possible")
    record.add_argument("--profile", help="for the line's settings, what it is asked, the topics")
    record.add_argument("--seconds", type=float, default=0, help="end after so long (default: Ctrl-C)")
    record.add_argument("--force", action="store_true", help="write over a file")
    play = "play a recorded device on a port of its own, or to a broker"
    replay = verb("replay", _live("recording", "replay"), play)
    replay.add_argument("file", help="a capture, or the name of a profile: then its golden file")
    replay.add_argument("--speed", type=float, default=1.0, help="10 is ten times as fast (default: 1)")
    replay.add_argument("--loop", action="store_true", help="again and again")
    replay.add_argument(
        "--link", type=Path, help="another name for the port: below /dev, or for a [serial.NAME]"
    )
    for own in (trying, record, replay):
        text = "mqtt[s]://[USER:PASSWORD@]HOST[:PORT] or a [brokers.NAME] (default: the gateway's)"
        own.add_argument("--broker", metavar="URL", help=text)
    token = verb("token", _token, "make a token for a device that POSTs to a trigger")
    token.add_argument("--trigger", required=True, help="NAME or /NAMESPACE/NAME")
    token.add_argument("--device", required=True, help="its name, as events carry it")
    verb("tokens", _tokens, "list tokens, without their secrets")
    verb("untoken", _untoken, "make a token worthless").add_argument("id")


def perform(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Run the verb."""
    return int(given.run(given, environment))


def _live(module: str, name: str) -> object:
    """What talks to a device is loaded when it is asked for."""

    def run(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
        return int(getattr(import_module(f"edgewhisk.cli.device.{module}"), name)(given, environment))

    return run


def _survey(given: argparse.Namespace, environment: Mapping[str, str]) -> list[Profile]:
    """All profiles; complains about those that are broken."""
    from edgewhisk.base import resources
    from edgewhisk.config.loader import load
    from edgewhisk.device import library

    resources.own(load(given.config, environment).state_dir)
    found, faults = library.survey()
    for fault in faults:
        complain(str(fault))
    return found


def _list(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    found = _survey(given, environment)
    if given.json:
        document(
            [{"name": one.name, "transport": one.transport, "description": one.description} for one in found]
        )
    else:
        table("devices", ([one.name, one.transport, one.description] for one in found))
    return 0


def _show(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from edgewhisk.base import resources
    from edgewhisk.config.loader import load
    from edgewhisk.device import library

    resources.own(load(given.config, environment).state_dir)
    found = library.load(given.profile)
    if given.json:
        document(_plain(asdict(found)))
        return 0
    print(f"{found.name}: {found.description}\n{found.source}\n{_how(found)}")
    points = ([f"  {one.name}", one.unit, _span(one.low, one.high)] for one in found.points)
    table("points" + (" (and whatever else it says)" if found.others else ""), points)
    for command, data in found.writes.items():
        print(f"command {command}: {data.hex(' ')}")
    return 0


def _how(profile: Profile) -> str:
    if profile.transport == "mqtt":
        return "MQTT topics " + ", ".join(profile.topics)
    from edgewhisk.cli.device.diagnosis import settings

    line = settings(profile.line)
    if profile.transport == "modbus":
        return f"Modbus unit {profile.modbus.unit}, each {profile.modbus.every:g} s; RTU at {line}"
    return f"serial, {line}" + "".join(f", asked each {ask.every:g} s" for ask in profile.asks)


def _span(low: float, high: float) -> str:
    return f"{low:g} to {high:g}" if (low, high) != (float("-inf"), float("inf")) else ""


def _plain(value: Any) -> Any:
    """For JSON: bytes as hexadecimal, patterns as text, no infinities."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return None
    return getattr(value, "pattern", value)


def _scan(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from edgewhisk.transport.serial import discovery

    known = _survey(given, environment)
    found = [
        (port, discovery.guesses(port, known), discovery.obstacle(port.path)) for port in discovery.found()
    ]
    if given.json:
        rows = ({**port._asdict(), "profiles": guesses, "problem": why} for port, guesses, why in found)
        document(list(rows))
        return 0
    shown = ([port.lasting, port.usb, port.product, " or ".join(fits), why] for port, fits, why in found)
    table("ports", shown)
    if any(port.usb and not port.by_id and not port.serial_number for port, _, _ in found):
        note(f"twins without serial numbers are told apart by their sockets, below {discovery.BY_PATH}")
    if not found:
        note("no serial port: is the device plugged in? in a container, is the device passed in?")
    elif guess := next((f"{fits[0]} --port {port.lasting}" for port, fits, _ in found if fits), None):
        note(f"a chip says little about what is behind it; see: edgewhisk device try {guess}")
    return 0


def _token(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from edgewhisk.config.loader import load
    from edgewhisk.controller.auth.tokens import add_token
    from edgewhisk.entity.names import entity_name, parse_name

    name = given.trigger if given.trigger.startswith("/") else f"/_/{given.trigger}"
    trigger = parse_name(name, "guest")
    entity_name(trigger.local)  # a trigger is in no package
    token = add_token(load(given.config, environment).state_dir, trigger, given.device)
    path = f"/api/v1/devices/{trigger.namespace}/{trigger.local}"
    if given.json:
        document({"token": token, "path": path, "device": given.device})
        return 0
    done(f"{given.device} may POST to {path}; its token, shown this once:")
    print(token)
    return 0


def _tokens(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from edgewhisk.config.loader import load
    from edgewhisk.controller.auth.tokens import tokens_of

    found = list(tokens_of(load(given.config, environment).state_dir).values())
    if given.json:
        document([token._asdict() for token in found])
    else:
        table("tokens", (list(token) for token in found))
    return 0


def _untoken(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from edgewhisk.config.loader import load
    from edgewhisk.controller.auth.tokens import remove_token

    remove_token(load(given.config, environment).state_dir, given.id)
    done(f"removed token {given.id}", quiet=given.json)
    return 0
