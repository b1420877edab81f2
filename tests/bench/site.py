"""A site: 1,000 topics that publish once a second and 8 serial ports at 115200 baud, beside Node-RED.

    python -m tests.bench.site --node-red FOLDER --rounds 3
    python -m tests.bench.site --seconds 300                  # memory, until after the buffer is full
    python -m tests.bench.site --ports 0 --qos 0              # the topics alone

EdgeWhisk: one trigger on site/+/reading, eight on ports; rules, JavaScript actions, and an activation on disk
for each reading. Node-RED: mqtt in, and serial in -> json for each port, into functions that compute the same
and count in memory; it isolates nothing and stores nothing.

The ports carry JSON lines of a BME280 without a pause (profile arduino/bme280), some 180 a second each; see
tests.bench.site_load. The broker is tests.bench.readings's. Systems are measured one after the other in each
round, in turns who is first. Latency is from when a reading was due to the end of its run by the system's own
record, in whole milliseconds; EdgeWhisk's record is on disk at most its commit window (20 ms) later. "cost" is CPU
seconds a second for each 1,000 readings a second. "answers" is a trivial HTTP request, twice a second: how long
the event loop keeps others waiting.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tty
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.node_red import INSTALL
from tests.bench.process import usage
from tests.bench.readings import BROKER, DEFAULT_QUEUE
from tests.bench.rounds import Figures, report, told
from tests.bench.site_load import Sent
from tests.bench.site_systems import Site, System, edgewhisk, node_red
from tests.path.gateway import mosquitto

FAULTS = ("lost", "doubled", "wrong")


@contextlib.contextmanager
def plugged(count: int) -> Iterator[tuple[list[int], list[str]]]:
    """Ports; their devices' ends and their paths."""
    pairs = [os.openpty() for _ in range(count)]
    try:
        for _, slave in pairs:
            tty.setraw(slave)
        yield [master for master, _ in pairs], [os.ttyname(slave) for _, slave in pairs]
    finally:
        for one in pairs:
            for end in one:
                os.close(end)


class Watch(threading.Thread):
    """CPU and memory over the load, and how soon the system answers."""

    def __init__(self, system: System, begin: float, seconds: float) -> None:
        super().__init__()
        self._system, self._begin, self._seconds = system, begin, seconds
        self.figures: Figures = {}

    def run(self) -> None:
        """Until the end of the load."""
        idle = sorted(answer(self._system.http) for _ in range(9))
        answers = []
        time.sleep(max(0.0, self._begin - time.time()))
        before, quarter = usage(self._system.pid), None
        while (passed := time.time() - self._begin) < self._seconds:
            answers.append(answer(self._system.http))
            if quarter is None and passed > self._seconds / 4:
                quarter = usage(self._system.pid)
            time.sleep(0.5)
        after = usage(self._system.pid)
        quarter = quarter or before
        answers.sort()
        self.figures = {
            "CPU %": (after.cpu - before.cpu) / (time.time() - self._begin) * 100,
            "disk kB/s": (after.written - before.written) / self._seconds / 1000,
            "PSS MB at the start": before.pss,
            "PSS MB after a quarter": quarter.pss,
            "PSS MB at the end": after.pss,
            "RSS MB at the end": after.rss,
            "answers: p50 ms when idle": idle[len(idle) // 2],
            "answers: p50 ms": answers[len(answers) // 2],
            "answers: longest ms": answers[-1],
        }


def answer(port: int) -> float:
    """Milliseconds that a request takes which is nothing but refused."""
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(b"GET /nothing-here HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert client.recv(100), "no answer"
    return (time.perf_counter() - began) * 1000


def measure(system: System, site: Site) -> Figures:
    """One load on one system."""
    begin = time.time() + 2.0
    system.begin(begin)
    watch = Watch(system, begin, site.seconds)
    watch.start()
    sent = send(site, begin)
    watch.join()
    rate = sum(site.counts.values()) / site.seconds
    cost = watch.figures["CPU %"] / rate * 10
    topics, ports, evicted = system.results()
    results = {"topics": topics, "ports": ports}
    waits = {
        f"{kind}: p{part} ms": percentile(result.waits, part / 100)
        for kind, result in results.items()
        if site.counts[kind]
        for part in (50, 99)
    }
    return {
        "readings/s": rate,
        "cost: CPU s/s for 1,000/s": cost,
        **watch.figures,
        **waits,
        "lost": sum(site.counts.values()) - topics.distinct - ports.distinct - evicted,
        "doubled": sum(result.doubled for result in results.values()),
        "wrong": sum(result.wrong for result in results.values()),
        "evicted, so not checked": evicted,
        "serial bytes not taken in time": sent.overrun,
        "generator late at worst, ms": sent.behind,
        "generator CPU %": sent.cpu / site.seconds * 100,
    }


def send(site: Site, begin: float) -> Sent:
    """The load."""
    words = (f"--port={site.broker}", f"--topics={site.topics}", f"--qos={site.qos}",
             f"--seconds={site.seconds}", f"--begin={begin!r}")  # fmt: skip
    command = [sys.executable, "-m", "tests.bench.site_load", *words]
    if site.masters:
        command += ["--descriptors", *map(str, site.masters)]
    done = subprocess.run(command, pass_fds=site.masters, stdout=subprocess.PIPE, check=True)
    sent = Sent(**json.loads(done.stdout))
    taken = sent.acknowledged == sent.published or not site.qos
    assert taken, f"the broker has not taken all readings: {sent}"
    return sent


def percentile(waits: Counter[float], part: float) -> float:
    left = waits.total() * part
    for wait, count in sorted(waits.items()):
        left -= count
        if left <= 0:
            return wait
    return float("nan")


def main() -> int:
    """Measure and print; 1 if EdgeWhisk lost something, or an answer was wrong."""
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load (default 60)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--topics", type=int, default=1000, help="each one reading a second (default 1000)")
    parser.add_argument("--ports", type=int, default=8, help="serial ports at 115200 baud (default 8)")
    parser.add_argument("--qos", type=int, choices=(0, 1), default=1, help="of the readings (default 1)")
    parser.add_argument("--node-red", type=Path, metavar="FOLDER", help=f"made by `{INSTALL}`")
    parser.add_argument("--json", type=Path, help="write the figures of all rounds here")
    given = parser.parse_args()
    systems: dict[str, Callable[[Path, Site], contextlib.AbstractContextManager[System]]]
    systems = {"edgewhisk": edgewhisk}
    if given.node_red:
        systems["node-red"] = lambda folder, site: node_red(given.node_red, folder, site)
    rounds: list[dict[str, Figures]] = []
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name:
        for number in range(given.rounds):
            found = {}
            for which in list(systems)[:: -1 if number % 2 else 1]:
                folder = Path(name) / f"{number}-{which}"
                folder.mkdir()
                with (
                    mosquitto(folder, BROKER, queue=DEFAULT_QUEUE) as port,
                    plugged(given.ports) as (masters, paths),
                ):
                    site = Site(port, given.topics, given.qos, given.seconds, masters, paths)
                    with systems[which](folder / "system", site) as system:
                        found[which] = measure(system, site)
                told(which, number, given.rounds)
            rounds.append({which: found[which] for which in systems})
    return report(rounds, FAULTS, given.json)


if __name__ == "__main__":
    sys.exit(main())
