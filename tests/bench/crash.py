"""SIGKILL in mid-stream at QoS 1, and started again at once: what is lost, what runs twice, how soon it goes on.

    python -m tests.bench.crash --times 10 --node-red FOLDER
    python -m tests.bench.crash --times 10 --random           # at any instant of the stream

Each round publishes 3,200 readings at 400 a second to a fresh gateway, which runs a sequence of a JavaScript
action and a bound /whisk.system/mqtt/publish, and kills it after 3 seconds. Of each reading two things are
wanted: its result published, and the activations of the sequence and its action on disk. The broker
lives on, gives each reading its acknowledgement (checked), and keeps 100,000 messages for a client that is
away: its default of 1,000 would lose readings itself when a start takes longer than 2.5 s.

Node-RED does mqtt in -> function -> mqtt out, once with a clean session, as its editor proposes, and once with
a session that the broker keeps.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.bench.load import Generator, Load, first_answer, right
from tests.bench.node_red import C2F, INSTALL, NodeRed, broker, function, mqtt_in, mqtt_out
from tests.bench.readings import BROKER, CODE
from tests.path.gateway import Gateway, mosquitto

INTO, OUT = "crash/in", "crash/out"
PROBES = 10**9  # numbers from here on only ask whether the system runs


class System(Protocol):
    """What is killed."""

    def start(self) -> object: ...

    def kill(self) -> None: ...


@dataclass
class Found:
    """What came of one round."""

    sent: int
    killed: float  # s after the first reading
    back: float  # s from the kill to the first result of a reading that was published after it
    unpublished: int  # readings without a result: lost
    published_again: int  # results beyond the first of a reading
    wrong: int
    unrecorded: int | None = None  # readings without an activation of the sequence and of its action; lost
    run_again: int | None = None  # activations of the action beyond the first of a reading
    recognised: int | None = None  # redelivered by the broker, and not run again
    unfinished: int | None = None  # accepted and never run


def crash(made: System, port: int, count: int, rate: float, kill_at: float) -> Found:
    """Publish, kill, start; wait for the results."""
    first_answer(port, INTO, OUT)
    time.sleep(0.5)  # later answers to what asked first
    generator = Generator(Load(port, INTO, OUT, 1, count, rate, patience=15.0))
    published: list[Any] = []
    thread = threading.Thread(target=lambda: published.append(generator.run()))
    begun = time.perf_counter()
    thread.start()
    time.sleep(kill_at)
    made.kill()
    killed = time.perf_counter()
    made.start()
    thread.join()
    (found,) = published
    assert generator.acknowledged == count, "the broker has not taken all readings: it is at fault"
    after = [
        came for left, came in zip(generator.left, generator.came, strict=True) if left > killed and came
    ]
    back = min(after, default=killed) - killed
    return Found(count, killed - begun, back, found.lost, found.doubled, found.wrong)


def edgewhisk(folder: Path, port: int, count: int, rate: float, kill_at: float) -> Found:
    """One round of ours."""
    made = Gateway(folder, f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n').start()
    try:
        made.action("c2f", CODE)
        made.bind("out", "mqtt", topic=OUT, qos=1)
        made.sequence("c2f-out", "c2f", "out/publish")
        made.feed("in", "mqtt/message", topic=INTO, qos=1)
        made.rule("in", "c2f-out")
        found = crash(made, port, count, rate, kill_at)
        runs, complete = recorded(made, count)
        status = made.status()
        found.unrecorded = count - len(complete)
        found.run_again = runs.total() - len(runs)
        found.recognised = sum(feed.get("duplicates", 0) for feed in status["feeds"])
        found.unfinished = status["buffer"]["unfinished"]
        return found
    finally:
        made.stop()


def recorded(made: Gateway, count: int) -> tuple[Counter[int], set[int]]:
    """How often each reading was run, and those whose whole sequence succeeded.

    Results are published before their records are on disk; these get ten seconds.
    """
    runs, complete = records(made)
    end = time.monotonic() + 10
    while time.monotonic() < end and (len(complete) < count or made.status()["buffer"]["unfinished"]):
        time.sleep(0.1)
        runs, complete = records(made)
    return runs, complete


def records(made: Gateway) -> tuple[Counter[int], set[int]]:
    """The same, as of now."""
    succeeded = {
        one["activationId"] for one in made.activations("c2f-out") if one["response"]["status"] == "success"
    }
    runs, complete = Counter[int](), set[int]()
    for one in made.activations("c2f"):
        result = one["response"]["result"]
        number = result.get("seq", PROBES)
        if number < PROBES:
            runs[number] += 1
            if one["cause"] in succeeded and right(number, json.dumps(result).encode()):
                complete.add(number)
    return runs, complete


def node_red(
    installed: Path, clean: bool, folder: Path, port: int, count: int, rate: float, kill_at: float
) -> Found:
    """One round of Node-RED."""
    out = mqtt_out(OUT, 1)
    job = function(C2F, out)
    made = NodeRed(installed, folder, [broker(port, clean=clean), mqtt_in(INTO, job), job, out]).start()
    try:
        return crash(made, port, count, rate, kill_at)
    finally:
        made.stop()


Round = Callable[[Path, int, int, float, float], Found]


def rounds(
    systems: dict[str, Round], folder: Path, count: int, rate: float, instants: Sequence[float]
) -> Iterator[tuple[str, Found]]:
    """Every system at every instant, each with a broker of its own."""
    for number, kill_at in enumerate(instants):
        for name, system in systems.items():
            here = folder / f"{number}-{name}".replace(" ", "-")
            here.mkdir()
            with mosquitto(here, BROKER) as port:
                yield name, system(here / "system", port, count, rate, kill_at)


def report(found: dict[str, list[Found]]) -> str:
    """Sums over the rounds, and each round's losses."""
    lines = [f"{'':24}" + "".join(f"{name:>24}" for name in found)]
    for field in Found.__dataclass_fields__:
        line = f"{field.replace('_', ' '):24}"
        for many in found.values():
            values = [getattr(one, field) for one in many]
            if values[0] is None:
                text = "-"
            elif field in ("killed", "back"):
                text = f"{min(values):.2f} to {max(values):.2f} s"
            else:
                text = f"{sum(values):,}"
            line += f"{text:>24}"
        lines.append(line)
    lines += [
        f"{name}: unpublished in each round {[one.unpublished for one in many]}"
        for name, many in found.items()
    ]
    return "\n".join(lines)


def main() -> int:
    """Crash and print; 1 if EdgeWhisk lost anything."""
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=10, help="rounds (default 10)")
    parser.add_argument("--count", type=int, default=3200, help="readings of a round (default 3200)")
    parser.add_argument("--rate", type=float, default=400.0, help="readings a second (default 400)")
    parser.add_argument("--kill-at", type=float, default=3.0, metavar="SECONDS", help="default 3")
    parser.add_argument("--random", action="store_true", help="kill at random instants of the stream instead")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="repeats --random")
    parser.add_argument("--node-red", type=Path, metavar="FOLDER", help=f"made by `{INSTALL}`")
    parser.add_argument("--json", type=Path, help="write the figures of all rounds here")
    given = parser.parse_args()
    chance, last = random.Random(given.seed), given.count / given.rate - 0.5
    instants = [chance.uniform(0.1, last) if given.random else given.kill_at for _ in range(given.times)]
    systems: dict[str, Round] = {"edgewhisk": edgewhisk}
    if given.node_red:
        systems["node-red"] = lambda *more: node_red(given.node_red, True, *more)
        systems["node-red, session kept"] = lambda *more: node_red(given.node_red, False, *more)
    found: dict[str, list[Found]] = {name: [] for name in systems}
    if given.random:
        print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as folder:
        for name, one in rounds(systems, Path(folder), given.count, given.rate, instants):
            found[name].append(one)
            print(f"{name}: {one}", file=sys.stderr, flush=True)
    print(report(found))
    if given.json:
        given.json.write_text(
            json.dumps({name: [asdict(one) for one in many] for name, many in found.items()})
        )
    ours = found["edgewhisk"]
    return int(any(one.unpublished or one.unrecorded or one.wrong or one.unfinished for one in ours))


if __name__ == "__main__":
    sys.exit(main())
