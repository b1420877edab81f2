"""MQTT reading -> JavaScript action -> durable activation: throughput, latency, CPU, bytes, idle cost.

    python -m tests.bench.readings [--count N] [--rounds N] [--node-red FOLDER] [--json FILE]

Everything at QoS 1 on one private mosquitto. EdgeWhisk runs each reading in a sandbox of its own and
writes the event and its activation to disk; Node-RED, if named, runs the same function without either
and publishes the result. Latency is from publishing to the end of the run (EdgeWhisk: from its record,
which is on disk at most the commit window later) or to the published result (Node-RED). Rounds are
interleaved; compare ratios within one run, not figures of different machines.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import gmqtt
from gmqtt.mqtt.constants import MQTTv311

from tests.bench import node_red
from tests.bench.process import usage
from tests.path.gateway import Gateway, free_port, mosquitto, until

CODE = "function main(p) { return {seq: p.seq, fahrenheit: p.celsius * 1.8 + 32, sent: p.sent} }"
RATES = (200, 1000)
Done = Callable[[int], Awaitable[None]]


class Load:
    """Publishes readings and, for a target that publishes results, collects them."""

    def __init__(self, broker: int) -> None:
        """On the broker's port."""
        self._broker = broker
        self.latencies: list[float] = []  # ms
        self.results = 0

    async def connect(self) -> None:
        """One publisher, one subscriber."""
        self.client = gmqtt.Client(f"load-{os.getpid()}-{time.monotonic_ns()}")
        self.client.on_message = self._result
        await self.client.connect("127.0.0.1", self._broker, version=MQTTv311)
        self.client.subscribe("bench/out", qos=1)

    def _result(self, _client: Any, _topic: str, payload: bytes, _qos: int, _properties: Any) -> int:
        self.results += 1
        return 0

    async def publish(self, first: int, count: int, rate: float) -> None:
        """Send readings, `rate` a second, 0 for full speed."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number in range(count):
            sent = time.time() * 1000
            self.client.publish(
                "bench/in", b'{"seq":%d,"celsius":41.5,"sent":%.3f}' % (first + number, sent), qos=1
            )
            if rate and (ahead := begun + (number + 1) / rate - loop.time()) > 0:
                await asyncio.sleep(ahead)
            elif number % 50 == 0:
                await asyncio.sleep(0)


async def drive(broker: int, pid: int, count: int, done: Done) -> dict[str, float]:
    """Full speed, then fixed rates; what the target used for each 10,000 readings."""
    load = Load(broker)
    await load.connect()
    await load.publish(0, 500, 0)
    await done(500)
    before, begun = usage(pid), time.monotonic()
    await load.publish(1000, count, 0)
    await done(500 + count)
    took, after = time.monotonic() - begun, usage(pid)
    found = {
        "readings/s": count / took,
        "CPU s/10k": (after.cpu - before.cpu) * 10_000 / count,
        "bytes/event": (after.written - before.written) / count,
        "PSS MB after": after.pss,
    }
    total = 500 + count
    for rate in RATES:
        before = usage(pid)
        await load.publish(10**6 * rate, rate * 4, rate)
        total += rate * 4
        await done(total)
        found[f"CPU s/10k @{rate}/s"] = (usage(pid).cpu - before.cpu) * 10_000 / (rate * 4)
    await load.client.disconnect()
    return found


async def edgewhisk(folder: Path, broker: int, count: int) -> dict[str, float]:
    """One round of ours: not the first start on a device, which compiles the sandbox."""
    made = Gateway(folder, f'[mqtt]\nurl = "mqtt://127.0.0.1:{broker}"\n').start()
    made.stop()
    begun = time.monotonic()
    made.start()
    started = time.monotonic() - begun
    try:
        made.action("c2f", CODE)
        made.feed("t", "mqtt/message", topic="bench/in", qos=1)
        made.rule("t", "c2f")
        until(made.feeds_run)
        assert made.process is not None
        pid = made.process.pid

        async def done(total: int) -> None:
            while made.status()["buffer"]["records"] < total:  # noqa: ASYNC110 - in another process
                await asyncio.sleep(0.05)

        idle = await idle_cost(pid)
        found = await drive(broker, pid, count, done)
        for rate in RATES:
            waits = []
            for page in range(rate * 4 // 200):
                later = RATES[-1] * 4 if rate != RATES[-1] else 0
                path = f"_/activations?docs=true&limit=200&skip={page * 200 + later}&name=c2f"
                results = [(r["end"], r["response"]["result"]) for r in made.ok("GET", path)]
                waits += [end + 0.5 - result["sent"] for end, result in results]
            found |= percentiles(waits, rate)
        return {"start s": started, **idle, **found}
    finally:
        made.stop()


async def peer(installed: Path, folder: Path, broker: int, count: int) -> dict[str, float]:
    """One round of Node-RED."""
    begun = time.monotonic()
    process = node_red.start(installed, folder, broker, free_port())
    probe = Load(broker)
    try:
        await probe.connect()
        while not probe.results:
            await probe.publish(0, 1, 0)
            await asyncio.sleep(0.05)
        started = time.monotonic() - begun
        await asyncio.sleep(1)
        idle = await idle_cost(process.pid)
        base, waits = probe.results, list[float]()

        async def done(total: int) -> None:
            while probe.results - base < total:  # noqa: ASYNC110 - in another process
                await asyncio.sleep(0.005)

        found = await drive(broker, process.pid, count, done)
        for rate in RATES:
            waits = await peer_latency(probe, rate)
            found |= percentiles(waits, rate)
        return {"start s": started, **idle, **found}
    finally:
        await probe.client.disconnect()
        process.terminate()
        process.wait(10)


async def peer_latency(probe: Load, rate: int) -> list[float]:
    """Publish to result, for a target that publishes: the arrival of result n belongs to reading n."""
    arrived: list[float] = []
    sent: list[float] = []

    def arrive(*_: Any) -> int:
        arrived.append(time.time() * 1000)
        return 0

    probe.client.on_message = arrive
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number in range(rate * 4):
        sent.append(time.time() * 1000)
        await probe.publish(10**8 + number, 1, 0)
        if (ahead := begun + (number + 1) / rate - loop.time()) > 0:
            await asyncio.sleep(ahead)
    while len(arrived) < len(sent):  # noqa: ASYNC110 - in another process
        await asyncio.sleep(0.01)
    probe.client.on_message = probe._result
    return [came - went for came, went in zip(arrived, sent, strict=True)]


async def idle_cost(pid: int) -> dict[str, float]:
    """Five quiet seconds, after two for the start to settle."""
    await asyncio.sleep(2)
    before = usage(pid)
    await asyncio.sleep(5)
    after = usage(pid)
    return {
        "idle RSS MB": after.rss,
        "idle PSS MB": after.pss,
        "idle CPU %": (after.cpu - before.cpu) * 20,
        "idle wakes/s": (after.switches - before.switches) / 5,
    }


def percentiles(waits: list[float], rate: int) -> dict[str, float]:
    """p50 and p99 in ms."""
    ordered = sorted(waits)
    return {
        f"p50 ms @{rate}/s": ordered[len(ordered) // 2],
        f"p99 ms @{rate}/s": ordered[len(ordered) * 99 // 100],
    }


def table(rounds: dict[str, list[dict[str, float]]]) -> str:
    """Medians of the rounds, and the ratio to the last target."""
    names = list(rounds)
    lines = [
        f"{'':24}" + "".join(f"{name:>16}" for name in names) + (f"{'ratio':>10}" if len(names) > 1 else "")
    ]
    for metric in rounds[names[0]][0]:
        values = [statistics.median(one[metric] for one in rounds[name]) for name in names]
        ratio = f"{values[0] / values[1]:>10.2f}" if len(values) > 1 and values[1] else ""
        lines.append(f"{metric:24}" + "".join(f"{value:>16.2f}" for value in values) + ratio)
    return "\n".join(lines)


def main() -> int:
    """Measure and print."""
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000, help="readings at full speed (default 10000)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--node-red", type=Path, help="folder with node_modules/node-red")
    parser.add_argument("--json", type=Path, help="write all figures here")
    given = parser.parse_args()
    rounds: dict[str, list[dict[str, float]]] = {"edgewhisk": []}
    if given.node_red:
        rounds["node-red"] = []
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name,
        mosquitto(Path(name)) as broker,
    ):
        for number in range(given.rounds):
            folder = Path(name) / str(number)
            rounds["edgewhisk"].append(asyncio.run(edgewhisk(folder / "edge", broker, given.count)))
            if given.node_red:
                rounds["node-red"].append(
                    asyncio.run(peer(given.node_red, folder / "red", broker, given.count))
                )
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    sys.stdout.write(f"{machine}, {given.rounds} round(s)\n{table(rounds)}\n")
    if given.json:
        given.json.write_text(json.dumps(rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
