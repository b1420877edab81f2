"""What one more device costs: a trigger, a rule and an action each, for 1 to 5,000 of them.

    python -m tests.bench.grow                                     # JavaScript, evenly, the usual sizes
    python -m tests.bench.grow --kind python --sizes 1 10 100 1000 --rate 500
    python -m tests.bench.grow --kind mix --spread zipf

Each device's action has code of its own, which holds its name. Readings come over MQTT at QoS 0, from all devices
in turn or by Zipf's law, and leave by the clock. A size is warm when each of its actions has run twice. Each size is
a gateway of its own. CPU is that of the whole process for a reading; "late" is how long after the last reading left
its record was there. Every reading must be recorded: 1 if one is missing.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import wasmtime

from tests.bench.load import reading
from tests.bench.mqtt import Client, encoded
from tests.bench.process import usage
from tests.path.gateway import Gateway, mosquitto

SIZES = (1, 2, 5, 10, 16, 20, 30, 50, 100, 200, 500, 1000, 2000, 5000)
CONNECTIONS = 4  # that deploy
JAVASCRIPT = """function main(d) {
  const f = Math.round((d.c * 9 / 5 + 32) * 100) / 100;
  return {of: "DEVICE", seq: d.seq, f: f, alarm: f > 104};
}"""
PYTHON = """def main(d):
    f = round(d["c"] * 9 / 5 + 32, 2)
    return {"of": "DEVICE", "seq": d["seq"], "f": f, "alarm": f > 104}
"""
REACTOR = """(module (memory (export "memory") 2) (global $top (mut i32) (i32.const 1024))
  (data (i32.const 16) "{\\"of\\":\\"DEVICE\\"}")
  (func (export "ew_alloc") (param i32) (result i32)
    (global.set $top (i32.add (global.get $top) (local.get 0)))
    (i32.sub (global.get $top) (local.get 0)))
  (func (export "ew_call") (param i32 i32) (result i64) (i64.or (i64.shl (i64.const 16) (i64.const 32)) (i64.const SIZE))))"""


class Grown(NamedTuple):
    """What was found at one size."""

    devices: int
    deploy: float  # seconds
    first: float  # us CPU a reading, of each action's first runs
    cpu: float  # us CPU a reading
    late: float  # seconds
    pss: float  # MB, warm
    restart: float  # seconds
    lists: float  # ms: of actions, rules, triggers, activations
    status: float  # ms
    missing: int


def executable(kind: str, number: int) -> dict[str, Any]:
    """The code of a device; of a `mix` each third is JavaScript, Python and a module."""
    name = f"device-{number:05}"
    if kind == "mix":
        kind = ("javascript", "python", "module")[number % 3]
    if kind == "javascript":
        return {"kind": "nodejs:default", "code": JAVASCRIPT.replace("DEVICE", name)}
    if kind == "python":
        return {"kind": "python:default", "code": PYTHON.replace("DEVICE", name)}
    text = REACTOR.replace("SIZE", str(len(f'{{"of":"{name}"}}'))).replace("DEVICE", name)
    module = base64.b64encode(bytes(wasmtime.wat2wasm(text))).decode()
    return {"kind": "wasm:default", "code": module, "binary": True}


def requests(made: Gateway, kind: str, number: int) -> Iterator[tuple[str, str, Any]]:
    """What deploys one device."""
    name = f"device-{number:05}"
    yield "PUT", f"_/actions/on-{name}", {"exec": executable(kind, number)}
    annotation = {"key": "feed", "value": "/whisk.system/mqtt/message"}
    yield "PUT", f"_/triggers/{name}", {"annotations": [annotation]}
    asked = {"lifecycleEvent": "CREATE", "triggerName": f"/_/{name}", "authKey": made.auth}
    yield (
        "POST",
        "whisk.system/actions/mqtt/message?blocking=true",
        {**asked, "topic": f"grow/{number}", "qos": 0},
    )
    yield "PUT", f"_/rules/{name}-on", {"trigger": f"/_/{name}", "action": f"/_/on-{name}"}


def deploy(made: Gateway, kind: str, numbers: Sequence[int]) -> None:
    """Deploy devices over one connection."""
    token = base64.b64encode(made.auth.encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", made.port, timeout=120)
    for number in numbers:
        for method, path, body in requests(made, kind, number):
            connection.request(method, f"/api/v1/namespaces/{path}", json.dumps(body), headers)
            answer = connection.getresponse()
            told = answer.read()
            assert answer.status < 300, (path, answer.status, told)
    connection.close()


def send(client: Client, order: Sequence[int], first: int, rate: float) -> None:
    """Readings by the clock, the numbers of their devices in `order`."""
    begun, sent = time.monotonic(), 0
    while sent < len(order):
        due = min(len(order), int((time.monotonic() - begun) * rate) + 1)
        client.send(
            b"".join(encoded(f"grow/{order[at]}", reading(first + at), 0, at) for at in range(sent, due))
        )
        sent = due
        time.sleep(0.002)
    while client.unsent:
        client.flush()


def recorded(made: Gateway) -> int:
    """Runs so far."""
    return sum(made.status()["invoker"]["outcomes"].values())


def load(
    made: Gateway, client: Client, order: Sequence[int], first: int, rate: float
) -> tuple[float, float, int]:
    """CPU a reading in us, seconds after the last until all are recorded, and how many never were."""
    begun, before = recorded(made), usage(made.pid).cpu
    send(client, order, first, rate)
    ended, patience = time.monotonic(), 10.0
    done = 0
    while (left := len(order) - done) and time.monotonic() < ended + patience:
        time.sleep(0.1)
        if (now := recorded(made) - begun) > done:
            done, patience = now, time.monotonic() - ended + 10
    late = time.monotonic() - ended
    return (usage(made.pid).cpu - before) / len(order) * 1e6, late, left


def took(call: Callable[[], object]) -> float:
    """ms of a call, the median of five."""
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        call()
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def lists(made: Gateway) -> None:
    for what in ("actions", "rules", "triggers", "activations"):
        made.ok("GET", f"_/{what}?limit=200")


def order_of(devices: int, count: int, spread: str) -> list[int]:
    """Whose turn it is."""
    if spread == "even":
        return [at % devices for at in range(count)]
    weights = [1 / (rank + 1) for rank in range(devices)]
    return random.Random(7).choices(range(devices), weights, k=count)


def grow(folder: Path, kind: str, devices: int, spread: str, count: int, rate: float) -> Grown:
    """One size."""
    with mosquitto(folder) as port:
        made = Gateway(folder / "edge", f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n').start()
        try:
            begun = time.monotonic()
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                shares = [range(at, devices, CONNECTIONS) for at in range(min(CONNECTIONS, devices))]
                list(pool.map(lambda share: deploy(made, kind, share), shares))
            deployed = time.monotonic() - begun
            client = Client(port, "grow")
            warm = max(100, 2 * devices)
            first, _, left = load(made, client, order_of(devices, warm, "even"), 0, rate / 4)
            cpu, late, missing = load(made, client, order_of(devices, count, spread), warm, rate)
            pss = usage(made.pid).pss
            listed, told = took(lambda: lists(made)), took(made.status)
            made.stop()
            begun = time.monotonic()
            made.start()
            restart = time.monotonic() - begun
        finally:
            made.stop()
    return Grown(devices, deployed, first, cpu, late, pss, restart, listed, told, left + missing)


def head() -> str:
    return (
        f"{'devices':>8}{'deploy s':>10}{'first us':>10}{'CPU us':>9}{'late s':>8}{'PSS MB':>9}"
        f"{'restart s':>11}{'lists ms':>10}{'status ms':>11}{'missing':>9}"
    )


def line(found: Grown) -> str:
    return (
        f"{found.devices:8}{found.deploy:10.2f}{found.first:10.0f}{found.cpu:9.0f}{found.late:8.1f}{found.pss:9.1f}"
        f"{found.restart:11.2f}{found.lists:10.1f}{found.status:11.1f}{found.missing:9}"
    )


def main() -> int:
    """Measure and print; 1 if a reading was not recorded."""
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kind", choices=("javascript", "python", "module", "mix"), default="javascript")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--spread", choices=("even", "zipf"), default="even")
    parser.add_argument("--count", type=int, default=20_000, help="readings of each size (default 20000)")
    parser.add_argument("--rate", type=float, default=2000, help="readings a second (default 2000)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    print(head(), flush=True)
    found = []
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name:
        for size in given.sizes:
            folder = Path(name) / str(size)
            folder.mkdir()
            found.append(grow(folder, given.kind, size, given.spread, given.count, given.rate))
            print(line(found[-1]), flush=True)
    if given.json:
        given.json.write_text(json.dumps([one._asdict() for one in found], indent=1))
    few = next((one for one in found if one.devices >= 10), found[0])
    last = found[-1]
    if last.devices > few.devices:
        each = (last.pss - few.pss) * 1024 / (last.devices - few.devices)
        print(
            f"{last.devices} devices beside {few.devices}: CPU {last.cpu / few.cpu:.2f}, "
            f"{each:.0f} KB for each more action"
        )
    return int(any(one.missing for one in found))


if __name__ == "__main__":
    sys.exit(main())
