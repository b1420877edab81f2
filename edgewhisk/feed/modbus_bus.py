"""One Modbus line or TCP gateway and the devices on it: the only door to pymodbus.

A line carries one question at a time. A device that does not answer costs the others its timeout
once, then it is asked ever less often until it answers again.

An RTU answer does not say which question it answers. A device whose answer did not come in time is left
alone for as long again, so that a late one is not taken for the answer to the next question.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, NamedTuple

import serial

from edgewhisk.device.profile import Line, Profile
from edgewhisk.device.registers import BITS, Request, failures, readings, requests
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.entity.reading import Quality, Reading
from edgewhisk.feed import ports
from edgewhisk.spi import Clock
from edgewhisk.threads import apart

logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # `describe` and the events tell
_PATIENCE: Final = 1.0  # seconds
LOOK_AGAIN: Final = 1.0  # seconds between tries to open a line that is away
SLOWEST: Final = 60.0  # seconds between questions to a device that is dead, or its own pace if that is slower
TRIES: Final = 3  # of a question to a device that answered the last one
CODES: Final = {1: "illegal function", 2: "illegal data address", 3: "illegal data value",
                4: "device failure", 6: "device busy", 10: "gateway path unavailable",
                11: "gateway target did not respond"}  # fmt: skip
_READ: Final = {"input": (4, "read_input_registers"), "holding": (3, "read_holding_registers"),
                "coil": (1, "read_coils"), "discrete": (2, "read_discrete_inputs")}  # fmt: skip
_PARITIES: Final = {"none": "N", "even": "E", "odd": "O", "mark": "M", "space": "S"}


class Silence(Exception):
    """A question without a usable answer; the text says why."""

    answered = False


class Refusal(Silence):
    """The device answered that it will not."""

    answered = True


class Address(NamedTuple):
    """Where a bus is: a serial port or a host."""

    port: str = ""  # path or usb:...
    host: str = ""
    tcp_port: int = 0

    def __str__(self) -> str:
        """For events and messages."""
        return self.port or f"{self.host}:{self.tcp_port}"


@dataclass(slots=True)
class Device:
    """One device that is polled for one trigger."""

    trigger: FullyQualifiedName
    unit: int
    profile: Profile
    every: float  # seconds
    timeout: float  # seconds for an answer
    wanted: tuple[str, ...] = ()  # points; none: all
    questions: tuple[Request, ...] = field(init=False)
    due: float = 0.0  # monotonic
    failed: int = 0  # polls in a row that gave nothing
    polls: int = 0
    errors: int = 0
    last_error: str = ""

    def __post_init__(self) -> None:
        """The questions follow from the profile."""
        points = tuple(one for one in self.profile.points if not self.wanted or one.name in self.wanted)
        self.questions = requests(replace(self.profile, points=points))


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
    held: asyncio.Event = field(default_factory=asyncio.Event)  # cleared while the queue is full
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _client: Any = None
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
        begun = self.clock.monotonic()
        away = False
        try:
            async with self._asking:
                await self._connect()
                found = await self._poll(device)
        except Silence as error:  # the line itself is away: nobody is asked
            away, self.state, self.last_error = True, "waiting", str(error)
            found = [one for question in device.questions for one in failures(question, str(error))]
            for other in self.devices:
                other.due = max(other.due, begun + LOOK_AGAIN)
        device.polls += 1
        silent = all(reading.quality is Quality.FAILED for reading in found)
        device.failed = device.failed + 1 if silent else 0
        pause = device.every * 2 ** min(device.failed, 10) if device.failed > 1 else device.every
        if silent and self._unheard:
            self._close()  # a gateway that was restarted may never say that it knows nothing of us
        away = away or (self._client is None and not self.address.host)
        if away:
            pause = LOOK_AGAIN  # found again within a second of being plugged in
        device.due = begun + min(pause, max(SLOWEST, device.every))
        # A line that is away is told once, not every second.
        if not away or device.failed == 1:
            self.take(device, found)

    async def _poll(self, device: Device) -> list[Reading]:
        found: list[Reading] = []
        reason = ""
        for question in device.questions:
            lost = self._client is None
            if lost or (reason and not any(one.quality is Quality.GOOD for one in found)):
                found += failures(question, reason)  # nor did it answer the first one
                continue
            try:
                found += readings(question, await self._read(device, question))
            except Silence as error:
                reason = device.last_error = str(error)
                device.errors += 1
                found += failures(question, reason)
        if not reason:
            device.last_error = ""
        return found

    async def _read(self, device: Device, question: Request) -> list[int]:
        tries = 1 if device.failed else TRIES
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

    def _question(self, device: Device, question: Request) -> Awaitable[Any]:
        reader = getattr(self._client, _READ[question.table][1])
        asked: Awaitable[Any] = reader(question.first, count=question.size, device_id=device.unit)
        return asked

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
            raise Silence(ports.problem(error)) from error
        self._unheard = False
        if function is None:
            return answer
        if answer.isError():
            code = getattr(answer, "exception_code", 0)
            raise Refusal(f"the device answers: {CODES.get(code, f'exception {code}')}")
        if answer.function_code != function:
            self._late(unit, patience)
            raise Silence("no answer in time, but one to another question")
        return answer

    async def _connect(self) -> None:
        if self._client is not None and self._client.connected:
            return
        self._close()
        client = await self._make()
        if not await client.connect():
            client.close()
            raise Silence(await self._why())
        if self.address.port:
            try:
                ports.settle(client.ctx.transport.sync_serial, self.line)
            except OSError as error:
                client.close()
                raise Silence(ports.problem(error)) from error
        self._client = client
        self.connects += 1
        self.state, self.last_error = "running", ""

    async def _make(self) -> Any:
        patience = max(self.patience, _PATIENCE)
        pymodbus = await asyncio.to_thread(_pymodbus)
        if self.address.host:
            return pymodbus.client.AsyncModbusTcpClient(
                self.address.host, port=self.address.tcp_port, timeout=patience, retries=0, reconnect_delay=0
            )
        try:
            path = await apart("find serial port", ports.locate, self.address.port)
        except OSError as error:
            raise Silence(ports.problem(error)) from error
        return pymodbus.client.AsyncModbusSerialClient(
            path,
            framer=pymodbus.FramerType.RTU,
            baudrate=self.line.baudrate,
            bytesize=self.line.bytesize,
            parity=_PARITIES[self.line.parity],
            stopbits=int(self.line.stopbits),
            timeout=patience,
            retries=0,
            reconnect_delay=0,
        )

    async def _why(self) -> str:
        """pymodbus does not say why it could not connect; the system does."""
        try:
            if self.address.host:
                async with asyncio.timeout(2):
                    _, writer = await asyncio.open_connection(self.address.host, self.address.tcp_port)
                writer.close()
            else:
                device = await apart("open serial port", ports.connect, self.address.port, self.line)
                device.close()
        except (OSError, serial.SerialException, TimeoutError) as error:
            return ports.problem(error) or "no answer in time"
        return "it cannot be opened"

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client, self._unheard = None, False


def _values(question: Request, answer: Any) -> list[int]:
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
