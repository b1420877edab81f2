"""What an hour of hostile neighbours and hostile replies leaves in a gateway's memory: nothing.

    nice python -m tests.bench.memory --minutes 60
    python -m tests.bench.memory --minutes 5 --seed 7 --every 60

A real gateway, a mosquitto, and a server that is a cloud, a CouchDB and a web host (tests.bench.hostile). Each round all
neighbours (tests.bench.neighbours) do what they can: run out of memory, time and stack, print and answer
without end, deploy and delete, send what is too large or no JSON, leave connections half open; every other round
the server lies. When nothing is left to do the memory of the gateway is measured, as the kernel counts it. The buffer
is small, so that it is full soon, and no index grows.

What is kept on purpose (idle sandboxes, modules, topics) is filled first: else it fills in the course of the hour, and
hides what leaks. The verdict compares medians: of the last quarter with that of the first after the warm-up, which is
told in rounds, as a busy machine takes three times as long for one. 1 if they differ by more than 5 %.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.hostile import Liar, liar
from tests.bench.neighbours import Neighbours
from tests.path.gateway import Gateway, mosquitto

WARM_UP: Final = 20  # rounds, until the buffer is full
BAR: Final = 5.0  # %
BUFFER: Final = 32 << 20  # bytes


class Sample(NamedTuple):
    """A gateway with nothing to do."""

    minutes: float  # since the begin
    rounds: int
    runs: int  # activations so far
    pss: float  # MB
    anonymous: float  # MB of it: what no file holds
    threads: int
    files: int


def sample(made: Gateway, begun: float, rounds: int) -> Sample:
    root = Path(f"/proc/{made.pid}")
    told = dict(line.split()[:2] for line in (root / "smaps_rollup").read_text().splitlines()[1:])
    runs = sum(made.status()["invoker"]["outcomes"].values())
    counts = [len([*(root / name).iterdir()]) for name in ("task", "fd")]
    pss, anonymous = (int(told[name]) / 1024 for name in ("Pss:", "Pss_Anon:"))
    return Sample((time.monotonic() - begun) / 60, rounds, runs, pss, anonymous, *counts)


def head() -> str:
    return f"{'minutes':>8}{'rounds':>8}{'runs':>10}{'PSS MB':>9}{'anonymous':>11}{'threads':>9}{'files':>7}"


def line(found: Sequence[Sample]) -> str:
    """Medians of some samples, the counters of the last."""
    last = found[-1]
    pss, anonymous = (statistics.median(getattr(one, key) for one in found) for key in ("pss", "anonymous"))
    return (
        f"{last.minutes:8.1f}{last.rounds:8}{last.runs:10,}{pss:9.1f}{anonymous:11.1f}"
        f"{last.threads:9}{last.files:7}"
    )


def growth(found: Sequence[Sample]) -> float:
    """% by which the last quarter is above the first after the warm-up; nan with less than four samples."""
    held = [one.pss for one in found[WARM_UP:]]
    quarter = len(held) // 4
    if not quarter:
        return float("nan")
    return (statistics.median(held[-quarter:]) / statistics.median(held[:quarter]) - 1) * 100


def run(neighbours: Neighbours, made: Gateway, cloud: Liar, minutes: float, every: float) -> list[Sample]:
    """Rounds until the time is over; prints a line each `every` seconds."""
    found: list[Sample] = []
    begun = time.monotonic()
    told, shown = begun, 0
    while time.monotonic() < begun + minutes * 60:
        cloud.lying = len(found) % 2 == 0
        neighbours.round()
        neighbours.rest()
        found.append(sample(made, begun, len(found) + 1))
        if time.monotonic() > told + every:
            print(line(found[shown:]), flush=True)
            told, shown = time.monotonic(), len(found)
    return found


def main() -> int:
    """Run and print; 1 if the memory is not flat."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--every", type=float, default=300, help="seconds between two lines (default 300)")
    given = parser.parse_args()
    print(f"seed {given.seed}\n{head()}", flush=True)
    with tempfile.TemporaryDirectory() as name, mosquitto(Path(name)) as broker, liar(given.seed) as cloud:
        key = Path(name, "key")
        key.write_text("23bc46b1-71f6-4ed5-8c54-816aa4f8c502:" + "k" * 64)
        made = Gateway(
            Path(name, "edge"),
            f'[mqtt]\nurl = "mqtt://127.0.0.1:{broker}"\n[buffer]\nmax_bytes = {BUFFER}\n'
            f'[cloud]\nurl = "http://127.0.0.1:{cloud.port}"\nauth_file = "{key}"\n'
            "interval = 0.1\nlongest_pause = 1.0\n",
        ).start()
        try:
            neighbours = Neighbours(made, broker, cloud, given.seed)
            neighbours.fill()
            neighbours.rest()
            found = run(neighbours, made, cloud, given.minutes, given.every)
        finally:
            made.kill()
    for what, count in sorted(cloud.told.items()):
        print(f"{count:10,}  {what}")
    grown = growth(found)
    print(
        f"the last quarter of {len(found) - WARM_UP} rounds holds {grown:+.1f} % more than the first, "
        f"behind {WARM_UP} of warm-up: {'flat' if abs(grown) <= BAR else 'NOT FLAT'}"
    )
    return int(not abs(grown) <= BAR)


if __name__ == "__main__":
    sys.exit(main())
