"""One Modbus line or TCP gateway and the devices on it: the only door to pymodbus.

A line carries one question at a time. A device that does not answer costs the others its timeout
once, then it is asked ever less often until it answers again.

An RTU answer does not say which question it answers. A device whose answer did not come in time is left
alone for as long again, so that a late one is not taken for the answer to the next question.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Final

import serial

from edgewhisk.base.backoff import Backoff
from edgewhisk.base.threads import apart
from edgewhisk.device.modbus.registers import BITS, RegisterRequest, failures, halves, readings, singles
from edgewhisk.device.profile import Line
from edgewhisk.device.reading import Quality, Reading
from edgewhisk.feed.modbus.device import Address, Device
from edgewhisk.spi import Clock
from edgewhisk.transport.serial import discovery

_log = logging.getLogger(__name__)

logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # `describe` and the events tell
_PATIENCE: Final = 1.0  # seconds
LOOK_AGAIN: Final = 1.0  # seconds between tries to open a line that is away
MAX_RETRY_PAUSE: Final = 10.0  # seconds at most between tries of one that is there and cannot be opened
# seconds between questions to a device that is dead, or its own pace if that is slower
MAX_POLL_PAUSE: Final = 60.0
TRIES: Final = 3  # of a question to a device that answered the last one
CODES: Final = {1: "illegal function", 2: "illegal data address", 3: "illegal data value",
                4: "device failure", 6: "device busy", 10: "gateway path unavailable",
                11: "gateway target did not respond"}  # fmt: skip
_READ: Final = {"input": (4, "read_input_registers"), "holding": (3, "read_holding_registers"),
                "coil": (1, "read_coils"), "discrete": (2, "read_discrete_inputs")}  # fmt: skip
_TOO_MUCH: Final = frozenset({2, 3})  # illegal data address or value: a part of it may be legal


class Silence(Exception):
    """A question without a usable answer; the text says why."""

    answered = False


class Refusal(Silence):
    """The device answered that it will not."""

    answered = True

    def __init__(self, code: int) -> None:
        """`code`: of the exception (Modbus application protocol V1.1b3, section 7)."""
        super().__init__(f"the device answers: {CODES.get(code, f'exception {code}')}")
        self.code = code


@dataclass(slots=True)
class Bus:
    """Polls its devices in the order in which they are due."""

    address: Address
    line: Line
    clock: Clock
    take: Callable[[Device, Sequence[Reading]], None]
    devices: list[Device] = field(default_factory=list)
    state: str = "connecting"
    last_error: str = ""
    connects: int = 0
    echoes: bool | None = None  # whether the line gives back what is sent; None: not known
    held: asyncio.Event = field(default_factory=asyncio.Event)  # cleared while the queue is full
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _client: Any = None
    _backoff: Backoff = field(default_factory=lambda: Backoff(LOOK_AGAIN, MAX_RETRY_PAUSE))
    _unheard: bool = False  # the last question over TCP got no answer
    _quiet: dict[int, float] = field(default_factory=dict)  # unit -> monotonic, until when it is left alone

    @property
    def patience(self) -> float:
        """Seconds for an answer to somebody who polls nothing."""
        return max((device.timeout for device in self.devices), default=_PATIENCE)

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
                    async with self._asking:
                        self._close()  # for others to use
                wait = None if device is None else device.due - self.clock.monotonic()
                if wait is None or wait > 0:
                    await self._pause(wait)
                elif device is not None:
                    await self._turn(device)
        finally:
            self._close()

    def relined(self, line: Line) -> None:
        """Open with other settings from now on."""
        self._close()
        self.line = line

    async def write(
        self, unit: int, table: str, address: int, values: Sequence[int], single: bool = False
    ) -> None:
        """Write coils or holding registers; raises `Silence`. Unit 0 is all devices: none answers."""
        async with self._asking:
            await self._connect()
            client = self._client
            how = {"device_id": unit, "no_response_expected": unit == 0}
            bits = [bool(value) for value in values]
            calls: dict[tuple[str, bool], tuple[int, Callable[[], Any]]] = {
                ("coil", True): (5, lambda: client.write_coil(address, bits[0], **how)),
                ("coil", False): (15, lambda: client.write_coils(address, bits, **how)),
                ("holding", True): (6, lambda: client.write_register(address, values[0], **how)),
                ("holding", False): (16, lambda: client.write_registers(address, list(values), **how)),
            }
            function, call = calls[table, single]
            if single and unit:
                await self._learn(unit, table, address)
            await self._ask(unit, self.patience, call, function if unit else None)
            if not self.devices:
                self._close()

    async def _pause(self, seconds: float | None) -> None:
        self.changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self.changed.wait()
        except TimeoutError:
            return

    async def _turn(self, device: Device) -> None:
        """Ask one device everything, and set when it is asked again."""
        begun, rest = self.clock.monotonic(), LOOK_AGAIN
        away = False
        try:
            async with self._asking:
                await self._connect()
                found = await self._poll(device)
        except Silence as error:  # the line itself is away: nobody is asked
            away, self.state, self.last_error = True, "waiting", str(error)
            found = [one for question in device.questions for one in failures(question, str(error))]
            begun = self.clock.monotonic()  # finding that out may have taken long
            # Found again within a second of being plugged in; one that fails is tried ever less often.
            absent = error.__cause__ is not None and discovery.is_absent(error.__cause__)
            rest = LOOK_AGAIN if absent else self._backoff.pause(random.random())  # noqa: S311 - jitter
            for other in self.devices:
                other.due = max(other.due, begun + rest)
        device.polls += 1
        silent = all(reading.quality is Quality.FAILED for reading in found)
        device.failed = device.failed + 1 if silent else 0
        pause = device.every * 2 ** min(device.failed, 10) if device.failed > 1 else device.every
        if silent and self._unheard:
            self._close()  # a gateway that was restarted may never say that it knows nothing of us
        away = away or (self._client is None and not self.address.host)
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
            lost = self._client is None
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
        if device.proven or self._client is None:
            return ()
        first, *_ = singles(question)
        try:
            await self._read(device, first, tries=1)
        except Silence:
            return ()
        _log.warning("modbus %s, unit %d: it answers short questions only", self.address, device.unit)
        device.proven = device.short = True
        return singles(question)

    async def _read(self, device: Device, question: RegisterRequest, tries: int = TRIES) -> list[int]:
        tries = 1 if device.failed else tries
        function, _ = _READ[question.table]
        for left in range(tries - 1, -1, -1):
            try:
                call = partial(self._question, device, question)
                return _values(question, await self._ask(device.unit, device.timeout, call, function))
            except Silence as error:
                if not error.answered:
                    self._late(device.unit, device.timeout)
                if not left or error.answered or self._client is None:
                    raise
        raise AssertionError("unreachable")

    def _question(self, device: Device, question: RegisterRequest) -> Awaitable[Any]:
        reader = getattr(self._client, _READ[question.table][1])
        asked: Awaitable[Any] = reader(question.first, count=question.size, device_id=device.unit)
        return asked

    def _listen(self) -> None:
        """What the line taught its client about echoes outlives it."""
        if self.address.port:
            self.echoes = self._client.ctx.framer.echoes

    async def _learn(self, unit: int, table: str, address: int) -> None:
        """Find out whether the line echoes, before an echo could be taken for the answer to a write.

        Of functions 5 and 6 they are the same; a question shows it, answered or not.
        """
        if not self.address.port or self._client.ctx.framer.echoes is not None:
            return
        function, reader = _READ[table]
        ask = partial(getattr(self._client, reader), address, count=1, device_id=unit)
        with contextlib.suppress(Silence):
            await self._ask(unit, self.patience, ask, function)
        if self._client is None:
            raise Silence("the line was lost")

    def _late(self, unit: int, patience: float) -> None:
        """An answer may still come, and on a serial line nothing tells to which question it belongs."""
        if self.address.port:
            self._quiet[unit] = self.clock.monotonic() + patience

    async def _ask(
        self, unit: int, patience: float, call: Callable[[], Awaitable[Any]], function: int | None
    ) -> Any:
        """An answer to `function`; None: nobody will answer. Raises `Silence`."""
        wait = self._quiet.pop(unit, 0.0) - self.clock.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        if not self._client.connected:  # pymodbus would open it again, with its own settings
            self._close()
            raise Silence("the line was lost")
        self._client.ctx.comm_params.timeout_connect = patience  # it is that of answers, too
        from pymodbus import ModbusException  # loaded by `_make`

        try:
            answer = await call()
        except (ModbusException, TimeoutError) as error:
            if not self._client.connected:
                self._close()
                raise Silence("the line was lost") from error
            self._unheard = bool(self.address.host)
            self._late(unit, patience)
            raise Silence("no answer in time") from error
        except (OSError, serial.SerialException) as error:
            self._close()
            raise Silence(discovery.problem(error)) from error
        self._unheard = False
        if function is None:
            return answer
        if answer.isError():
            raise Refusal(getattr(answer, "exception_code", 0))
        if answer.function_code != function:
            self._late(unit, patience)
            raise Silence("no answer in time, but one to another question")
        return answer

    async def _connect(self) -> None:
        if self._client is not None and self._client.connected:
            return
        self._close()
        client = await (self._tcp() if self.address.host else self._rtu())
        if not await client.connect():
            client.close()
            raise await self._why()
        self._client = client
        self.connects += 1
        self.state, self.last_error = "running", ""
        self._backoff.reset()

    async def _tcp(self) -> Any:
        pymodbus = await asyncio.to_thread(_pymodbus)
        patience = max(self.patience, _PATIENCE)
        host, port = self.address.host, self.address.tcp_port
        return pymodbus.client.AsyncModbusTcpClient(
            host, port=port, timeout=patience, retries=0, reconnect_delay=0
        )

    async def _rtu(self) -> Any:
        """A client on the port, opened beside the event loop; raises `Silence`."""
        rtu = await asyncio.to_thread(import_module, "edgewhisk.transport.modbus.rtu")
        try:
            device = await apart("open serial port", discovery.connect, self.address.port, self.line)
        except (OSError, serial.SerialException, ValueError) as error:
            raise Silence(discovery.problem(error)) from error
        return rtu.client(device, max(self.patience, _PATIENCE), echoes=self.echoes)

    async def _why(self) -> Silence:
        """pymodbus does not say why it could not connect; the system does."""
        try:
            async with asyncio.timeout(2):
                _, writer = await asyncio.open_connection(self.address.host, self.address.tcp_port)
            writer.close()
        except (OSError, TimeoutError) as error:
            return Silence(discovery.problem(error) or "no answer in time")
        return Silence("it cannot be opened")

    def _close(self) -> None:
        if self._client is not None:
            self._listen()
            self._client.close()
        self._client, self._unheard = None, False


def _values(question: RegisterRequest, answer: Any) -> list[int]:
    """What was asked for; raises `Silence` where it is as much as another question wanted."""
    bits = question.table in BITS
    found = [int(bit) for bit in answer.bits] if bits else list(answer.registers)
    if len(found) != (-(-question.size // 8) * 8 if bits else question.size):
        raise Silence("no answer in time, but one to another question")
    return found


def _pymodbus() -> Any:
    """The library, loaded with the first bus: it takes 1 MB and 20 ms."""
    import pymodbus.client

    return pymodbus
