"""One device on a serial port: its bytes become frames, readings and events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from edgewhisk.device.decode import Decode, Undecodable, decoder, payload
from edgewhisk.device.framing import Framer, framer
from edgewhisk.device.profile import Ask, Profile
from edgewhisk.entity.invocation.message import TriggerEvent
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.feed.heard import Moment, heard, this_moment
from edgewhisk.feed.rejects import RejectCounter
from edgewhisk.spi import Clock, Fire
from edgewhisk.transport.serial.port import SerialPort
from edgewhisk.transport.serial.ports import SerialPorts

_log = logging.getLogger(__name__)

IDLE: Final = 0.25  # seconds of silence after which an unfinished binary frame is none
ASK_AGAIN: Final = 1.0  # seconds at most until a question is asked that a long write was in the way of
_BYTES: Final = 1 << 18  # a second from one port; more is a device gone mad
_NO_PARTS: Final[Mapping[str, str]] = {}


@dataclass(slots=True)
class _Second:
    """What came in the current second."""

    begun: float = 0.0  # monotonic
    frames: int = 0
    octets: int = 0


@dataclass(slots=True)
class PortSource:
    """`PortReader` of a device, and the triggers that it feeds."""

    ports: SerialPorts
    name: str  # of the port, as events carry it
    profile: Profile
    rate: int  # frames a second
    fire: Fire
    clock: Clock
    triggers: list[FullyQualifiedName] = field(default_factory=list)
    port: SerialPort = field(init=False)
    _framer: Framer = field(init=False)
    _decode: Decode = field(init=False)
    _since: Moment = field(init=False)  # when it was first read
    _last: Moment | None = None  # when it last gave an event
    _rejects: RejectCounter = field(default_factory=RejectCounter)
    _readings: int = 0
    _torn: int = 0  # frames that an unplugging cut
    _pauses: int = 0
    _floods: int = 0  # seconds in which more came than may
    _second: _Second = field(default_factory=_Second)
    _asking: dict[bytes, asyncio.TimerHandle] = field(default_factory=dict)  # question -> when it is next
    _listening: asyncio.TimerHandle | None = None  # for the silence behind an unfinished frame

    def __post_init__(self) -> None:
        """It is read from now on."""
        self._framer, self._decode = framer(self.profile.framing), decoder(self.profile)
        self._since = this_moment(self.clock)
        self.port = self.ports.read(self.name, self.profile, self)

    def describe(self) -> dict[str, Any]:
        """State and counters, for `status`."""
        port, now, quiet = self.port, self.clock.monotonic(), self.profile.line.quiet
        silent = quiet and port.is_open and now - port.heard > quiet
        return {
            "state": "silent" if silent else port.state,
            "port": port.path,
            "profile": self.profile.name,
            "readings": self._readings,
            "bad": self._rejects.count + self._framer.corrupt + self._framer.overlong + self._torn,
            **heard(self._last, self._since, now),
            "opened": port.opened,
            "received": port.received,
            "sample": port.sample.hex(" "),
            "overlong": self._framer.overlong,
            "corrupt": self._framer.corrupt,
            "skipped": self._framer.skipped,
            "torn": self._torn,
            "pauses": self._pauses,
            "floods": self._floods,
            "last_error": port.last_error,
            **self._rejects.describe(),
        }

    def opened(self) -> None:
        """See `PortReader`."""
        for ask in self.profile.asks:
            self._ask(ask)

    def take(self, data: bytes) -> None:
        """See `PortReader`."""
        frames = self._framer.feed(data)
        self._deliver(frames)
        self._restrain(len(data), len(frames))
        if self._listening is None:
            self._listen()

    def closed(self) -> None:
        """See `PortReader`."""
        self._torn += self._framer.reset()
        for timer in self._asking.values():
            timer.cancel()
        self._asking.clear()
        if self._listening is not None:
            self._listening.cancel()
            self._listening = None

    def _ask(self, ask: Ask) -> None:
        """Send a question, now and every so often as long as the port is open."""
        pause = ask.every if self.port.put(ask.send) else min(ASK_AGAIN, ask.every)
        self._asking[ask.send] = asyncio.get_running_loop().call_later(pause, self._ask, ask)

    def _listen(self) -> None:
        """Once the line is quiet, let frames out that hid behind the false start of another."""

        def look() -> None:
            self._listening = None
            if self.clock.monotonic() - self.port.heard < IDLE:
                self._listen()
            else:
                self._deliver(self._framer.idle())

        self._listening = asyncio.get_running_loop().call_later(IDLE, look)

    def _restrain(self, octets: int, frames: int) -> None:
        """Do not read the port until the next second if more comes than may: the kernel holds it back."""
        second, now = self._second, self.port.heard
        if now - second.begun >= 1.0:
            second = self._second = _Second(now)
        second.frames += frames
        second.octets += octets
        if (second.frames > self.rate or second.octets > _BYTES) and self.port.is_open:
            if not self._floods:
                _log.warning("serial port %s: more than %d frames a second", self.port.path, self.rate)
            self._floods += 1
            wait = max(0.0, second.begun + 1.0 - now)
            asyncio.get_running_loop().call_later(wait, self.port.hold("flood"))

    def _deliver(self, frames: Sequence[bytes]) -> None:
        now = self.clock.now()
        events: list[TriggerEvent] = []
        for frame in frames:
            try:
                readings = self._decode(frame, _NO_PARTS, "")
            except Undecodable as error:
                line = self._rejects.add(str(error), frame, self.clock.monotonic())
                if line is not None:
                    _log.warning("serial port %s: %s", self.port.path, line)
                continue
            if not readings:
                continue
            self._readings += 1
            text = payload(self.profile, self.name, now, readings)
            events += (TriggerEvent(trigger, text, now) for trigger in self.triggers)
        if not events:
            return
        self.fire(events)
        self._last = Moment(now, self.clock.monotonic())
        if self.fire.full(self.triggers) and self.port.is_open:
            self._pauses += 1
            if not self.port.is_held("full"):
                self.fire.on_room(self.port.hold("full"), self.triggers)
