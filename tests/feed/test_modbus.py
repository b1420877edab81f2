"""The Modbus feed against real slaves: pymodbus servers on ptys and TCP, frames damaged on the way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import struct
import tty
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edgewhisk.clock import SystemClock
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import CapabilityError, FeedError
from edgewhisk.feed.modbus import ModbusFeed
from edgewhisk.settings import Serial
from tests.fakes.fire import RecordingFire
from tests.path.gateway import free_port

FIRST, SECOND, DEAD = (parse_name(f"/guest/{name}", "_") for name in ("first", "second", "dead"))

NOBODY = 9  # no device has this address


def meters(*units: int) -> list[Any]:
    """SDM120 meters whose voltage is 200 and their address."""
    found = []
    for unit in units:
        registers = [0] * 100
        registers[0:2] = struct.unpack(">HH", struct.pack(">f", 200.0 + unit))
        registers[70:72] = struct.unpack(">HH", struct.pack(">f", 50.0))
        found.append(SimDevice(unit, simdata=[SimData(0, values=registers, datatype=DataType.REGISTERS)]))
    return found


@contextlib.asynccontextmanager
async def line(damage: float = 0.0) -> AsyncIterator[tuple[str, str]]:
    """Two ends of a serial line; a part of the chunks is damaged or lost."""
    ends = [os.openpty() for _ in range(2)]
    loop = asyncio.get_running_loop()
    noise = random.Random(3)
    for master, slave in ends:
        tty.setraw(slave)
        os.set_blocking(master, False)

    def carry(source: int, target: int) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            data = bytearray(os.read(source, 4096))
            if data[0] == NOBODY:  # pymodbus answers for every unit; a real line is silent
                return
            if noise.random() < damage:
                if noise.random() < 0.5:
                    return
                data[noise.randrange(len(data))] ^= 0x10
            os.write(target, data)

    (one, _), (other, _) = ends
    loop.add_reader(one, carry, one, other)
    loop.add_reader(other, carry, other, one)
    try:
        yield os.ttyname(ends[0][1]), os.ttyname(ends[1][1])
    finally:
        loop.remove_reader(one)
        loop.remove_reader(other)
        for pair in ends:
            for end in pair:
                os.close(end)


@contextlib.asynccontextmanager
async def served(server: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(server.serve_forever())
    try:
        yield
    finally:
        await server.shutdown()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def feed(fire: RecordingFire, **sections: Serial) -> AsyncIterator[ModbusFeed]:
    made = ModbusFeed(sections, fire, SystemClock())
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def ask(made: ModbusFeed, trigger: Any, **parameters: Any) -> None:
    checked = made.check("modbus/reading", {"profile": "eastron/sdm120", **parameters})
    await made.add(trigger, "modbus/reading", checked)


def of(fire: RecordingFire, trigger: Any) -> list[dict[str, Any]]:
    return [orjson.loads(event.payload) for event in fire.events if event.trigger == trigger]


def test_several_slaves_on_a_bad_line_and_a_dead_one_that_does_not_slow_them() -> None:
    async def play() -> None:
        fire = RecordingFire()
        async with line(damage=0.1) as (mine, theirs):
            server = ModbusSerialServer(meters(1, 2), framer=FramerType.RTU, port=theirs, baudrate=115200)
            async with served(server), feed(fire, bus=Serial(mine, baudrate=115200)) as made:
                await ask(made, FIRST, port="bus", unit=1, every=0.05, timeout=0.2)
                await ask(made, SECOND, port="bus", unit=2, every=0.05, timeout=0.2)
                await ask(made, DEAD, port="bus", unit=NOBODY, every=0.05, timeout=0.2)
                await fire.wait_for(lambda _: len(of(fire, FIRST)) > 25 and len(of(fire, SECOND)) > 25, 60)
                good = [event for event in of(fire, FIRST) if "errors" not in event]
                assert {event["voltage"] for event in good} == {201.0}
                assert {event["voltage"] for event in of(fire, SECOND) if event["voltage"]} == {202.0}
                assert len(good) > 15
                # Asked ever less often: it costs its timeout of 0.2 s each time.
                assert len(of(fire, DEAD)) <= 8
                dead = of(fire, DEAD)[0]
                assert dead["voltage"] is None
                assert dead["errors"]["voltage"] == "no answer in time"
                assert made.describe(DEAD)["state"] == "silent"
                assert made.describe(FIRST)["state"] == "running"

    asyncio.run(play())


def test_tcp_comes_and_goes_and_is_written_to() -> None:
    async def play() -> None:
        fire, port = RecordingFire(), free_port()
        async with feed(fire) as made:
            await ask(made, FIRST, host=f"127.0.0.1:{port}", every=0.05)
            await fire.count(1)
            assert "refused" in of(fire, FIRST)[0]["errors"]["voltage"].lower()
            for _ in range(2):
                server = ModbusTcpServer(meters(1), address=("127.0.0.1", port))
                async with served(server):
                    fire.calls.clear()
                    await fire.wait_for(
                        lambda _: bool(of(fire, FIRST)) and of(fire, FIRST)[-1]["voltage"] == 201.0
                    )
                    where = {"host": f"127.0.0.1:{port}"}
                    await made.write(
                        where, 1, "holding", 0, list(struct.unpack(">HH", struct.pack(">f", 5.5)))
                    )
                    await fire.wait_for(lambda _: of(fire, FIRST)[-1]["voltage"] == 5.5)
                    with pytest.raises(CapabilityError, match="illegal data address"):
                        await made.write(where, 1, "holding", 5000, [1])
                fire.calls.clear()
                await fire.wait_for(lambda _: any("errors" in event for event in of(fire, FIRST)))

    asyncio.run(play())


def test_a_line_that_is_plugged_in_later_is_found(tmp_path: Path) -> None:
    async def play() -> None:
        fire, name = RecordingFire(), tmp_path / "ttyUSB7"
        async with line() as (mine, theirs), feed(fire, bus=Serial(str(name), baudrate=115200)) as made:
            server = ModbusSerialServer(meters(1), framer=FramerType.RTU, port=theirs, baudrate=115200)
            async with served(server):
                await ask(made, FIRST, port="bus", every=60)
                await fire.count(1)
                assert "No such file" in of(fire, FIRST)[0]["errors"]["voltage"]
                name.symlink_to(mine)
                async with asyncio.timeout(2.5):
                    await fire.wait_for(lambda _: of(fire, FIRST)[-1]["voltage"] == 201.0)

    asyncio.run(play())


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "profile must name the device"),
        ({"profile": "nova/sds011", "port": "/dev/x"}, "use the serial feed"),
        ({"profile": "eastron/sdm120"}, "either port"),
        ({"profile": "eastron/sdm120", "port": "/dev/x", "host": "h"}, "either port"),
        ({"profile": "eastron/sdm120", "port": "/etc/x"}, "below /dev"),
        ({"profile": "eastron/sdm120", "port": "usb:1:2"}, "write usb:VENDOR"),
        ({"profile": "eastron/sdm120", "port": 5}, "port must be text"),
        ({"profile": "eastron/sdm120", "host": "h:x"}, "host must be HOST"),
        ({"profile": "eastron/sdm120", "host": "h", "unit": 300}, "unit must be"),
        ({"profile": "eastron/sdm120", "host": "h", "every": 0}, "every must be"),
        ({"profile": "eastron/sdm120", "host": "h", "timeout": "x"}, "timeout must be"),
        ({"profile": "eastron/sdm120", "host": "h", "evry": 1}, "unknown parameter 'evry'"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, Any], text: str) -> None:
    made = ModbusFeed({}, RecordingFire(), SystemClock())
    with pytest.raises(FeedError, match=text):
        made.check("modbus/reading", parameters)
