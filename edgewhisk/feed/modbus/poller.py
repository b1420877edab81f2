"""Polls the devices on one bus.

A device that does not answer costs the others its timeout once, then it is asked ever less often until it
answers again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from edgewhisk.base.backoff import Backoff
from edgewhisk.device.modbus.registers import RegisterRequest, failures, halves, readings, singles
from edgewhisk.device.reading import Quality, Reading
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.feed.modbus.device import Device
from edgewhisk.spi import Clock
from edgewhisk.transport.modbus.bus import Bus, Refusal, Silence

_log = logging.getLogger(__name__)

LOOK_AGAIN: Final = 1.0  # seconds between tries to open a line that is away
MAX_RETRY_PAUSE: Final = 10.0  # seconds at most between tries of one that is there and cannot be opened
# seconds between questions to a device that is dead, or its own pace if that is slower
MAX_POLL_PAUSE: Final = 60.0
TRIES: Final = 3  # of a question to a device that answered the last one
_TOO_MUCH: Final = frozenset({2, 3})  # illegal data address or value: a part of it may be legal


@dataclass(slots=True)
class Poller:
    """Polls devices in the order in which they are due."""

    bus: Bus
    clock: Clock
    take: Callable[[Device, Sequence[Reading]], None]
    devices: list[Device] = field(default_factory=list)
    held: asyncio.Event = field(default_factory=asyncio.Event)  # cleared while the queue is full
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _backoff: Backoff = field(default_factory=lambda: Backoff(LOOK_AGAIN, MAX_RETRY_PAUSE))

    def add(self, device: Device) -> None:
        """Poll a device from now on."""
        self._set([*self.devices, device])

    def remove(self, trigger: FullyQualifiedName) -> None:
        """Poll the device of a trigger no more."""
        self._set([device for device in self.devices if device.trigger != trigger])

    def _set(self, devices: list[Device]) -> None:
        self.devices = devices
        self.bus.polled = max((device.timeout for device in devices), default=None)
        self._changed.set()

    async def run(self) -> None:
        """Poll until cancelled."""
        self.held.set()
        task = asyncio.current_task()
        try:
            # pymodbus waits by asyncio.wait_for, which in Python 3.11 may swallow a cancellation (bpo-42130).
            while task is None or not task.cancelling():
                await self.held.wait()
                device = min(self.devices, key=lambda device: device.due, default=None)
                if device is None:
                    await self.bus.give_back()
                wait = None if device is None else device.due - self.clock.monotonic()
                if wait is None or wait > 0:
                    await self._pause(wait)
                elif device is not None:
                    await self._turn(device)
        finally:
            self.bus.close()

    async def _pause(self, seconds: float | None) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _turn(self, device: Device) -> None:
        """Ask one device everything, and set when it is asked again."""
        begun, rest = self.clock.monotonic(), LOOK_AGAIN
        away = False
        try:
            async with self.bus.turn():
                self._backoff.reset()
                found = await self._poll(device)
        except Silence as error:  # the line itself is away: nobody is asked
            away = True
            found = [one for question in device.questions for one in failures(question, str(error))]
            begun = self.clock.monotonic()  # finding that out may have taken long
            # Found again within a second of being plugged in; one that fails is tried ever less often.
            rest = LOOK_AGAIN if error.is_absent else self._backoff.pause(random.random())  # noqa: S311 - jitter
            for other in self.devices:
                other.due = max(other.due, begun + rest)
        device.polls += 1
        silent = all(reading.quality is Quality.FAILED for reading in found)
        device.failed = device.failed + 1 if silent else 0
        pause = device.every * 2 ** min(device.failed, 10) if device.failed > 1 else device.every
        if silent:
            self.bus.close_unheard()
        away = away or (not self.bus.is_open and not self.bus.address.host)
        if away:
            pause = rest
        device.due = begun + min(pause, max(MAX_POLL_PAUSE, device.every))
        # A line that is away is told once, not every second.
        if not away or device.failed == 1:
            self.take(device, found)

    async def _poll(self, device: Device) -> list[Reading]:
        found: list[Reading] = []
        silence = trouble = ""
        left, asked = deque(device.questions), list[RegisterRequest]()
        while left:
            question = left.popleft()
            if device.short and len(question.points) > 1:
                left.extendleft(reversed(singles(question)))
                continue
            lost = not self.bus.is_open
            if lost or (silence and not any(one.quality is Quality.GOOD for one in found)):
                found += failures(question, silence or trouble)  # nor did it answer the first one
                asked.append(question)
                continue
            try:
                found += readings(question, await self._read(device, question))
                device.proven = True
            except Silence as error:
                if smaller := await self._smaller(device, question, error):
                    left.extendleft(reversed(smaller))
                    continue
                trouble = device.last_error = str(error)
                silence = silence if error.answered else trouble
                device.errors += 1
                found += failures(question, trouble)
            asked.append(question)
        device.questions = tuple(asked)
        if not trouble:
            device.last_error = ""
        return found

    async def _smaller(
        self, device: Device, question: RegisterRequest, error: Silence
    ) -> Sequence[RegisterRequest]:
        """What to ask instead of a question that may be too long for the device; empty: nothing.

        It refuses a block in which there is one register that it does not have. Some answer short questions
        only: to a long one they are silent, like a device that is dead.
        """
        if len(question.points) == 1:
            return ()
        if isinstance(error, Refusal):
            return halves(question) if error.code in _TOO_MUCH else ()
        if device.proven or not self.bus.is_open:
            return ()
        first, *_ = singles(question)
        try:
            await self._read(device, first, tries=1)
        except Silence:
            return ()
        _log.warning("modbus %s, unit %d: it answers short questions only", self.bus.address, device.unit)
        device.proven = device.short = True
        return singles(question)

    async def _read(self, device: Device, question: RegisterRequest, tries: int = TRIES) -> list[int]:
        tries = 1 if device.failed else tries
        for left in range(tries - 1, -1, -1):
            try:
                return await self.bus.read(device.unit, question, device.timeout)
            except Silence as error:
                if not left or error.answered or not self.bus.is_open:
                    raise
        raise AssertionError("unreachable")
