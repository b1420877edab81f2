"""Modbus RTU over pymodbus, on lines where more is heard than the answer. Loaded with the first line.

pymodbus takes the first frame that it finds for the answer, gives up where its checksum is wrong, and opens
the port on the event loop.
"""

from __future__ import annotations

import asyncio
from typing import Any

import serial
from pymodbus.client import AsyncModbusSerialClient
from pymodbus.exceptions import ModbusIOException
from pymodbus.framer import FramerType
from pymodbus.framer.rtu import FramerRTU
from pymodbus.transport.serialtransport import SerialTransport

from edgewhisk.device.modbus import rtu
from edgewhisk.transport.serial import discovery


class Listening(FramerRTU):
    """Finds the answer in whatever is around it."""

    asked = b""
    echoes: bool | None = None  # whether the line gives back what is sent; None: not known yet

    def buildFrame(self, message: Any) -> bytes:
        """See `FramerBase`."""
        self.asked = super().buildFrame(message)
        return self.asked

    def handleFrame(self, data: bytes, exp_devid: int, exp_tid: int) -> tuple[int, Any]:
        """See `FramerBase`."""
        del exp_devid, exp_tid
        answer, echoed = rtu.hear(data, self.asked, echoes=bool(self.echoes))
        if echoed:
            self.echoes = True
        if not answer:
            return 0, None
        if self.echoes is None and answer != self.asked:
            self.echoes = False
        pdu = self.decoder.decode(answer[1:-2])
        if pdu is None:
            raise ModbusIOException("no answer that can be read", dev_id=answer[0])
        pdu.dev_id, pdu.transaction_id = answer[0], 0
        return len(data), pdu


class Opened(SerialTransport):
    """A port that was opened elsewhere, as that may take long."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any, device: serial.Serial) -> None:
        """Serve `protocol` on `device`, which is closed with it."""
        asyncio.Transport.__init__(self)
        device.timeout = device.write_timeout = 0
        self.async_loop, self.intern_protocol, self.sync_serial = loop, protocol, device
        self.intern_write_buffer: list[bytes] = []
        self.poll_task = None

    def close(self, exc: Exception | None = None) -> None:
        """See `SerialTransport`."""
        if self.sync_serial:
            discovery.discard_output(self.sync_serial)
        super().close(exc)


def client(device: serial.Serial, patience: float, *, echoes: bool | None) -> Any:
    """A client on an open port; `patience`: seconds for an answer."""
    made = AsyncModbusSerialClient(
        str(device.port), framer=FramerType.RTU, timeout=patience, retries=0, reconnect_delay=0
    )
    framer = Listening(made.ctx.framer.decoder)
    framer.echoes = echoes
    made.ctx.framer, made.ctx.max_buffer_size = framer, rtu.MAX_ANSWER_BYTES

    async def create() -> tuple[Any, Any]:
        transport = Opened(made.ctx.loop, made.ctx.handle_new_connection(), device)
        made.ctx.loop.call_soon(transport.setup)
        return transport, transport.intern_protocol

    made.ctx.call_create = create
    return made
