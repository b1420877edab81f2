"""The course of the demo, and the proof at its end."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx

from edgewhisk.demo.client import DemoClient
from edgewhisk.demo.gateway import GatewayProcess, free_port
from edgewhisk.demo.screen import Numbers, Screen
from edgewhisk.demo.sensors import TOPIC, MqttSensor, SerialSensor
from edgewhisk.errors import EdgeWhiskError

ACTION: Final = "demo/check"
MQTT_RATE: Final = 40.0  # readings a second
SERIAL_RATE: Final = 10.0
AWAY: Final = (0.35, 0.65)  # of the time: when the cloud goes and comes back
_REFRESH: Final = 0.5  # seconds
_DRAIN: Final = 60.0  # seconds for the last readings to arrive everywhere
_SOURCE: Final = Path(__file__).with_name("check.js")


class Story:
    """One run of the demo."""

    def __init__(self, folder: Path, screen: Screen) -> None:
        """Keep everything below `folder`."""
        self.screen = screen
        self._broker = free_port()
        self._serial = SerialSensor()
        self._mqtt = MqttSensor(self._broker)
        port = free_port()
        self._cloud = GatewayProcess(folder / "cloud", port, "[limits]\ninvocations_per_minute = 6000\n")
        key = folder / "cloud.key"
        self._key_file = key
        self._edge = GatewayProcess(
            folder / "edge",
            free_port(),
            f'[mqtt]\nurl = "embedded://127.0.0.1:{self._broker}"\n'
            f'[cloud]\nurl = "http://127.0.0.1:{port}"\nauth_file = "{key}"\n'
            "interval = 0.3\nlongest_pause = 1.0\n"
            f'[serial.workbench]\nport = "{self._serial.path}"\nprofile = "arduino/bme280"\n',
        )
        self._alarms: set[str] = set()  # activation ids: a page may show one twice
        self._seen = 0
        self._begun = time.monotonic()

    async def run(self, seconds: float, *, keep: bool) -> bool:
        """Tell the story; whether every reading is where it must be, once."""
        async with self._gateways():
            await self._set_up()
            async with self._sensors():
                with self.screen.live():
                    if keep:
                        await self._watch(float("inf"))
                    await self._watch(seconds * AWAY[0])
                    self.screen.tell("the cloud goes away; the gateway goes on")
                    await self._cloud.stop()
                    await self._watch(seconds * AWAY[1])
                    self.screen.tell("the cloud is back; the backlog drains")
                    await self._cloud.start()
                    await self._watch(seconds)
            await self._drain()
            return await self._prove()

    @contextlib.asynccontextmanager
    async def _gateways(self) -> AsyncIterator[None]:
        self.screen.tell("starting two gateways: the edge, and another one that plays the cloud")
        try:
            await self._cloud.start()
            self._key_file.touch(mode=0o600)
            self._key_file.write_text(self._cloud.key.compact, encoding="ascii")
            await self._edge.start()
            self._at_edge, self._at_cloud = DemoClient(self._edge), DemoClient(self._cloud)
            yield
            await self._at_edge.close()
            await self._at_cloud.close()
        finally:
            self._serial.close()
            await self._edge.stop()
            await self._cloud.stop()

    @contextlib.asynccontextmanager
    async def _sensors(self) -> AsyncIterator[None]:
        await self._mqtt.connect()
        self._begun = time.monotonic()
        running = [
            asyncio.create_task(self._mqtt.run(MQTT_RATE)),
            asyncio.create_task(self._serial.run(SERIAL_RATE)),
        ]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await self._mqtt.close()

    async def _set_up(self) -> None:
        """Everything through the REST API, as a user would."""
        self.screen.tell(f"creating package, action, triggers, feeds and rules at {self._edge.url}")
        client = self._at_edge
        await client.put("packages/demo", {})
        code = {"kind": "nodejs:default", "code": _SOURCE.read_text(encoding="utf-8")}
        await client.put(f"actions/{ACTION}", {"exec": code})
        await client.feed("boiler", "mqtt/message", {"topic": TOPIC, "qos": 1})
        await client.feed("workbench", "serial/reading", {"port": "workbench"})
        for trigger in ("boiler", "workbench"):
            ends = {"trigger": f"/_/{trigger}", "action": f"/_/{ACTION}"}
            await client.put(f"rules/{trigger}-check", ends)
        await self._until_connected()

    async def _until_connected(self) -> None:
        """MQTT keeps a message for a subscriber it knows: publish after the gateway subscribed."""
        async with asyncio.timeout(_DRAIN):
            while not await self._feeds_run():  # noqa: ASYNC110 - they are in another process
                await asyncio.sleep(0.1)

    async def _feeds_run(self) -> bool:
        feeds = (await self._at_edge.status())["feeds"]
        return all(feed.get("state") == "running" for feed in feeds)

    @property
    def _sent(self) -> int:
        return self._mqtt.sent + self._serial.sent

    async def _watch(self, until: float) -> None:
        """Show numbers until so many seconds of the story are over."""
        while (now := time.monotonic() - self._begun) < until:
            self.screen.show(await self._numbers(now))
            await asyncio.sleep(min(_REFRESH, max(0.0, until - now)))

    async def _numbers(self, now: float) -> Numbers:
        status = await self._at_edge.status()
        await self._count_alarms()
        cloud: int | None = None
        with contextlib.suppress(EdgeWhiskError, httpx.TransportError):
            cloud = await self._at_cloud.count(ACTION)
        outcomes: Counter[str] = Counter(status["invoker"]["outcomes"])
        return Numbers(
            now,
            self._mqtt.sent,
            self._serial.sent,
            outcomes["success"],
            outcomes.total() - outcomes["success"],
            len(self._alarms),
            status["buffer"]["unsynced"],
            cloud,
            status["cloud"]["state"],
        )

    async def _count_alarms(self) -> None:
        """Look at the activations that came since the last look."""
        total = await self._at_edge.count(ACTION)
        while self._seen < total:
            page = await self._at_edge.activations(ACTION, max(0, total - self._seen - 200))
            fresh = page[-min(200, total - self._seen) :]
            self._alarms.update(
                record["activationId"] for record in fresh if record["response"]["result"].get("alarm")
            )
            self._seen += len(fresh)

    async def _drain(self) -> None:
        self.screen.tell("the sensors are quiet; waiting until everything has arrived")
        end = time.monotonic() + _DRAIN
        while time.monotonic() < end:
            numbers = await self._numbers(time.monotonic() - self._begun)
            self.screen.show(numbers)
            if numbers.ok + numbers.failed >= self._sent and numbers.cloud == self._sent:
                return
            await asyncio.sleep(_REFRESH)

    async def _prove(self) -> bool:
        """Each reading has one activation, and each activation is at the cloud once."""
        edge = await self._at_edge.every_activation(ACTION)
        cloud = await self._at_cloud.every_activation(ACTION)
        sources = Counter(_source(record) for record in edge)
        seqs = Counter(_seq(record) for record in edge if _source(record) == "mqtt")
        here = Counter(record["activationId"] for record in edge)
        there = Counter(record["activationId"] for record in cloud)
        numbers = await self._numbers(time.monotonic() - self._begun)
        alarms = sum(1 for record in edge if record["response"]["result"].get("alarm"))
        checks = {
            f"{self._mqtt.sent} readings over MQTT, each with one activation": seqs
            == Counter(range(1, self._mqtt.sent + 1)),
            f"{self._serial.sent} readings over the serial port, each with one activation": sources["serial"]
            == self._serial.sent,
            f"{numbers.ok} activations ok, {numbers.failed} failed, {alarms} alarms": numbers.failed == 0,
            f"{len(here)} activations at the edge, {len(there)} at the cloud, each once": here == there
            and set(here.values()) == {1},
        }
        for text, good in checks.items():
            self.screen.tell(f"{'[green]ok[/green]  ' if good else '[red]WRONG[/red]'} {text}")
        return all(checks.values())


def _source(record: dict[str, Any]) -> str:
    return str(record["response"]["result"].get("source"))


def _seq(record: dict[str, Any]) -> int:
    return int(record["response"]["result"].get("seq", 0))


def tell(seconds: float, *, keep: bool) -> int:
    """Run the demo in a temporary directory; the exit code."""
    screen = Screen()
    with tempfile.TemporaryDirectory(prefix="edgewhisk-demo-") as folder:
        try:
            good = asyncio.run(Story(Path(folder), screen).run(seconds, keep=keep))
        except KeyboardInterrupt:
            return 0 if keep else 130
    screen.tell("nothing was lost" if good else "something is wrong: see above")
    return 0 if good else 1
