"""The serial feed on ptys: plugged in, unplugged, plugged in elsewhere; flooding; wedged."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from edgewhisk.clock import SystemClock
from edgewhisk.device.profile import Line
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import CapabilityError, FeedError, Undelivered
from edgewhisk.feed import ports
from edgewhisk.feed.serial import SerialFeed
from edgewhisk.settings import Serial
from tests.fakes.fire import RecordingFire

T, OTHER = parse_name("/guest/t", "_"), parse_name("/guest/other", "_")
LINE = b'{"temperature": 20, "humidity": 40}\n'


@contextlib.contextmanager
def plugged(link: Path) -> Iterator[int]:
    """A device that appears at `link`; its own end."""
    master, slave = os.openpty()
    tty.setraw(slave)
    link.symlink_to(os.ttyname(slave))
    os.close(slave)
    try:
        yield master
    finally:
        link.unlink()
        os.close(master)


@contextlib.asynccontextmanager
async def feed(fire: RecordingFire, **sections: Serial) -> AsyncIterator[SerialFeed]:
    made = SerialFeed(sections, fire, SystemClock())
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


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
        async with feed(fire, meter=Serial(str(link), "arduino/dht")) as made:
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
                "mad": Serial(str(tmp_path / "a"), "arduino/dht", rate=50),
                "good": Serial(str(tmp_path / "b"), "nova/sds011"),
                "silent": Serial(str(tmp_path / "c"), "winsen/mh-z19"),
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
            async with feed(fire, dust=Serial(str(tmp_path / "a"), "plantower/pms5003")) as made:
                await ask(made, T, "dust")
                await state(made, "running")
                frame = b"BM\x00\x1c" + bytes(26)
                frame += (sum(frame) & 0xFFFF).to_bytes(2, "big")
                os.write(device, b"BM\x00\x1c" + frame)  # a start whose rest never came
                await fire.count(1, seconds=2)
                assert orjson.loads(fire.payloads[0])["pm10"] == 0

    asyncio.run(play())


def test_writing_and_what_is_told_when_it_cannot_be(tmp_path: Path) -> None:
    async def play() -> None:
        fire = RecordingFire()
        sections = {
            "relay": Serial(str(tmp_path / "r"), "lctech/relay-1"),
            "away": Serial(str(tmp_path / "x")),
        }
        with plugged(tmp_path / "r") as device:
            async with feed(fire, **sections) as made:
                await made.write("relay", made.command("relay", "on"))
                assert os.read(device, 10) == b"\xa0\x01\x01\xa2"
                with pytest.raises(Undelivered, match="No such file"):
                    await made.write("away", b"x")
                with pytest.raises(CapabilityError, match="known: on, off"):
                    made.command("relay", "jump")
                with pytest.raises(CapabilityError, match="no profile"):
                    made.command("relay", "on", "no/thing")
                assert made.command("away", "off", "lctech/relay-1") == b"\xa0\x01\x00\xa1"
                with pytest.raises(FeedError, match="below /dev"):
                    await made.write("nowhere", b"x")

    asyncio.run(play())


def test_two_programs_do_not_share_a_port(tmp_path: Path) -> None:
    with plugged(tmp_path / "p"):
        mine = ports.connect(str(tmp_path / "p"), Line())
        with pytest.raises(OSError, match="lock") as caught:
            ports.connect(str(tmp_path / "p"), Line())
        assert "another program" in ports.problem(caught.value)
        mine.close()


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "port and profile must be text"),
        ({"port": "/dev/x"}, "profile is missing"),
        ({"port": "/dev/x", "profile": "no/thing"}, "there is no profile"),
        ({"port": "/dev/x", "profile": "eastron/sdm120"}, "use the modbus feed"),
        ({"port": "/dev/../etc/x", "profile": "nova/sds011"}, "below /dev"),
        ({"port": "usb:1a86", "profile": "nova/sds011"}, "write usb:VENDOR:PRODUCT"),
        ({"port": "/dev/x", "profile": "nova/sds011", "speed": 1}, "unknown parameter 'speed'"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, Any], text: str) -> None:
    async def play() -> None:
        with pytest.raises(FeedError, match=text):
            SerialFeed({}, RecordingFire(), SystemClock()).check("serial/reading", parameters)

    asyncio.run(play())
