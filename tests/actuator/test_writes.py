"""From the parameters of an action to the device: a Modbus slave, a serial line, each a real one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import struct
import threading
import tty
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer

from edgewhisk.actuator.outbox import Outbox
from edgewhisk.actuator.target import read
from edgewhisk.actuator.targets.modbus import ModbusTarget
from edgewhisk.actuator.targets.mqtt import MqttTarget
from edgewhisk.actuator.targets.serial import SerialTarget
from edgewhisk.clock.history import ClockHistory
from edgewhisk.clock.system import SystemClock
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import CapabilityError, EdgeWhiskError
from edgewhisk.feed.serial.feed import SerialFeed
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.transport.modbus.buses import ModbusBuses
from edgewhisk.transport.mqtt.brokers import MqttBrokers
from edgewhisk.transport.mqtt.connection import MqttLink
from edgewhisk.transport.serial.ports import SerialPorts
from tests.fakes.fire import RecordingFire
from tests.feed.modbus.test_feed import meters, served
from tests.path.gateway import free_port

TRIGGER = parse_name("/guest/t", "_")


@contextlib.asynccontextmanager
async def slave(server: ModbusTcpServer, port: int) -> AsyncIterator[None]:
    """It answers inside the block."""
    async with served(server), asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            await asyncio.sleep(0.01)
        yield


class Gateway:
    """The actuator actions over real feeds."""

    def __init__(self, folder: Path) -> None:
        self.fire, clock = RecordingFire(), SystemClock()
        self.ports, self.buses = SerialPorts({}, clock), ModbusBuses({}, clock)
        self.serial = SerialFeed(self.ports, self.fire, clock)
        self.shelf = LogDocumentStore.open(folder)
        links = {"": MqttLink("127.0.0.1", 1, "x")}
        targets = (MqttTarget(MqttBrokers(links, clock)), SerialTarget(self.ports), ModbusTarget(self.buses))
        self.outbox = Outbox(self.shelf, clock, targets, ClockHistory({}).moment)

    async def act(self, package: str, **parameters: Any) -> Any:
        (result,) = await self.outbox.send([read(self.outbox.targets[package], parameters)])
        return result


@contextlib.asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[Gateway]:
    made = Gateway(folder)
    runs = [asyncio.create_task(run()) for run in (made.ports.run, made.outbox.run)]
    try:
        yield made
    finally:
        for task in runs:
            task.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
        await made.shelf.close()


def test_registers_and_coils_are_written_as_the_device_wants_them(tmp_path: Path) -> None:
    async def play() -> None:
        port, asked = free_port(), list[ModbusPDU]()

        def seen(sending: bool, pdu: ModbusPDU) -> ModbusPDU:
            if not sending:
                asked.append(pdu)
            return pdu

        where = {"host": f"127.0.0.1:{port}", "register": 4}
        server = ModbusTcpServer(meters(1), address=("127.0.0.1", port), trace_pdu=seen)
        async with slave(server, port), gateway(tmp_path) as made:
            for more, function, words in (
                ({"value": 7}, 6, [7]),
                ({"values": [7]}, 16, [7]),  # a device that knows only the functions for several
                ({"value": -2, "type": "i16"}, 6, [0xFFFE]),
                ({"value": 230.5, "type": "f32"}, 16, list(struct.unpack(">HH", struct.pack(">f", 230.5)))),
                ({"value": 100_000, "type": "u32", "swapped": True}, 16, [0x86A0, 1]),
                ({"values": [1, 2.0]}, 16, [1, 2]),
            ):
                assert await made.act("modbus", **where, **more) == {"delivered": True}
                assert (asked[-1].function_code, asked[-1].registers[: len(words)]) == (function, words)
            refused = await made.act("modbus", host=where["host"], register=5000, value=1)
            assert "the device answers: illegal data address" in str(refused)
            assert made.outbox.rows() == []  # it never will be: not kept
            for table, value in (("coil", True), ("register", 1)):
                assert await made.act("modbus", host=where["host"], unit=0, value=value, **{table: 1}) == {
                    "delivered": True
                }

    asyncio.run(play())


def test_a_unit_that_is_dead_does_not_hold_up_another_on_its_line(tmp_path: Path) -> None:
    async def play() -> None:
        port = free_port()
        where = {"host": f"127.0.0.1:{port}", "register": 0}

        def silent(sending: bool, pdu: ModbusPDU) -> ModbusPDU:
            if sending and pdu.dev_id == 2:
                pdu.dev_id = 3  # not the answer that was waited for
            return pdu

        server = ModbusTcpServer(meters(1, 2), address=("127.0.0.1", port), trace_pdu=silent)
        async with slave(server, port), gateway(tmp_path) as made:
            assert (await made.act("modbus", **where, unit=2, value=1))["delivered"] is False
            assert await made.act("modbus", **where, unit=1, value=1) == {"delivered": True}
            assert [one["target"] for one in made.outbox.rows()] == [f"modbus:127.0.0.1:{port} 2"]

    asyncio.run(play())


@pytest.mark.parametrize("size", [4, 60_000])
def test_a_relay_is_told_and_its_answer_is_read_on_the_same_port(tmp_path: Path, size: int) -> None:
    """Also where the line takes what is written only bit by bit."""
    master, slave = os.openpty()
    tty.setraw(slave)
    told, ended = bytearray(), threading.Event()

    def relay() -> None:
        with contextlib.suppress(OSError):
            while len(told) < size:
                told.extend(os.read(master, 512))
            os.write(master, b'{"temperature": 1, "humidity": %d}\n' % len(told))
        ended.set()

    thread = threading.Thread(target=relay)
    thread.start()

    async def play() -> None:
        port = os.ttyname(slave)
        async with gateway(tmp_path) as made:
            checked = made.serial.check("serial/reading", {"port": port, "profile": "arduino/dht"})
            await made.serial.add(TRIGGER, "serial/reading", checked)
            assert await made.act("serial", port=port, data="x" * size) == {"delivered": True}
            await made.fire.count(1)
            assert orjson.loads(made.fire.events[0].payload)["humidity"] == size

    try:
        asyncio.run(play())
    finally:
        os.close(slave)
        thread.join(10)
        os.close(master)
    assert bytes(told) == b"x" * size


def test_a_port_that_is_away_is_written_to_when_it_comes(tmp_path: Path) -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    port = Path("/dev/shm") / f"edgewhisk-{os.getpid()}"

    async def play() -> None:
        async with gateway(tmp_path) as made:
            kept = await made.act("serial", port=str(port), profile="lctech/relay-1", command="on")
            assert "No such file" in kept["reason"]
            assert made.outbox.rows()[0]["told"] == f"write on to {port}"
            port.symlink_to(os.ttyname(slave))
            made.outbox.wake(f"serial:{port}")
            async with asyncio.timeout(20):
                while len(made.outbox):  # noqa: ASYNC110 - a task of the outbox's own
                    await asyncio.sleep(0.01)
            assert os.read(master, 100) == b"\xa0\x01\x01\xa2"

    try:
        asyncio.run(play())
    finally:
        port.unlink(missing_ok=True)
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize(
    ("package", "first", "second", "told"),
    [
        ("serial", {"command": "on"}, {"command": "explode"}, "no command 'explode'; known: on, off"),
        ("serial", {"command": "on"}, {"command": "on", "profile": "no/thing"}, "there is no profile"),
        ("serial", {"command": "on"}, {"data": "x", "profile": "no/thing"}, "there is no profile"),
        ("serial", {"command": "on"}, {"command": "on", "port": "nowhere"}, "below /dev"),
        ("serial", {"command": "on"}, {"data": "x", "port": "/etc/passwd"}, "below /dev"),
        ("modbus", {"value": 1}, {"value": 1, "port": "nowhere"}, "below /dev"),
        ("modbus", {"value": 1}, {"value": 1, "port": "usb:1"}, "write usb:VENDOR"),
        ("mqtt", {"payload": "x"}, {"payload": "x", "broker": "other"}, r"there is no \[brokers.other\]"),
    ],
)
def test_what_can_never_be_done_is_refused_at_once_also_while_others_wait(
    package: str, first: dict[str, Any], second: dict[str, Any], told: str, tmp_path: Path
) -> None:
    port = f"/dev/shm/edgewhisk-absent-{os.getpid()}"
    usual: dict[str, dict[str, Any]] = {
        "serial": {"port": port, "profile": "lctech/relay-1"},
        "modbus": {"port": port, "register": 0},
        "mqtt": {"topic": "t"},
    }

    async def play() -> None:
        async with gateway(tmp_path) as made:
            assert (await made.act(package, **{**usual[package], **first}))["delivered"] is False
            refused = await made.act(package, **{**usual[package], **second})
            assert isinstance(refused, EdgeWhiskError)
            assert re.search(told, str(refused))
            assert len(made.outbox.rows()) == 1

    asyncio.run(play())


def test_what_a_line_took_only_in_part_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgewhisk.transport.serial.port.WRITE_TIMEOUT", 0.2)
    master, slave = os.openpty()
    tty.setraw(slave)

    async def play() -> None:
        async with gateway(tmp_path) as made:
            begun = await made.act("serial", port=os.ttyname(slave), data="x" * 60_000)
            assert isinstance(begun, CapabilityError)
            assert "of 60000 bytes within 0.2 s" in str(begun)
            assert made.outbox.rows() == []  # its beginning went out: not again

    asyncio.run(play())
    os.close(master)
    os.close(slave)
