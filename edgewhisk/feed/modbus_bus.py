"""One Modbus line or TCP gateway and the devices on it: the only door to pymodbus.

A line carries one question at a time. A device that does not answer costs the others its timeout
once, then it is asked ever less often until it answers again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import serial
from pymodbus import FramerType, ModbusException
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

from edgewhisk.device.profile import Line, Profile
from edgewhisk.device.registers import BITS, Request, failures, readings, requests
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.entity.reading import Quality, Reading
from edgewhisk.feed import ports
from edgewhisk.spi import Clock

logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # `describe` and the events tell
LOOK_AGAIN: Final = 1.0  # seconds between tries to open a line that is away
SLOWEST: Final = 60.0  # seconds between questions to a device that is dead, or its own pace if that is slower
TRIES: Final = 3  # of a question to a device that answered the last one
CODES: Final = {1: "illegal function", 2: "illegal data address", 3: "illegal data value",
                4: "device failure", 6: "device busy", 10: "gateway path unavailable",
                11: "gateway target did not respond"}  # fmt: skip
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
    questions: tuple[Request, ...] = ()
    due: float = 0.0  # monotonic
    failed: int = 0  # polls in a row that gave nothing
    polls: int = 0
    errors: int = 0
    last_error: str = ""

    def __post_init__(self) -> None:
        """The questions follow from the profile."""
        self.questions = requests(self.profile)


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
    _unsettled: tuple[int, float] = (-1, 0.0)  # unit whose answer may still come, until when

    async def run(self) -> None:
        """Poll until cancelled."""
        self.held.set()
        try:
            while True:
                await self.held.wait()
                device = min(self.devices, key=lambda device: device.due, default=None)
                wait = None if device is None else device.due - self.clock.monotonic()
                if wait is None or wait > 0:
                    await self._pause(wait)
                elif device is not None:
                    await self._turn(device)
        finally:
            self._close()

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
            await self._settle(unit)
            try:
                await self._ask(call, function if unit else None)
            except Silence as error:
                self._late(unit, self._patience(), error)
                raise

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
        try:
            async with self._asking:
                await self._connect()
                found = await self._poll(device)
        except Silence as error:  # the line itself is away: nobody is asked
            self.state, self.last_error = "waiting", str(error)
            found = [one for question in device.questions for one in failures(question, str(error))]
            for other in self.devices:
                other.due = max(other.due, begun + LOOK_AGAIN)
        device.polls += 1
        silent = all(reading.quality is Quality.FAILED for reading in found)
        device.failed = device.failed + 1 if silent else 0
        pause = device.every * 2 ** min(device.failed, 10) if device.failed > 1 else device.every
        if self._client is None:
            pause = LOOK_AGAIN  # found again within a second of being plugged in
        device.due = begun + min(pause, max(SLOWEST, device.every))
        # A line that is away is told once, not every second.
        if self._client is not None or device.failed == 1:
            self.take(device, found)

    async def _poll(self, device: Device) -> list[Reading]:
        found: list[Reading] = []
        reason = ""
        for question in device.questions:
            if reason and not any(one.quality is Quality.GOOD for one in found):
                found += failures(question, reason)  # it did not answer the first one
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
        function, reader = {
            "input": (4, self._client.read_input_registers),
            "holding": (3, self._client.read_holding_registers),
            "coil": (1, self._client.read_coils),
            "discrete": (2, self._client.read_discrete_inputs),
        }[question.table]
        await self._settle(device.unit)
        tries = 1 if device.failed else TRIES
        for left in range(tries - 1, -1, -1):
            try:
                answer = await self._ask(
                    lambda: reader(question.first, count=question.size, device_id=device.unit), function
                )
                return _values(question, answer)
            except Silence as error:
                self._late(device.unit, device.timeout, error)
                if not left or error.answered:
                    raise
        raise AssertionError("unreachable")

    def _late(self, unit: int, patience: float, error: Silence) -> None:
        """An answer may still come, and on a serial line nothing tells to which question it belongs."""
        if self.address.port and not error.answered:
            self._unsettled = (unit, self.clock.monotonic() + patience)

    async def _settle(self, unit: int) -> None:
        """Let an answer that is late go by before the same device is asked something else."""
        whose, until = self._unsettled
        if whose == unit and (left := until - self.clock.monotonic()) > 0:
            await asyncio.sleep(left)

    def _patience(self) -> float:
        return max((device.timeout for device in self.devices), default=1.0)

    async def _ask(self, call: Callable[[], Any], function: int | None) -> Any:
        """An answer to `function`; None: nobody will answer. Raises `Silence`."""
        try:
            answer = await call()
        except (ModbusException, TimeoutError) as error:
            if not self._client.connected:
                self._close()
                raise Silence("the line was lost") from error
            raise Silence("no answer in time") from error
        except (OSError, serial.SerialException) as error:
            self._close()
            raise Silence(ports.problem(error)) from error
        if function is None:
            return answer
        if answer.isError():
            code = getattr(answer, "exception_code", 0)
            raise Refusal(f"the device answers: {CODES.get(code, f'exception {code}')}")
        if answer.function_code != function:
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
        self._client = client
        self.connects += 1
        self.state, self.last_error = "running", ""

    async def _make(self) -> Any:
        patience = self._patience()
        if self.address.host:
            return AsyncModbusTcpClient(
                self.address.host, port=self.address.tcp_port, timeout=patience, retries=0, reconnect_delay=0
            )
        try:
            path = await asyncio.to_thread(ports.locate, self.address.port)
        except OSError as error:
            raise Silence(ports.problem(error)) from error
        return AsyncModbusSerialClient(
            path,
            framer=FramerType.RTU,
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
                device = await asyncio.to_thread(ports.connect, self.address.port, self.line)
                device.close()
        except (OSError, serial.SerialException, TimeoutError) as error:
            return ports.problem(error) or "no answer in time"
        return "it cannot be opened"

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None


def _values(question: Request, answer: Any) -> list[int]:
    """What was asked for; raises `Silence` where it is as much as another question wanted."""
    bits = question.table in BITS
    found = [int(bit) for bit in answer.bits] if bits else list(answer.registers)
    if len(found) != (-(-question.size // 8) * 8 if bits else question.size):
        raise Silence("no answer in time, but one to another question")
    return found
