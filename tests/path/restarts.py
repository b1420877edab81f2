"""A broker that is stopped and started again and again under load, at QoS 1.

    python -m tests.path.restarts --times 50

Readings are published until the broker has each of them; what is sent again because its
acknowledgement was lost may come twice, and is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from edgewhisk.transport.mqtt.codec import Message
from edgewhisk.transport.mqtt.connection import MqttConnection, MqttLink
from edgewhisk.transport.mqtt.outbound import Failed
from tests.path.gateway import Gateway, free_port, gateway, mosquitto, until
from tests.path.publisher import publish

RATE = 300  # readings a second


class Found(NamedTuple):
    """What came of it."""

    sent: int
    again: int  # readings that were sent more than once
    lost: int
    doubled: int  # activations beyond the first of a reading
    recognised: int  # redeliveries of the broker that were not run again


class Load:
    """Publishes numbered readings whatever happens to the broker."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.sent = self.again = 0
        self.stop = False

    async def run(self) -> None:
        """Until `stop`, then until the broker has all."""
        left: list[int] = []
        while not self.stop or left:
            connection = MqttConnection(MqttLink("127.0.0.1", self._port, "load"), lambda *_: None)
            try:
                await connection.open()
                left = await self._publish(connection, left)
            except OSError:
                await asyncio.sleep(0.05)
            finally:
                await connection.close()

    async def _publish(self, connection: MqttConnection, left: list[int]) -> list[int]:
        """On one connection; what it did not take."""
        flying: dict[int, asyncio.Future[Failed]] = {}
        self.again += len(left)
        try:
            for number in left:
                flying[number] = connection.publish([_reading(number)])
            while not self.stop and not any(one.done() and one.result() for one in flying.values()):
                self.sent += 1
                flying[self.sent] = connection.publish([_reading(self.sent)])
                flying = {n: one for n, one in flying.items() if not one.done() or one.result()}
                await asyncio.sleep(1 / RATE)
            await asyncio.wait(flying.values(), timeout=5) if flying else None
        except OSError:
            pass
        return [number for number, one in flying.items() if not one.done() or one.result()]


def _reading(number: int) -> Message:
    return Message("in", b'{"seq":%d}' % number, 1)


async def load_over_restarts(folder: Path, port: int, made: Gateway, times: int) -> Load:
    """Restart the broker `times` times while readings flow."""
    load = Load(port)
    with mosquitto(folder, settings(folder), port):
        await asyncio.to_thread(until, made.feeds_run, 60)
        await publish(port, "in", 1, 0)  # number 1: the gateway has subscribed when it has run
        while not made.count("seen"):
            await publish(port, "in", 1, 0)
    load.sent = 1
    task = asyncio.create_task(load.run())
    for _ in range(times):
        with mosquitto(folder, settings(folder), port):
            await asyncio.to_thread(until, made.feeds_run, 60)
            begun = load.sent
            async with asyncio.timeout(60):
                while load.sent < begun + RATE:  # noqa: ASYNC110 - a load, not a condition of ours
                    await asyncio.sleep(0.02)
    load.stop = True
    with mosquitto(folder, settings(folder), port):
        await task
        await asyncio.to_thread(until, made.feeds_run, 60)
        await asyncio.to_thread(until, lambda: made.count("seen") >= load.sent, 60)
    return load


def settings(folder: Path) -> str:
    """The broker keeps its sessions."""
    return f"allow_anonymous true\npersistence true\npersistence_location {folder}/"


def restarts(folder: Path, times: int) -> Found:
    """Run it all."""
    port = free_port()
    with gateway(folder / "edge", f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n') as made:
        made.action("seen", "function main(p) { return {seq: p.seq} }")
        made.feed("t", "mqtt/message", topic="in")
        made.rule("t", "seen")
        load = asyncio.run(load_over_restarts(folder, port, made, times))
        runs = Counter(one["response"]["result"]["seq"] for one in made.activations("seen"))
        recognised = made.status()["feeds"][0]["duplicates"]
    lost = load.sent - len(runs)
    del runs[1]
    return Found(load.sent, load.again, lost, sum(runs.values()) - len(runs), recognised)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=50)
    with tempfile.TemporaryDirectory() as folder:
        print(restarts(Path(folder), parser.parse_args().times))  # noqa: T201 - a command


if __name__ == "__main__":
    main()
