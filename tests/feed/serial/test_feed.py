"""The serial feed on ptys: plugged in, unplugged, plugged in elsewhere; flooding; wedged."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from serial.tools import list_ports, list_ports_common

from edgewhisk.base import resources
from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import SerialConfig
from edgewhisk.device.profile import Line
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import FeedError
from edgewhisk.feed.serial.feed import SerialFeed
from edgewhisk.transport.serial import discovery
from edgewhisk.transport.serial.ports import SerialPorts
from tests.fakes.fire import RecordingFire
from tests.feed.running import running
from tests.transport.serial.plugged import plugged

T, OTHER = parse_name("/guest/t", "_"), parse_name("/guest/other", "_")
LINE = b'{"temperature": 20, "humidity": 40}\n'


@contextlib.asynccontextmanager
async def feed(fire: RecordingFire, **sections: SerialConfig) -> AsyncIterator[SerialFeed]:
    ports = SerialPorts(sections, SystemClock())
    made = SerialFeed(ports, fire, SystemClock())
    async with running(made, ports):
        yield made


async def ask(made: SerialFeed, trigger: Any, port: str) -> None:
    await made.add(trigger, "serial/reading", made.check("serial/reading", {"port": port}))


async def state(made: SerialFeed, wanted: str, trigger: Any = T, seconds: float = 10) -> dict[str, Any]:
    async with asyncio.timeout(seconds):
        while made.describe(trigger)["state"] != wanted:  # noqa: ASYNC110 - a real port
            await asyncio.sleep(0.005)
    return made.describe(trigger)


def test_found_again_within_two_seconds_whatever_its_number(tmp_path: Path) -> None:
    async def play() -> None:
        link, fire = tmp_path / "usb-meter", RecordingFire()
        async with feed(fire, meter=SerialConfig(str(link), "arduino/dht")) as made:
            await ask(made, T, "meter")
            told = await state(made, "waiting")
            for times in range(1, 5):
                with plugged(link) as device:
                    told = await state(made, "running", seconds=2)
                    os.write(device, LINE[:10])  # torn by the unplugging
                    os.write(device, LINE[10:] + LINE[:10])
                    await fire.count(times)
                told = await state(made, "waiting")
                assert told["last_error"]
            assert (told["opened"], told["readings"], told["torn"]) == (4, 4, 4)

    asyncio.run(play())


def test_a_flood_and_a_wedged_port_cost_only_themselves(tmp_path: Path) -> None:
    async def play() -> None:
        fire = RecordingFire()
        with plugged(tmp_path / "a") as mad, plugged(tmp_path / "b") as good, plugged(tmp_path / "c"):
            sections = {
                "mad": SerialConfig(str(tmp_path / "a"), "arduino/dht", rate=50),
                "good": SerialConfig(str(tmp_path / "b"), "nova/sds011"),
                "silent": SerialConfig(str(tmp_path / "c"), "winsen/mh-z19"),
            }
            async with feed(fire, **sections) as made:
                await ask(made, T, "mad")
                await ask(made, OTHER, "good")
                await ask(made, parse_name("/guest/silent", "_"), "silent")
                await state(made, "running")
                os.set_blocking(mad, False)
                frame = bytes.fromhex("aac07b000001a1607dab")
                sent = 0
                end = asyncio.get_running_loop().time() + 2.2
                while asyncio.get_running_loop().time() < end:
                    with contextlib.suppress(BlockingIOError):
                        os.write(mad, LINE * 50)
                    os.write(good, frame)
                    sent += 1
                    await asyncio.sleep(0.01)
                await fire.wait_for(lambda seen: sum(one.trigger == OTHER for one in seen.events) == sent)
                told = made.describe(T)
                assert told["floods"] >= 2
                # A chunk of 16 KiB may hold more than a second's worth; it is not torn apart.
                assert told["readings"] < 3 * (50 + ports_chunk())
                assert made.describe(OTHER)["floods"] == 0

    asyncio.run(play())


def ports_chunk() -> int:
    return 16_384 // len(LINE) + 1


def test_a_false_start_does_not_hide_a_frame_for_ever(tmp_path: Path) -> None:
    async def play() -> None:
        fire = RecordingFire()
        with plugged(tmp_path / "a") as device:
            async with feed(fire, dust=SerialConfig(str(tmp_path / "a"), "plantower/pms5003")) as made:
                await ask(made, T, "dust")
                await state(made, "running")
                frame = b"BM\x00\x1c" + bytes(26)
                frame += (sum(frame) & 0xFFFF).to_bytes(2, "big")
                os.write(device, b"BM\x00\x1c" + frame)  # a start whose rest never came
                await fire.count(1, seconds=2)
                assert orjson.loads(fire.payloads[0])["pm10"] == 0

    asyncio.run(play())


def test_a_usb_device_is_found_under_another_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel lists is the only thing that is not real here."""
    there: list[list_ports_common.ListPortInfo] = []
    monkeypatch.setattr(list_ports, "comports", lambda: there)

    def listed(path: Path, serial_number: str) -> list_ports_common.ListPortInfo:
        found = list_ports_common.ListPortInfo(str(path))
        found.vid, found.pid, found.serial_number = 0x1A86, 0x7523, serial_number
        return found

    async def play() -> None:
        fire = RecordingFire()
        async with feed(fire, meter=SerialConfig("usb:1A86:7523:mine", "arduino/dht")) as made:
            await ask(made, T, "meter")
            await state(made, "waiting")
            for number in (0, 3, 1):
                with plugged(tmp_path / f"ttyUSB{number}") as device, plugged(tmp_path / "other"):
                    there[:] = [listed(tmp_path / "other", "x"), listed(tmp_path / f"ttyUSB{number}", "mine")]
                    await state(made, "running", seconds=2)
                    fire.calls.clear()
                    os.write(device, LINE)
                    await fire.count(1)
                    there.clear()
                await state(made, "waiting")
            async with asyncio.timeout(5):
                while "no such USB device" not in made.describe(T)["last_error"]:  # noqa: ASYNC110 - a real port
                    await asyncio.sleep(0.01)
        there[:] = [listed(tmp_path / "a", "x"), listed(tmp_path / "b", "mine")]
        with pytest.raises(
            FileNotFoundError, match=r"several devices fit .*: add the serial number, one of x, mine"
        ):
            discovery.locate("usb:1a86:7523")

    asyncio.run(play())


def test_a_full_queue_holds_a_flood_back(tmp_path: Path) -> None:
    """The flood's second being over does not mean that there is room."""

    async def play() -> None:
        fire = RecordingFire()
        with plugged(tmp_path / "a") as mad:
            async with feed(fire, mad=SerialConfig(str(tmp_path / "a"), "arduino/dht", rate=50)) as made:
                await ask(made, T, "mad")
                await state(made, "running")
                os.set_blocking(mad, False)
                fire.fill()
                os.write(mad, LINE * 100)  # more than a second may bring, at once
                end = asyncio.get_running_loop().time() + 2.2
                while asyncio.get_running_loop().time() < end:
                    with contextlib.suppress(BlockingIOError):
                        os.write(mad, LINE * 50)
                    await asyncio.sleep(0.01)
                assert made.describe(T)["floods"] >= 1
                assert len(fire.events) <= ports_chunk()  # one wake-up's worth
                before = len(fire.events)
                fire.make_room()
                with contextlib.suppress(BlockingIOError):
                    os.write(mad, LINE * 50)
                await fire.wait_for(lambda seen: len(seen.events) > before)

    asyncio.run(play())


def test_a_port_that_wedges_when_it_is_opened_does_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, connect = threading.Event(), discovery.connect

    def slow(path: str, line: Line) -> Any:
        if path.endswith("wedged"):
            release.wait(20)
        return connect(path, line)

    monkeypatch.setattr(discovery, "connect", slow)

    async def play() -> None:
        sections = {
            "wedged": SerialConfig(str(tmp_path / "wedged"), "arduino/dht"),
            "good": SerialConfig(str(tmp_path / "good"), "arduino/dht"),
        }
        with plugged(tmp_path / "wedged"):
            async with feed(RecordingFire(), **sections) as made:
                await ask(made, T, "wedged")
                await ask(made, OTHER, "good")
                for _ in range(2):
                    with plugged(tmp_path / "good"):
                        await state(made, "running", OTHER, seconds=2)
                    await state(made, "waiting", OTHER)
                release.set()
                await state(made, "running")

    asyncio.run(play())


def test_a_question_does_not_go_into_the_middle_of_a_long_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "devices" / "mine"
    folder.mkdir(parents=True)
    asker = """description = "d"
        [serial]
        [framing]
        kind = "line"
        [[ask]]
        send = "3F 3F"
        every = 0.05
        [decoding]
        kind = "json"
        [points.n]
        unit = "V"
    """
    (folder / "asker.toml").write_text(asker)
    monkeypatch.setattr(resources, "_own", tmp_path)

    async def play() -> None:
        command, seen = b"x" * 60_000, bytearray()
        with plugged(tmp_path / "a") as device:
            async with feed(RecordingFire(), it=SerialConfig(str(tmp_path / "a"), "mine/asker")) as made:
                await ask(made, T, "it")
                await state(made, "running")
                os.set_blocking(device, False)
                writing = asyncio.create_task(made.ports.write("it", command))
                while command not in seen or not seen.endswith(b"??"):
                    with contextlib.suppress(BlockingIOError):
                        seen += os.read(device, 512)  # slower than it is written
                    await asyncio.sleep(0.001)
                await writing

    asyncio.run(asyncio.wait_for(play(), 30))


def test_rs485_is_set_or_told(tmp_path: Path) -> None:
    async def play() -> None:
        with plugged(tmp_path / "a"):
            async with feed(
                RecordingFire(), bus=SerialConfig(str(tmp_path / "a"), "arduino/dht", rs485=True)
            ) as made:
                await ask(made, T, "bus")
                async with asyncio.timeout(5):
                    while "no RS-485 mode" not in made.describe(T)["last_error"]:  # noqa: ASYNC110 - a real port
                        await asyncio.sleep(0.01)  # a pty has none
                assert made.describe(T)["state"] == "waiting"

    asyncio.run(play())


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "port is missing; profile is missing; there are: "),
        ({"port": "/dev/x"}, "profile is missing"),
        ({"port": "/dev/x", "profile": "no/thing"}, "there is no profile"),
        ({"port": "/dev/x", "profile": "eastron/sdm120"}, "use the modbus feed"),
        ({"port": "/dev/../etc/x", "profile": "nova/sds011"}, "below /dev"),
        ({"port": "usb:1a86", "profile": "nova/sds011"}, "write usb:VENDOR:PRODUCT"),
        (
            {"port": "/dev/x", "profile": "nova/sds011", "speed": 1},
            "speed is not a key",
        ),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, Any], text: str) -> None:
    async def play() -> None:
        made = SerialFeed(SerialPorts({}, SystemClock()), RecordingFire(), SystemClock())
        with pytest.raises(FeedError, match=text):
            made.check("serial/reading", parameters)

    asyncio.run(play())
