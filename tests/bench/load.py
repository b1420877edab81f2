"""Numbered readings to one MQTT topic, and their results from another; each answer is checked.

    python -m tests.bench.load --port 1883 --into bench/in --out bench/out --qos 1 --count 10000
    python -m tests.bench.load --port 1883 --into bench/in --out bench/out --qos 1 --count 800 --rate 200

A process of its own, so that it takes nothing from what it measures; prints JSON. Without --rate the loop is
closed: a window of readings is on its way at any time, which gives the throughput. With --rate it is open:
readings leave by the clock, and latency counts from when one was due, so that a stall is not hidden.

Reading {"seq", "dev", "c"}, result {"seq", "dev", "f", "alarm"}: Fahrenheit, alarm above 104.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from tests.bench.mqtt import PUBACK, PUBLISH, Client, encoded, payload

SEQ = re.compile(rb'"seq":\s*(\d+)')


@dataclass(frozen=True)
class Load:
    """What to send."""

    port: int
    into: str
    out: str
    qos: int
    count: int
    rate: float = 0.0  # readings a second; 0: a closed loop
    window: int = 500  # readings under way in a closed loop
    first: int = 0  # number of the first reading
    patience: float = 5.0  # seconds without a result after which what is missing is lost


class Found(NamedTuple):
    """What came of it."""

    sent: int
    lost: int
    doubled: int
    wrong: int
    disordered: int  # results that overtook an earlier one
    rate: float  # results a second
    p50: float  # ms from publishing to the result
    p99: float
    longest: float


def reading(number: int) -> bytes:
    """Of a sensor between 15 and 55 degrees."""
    return b'{"seq":%d,"dev":"d%d","c":%.2f}' % (number, number % 8, celsius(number))


def celsius(number: int) -> float:
    return 15 + number * 37 % 4000 / 100


def right(number: int, result: bytes) -> bool:
    """Whether this is the answer to a reading."""
    try:
        found = json.loads(result)
    except ValueError:
        return False
    fahrenheit = celsius(number) * 9 / 5 + 32
    return (
        isinstance(found, dict)
        and found.get("seq") == number
        and found.get("dev") == f"d{number % 8}"
        and abs(found.get("f", 0) - fahrenheit) < 0.011
        and (abs(fahrenheit - 104) < 0.02 or found.get("alarm") is (fahrenheit > 104))
    )


class Generator:
    """One run."""

    def __init__(self, load: Load) -> None:
        """Connects; the subscription is at QoS 0, so that the broker holds nothing back for acknowledgements."""
        self._load = load
        name = f"load-{os.getpid()}-{load.first}"
        self._out = Client(load.port, f"{name}-out")
        self._out.subscribe(load.out, 0)
        self._into = Client(load.port, f"{name}-in")
        numbers = range(load.first, load.first + load.count)
        self._packets = [encoded(load.into, reading(number), load.qos, number) for number in numbers]
        self.left = [0.0] * load.count  # when each was published, or due; by time.perf_counter
        self.came = [0.0] * load.count  # when its result came; 0: it did not
        self.acknowledged = 0  # by the broker, at QoS 1
        self._sent = 0
        self._results: list[tuple[int, bytes]] = []
        self._doubled = self._disordered = 0
        self._latest = -1

    def run(self) -> Found:
        """Send all, until all have come or nothing comes any more."""
        count, begun = self._load.count, time.perf_counter()
        news = begun
        while len(self._results) < count:
            now = time.perf_counter()
            pause = self._send(begun, now)
            if self._sent == count and now - max(news, self.left[-1]) > self._load.patience:
                break
            waits = [self._into] if self._into.unsent else []
            readable, writable, _ = select.select([self._out, self._into], waits, [], pause)
            if writable:
                self._into.flush()
            if self._into in readable:
                self.acknowledged += sum(one.kind == PUBACK for one in self._into.receive())
            if self._out in readable:
                self._take()
                news = time.perf_counter()
        self._out.close()
        self._into.close()
        return self._found(begun)

    def _send(self, begun: float, now: float) -> float:
        """Send what is due; seconds until more may be."""
        load, sent = self._load, self._sent
        if self._into.unsent:
            return 0.1
        if load.rate:
            due = min(load.count, int((now - begun) * load.rate) + 1)
        else:
            due = min(load.count, len(self._results) + load.window)
        if due > sent:
            for at in range(sent, due):
                self.left[at] = begun + at / load.rate if load.rate else now
            self._sent = due
            self._into.send(b"".join(self._packets[sent:due]))
        if load.rate and due < load.count:
            return max(0.0, begun + due / load.rate - time.perf_counter())
        return 0.1

    def _take(self) -> None:
        packets, now = self._out.receive(), time.perf_counter()
        for packet in packets:
            if packet.kind != PUBLISH:
                continue
            body = payload(packet)
            match = SEQ.search(body)
            at = int(match[1]) - self._load.first if match else -1
            if not 0 <= at < self._load.count:
                self._results.append((-1, body))  # somebody else's, or nonsense: wrong
            elif self.came[at]:
                self._doubled += 1
            else:
                self.came[at] = now
                self._results.append((at + self._load.first, body))
                self._disordered += at < self._latest
                self._latest = max(at, self._latest)

    def _found(self, begun: float) -> Found:
        came = [at for at in range(self._load.count) if self.came[at]]
        waits = sorted((self.came[at] - self.left[at]) * 1000 for at in came) or [0.0]
        wrong = sum(not right(number, body) for number, body in self._results)
        return Found(
            self._sent,
            self._sent - len(came),
            self._doubled,
            wrong,
            self._disordered,
            len(came) / max(1e-9, max(self.came) - begun),
            waits[len(waits) // 2],
            waits[len(waits) * 99 // 100],
            waits[-1],
        )


def generate(load: Load) -> Found:
    """Run a load in a process of its own."""
    words = [f"--{name}={value}" for name, value in asdict(load).items()]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.load", *words], stdout=subprocess.PIPE, check=True, timeout=600
    )
    return Found(**json.loads(done.stdout))


def first_answer(port: int, into: str, out: str, seconds: float = 60.0) -> None:
    """Return when a reading gets its right answer; asks every 20 ms, raises `TimeoutError`."""
    client, number, end = Client(port, f"probe-{os.getpid()}"), 10**9, time.monotonic() + seconds
    client.subscribe(out, 0)
    try:
        while time.monotonic() < end:
            client.send(encoded(into, reading(number), 0, 0))
            if select.select([client], [], [], 0.02)[0] and any(
                packet.kind == PUBLISH and right(number, payload(packet)) for packet in client.receive()
            ):
                return
    finally:
        client.close()
    raise TimeoutError(f"no answer at {out} to readings at {into} within {seconds:g} s")


def main(words: Sequence[str] | None = None) -> None:
    """The command."""
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, required=True, help="of a broker on this machine")
    parser.add_argument("--into", required=True, metavar="TOPIC", help="where readings go")
    parser.add_argument("--out", required=True, metavar="TOPIC", help="where results come from")
    parser.add_argument("--qos", type=int, choices=(0, 1), default=1, help="of the readings (default 1)")
    parser.add_argument("--count", type=int, default=10_000, help="readings (default 10000)")
    parser.add_argument("--rate", type=float, default=0.0, help="readings a second (default: a closed loop)")
    parser.add_argument("--window", type=int, default=500, help="under way in a closed loop (default 500)")
    parser.add_argument("--first", type=int, default=0, help="number of the first reading")
    parser.add_argument(
        "--patience", type=float, default=5.0, help="seconds without a result that mean a loss"
    )
    given: dict[str, Any] = vars(parser.parse_args(words))
    print(json.dumps(Generator(Load(**given)).run()._asdict()))


if __name__ == "__main__":
    main()
