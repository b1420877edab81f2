"""One Modbus line or TCP gateway, for all who read and write on it: the only door to pymodbus, with `rtu`.

It carries one question at a time. An RTU answer does not say which question it answers. A device whose
answer did not come in time is left alone for as long again, so that a late one is not taken for the answer to
the next question.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, NamedTuple

import serial

from edgewhisk.device.modbus.registers import BITS, RegisterRequest
from edgewhisk.device.profile import Line
from edgewhisk.spi import Clock
from edgewhisk.transport.serial import discovery
from edgewhisk.transport.serial.opener import Opener

logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # who asked is told
_PATIENCE: Final = 1.0  # seconds
CODES: Final = {1: "illegal function", 2: "illegal data address", 3: "illegal data value",
                4: "device failure", 6: "device busy", 10: "gateway path unavailable",
                11: "gateway target did not respond"}  # fmt: skip
_READ: Final = {"input": (4, "read_input_registers"), "holding": (3, "read_holding_registers"),
                "coil": (1, "read_coils"), "discrete": (2, "read_discrete_inputs")}  # fmt: skip


class Address(NamedTuple):
    """Where a bus is: a serial port or a host."""

    port: str = ""  # path or usb:...
    host: str = ""
    tcp_port: int = 0

    def __str__(self) -> str:
        """For events and messages."""
        return self.port or f"{self.host}:{self.tcp_port}"


class Silence(Exception):
    """A question without a usable answer; the text says why."""

    answered = False

    @property
    def is_absent(self) -> bool:
        """Whether there is no such port now."""
        return self.__cause__ is not None and discovery.is_absent(self.__cause__)


class Refusal(Silence):
    """The device answered that it will not."""

    answered = True

    def __init__(self, code: int) -> None:
        """`code`: of the exception (Modbus application protocol V1.1b3, section 7)."""
        super().__init__(f"the device answers: {CODES.get(code, f'exception {code}')}")
        self.code = code


@dataclass(slots=True)
class Bus:
    """Opened when somebody asks, and closed behind him unless it is polled."""

    address: Address
    line: Line
    clock: Clock
    polled: float | None = None  # seconds for an answer to those who poll it; None: nobody does
    state: str = "connecting"
    last_error: str = ""
    connects: int = 0
    echoes: bool | None = None  # whether the line gives back what is sent; None: not known
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _client: Any = None
    _opener: Opener = field(default_factory=Opener)
    _unheard: bool = False  # the last question over TCP got no answer
    _quiet: dict[int, float] = field(default_factory=dict)  # unit -> monotonic, until when it is left alone

    @property
    def is_open(self) -> bool:
        """Whether it was not lost."""
        return self._client is not None

    def relined(self, line: Line) -> None:
        """Open with other settings from now on."""
        self.close()
        self.line, self._opener = line, Opener()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The line for oneself, open; raises `Silence` if it cannot be opened."""
        async with self._asking:
            await self._connect()
            yield

    async def read(self, unit: int, asked: RegisterRequest, patience: float) -> list[int]:
        """What the registers hold, in one's `turn`; raises `Silence` after `patience` seconds."""
        function, reader = _READ[asked.table]

        def call() -> Awaitable[Any]:
            answer: Awaitable[Any] = getattr(self._client, reader)(
                asked.first, count=asked.size, device_id=unit
            )
            return answer

        try:
            return _values(asked, await self._ask(unit, patience, call, function))
        except Silence as error:
            if not error.answered:
                self._late(unit, patience)
            raise

    async def write(
        self, unit: int, table: str, address: int, values: Sequence[int], single: bool = False
    ) -> None:
        """Write coils or holding registers; raises `Silence`. Unit 0 is all devices: none answers."""
        async with self.turn():
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
            patience = _PATIENCE if self.polled is None else self.polled
            try:
                if single and unit:
                    await self._learn(RegisterRequest(table, address, 1, ()), unit, patience)
                await self._ask(unit, patience, call, function if unit else None)
            finally:
                if self.polled is None:
                    self.close()

    async def give_back(self) -> None:
        """Close it, for others to use, when nobody asks."""
        async with self._asking:
            self.close()

    def close_unheard(self) -> None:
        """Close a connection whose last question got no answer.

        A gateway that was restarted may never say that it knows nothing of us.
        """
        if self._unheard:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            if self.address.port:  # what the line taught its client about echoes outlives it
                self.echoes = self._client.ctx.framer.echoes
            self._client.close()
        self._client, self._unheard = None, False

    async def _learn(self, asked: RegisterRequest, unit: int, patience: float) -> None:
        """Find out whether the line echoes, before an echo could be taken for the answer to a write.

        Of functions 5 and 6 they are the same; a question shows it, answered or not.
        """
        if not self.address.port or self._client.ctx.framer.echoes is not None:
            return
        with contextlib.suppress(Silence):
            await self.read(unit, asked, patience)
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
            self.close()
            raise Silence("the line was lost")
        self._client.ctx.comm_params.timeout_connect = patience  # it is that of answers, too
        from pymodbus import ModbusException  # loaded by `_make`

        try:
            answer = await call()
        except (ModbusException, TimeoutError) as error:
            if not self._client.connected:
                self.close()
                raise Silence("the line was lost") from error
            self._unheard = bool(self.address.host)
            self._late(unit, patience)
            raise Silence("no answer in time") from error
        except (OSError, serial.SerialException) as error:
            self.close()
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
        self.close()
        try:
            client = await (self._tcp() if self.address.host else self._rtu())
            if not await client.connect():
                client.close()
                raise await self._why()
        except Silence as error:
            self.state, self.last_error = "waiting", str(error)
            raise
        self._client = client
        self.connects += 1
        self.state, self.last_error = "running", ""

    @property
    def _patience(self) -> float:
        return max(self.polled or 0.0, _PATIENCE)

    async def _tcp(self) -> Any:
        pymodbus = await asyncio.to_thread(_pymodbus)
        host, port = self.address.host, self.address.tcp_port
        return pymodbus.client.AsyncModbusTcpClient(
            host, port=port, timeout=self._patience, retries=0, reconnect_delay=0
        )

    async def _rtu(self) -> Any:
        """A client on the port, opened beside the event loop; raises `Silence`."""
        rtu = await asyncio.to_thread(import_module, "edgewhisk.transport.modbus.rtu")
        try:
            device = await self._opener.open(self.address.port, self.line)
        except (OSError, serial.SerialException, ValueError) as error:
            raise Silence(discovery.problem(error)) from error
        return rtu.client(device, self._patience, echoes=self.echoes)

    async def _why(self) -> Silence:
        """pymodbus does not say why it could not connect; the system does."""
        try:
            async with asyncio.timeout(2):
                _, writer = await asyncio.open_connection(self.address.host, self.address.tcp_port)
            writer.close()
        except (OSError, TimeoutError) as error:
            return Silence(discovery.problem(error) or "no answer in time")
        return Silence("it cannot be opened")


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
