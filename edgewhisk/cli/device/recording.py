"""`edgewhisk device record` and `replay`: what a device says with its timing, to a file and from it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import select
import sys
import time
import tty
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TextIO

from edgewhisk import jsontext
from edgewhisk.base import resources
from edgewhisk.cli import FAILED, OK
from edgewhisk.cli.device.device_try import broker, line
from edgewhisk.cli.output import note
from edgewhisk.config.loader import load
from edgewhisk.config.schema import Config
from edgewhisk.device import capture, library
from edgewhisk.device.capture import CapturedBytes
from edgewhisk.device.profile import Ask, Profile
from edgewhisk.device.topics import pattern
from edgewhisk.errors import BadRequest, FeedError
from edgewhisk.transport.mqtt.codec import Delivery, Message
from edgewhisk.transport.mqtt.connection import MqttConnection, MqttLink
from edgewhisk.transport.serial import discovery

Take = Callable[[MqttConnection, Sequence[Delivery]], None]
_PAUSE: Final = 1.0  # seconds between what is said, where the capture has no times
_LARGEST: Final = 64 << 20  # bytes of a capture


def record(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """`device record`."""
    config = load(given.config, environment)
    resources.own(config.state_dir)
    profile = library.load(given.profile) if given.profile else None
    topics = given.topic or (list(profile.topics) if profile else [])
    if not given.port and not topics:
        raise BadRequest("--port is needed, or --topic (or an MQTT --profile)", hint="edgewhisk device scan")
    if given.file.exists() and not given.force:
        raise BadRequest(f"{given.file} exists", hint="--force writes over it")
    with contextlib.ExitStack() as stack:
        tape = _Tape(given.file, given.seconds, stack)
        with contextlib.suppress(KeyboardInterrupt):
            if given.port:
                _listen(given, profile, config, tape)
            else:
                asyncio.run(_subscribe(topics, broker(given.broker, config), tape))
    note(f"{tape.count} bytes in {given.file}")
    return OK if tape.count else FAILED


class _Tape:
    """A capture that is being written."""

    def __init__(self, path: Path, seconds: float, stack: contextlib.ExitStack) -> None:
        self._path, self._stack = path, stack
        self._file: TextIO | None = None
        self._begun = self._last = time.monotonic()
        self.seconds = seconds
        self.count = 0

    def begin(self, heading: str) -> None:
        """Make the file; not before the device could be reached."""
        self._begun = self._last = time.monotonic()
        try:
            self._file = self._stack.enter_context(self._path.open("w", encoding="utf-8"))
        except OSError as error:
            raise self._unwritten(error) from error
        self._write(f"# {heading}\n")
        note(f"recording {heading}; Ctrl-C ends")

    def add(self, data: bytes, *, topic: str = "", asked: bool = False) -> None:
        now = time.monotonic()
        self._write(capture.line(CapturedBytes(now - self._last, data, topic, asked)))
        self._last = now
        self.count += 0 if asked else len(data)

    def runs(self) -> bool:
        return not self.seconds or time.monotonic() - self._begun < self.seconds

    def _write(self, text: str) -> None:
        try:
            if self._file is not None:
                self._file.write(text)
                self._file.flush()  # a recording that is cut off has all but its end
        except OSError as error:
            raise self._unwritten(error) from error

    def _unwritten(self, error: OSError) -> BadRequest:
        return BadRequest(f"{self._path} cannot be written: {error.strerror or error}")


def _listen(given: argparse.Namespace, profile: Profile | None, config: Config, tape: _Tape) -> None:
    """Record a port."""
    section = config.serial.get(given.port)
    path = section.port if section else discovery.check_name(given.port)
    try:
        device = discovery.connect(path, line(given.port, profile, config.serial, given.baud))
    except OSError as error:
        raise FeedError(f"{path}: {discovery.problem(error)}") from error
    due = dict.fromkeys(profile.asks if profile else (), time.monotonic())
    with contextlib.closing(device):
        tape.begin(f"{path}{f', {profile.name}' if profile else ''}")
        try:
            while tape.runs():
                _hear(device.fileno(), due, tape)
        except OSError as error:
            raise FeedError(f"{path}: {discovery.problem(error)}") from error


def _hear(port: int, due: dict[Ask, float], tape: _Tape) -> None:
    """Ask what is due, and record what comes within a tenth of a second."""
    now = time.monotonic()
    for ask in [ask for ask, when in due.items() if when <= now]:
        os.write(port, ask.send)
        due[ask] = now + ask.every
        tape.add(ask.send, asked=True)
    if select.select([port], [], [], 0.1)[0]:
        data = os.read(port, 4096)
        if not data:
            raise OSError(19, "the device was unplugged")
        tape.add(data)


async def _subscribe(topics: Sequence[str], link: MqttLink, tape: _Tape) -> None:
    """Record what a broker delivers."""

    def take(_connection: MqttConnection, deliveries: Sequence[Delivery]) -> None:
        for one in deliveries:
            tape.add(one.payload, topic=one.topic.decode(errors="replace"))

    connection = await opened(link, take)
    tape.begin(f"{', '.join(topics)} at {link.host}:{link.port}")
    for topic in topics:
        connection.subscribe(pattern(topic).filter, 0)
    lost = asyncio.create_task(connection.lost())
    try:
        await asyncio.wait([lost], timeout=tape.seconds or None)
        if lost.done():
            lost.result()  # what made us give it up
            raise FeedError(f"the connection to {link.host}:{link.port} was lost")
    finally:
        lost.cancel()
        await connection.close()


async def opened(link: MqttLink, take: Take) -> MqttConnection:
    """A connection to a broker; raises `FeedError`."""
    connection = MqttConnection(link, take)
    try:
        async with asyncio.timeout(10):
            await connection.open()
    except (OSError, TimeoutError) as error:
        hint = "start a gateway (edgewhisk run) or a broker, or name one with --broker"
        raise FeedError(f"broker {link.host}:{link.port}: {error or 'no answer'}", hint=hint) from error
    return connection


def replay(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """`device replay`."""
    config = load(given.config, environment)
    resources.own(config.state_dir)
    if not given.speed > 0:
        raise BadRequest("--speed must be above 0")
    said, commands = _said(given.file)
    over_mqtt = [one for one in said if one.topic]
    try:
        if over_mqtt:
            asyncio.run(_publish(over_mqtt, given, broker(given.broker, config)))
        elif given.broker is not None:
            raise BadRequest(f"{given.file} was recorded from a port, not from a broker: leave --broker out")
        else:
            _play(said, commands, given)
    except KeyboardInterrupt:
        return OK
    return OK


def _said(name: str) -> tuple[list[CapturedBytes], dict[bytes, str]]:
    """What a capture or the golden file of a profile says, and which commands that device understands.

    Raises `EdgeWhiskError`.
    """
    path, commands = Path(name), dict[bytes, str]()
    if not path.exists():
        if path.suffix or name.startswith(("/", "./", "../")):
            raise BadRequest(f"there is no file {name}")
        commands = {data: command for command, data in library.load(name).writes.items()}
        try:
            path = resources.find("devices", f"{name}.golden")
        except FileNotFoundError:
            raise BadRequest(f"{name} has no capture: {name}.golden should stand beside it") from None
    try:
        if path.stat().st_size > _LARGEST:
            raise BadRequest(f"{path} is too large: at most {_LARGEST >> 20} MB")
        data = path.read_bytes()
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror or error}") from error
    said: list[CapturedBytes] = []
    for entry in capture.read(capture.text(data, str(path)), str(path)):
        if isinstance(entry, CapturedBytes):
            said.append(entry)
        elif entry.values is None and said:
            said.pop()  # what must be refused is there to prove that; a simulated device behaves
    if not said and not commands:
        raise BadRequest(f"nothing is said in {path}: it has no line that begins with >, ? or @")
    return said, commands


def _pause(one: CapturedBytes, speed: float) -> float:
    return (one.after or _PAUSE) / speed


async def _publish(said: Sequence[CapturedBytes], given: argparse.Namespace, link: MqttLink) -> None:
    connection = await opened(link, lambda *_: None)
    note(f"publishing to {link.host}:{link.port}; Ctrl-C ends")
    try:
        while True:
            for one in said:
                await asyncio.sleep(_pause(one, given.speed))
                for error in (await connection.publish([Message(one.topic, one.data, 1)])).values():
                    raise error
            if not given.loop:
                break
    except ConnectionError as error:
        raise FeedError(f"broker {link.host}:{link.port}: {error}") from error
    finally:
        await connection.close()


def _play(said: Sequence[CapturedBytes], commands: Mapping[bytes, str], given: argparse.Namespace) -> None:
    """On a pseudo terminal: speaks by itself, or answers if it was asked when it was recorded."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    name = os.ttyname(slave)
    if given.link:
        _link(given.link, name)
    try:
        print(jsontext.dumps({"port": name}).decode() if given.json else name, flush=True)
        answers = _answers(said)
        if answers or commands:
            note("the device is on this port and waits to be asked or told; Ctrl-C ends")
            _answer(master, answers, commands)
        note("the device is on this port; Ctrl-C ends")
        while True:
            for one in said:
                time.sleep(_pause(one, given.speed))
                _say(master, one.data)
            if not given.loop:
                break
        time.sleep(_PAUSE)  # what was written last is read by somebody
    finally:
        if given.link:
            given.link.unlink(missing_ok=True)
        sys.stdout.flush()


def _link(link: Path, name: str) -> None:
    if link.exists() and not link.is_symlink():
        raise BadRequest(f"--link {link} is a file already")
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(name)
    except OSError as error:
        raise BadRequest(f"--link {link} cannot be made: {error.strerror or error}") from error


def _say(master: int, data: bytes) -> None:
    """Speak; what nobody hears is lost, as on a real line."""
    try:
        while data:
            data = data[os.write(master, data) :]
    except BlockingIOError:
        return


def _answers(said: Sequence[CapturedBytes]) -> dict[bytes, list[bytes]]:
    """Question -> what was answered to it, each time it was asked."""
    found: dict[bytes, list[bytes]] = {}
    question: bytes | None = None
    for one in said:
        if one.asked:
            question = one.data
            found.setdefault(question, []).append(b"")
        elif question is not None:
            found[question][-1] += one.data  # an answer may have come in pieces
    return {question: answers for question, answers in found.items() if question}


def _answer(master: int, answers: Mapping[bytes, list[bytes]], commands: Mapping[bytes, str]) -> None:
    """Answer questions as they come, in turn with what was recorded, and tell commands; for ever."""
    asked = b""
    turns = dict.fromkeys(answers, 0)
    longest = max(map(len, (*answers, *commands)))
    while True:
        select.select([master], [], [])
        asked = (asked + os.read(master, 4096))[-longest * 4 :]
        for command, name in commands.items():
            if asked.endswith(command):
                note(f"told: {name}")
        for question, found in answers.items():
            if asked.endswith(question):
                _say(master, found[turns[question] % len(found)])
                turns[question] += 1
                asked = b""
