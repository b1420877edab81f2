"""The Modbus feed against real slaves: pymodbus servers on ptys and TCP, frames damaged on the way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import struct
import tty
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import SerialConfig
from edgewhisk.device.profile import Line
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import CapabilityError, FeedError, Undelivered
from edgewhisk.feed.modbus.feed import ModbusFeed
from edgewhisk.transport.modbus.buses import ModbusBuses
from edgewhisk.transport.serial import discovery
from tests.fakes.fire import RecordingFire
from tests.feed.running import running
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
async def line(damage: float = 0.0, delay: float = 0.0) -> AsyncIterator[tuple[str, str]]:
    """Two ends of a serial line; a part of the chunks is damaged or lost; answers come after a delay."""
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
            if source == other and delay:
                loop.call_later(delay * noise.uniform(0.3, 1.7), arrive, target, bytes(data))
            else:
                os.write(target, data)

    def arrive(target: int, data: bytes) -> None:
        with contextlib.suppress(OSError):
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
    while not server.transport:  # noqa: ASYNC110 - it does not tell
        await asyncio.sleep(0.001)
    try:
        yield
    finally:
        await server.shutdown()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.asynccontextmanager
async def feed(
    fire: RecordingFire, buses: ModbusBuses | None = None, **sections: SerialConfig
) -> AsyncIterator[ModbusFeed]:
    made = ModbusFeed(buses or ModbusBuses(sections, SystemClock()), fire, SystemClock())
    async with running(made):
        yield made


async def ask(made: ModbusFeed, trigger: Any, **parameters: Any) -> None:
    checked = made.check("modbus/reading", {"profile": "eastron/sdm120", **parameters})
    await made.add(trigger, "modbus/reading", checked)


def of(fire: RecordingFire, trigger: Any) -> list[dict[str, Any]]:
    return [orjson.loads(event.payload) for event in fire.events if event.trigger == trigger]


def heard(fire: RecordingFire, trigger: Any) -> Any:
    """The last voltage; None if there was none."""
    return (of(fire, trigger) or [{"voltage": None}])[-1]["voltage"]


def test_several_slaves_on_a_bad_line_and_a_dead_one_that_does_not_slow_them() -> None:
    async def play() -> None:
        fire = RecordingFire()
        async with line(damage=0.1) as (mine, theirs):
            server = ModbusSerialServer(meters(1, 2), framer=FramerType.RTU, port=theirs, baudrate=115200)
            async with served(server), feed(fire, bus=SerialConfig(mine, baudrate=115200)) as made:
                await ask(made, FIRST, port="bus", unit=1, every=0.05, timeout=0.2)
                await ask(made, SECOND, port="bus", unit=2, every=0.05, timeout=0.2)
                await ask(made, DEAD, port="bus", unit=NOBODY, every=0.05, timeout=0.2)
                await fire.wait_for(lambda _: len(of(fire, FIRST)) > 25 and len(of(fire, SECOND)) > 25, 60)
                good = [event for event in of(fire, FIRST) if "errors" not in event]
                assert len(good) > 15
                for trigger, volts in ((FIRST, 201.0), (SECOND, 202.0)):
                    for event in of(fire, trigger):  # right, or told that there is none
                        assert event["voltage"] in (
                            {None} if "voltage" in event.get("errors", {}) else {volts}
                        )
                        assert event["frequency"] in (
                            {None} if "frequency" in event.get("errors", {}) else {50.0}
                        )
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
        fire, port, buses = RecordingFire(), free_port(), ModbusBuses({}, SystemClock())
        async with feed(fire, buses) as made:
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
                    await buses.write(
                        where, 1, "holding", 0, list(struct.unpack(">HH", struct.pack(">f", 5.5)))
                    )
                    await fire.wait_for(lambda _: of(fire, FIRST)[-1]["voltage"] == 5.5)
                    with pytest.raises(CapabilityError, match="illegal data address"):
                        await buses.write(where, 1, "holding", 5000, [1])
                fire.calls.clear()
                await fire.wait_for(lambda _: any("errors" in event for event in of(fire, FIRST)))

    asyncio.run(play())


def test_a_line_that_is_plugged_in_later_is_found(tmp_path: Path) -> None:
    async def play() -> None:
        fire, name = RecordingFire(), tmp_path / "ttyUSB7"
        async with line() as (mine, theirs), feed(fire, bus=SerialConfig(str(name), baudrate=115200)) as made:
            server = ModbusSerialServer(meters(1), framer=FramerType.RTU, port=theirs, baudrate=115200)
            async with served(server):
                await ask(made, FIRST, port="bus", every=60)
                await fire.count(1)
                assert "No such file" in of(fire, FIRST)[0]["errors"]["voltage"]
                name.symlink_to(mine)
                async with asyncio.timeout(2.5):
                    await fire.wait_for(lambda _: of(fire, FIRST)[-1]["voltage"] == 201.0)

    asyncio.run(play())


def test_an_answer_that_comes_too_late_is_not_taken_for_another() -> None:
    """RTU answers do not say which question they answer; here both are of two registers."""

    async def play() -> None:
        fire = RecordingFire()
        async with line(delay=0.1) as (mine, theirs):
            server = ModbusSerialServer(meters(1), framer=FramerType.RTU, port=theirs, baudrate=115200)
            async with served(server), feed(fire, bus=SerialConfig(mine, baudrate=115200)) as made:
                wish = {"points": ["voltage", "frequency"], "every": 0.05, "timeout": 0.1}
                await ask(made, FIRST, port="bus", unit=1, **wish)
                await fire.count(15, seconds=40)
                events = of(fire, FIRST)
                assert {event["voltage"] for event in events} <= {201.0, None}
                assert {event["frequency"] for event in events} <= {50.0, None}
                assert any("errors" in event for event in events)

    asyncio.run(play())


def test_groups_of_registers_have_their_own_pace() -> None:
    async def play() -> None:
        fire, port = RecordingFire(), free_port()
        server = ModbusTcpServer(meters(1), address=("127.0.0.1", port))
        async with served(server), feed(fire) as made:
            host = f"127.0.0.1:{port}"
            await ask(made, FIRST, host=host, every=0.05, points=["voltage"])
            await ask(made, SECOND, host=host, every=60, points=["frequency"])
            await fire.wait_for(lambda _: len(of(fire, FIRST)) >= 5)
            assert set(of(fire, FIRST)[-1]) == {"device", "port", "taken_at", "unit", "voltage"}
            (slow,) = of(fire, SECOND)
            assert (slow["frequency"], "voltage" in slow) == (50.0, False)

    asyncio.run(play())


def test_a_dead_device_costs_its_own_timeout_not_that_of_the_others() -> None:
    async def play() -> None:
        fire = RecordingFire()
        async with line() as (mine, theirs):
            server = ModbusSerialServer(meters(1), framer=FramerType.RTU, port=theirs, baudrate=115200)
            async with served(server), feed(fire, bus=SerialConfig(mine, baudrate=115200)) as made:
                await ask(made, FIRST, port="bus", unit=1, every=0.05, timeout=30)
                await ask(made, DEAD, port="bus", unit=NOBODY, every=0.05, timeout=0.1)
                await fire.wait_for(lambda _: len(of(fire, DEAD)) >= 3 and len(of(fire, FIRST)) >= 10, 10)

    asyncio.run(play())


def test_a_line_is_given_back_when_nobody_wants_it_any_more() -> None:
    async def play() -> None:
        fire = RecordingFire()
        async with line() as (mine, theirs):
            sections = {"bus": SerialConfig(mine), "fast": SerialConfig(mine, baudrate=115200)}
            buses = ModbusBuses(sections, SystemClock())
            server = ModbusSerialServer(meters(1), framer=FramerType.RTU, port=theirs, baudrate=115200)
            async with served(server), feed(fire, buses) as made:
                await ask(made, FIRST, port="fast", every=0.05)
                await fire.wait_for(lambda _: heard(fire, FIRST) == 201.0)
                with pytest.raises(OSError, match="lock"):
                    discovery.connect(mine, Line())
                with pytest.raises(FeedError, match=r"other settings \(115200 8 none 1\): not 2400"):
                    await ask(made, SECOND, port="bus", every=0.05)
                await made.remove(FIRST)
                await freed(mine)
                await ask(made, SECOND, port="bus", every=0.05)
                await fire.wait_for(lambda _: heard(fire, SECOND) == 201.0)
                await made.remove(SECOND)
                await buses.write({"port": mine}, 1, "holding", 0, [0, 0])
                await freed(mine)
                with pytest.raises(Undelivered):
                    await buses.write({"port": mine}, NOBODY, "holding", 0, [0, 0])
                await freed(mine)

    asyncio.run(play())


def at(port: str, sections: dict[str, SerialConfig]) -> dict[str, SerialConfig]:
    return {name: replace(section, port=port) for name, section in sections.items()}


async def freed(port: str) -> None:
    async with asyncio.timeout(5):
        while True:
            try:
                discovery.connect(port, Line()).close()
            except OSError:
                await asyncio.sleep(0.01)
            else:
                return


def test_a_line_that_is_unplugged_is_found_again_as_another(tmp_path: Path) -> None:
    async def play() -> None:
        fire, name = RecordingFire(), tmp_path / "meter"
        async with feed(fire, bus=SerialConfig(str(name), baudrate=115200)) as made:
            for _ in range(3):
                async with line() as (mine, theirs):
                    server = ModbusSerialServer(
                        meters(1), framer=FramerType.RTU, port=theirs, baudrate=115200
                    )
                    async with served(server):
                        name.symlink_to(mine)
                        if not fire.events:
                            await ask(made, FIRST, port="bus", every=0.05, timeout=0.2)
                        fire.calls.clear()
                        await fire.wait_for(lambda _: heard(fire, FIRST) == 201.0, 3)
                        name.unlink()
                await fire.wait_for(lambda _: heard(fire, FIRST) is None)

    asyncio.run(play())


def test_rs485_is_set_or_told(tmp_path: Path) -> None:
    async def play() -> None:
        fire = RecordingFire()
        async with line() as (mine, _), feed(fire, bus=SerialConfig(mine, rs485=True)) as made:
            await ask(made, FIRST, port="bus", every=0.05)
            await fire.count(1)
            assert "no RS-485 mode" in of(fire, FIRST)[0]["errors"]["voltage"]  # a pty has none
            assert made.describe(FIRST)["state"] == "waiting"

    asyncio.run(play())


def test_it_stops_at_once_whatever_it_is_doing() -> None:
    async def play() -> None:
        async with line() as (mine, theirs), served(ModbusSerialServer(meters(1), port=theirs)):
            for steps in range(40):
                buses = ModbusBuses({"bus": SerialConfig(mine)}, SystemClock())
                made = ModbusFeed(buses, RecordingFire(), SystemClock())
                await ask(made, FIRST, port="bus", every=0.05)
                task = asyncio.create_task(made.run())
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                done, _ = await asyncio.wait([task], timeout=5)
                assert done

    asyncio.run(play())


def test_a_gateway_that_never_answers_is_called_again() -> None:
    """As after it was restarted behind a router: nobody tells that the connection is gone."""

    async def play() -> None:
        fire, port = RecordingFire(), free_port()
        silent: list[Any] = []
        first = await asyncio.start_server(lambda _, writer: silent.append(writer), "127.0.0.1", port)
        async with feed(fire) as made:
            await ask(made, FIRST, host=f"127.0.0.1:{port}", every=0.05, timeout=0.1)
            await fire.wait_for(lambda _: bool(of(fire, FIRST)))
            first.close()  # what is connected stays so
            async with served(ModbusTcpServer(meters(1), address=("127.0.0.1", port))):
                await fire.wait_for(lambda _: heard(fire, FIRST) == 201.0, 10)
        for writer in silent:
            writer.close()

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
        ({"profile": "eastron/sdm120", "host": "h", "evry": 1}, "evry is not a key; did you mean 'every'?"),
        (
            {"profile": "eastron/sdm120", "host": "h", "points": ["x"]},
            "points must be a list of some of voltage",
        ),
        ({"profile": "eastron/sdm120", "host": "h", "points": []}, "points must be"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, Any], text: str) -> None:
    made = ModbusFeed(ModbusBuses({}, SystemClock()), RecordingFire(), SystemClock())
    with pytest.raises(FeedError, match=text):
        made.check("modbus/reading", parameters)
