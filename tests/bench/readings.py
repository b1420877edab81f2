"""MQTT reading -> isolated JavaScript -> durable activation -> result published, beside Node-RED.

    python -m tests.bench.readings --node-red FOLDER --rounds 3 [--json FILE]
    python -m tests.bench.readings --count 2000 --seconds 1        # a quick look, EdgeWhisk alone

EdgeWhisk runs a sequence of a JavaScript action and a bound /whisk.system/mqtt/publish: each reading in a
sandbox of its own, events at QoS 1 and activations on disk. Node-RED runs the same function in mqtt in ->
function -> mqtt out, without isolation and storing nothing. Results go out at the QoS of the readings.

One private mosquitto with its defaults (20 in flight and 1000 queued for a client, nothing persistent), but
for `set_tcp_nodelay true`: without, it holds small messages back until the receiver answers, which adds up to
40 ms and lets Node-RED take several at once. Both systems are up; every stage is run on the one, then at once
on the other, in turns who is first. Ratios are of the same stage of the same round, then the median over rounds.

Closed loop: 500 readings under way, at full speed. Open loop: readings leave by the clock; latency counts from
when a reading was due to its result at a subscriber. Answers are checked. "bar" is what EdgeWhisk is held to.
Where readings were lost the broker is asked whether it dropped them: on a machine that stands still for a second
its queue runs over, whoever reads from it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tests.bench.load import Load, first_answer, generate
from tests.bench.mqtt import dropped
from tests.bench.node_red import C2F, INSTALL, NodeRed, broker, function, mqtt_in, mqtt_out
from tests.bench.process import usage
from tests.bench.rounds import Figures, report, told
from tests.path.gateway import Gateway, mosquitto, until

BROKER = "allow_anonymous true\npersistence false\nset_tcp_nodelay true\nsys_interval 1"
DEFAULT_QUEUE = 1000  # mosquitto's own
CODE = """function main(d) {
  const f = Math.round((d.c * 9 / 5 + 32) * 100) / 100;
  return {seq: d.seq, dev: d.dev, f: f, alarm: f > 104};
}"""
QOS = (0, 1)
RATES = (200, 1000)
SETTLE = 0.2  # seconds after a load, for what waits for company on its way to the disk
BARS = {  # what EdgeWhisk's figure may be at most, or (above 1) must be at least, in Node-RED's
    **{f"closed loop, QoS {qos}: readings/s": 1.5 for qos in QOS},
    **{f"closed loop, QoS {qos}: CPU s/10k": 0.55 for qos in QOS},
    **{
        f"{rate}/s, QoS {qos}: {what}": 1.0
        for rate in RATES
        for qos in QOS
        for what in ("CPU s/10k", "p50 ms")
    },
    "PSS MB after the load": 0.35,
}
DROPPED = "lost: dropped by the broker"  # whose queue of 1,000 was full: somebody stood still for that long
FAULTS = ("lost", "doubled", "wrong", "disordered", DROPPED, "not recorded")
TOLD = FAULTS[:4]  # by the load


class System(NamedTuple):
    """What is measured. Its topics are NAME/qosN/in and out."""

    name: str
    pid: int
    started: float  # seconds from its start to the first right answer
    recorded: Callable[[], int] | None  # activations; None where nothing is recorded


@contextlib.contextmanager
def edgewhisk(folder: Path, port: int) -> Iterator[System]:
    """Not at its first start on a device, which compiles the sandbox."""
    made = Gateway(folder, f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n').start()
    try:
        made.action("c2f", CODE)
        for qos in QOS:
            made.bind(f"out{qos}", "mqtt", topic=f"edgewhisk/qos{qos}/out", qos=qos)
            made.sequence(f"c2f-out{qos}", "c2f", f"out{qos}/publish")
            made.feed(f"in{qos}", "mqtt/message", topic=f"edgewhisk/qos{qos}/in", qos=1)
            made.rule(f"in{qos}", f"c2f-out{qos}")
        made.stop()
        begun = time.monotonic()
        made.start()
        first_answer(port, "edgewhisk/qos0/in", "edgewhisk/qos0/out")
        started = time.monotonic() - begun
        yield System("edgewhisk", made.pid, started, lambda: sum(made.count(f"c2f-out{qos}") for qos in QOS))
    finally:
        made.stop()


@contextlib.contextmanager
def node_red(installed: Path, folder: Path, port: int) -> Iterator[System]:
    chains = []
    for qos in QOS:
        out = mqtt_out(f"node-red/qos{qos}/out", qos)
        job = function(C2F, out)
        chains += [mqtt_in(f"node-red/qos{qos}/in", job), job, out]
    made = NodeRed(installed, folder, [broker(port), *chains])
    begun = time.monotonic()
    try:
        made.start()
        first_answer(port, "node-red/qos0/in", "node-red/qos0/out")
        yield System("node-red", made.pid, time.monotonic() - begun, None)
    finally:
        made.stop()


def idle(pid: int) -> Figures:
    """Five quiet seconds, after one for the start to settle."""
    time.sleep(1)
    before = usage(pid)
    time.sleep(5)
    after = usage(pid)
    return {
        "idle: PSS MB": after.pss,
        "idle: CPU %": (after.cpu - before.cpu) * 20,
        "idle: wakes/s": (after.switches - before.switches) / 5,
    }


def stage(system: System, label: str, load: Load) -> Figures:
    """Run one load; what it cost and gave."""
    before = usage(system.pid)
    topic = f"{system.name}/qos{load.qos}"
    found = generate(replace(load, into=f"{topic}/in", out=f"{topic}/out"))
    time.sleep(SETTLE)
    after = usage(system.pid)
    figures = {
        "CPU s/10k": (after.cpu - before.cpu) * 10_000 / found.sent,
        "p50 ms": found.p50,
        "p99 ms": found.p99,
    }
    if not load.rate:
        written = (after.written - before.written) / found.sent
        figures = {"readings/s": found.rate, **figures, "disk bytes/reading": written}
    faults = {name: float(getattr(found, name)) for name in TOLD}
    faults[DROPPED] = dropped(load.port) if found.lost else 0.0
    return {**{f"{label}: {name}": value for name, value in figures.items()}, **faults}


def stages(port: int, count: int, seconds: float) -> Iterator[tuple[str, Load]]:
    """All loads of a round. Each has numbers of its own: what comes late counts in no other."""
    firsts = itertools.count(0, 10_000_000)
    for qos in QOS:
        load = Load(port, "", "", qos, count)
        yield "warm", replace(load, count=max(500, count // 5), first=next(firsts))
        yield f"closed loop, QoS {qos}", replace(load, first=next(firsts))
    for rate in RATES:
        for qos in QOS:
            yield (
                f"{rate}/s, QoS {qos}",
                Load(port, "", "", qos, int(rate * seconds), rate, first=next(firsts)),
            )


def measure(
    systems: Sequence[System], port: int, count: int, seconds: float, turn: int
) -> dict[str, Figures]:
    """One round."""
    found = {one.name: {"start to first answer, s": one.started, **idle(one.pid)} for one in systems}
    base = {one.name: one.recorded() for one in systems if one.recorded}
    totals = {one.name: dict.fromkeys(FAULTS, 0.0) for one in systems}
    sent, before = 0, 0.0
    for label, load in stages(port, count, seconds):
        turn, sent = turn + 1, sent + load.count
        for one in systems if turn % 2 else systems[::-1]:
            figures = stage(one, label, load)
            for name in TOLD:
                totals[one.name][name] += figures.pop(name)
            if total := figures.pop(DROPPED):  # since the broker started
                totals[one.name][DROPPED] += total - before
                before = total
            if label != "warm":
                found[one.name] |= figures
            elif load.qos == QOS[0]:
                found[one.name]["PSS MB after the warm-up"] = usage(one.pid).pss
    for one in systems:
        found[one.name]["PSS MB after the load"] = usage(one.pid).pss
        if one.recorded:
            answered = sent - totals[one.name]["lost"] + base[one.name]
            totals[one.name]["not recorded"] = max(0, answered - settled(one.recorded, answered))
        found[one.name] |= totals[one.name]
    return found


def settled(count: Callable[[], int], wanted: float) -> int:
    """The count once it is what it should be, or after ten seconds."""
    with contextlib.suppress(AssertionError):
        until(lambda: count() >= wanted, 10)
    return count()


def main() -> int:
    """Measure and print; 1 if EdgeWhisk lost something, or an answer was wrong."""
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000, help="readings of a closed loop (default 10000)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each open loop (default 5)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--node-red", type=Path, metavar="FOLDER", help=f"made by `{INSTALL}`")
    parser.add_argument("--json", type=Path, help="write the figures of all rounds here")
    given = parser.parse_args()
    rounds = []
    # Below the working directory, which is on a disk: what is synced to a tmpfs costs nothing.
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name:
        for number in range(given.rounds):
            folder = Path(name) / str(number)
            folder.mkdir()
            with contextlib.ExitStack() as stack:
                port = stack.enter_context(mosquitto(folder, BROKER, queue=DEFAULT_QUEUE))
                systems = [stack.enter_context(edgewhisk(folder / "edgewhisk", port))]
                if given.node_red:
                    systems.append(stack.enter_context(node_red(given.node_red, folder / "node-red", port)))
                rounds.append(measure(systems, port, given.count, given.seconds, number))
            told("all", number, given.rounds)
    return report(rounds, FAULTS, given.json, BARS)


if __name__ == "__main__":
    sys.exit(main())
