"""Odd Modbus lines and meters, as people report them: echoes, noise, meters that answer little at a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import tty
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest

from edgewhisk.clock.system import SystemClock
from edgewhisk.device.checksum import crc16_reflected
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import Undelivered
from edgewhisk.feed.modbus.feed import ModbusFeed
from edgewhisk.transport.modbus.buses import ModbusBuses
from tests.fakes.fire import RecordingFire
from tests.feed.running import running
from tests.transport.serial.plugged import hanging

T = parse_name("/guest/t", "_")
VALUES = {0: 230.5, 6: 1.5, 12: 345.0, 18: 350.0, 24: 10.0, 30: 0.98, 70: 50.0, 72: 123.4, 74: 5.6}
REGISTERS = {
    at + place: word
    for at, value in VALUES.items()
    for place, word in enumerate(struct.unpack(">HH", struct.pack(">f", value)))
}
Mangle = Callable[[bytes, bytes], bytes]  # question, answer -> what the line says


def frame(body: bytes) -> bytes:
    return body + crc16_reflected(body).to_bytes(2, "little")


def _answer(asked: bytes, missing: frozenset[int]) -> bytes:
    """A meter's; a register that it does not have is an illegal address."""
    unit, function, first, count = struct.unpack(">BBHH", asked[:6])
    if function in (5, 6):
        return asked[:8]
    if missing.intersection(range(first, first + count)):
        return frame(bytes([unit, function | 0x80, 2]))
    words = [REGISTERS.get(at, 0) for at in range(first, first + count)]
    return frame(bytes([unit, function, 2 * count]) + struct.pack(f">{count}H", *words))


@contextlib.asynccontextmanager
async def meter(
    mangle: Mangle, missing: frozenset[int] = frozenset()
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """The port, and what was asked on it."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    loop, asked, rest = asyncio.get_running_loop(), list[bytes](), bytearray()

    def heard() -> None:
        rest.extend(os.read(master, 256))
        while len(rest) >= 8:
            question = bytes(rest[:8])
            del rest[:8]
            asked.append(question)
            if said := mangle(question, _answer(question, missing)):
                os.write(master, said)

    loop.add_reader(master, heard)
    try:
        yield os.ttyname(slave), asked
    finally:
        loop.remove_reader(master)
        os.close(master)
        os.close(slave)


def plain(_asked: bytes, answer: bytes) -> bytes:
    return answer


def echo(asked: bytes, answer: bytes) -> bytes:
    return asked + answer


def at_most_two(asked: bytes, answer: bytes) -> bytes:
    return answer if asked[5] <= 2 else b""


@contextlib.asynccontextmanager
async def fed(port: str, fire: RecordingFire, **more: Any) -> AsyncIterator[ModbusFeed]:
    made = ModbusFeed(ModbusBuses({}, SystemClock()), fire, SystemClock())
    wish = {"profile": "eastron/sdm120", "port": port, "every": 0.05, "timeout": 0.2, **more}
    await made.add(T, "modbus/reading", made.check("modbus/reading", wish))
    async with running(made):
        yield made


@pytest.mark.parametrize(
    "mangle",
    [
        pytest.param(plain, id="plain"),
        pytest.param(echo, id="echo"),
        pytest.param(lambda _, answer: b"\0" + answer, id="leading zero"),
        pytest.param(lambda asked, answer: b"\xff" + asked + b"\0\0" + answer + b"\0", id="echo and noise"),
        pytest.param(lambda asked, answer: frame(b"\x07\x04\x02\x00\x01") + answer, id="another unit before"),
        pytest.param(lambda asked, answer: answer[:5] + answer, id="a torn one before"),
        pytest.param(at_most_two, id="two registers at a time"),
    ],
)
def test_the_values_come_whatever_the_line_does(mangle: Mangle) -> None:
    async def play() -> None:
        fire = RecordingFire()
        async with meter(mangle) as (port, _), fed(port, fire) as made:
            (event, *_) = await fire.count(1)
            found = orjson.loads(event.payload)
            assert (found["voltage"], found["power"], found["energy_import"]) == (230.5, 345.0, 123.4)
            assert "errors" not in found
            told = made.describe(T)
            assert told["short_questions"] is (mangle is at_most_two)
            assert told["questions"] == (len(VALUES) if mangle is at_most_two else 2)

    asyncio.run(play())


def test_one_register_that_a_meter_does_not_have_costs_no_other() -> None:
    async def play() -> None:
        fire = RecordingFire()
        async with meter(plain, frozenset({12, 72})) as (port, asked), fed(port, fire):
            await fire.count(3)
            for event in fire.events[:3]:
                found = orjson.loads(event.payload)
                assert set(found["errors"]) == {"power", "energy_import"}
                assert (found["voltage"], found["frequency"], found["energy_export"]) == (230.5, 50.0, 5.6)
            before = len(asked)
            seen = len(fire.events)
            await fire.count(seen + 2)
            assert len(asked) - before <= 2 * 9  # what was found out is not tried again

    asyncio.run(play())


def test_a_meter_that_is_dead_is_not_taken_for_one_that_answers_little() -> None:
    async def play() -> None:
        fire = RecordingFire()
        alive = False
        async with (
            meter(lambda _, answer: answer if alive else b"") as (port, _),
            fed(port, fire, timeout=0.05) as made,
        ):
            await fire.count(2)
            alive = True
            await fire.wait_for(lambda seen: orjson.loads(seen.payloads[-1])["voltage"] == 230.5)
            assert (made.describe(T)["short_questions"], made.describe(T)["questions"]) == (False, 2)

    asyncio.run(play())


@pytest.mark.parametrize("read_before", [True, False])
def test_an_echo_is_not_taken_for_the_answer_of_a_device_that_is_dead(read_before: bool) -> None:
    """The answer to a write of one value is the same as the question."""

    async def play() -> None:
        fire = RecordingFire()
        alive = True
        async with meter(lambda asked, answer: asked + (answer if alive else b"")) as (port, asked):
            buses = ModbusBuses({}, SystemClock())
            made = ModbusFeed(buses, fire, SystemClock())
            async with running(made):
                if read_before:
                    wish = {"profile": "eastron/sdm120", "port": port, "every": 0.05, "timeout": 0.2}
                    await made.add(T, "modbus/reading", made.check("modbus/reading", wish))
                    await fire.count(1)
                    await made.remove(T)
                    await buses.write({"port": port}, 1, "holding", 4, [7], single=True)
                alive = False
                with pytest.raises(Undelivered, match="no answer in time"):
                    await buses.write({"port": port}, 1, "holding", 4, [7], single=True)
                alive = True
                await buses.write({"port": port}, 1, "holding", 4, [7], single=True)
                assert asked[-1] == frame(b"\x01\x06\x00\x04\x00\x07")

    asyncio.run(play())


def test_a_line_that_hangs_when_it_is_opened_hangs_one_thread_however_often_it_is_written_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release, tries = hanging(monkeypatch)

    async def play() -> None:
        buses = ModbusBuses({}, SystemClock())
        async with meter(plain) as (port, asked):
            for _ in range(5):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):  # as the outbox gives up one that takes long
                        await buses.write({"port": port}, 1, "holding", 4, [7], single=True)
            assert len(tries) <= 1
            release.set()
            await buses.write({"port": port}, 1, "holding", 4, [7], single=True)
            assert asked[-1] == frame(b"\x01\x06\x00\x04\x00\x07")

    asyncio.run(play())
