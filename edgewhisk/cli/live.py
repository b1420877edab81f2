"""What `edgewhisk device` does with a real device: try, record, replay."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import select
import sys
import tempfile
import time
import tty
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from edgewhisk import share
from edgewhisk.buffer.shelf import Shelf
from edgewhisk.cli.output import note, paint
from edgewhisk.clock import SystemClock
from edgewhisk.device import capture
from edgewhisk.device import profile as profiles
from edgewhisk.device.capture import Said
from edgewhisk.device.profile import Line, Profile
from edgewhisk.entity.message import TriggerEvent
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import BadRequest, FeedError
from edgewhisk.feed import ports
from edgewhisk.feed.dead_letters import DeadLetters
from edgewhisk.feed.modbus import ModbusFeed
from edgewhisk.feed.mqtt import MqttFeed
from edgewhisk.feed.mqtt_connection import Connection, MqttLink
from edgewhisk.feed.mqtt_packets import Message
from edgewhisk.feed.serial import SerialFeed
from edgewhisk.spi import Feed

_TRIGGER: Final = parse_name("/_/try", "_")
_TOLD: Final = 2.0  # seconds between looks at what is wrong
_PAUSE: Final = 1.0  # seconds between what is said, where the capture has no times


class Printing:
    """`spi.Fire` that prints events."""

    def __init__(self, *, as_json: bool, most: int) -> None:
        """End after `most` events, if that is not 0."""
        self.ended = asyncio.Event()
        self._json, self._most = as_json, most
        self.count = 0

    def __call__(self, events: Sequence[TriggerEvent]) -> asyncio.Future[None]:
        """Print each."""
        for event in events:
            self.count += 1
            print(event.payload.decode() if self._json else _shown(json.loads(event.payload)), flush=True)
            if self._most and self.count >= self._most:
                self.ended.set()
                break
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    def full(self) -> bool:
        """Never."""
        return False

    def on_room(self, resume: Any) -> None:
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


def attempt(given: argparse.Namespace, _environment: Mapping[str, str]) -> int:
    """`device try`."""
    profile = profiles.load(given.profile)
    try:
        return asyncio.run(_attempt(given, profile))
    except KeyboardInterrupt:
        return 0


async def _attempt(given: argparse.Namespace, profile: Profile) -> int:
    fire = Printing(as_json=given.json, most=given.count)
    with tempfile.TemporaryDirectory() as folder:
        feed, parameters = _feed(given, profile, fire, Path(folder))
        action = feed.actions[0]
        name = f"{action.package}/{action.name}"
        await feed.add(_TRIGGER, name, feed.check(name, parameters))
        running = asyncio.create_task(feed.run())
        try:
            await _watch(feed, fire)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    return 0


def _feed(
    given: argparse.Namespace, profile: Profile, fire: Printing, folder: Path
) -> tuple[Feed, dict[str, Any]]:
    clock = SystemClock()
    if profile.transport == "mqtt":
        dead = DeadLetters(Shelf.open(folder), clock)
        return MqttFeed({"": _link(given.broker)}, fire, clock, dead, []), {"profile": profile.name, "qos": 0}
    asked = {key: getattr(given, key) for key in ("port", "host", "unit", "every") if getattr(given, key)}
    if profile.transport == "modbus":
        return ModbusFeed({}, fire, clock), {"profile": profile.name, **asked}
    if not given.port:
        raise BadRequest("--port is needed", hint="edgewhisk device scan lists the ports")
    return SerialFeed({}, fire, clock), {"profile": profile.name, "port": given.port}


async def _watch(feed: Feed, fire: Printing) -> None:
    """Until it ends, tell what is wrong when that changes."""
    last = ""
    while not fire.ended.is_set():
        try:
            async with asyncio.timeout(_TOLD):
                await fire.ended.wait()
        except TimeoutError:
            found = feed.describe(_TRIGGER)
            trouble = [str(found[key]) for key in ("last_error", "last_garbage") if found.get(key)]
            told = "; ".join(trouble) or ("" if fire.count else f"nothing yet ({found.get('state')})")
            if told and told != last:
                note(told)
            last = told


def _link(url: str) -> MqttLink:
    parts = urlsplit(url)
    if parts.scheme != "mqtt" or not parts.hostname:
        raise BadRequest(f"--broker must be mqtt://HOST[:PORT], not {url!r}")
    return MqttLink(parts.hostname, parts.port or 1883, f"edgewhisk-device-{os.getpid()}")


def record(given: argparse.Namespace, _environment: Mapping[str, str]) -> int:
    """`device record`."""
    profile = profiles.load(given.profile) if given.profile else None
    path = ports.check_name(given.port)
    try:
        device = ports.connect(path, profile.line if profile else Line())
    except OSError as error:
        raise FeedError(f"{path}: {ports.problem(error)}") from error
    begun = last = time.monotonic()
    due = dict.fromkeys(profile.asks if profile else (), begun)
    octets = 0
    try:
        with given.file.open("w", encoding="utf-8") as file:
            file.write(f"# {path}{f', {profile.name}' if profile else ''}\n")
            while not given.seconds or time.monotonic() - begun < given.seconds:
                now = time.monotonic()
                for ask in [ask for ask, when in due.items() if when <= now]:
                    os.write(device.fileno(), ask.send)
                    due[ask] = now + ask.every
                    file.write(capture.line(Said(now - last, ask.send, asked=True)))
                    last = now
                if not select.select([device.fileno()], [], [], 0.1)[0]:
                    continue
                data, now = os.read(device.fileno(), 4096), time.monotonic()
                if not data:
                    raise FeedError(f"{path}: the device was unplugged")
                file.write(capture.line(Said(now - last, data)))
                file.flush()
                last, octets = now, octets + len(data)
    except KeyboardInterrupt:
        pass
    finally:
        device.close()
    note(f"{octets} bytes in {given.file}")
    return 0


def replay(given: argparse.Namespace, _environment: Mapping[str, str]) -> int:
    """`device replay`."""
    path = Path(given.file)
    if not path.exists():
        profiles.load(given.file)  # names what there is
        path = share.find("devices", f"{given.file}.golden")
    if given.speed <= 0:
        raise BadRequest("--speed must be above 0")
    entries = capture.read(path.read_text(encoding="utf-8").splitlines(), str(path))
    said = [entry for entry in entries if isinstance(entry, Said)]
    try:
        if any(one.topic for one in said):
            asyncio.run(_publish(said, given))
        else:
            _play(said, given)
    except KeyboardInterrupt:
        return 0
    return 0


def _pause(one: Said, speed: float) -> float:
    return (one.after or _PAUSE) / speed


async def _publish(said: Sequence[Said], given: argparse.Namespace) -> None:
    connection = Connection(_link(given.broker), lambda *_: None)
    await connection.open()
    note(f"publishing to {given.broker}; Ctrl-C ends")
    while True:
        for one in said:
            await asyncio.sleep(_pause(one, given.speed))
            await connection.publish([Message(one.topic, one.data, 1)])[0]
        if not given.loop:
            break
    await connection.close()


def _play(said: Sequence[Said], given: argparse.Namespace) -> None:
    """On a pseudo terminal: speaks by itself, or answers if the capture has questions."""
    master, slave = os.openpty()
    tty.setraw(slave)
    name = os.ttyname(slave)
    if given.link:
        given.link.unlink(missing_ok=True)
        given.link.symlink_to(name)
    print(json.dumps({"port": name}) if given.json else name, flush=True)
    note("the device is on this port; Ctrl-C ends")
    try:
        answers = _answers(said)
        if answers:
            _answer(master, answers)
        while True:
            for one in said:
                time.sleep(_pause(one, given.speed))
                os.write(master, one.data)
            if not given.loop:
                break
        time.sleep(_PAUSE)  # what was written last is read by somebody
    finally:
        if given.link:
            given.link.unlink(missing_ok=True)
        sys.stdout.flush()


def _answers(said: Sequence[Said]) -> dict[bytes, list[bytes]]:
    """Question -> what was answered to it."""
    found: dict[bytes, list[bytes]] = {}
    question = b""
    for one in said:
        if one.asked:
            question = one.data
            found.setdefault(question, [])
        elif question:
            found[question].append(one.data)
    return found


def _answer(master: int, answers: dict[bytes, list[bytes]]) -> None:
    """Answer questions as they come, in turn with what was recorded, for ever."""
    asked = b""
    turns = dict.fromkeys(answers, 0)
    longest = max(map(len, answers))
    while True:
        asked = (asked + os.read(master, 4096))[-longest * 4 :]
        for question, found in answers.items():
            if found and asked.endswith(question):
                os.write(master, found[turns[question] % len(found)])
                turns[question] += 1
                asked = b""
