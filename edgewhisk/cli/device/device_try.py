"""`edgewhisk device try`: the readings of a real device, and what is wrong where none come."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from edgewhisk import jsontext
from edgewhisk.base import resources
from edgewhisk.cli import FAILED, OK
from edgewhisk.cli.device.diagnosis import advice
from edgewhisk.cli.output import note, paint
from edgewhisk.clock.system import SystemClock
from edgewhisk.config.loader import load
from edgewhisk.config.schema import Config, MqttConfig, SerialConfig
from edgewhisk.config.validate import leads
from edgewhisk.device import library
from edgewhisk.device.profile import Line, Profile
from edgewhisk.entity.invocation.message import TriggerEvent
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import BadRequest
from edgewhisk.feed.modbus.feed import ModbusFeed
from edgewhisk.feed.mqtt.feed import MqttFeed
from edgewhisk.feed.serial.feed import SerialFeed
from edgewhisk.spi import Feed
from edgewhisk.store.dead_letters import DeadLetters
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.transport.modbus.buses import ModbusBuses
from edgewhisk.transport.mqtt.brokers import MqttBrokers
from edgewhisk.transport.mqtt.config import mqtt_link
from edgewhisk.transport.mqtt.connection import MqttLink
from edgewhisk.transport.serial import discovery
from edgewhisk.transport.serial.ports import SerialPorts

_TRIGGER: Final = parse_name("/_/try", "_")
_ENVELOPE: Final = {"device", "port", "topic", "unit", "taken_at", "suspect", "errors"}
_TOLD: Final = 1.0  # seconds between looks at what is wrong
_PATIENCE: Final = 4.0  # seconds without a reading after which it is told what to check


class Printing:
    """`spi.Fire` that prints events."""

    def __init__(self, *, as_json: bool, most: int) -> None:
        """End after `most` events, if that is not 0."""
        self.ended = asyncio.Event()
        self.count = 0
        self.broken: OSError | None = None  # whoever read what is printed went away
        self._json, self._most = as_json, most

    def __call__(self, events: Sequence[TriggerEvent]) -> asyncio.Future[None]:
        """Print each."""
        for event in events:
            if self.ended.is_set():
                break
            self._print(event.payload)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    def _print(self, payload: bytes) -> None:
        event = jsontext.loads(payload)
        # A poll that nobody answered is told, but it is no reading.
        self.count += bool(event.keys() - event.get("errors", {}).keys() - _ENVELOPE)
        try:
            print(payload.decode() if self._json else _shown(event), flush=True)
        except OSError as error:
            self.broken = error
        if self.broken or 0 < self._most <= self.count:
            self.ended.set()

    def full(self, _triggers: Any) -> bool:
        """Never."""
        return False

    def on_room(self, resume: Any, _triggers: Any) -> None:
        """There is always room."""
        resume()


def _shown(event: dict[str, Any]) -> str:
    suspect, errors = event.pop("suspect", []), event.pop("errors", {})
    for key in ("device", "port", "topic", "taken_at"):
        event.pop(key, None)
    parts = [paint(f"{key}={value}", "yellow") + "?" if key in suspect else f"{key}={value}"
             for key, value in event.items() if key not in errors]  # fmt: skip
    if errors:
        parts.append(paint("; ".join(sorted(set(errors.values()))), "red"))
    return "  ".join(parts)


def attempt(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """`device try`."""
    config = load(given.config, environment)
    resources.own(config.state_dir)
    profile = library.load(given.profile)
    _fitting(given, profile)
    logging.getLogger("edgewhisk").addHandler(logging.NullHandler())  # `_watch` tells
    logging.getLogger("edgewhisk").propagate = False
    try:
        return asyncio.run(_attempt(given, profile, config))
    except KeyboardInterrupt:
        return OK


def _fitting(given: argparse.Namespace, profile: Profile) -> None:
    """Raises `BadRequest` for options that mean nothing to a device of this kind."""
    known = {
        "serial": ("port", "baud"),
        "mqtt": ("broker",),
        "modbus": ("port", "baud", "host", "unit", "every"),
    }
    for option in ("port", "host", "broker", "baud", "unit", "every"):
        if getattr(given, option) is not None and option not in known[profile.transport]:
            right = " or ".join(
                f"--{one}" for one in known[profile.transport] if one in ("port", "host", "broker")
            )
            raise BadRequest(
                f"{profile.name} is reached over {profile.transport}: use {right}, not --{option}"
            )
    if profile.transport != "mqtt" and not given.port and not getattr(given, "host", None):
        where = "--port (RTU) or --host (TCP)" if profile.transport == "modbus" else "--port"
        raise BadRequest(f"{where} is needed", hint="edgewhisk device scan lists the ports")


async def _attempt(given: argparse.Namespace, profile: Profile, config: Config) -> int:
    fire = Printing(as_json=given.json, most=given.count)
    with tempfile.TemporaryDirectory() as folder:
        feed, transport, parameters = _feed(given, profile, config, fire, Path(folder))
        action = feed.actions[0]
        name = f"{action.package}/{action.name}"
        await feed.add(_TRIGGER, name, feed.check(name, parameters))
        running = asyncio.gather(feed.run(), transport.run())
        try:
            async with asyncio.timeout(given.seconds or None):
                await _watch(feed, fire, profile, line(given.port, profile, config.serial, given.baud))
        except TimeoutError:
            if not fire.count:
                settings = line(given.port, profile, config.serial, given.baud)
                note(advice(profile, settings, feed.describe(_TRIGGER)))
            return OK if fire.count and not given.count else FAILED
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    if fire.broken is not None:
        raise fire.broken
    return OK


def _feed(
    given: argparse.Namespace, profile: Profile, config: Config, fire: Printing, folder: Path
) -> tuple[Feed, MqttBrokers | SerialPorts, dict[str, Any]]:
    clock = SystemClock()
    sections = dict(config.serial)
    if given.port and given.baud:
        section = sections.get(given.port)
        path = section.port if section else given.port
        sections[given.port] = replace(section or SerialConfig(path), baudrate=given.baud)
    ports = SerialPorts(sections, clock)
    if profile.transport == "mqtt":
        dead = DeadLetters(LogDocumentStore.open(folder), clock)
        link = broker(given.broker, config)
        brokers = MqttBrokers({"": link}, clock)
        feed = MqttFeed(brokers, fire, clock, dead, [], lambda _subject, _topic: True)
        return feed, brokers, {"profile": profile.name, "qos": 0}
    if profile.transport == "modbus":
        asked = {key: getattr(given, key) for key in ("port", "host", "unit", "every")}
        told = {key: value for key, value in asked.items() if value is not None}
        return ModbusFeed(ModbusBuses(sections, clock), fire, clock), ports, {"profile": profile.name, **told}
    return SerialFeed(ports, fire, clock), ports, {"profile": profile.name, "port": given.port}


def line(
    port: str | None, profile: Profile | None, sections: Mapping[str, SerialConfig], baud: int | None
) -> Line:
    """How a port is set: as the profile says, as its section says, as was asked."""
    made = discovery.line_of(profile.line if profile else Line(), sections.get(port or ""))
    return replace(made, baudrate=baud) if baud else made


async def _watch(feed: Feed, fire: Printing, profile: Profile, settings: Line) -> None:
    """Until it ends, tell what is wrong when that changes."""
    last, waited, seen = "", 0.0, 0
    while not fire.ended.is_set():
        try:
            async with asyncio.timeout(_TOLD):
                await fire.ended.wait()
        except TimeoutError:
            found = feed.describe(_TRIGGER)
            waited = waited + _TOLD if fire.count == seen else 0.0
            seen = fire.count
            unusual = found.get("last_error") or (not fire.count and waited >= _PATIENCE)
            told = advice(profile, settings, found) if unusual else str(found.get("last_garbage") or "")
            if told and told != last:
                note(told)
            last = told or last


def broker(chosen: str | None, config: Config) -> MqttLink:
    """The broker of `--broker`: a URL, the name of a section, or as the gateway is configured.

    Raises `BadRequest`.
    """
    section, settings = "mqtt", config.mqtt
    if chosen is not None and chosen in config.brokers:
        section, settings = f"brokers.{chosen}", config.brokers[chosen]
    elif chosen is not None:
        section, settings = "broker", MqttConfig(url=chosen)
        if not leads(chosen, ("mqtt", "mqtts")):
            known = ", ".join(config.brokers) or "none"
            raise BadRequest(
                f"--broker must be mqtt://[USER:PASSWORD@]HOST[:PORT], mqtts://... or one of [brokers] "
                f"({known}), not {chosen!r}"
            )
    link = mqtt_link(section, settings, "").opened()
    own = replace(
        link, secrets=None, client_id=f"edgewhisk-device-{os.getpid()}", status_topic="", lasting=False
    )
    if chosen is not None and (user := urlsplit(chosen).username):
        own = replace(own, username=unquote(user), password=unquote(urlsplit(chosen).password or ""))
    return own
