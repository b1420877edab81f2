"""Ports that are written to, on ptys; `tests/feed/serial/test_feed.py` reads them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import SerialConfig
from edgewhisk.errors import CapabilityError, FeedError, Undelivered
from edgewhisk.transport.serial.ports import SerialPorts
from tests.transport.serial.plugged import hanging, plugged


@contextlib.asynccontextmanager
async def ports(**sections: SerialConfig) -> AsyncIterator[SerialPorts]:
    made = SerialPorts(sections, SystemClock())
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_writing_and_what_is_told_when_it_cannot_be(tmp_path: Path) -> None:
    async def play() -> None:
        sections = {
            "relay": SerialConfig(str(tmp_path / "r"), "lctech/relay-1"),
            "away": SerialConfig(str(tmp_path / "x")),
        }
        with plugged(tmp_path / "r") as device:
            async with ports(**sections) as made:
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


def test_a_port_that_hangs_when_it_is_opened_hangs_one_thread_however_often_it_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, tries = hanging(monkeypatch)

    async def play() -> None:
        with plugged(tmp_path / "a") as device:
            async with ports(relay=SerialConfig(str(tmp_path / "a"))) as made:
                for _ in range(5):
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.02):  # as the outbox gives up one that takes long
                            await made.write("relay", b"x")
                assert len(tries) == 1
                release.set()
                await made.write("relay", b"y")
                assert os.read(device, 10) == b"y"
                assert len(tries) == 1

    asyncio.run(play())


def test_writes_are_told_at_once_when_the_port_goes(tmp_path: Path) -> None:
    """Of the first one a part went out, and must not go out twice; the others may be tried again."""

    async def play() -> None:
        async with ports(relay=SerialConfig(str(tmp_path / "a"))) as made:
            with plugged(tmp_path / "a"):
                writes = [asyncio.create_task(made.write("relay", bytes(60_000))) for _ in range(3)]
                assert not (await asyncio.wait(writes, timeout=0.1))[0]  # the line takes only a part
            first, *others = await asyncio.wait_for(asyncio.gather(*writes, return_exceptions=True), 5)
            assert type(first) is CapabilityError
            assert "of 60000 bytes" in str(first)
            assert [type(other) for other in others] == [Undelivered, Undelivered]
            assert "No such file" in str(others[0])

    asyncio.run(play())
