"""Blocking invokes over HTTP, beside OpenWhisk's Node action proxy, Node-RED and workerd.

    python -m tests.bench.invokes --rounds 3
    python -m tests.bench.invokes --node-red DIR --workerd DIR --action-proxy DIR

EdgeWhisk does the whole of it: authentication, a pristine sandbox for each call, and a record that is
fdatasync'ed before the reply. The peers run the same function without isolation between calls, without
authentication and without a record: Node-RED as a flow http in -> function -> http response, workerd
as a worker, the action proxy as one warm container of OpenWhisk's Node runtime, without Docker.

Load comes from `wrk` (apt install wrk). All systems are measured in turns within each round; figures
are medians over the rounds, ratios are taken within a round.

Peers are installed by you: `npm install node-red@5`, `npm install workerd` into folders of
your choice; the action proxy is `core/nodejsActionBase` of apache/openwhisk-runtime-nodejs after
`npm install` there.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.bench.process import usage
from tests.path.gateway import free_port, gateway, until

CODE = """function main(d) {
  const f = Math.round((d.c * 9 / 5 + 32) * 100) / 100;
  return {seq: d.seq, dev: d.dev, f: f, alarm: f > 104};
}"""
BODY = '{"seq":1,"dev":"d0","c":41.5}'
WANT = {"seq": 1, "dev": "d0", "f": 106.7, "alarm": True}
CONCURRENCY = (1, 8, 32)
LUA = """
wrk.method = "POST"
wrk.body = os.getenv("BENCH_BODY")
wrk.headers["Content-Type"] = "application/json"
local auth = os.getenv("BENCH_AUTH")
if auth ~= "" then wrk.headers["Authorization"] = auth end
done = function(summary, latency, requests)
  io.write(string.format("@@%d %d %d %d %d\\n", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), summary.errors.status + summary.errors.connect + summary.errors.read
    + summary.errors.write + summary.errors.timeout))
end
"""


class Target(NamedTuple):
    """A running system."""

    name: str
    pid: int
    url: str
    body: str = BODY
    auth: str = ""


class Figures(NamedTuple):
    """What one load gave."""

    rate: float  # requests a second
    p50: float  # ms
    p99: float  # ms
    cpu: float  # seconds for 10,000 requests
    disk: float  # bytes for each request


def load(target: Target, concurrency: int, seconds: int, script: Path) -> Figures:
    """Drive one target with wrk."""
    before = usage(target.pid)
    done = subprocess.run(
        ["wrk", "-t1", f"-c{concurrency}", f"-d{seconds}s", "--timeout=10s", "-s", str(script), target.url],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "BENCH_BODY": target.body, "BENCH_AUTH": target.auth},
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("@@"))
    requests, took, p50, p99, errors = (int(part) for part in line[2:].split())
    assert not errors, f"{target.name}: {errors} of {requests} requests failed"
    after = usage(target.pid)
    cpu = (after.cpu - before.cpu) / requests * 10_000
    disk = (after.written - before.written) / requests
    return Figures(requests / took * 1e6, p50 / 1e3, p99 / 1e3, cpu, disk)


def check(target: Target) -> None:
    """The answer is right, not only fast."""
    headers = {"Content-Type": "application/json", **({"Authorization": target.auth} if target.auth else {})}
    request = urllib.request.Request(target.url, target.body.encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer) == WANT, target.name


# -- systems -------------------------------------------------------------------------------------


@contextlib.contextmanager
def edgewhisk(folder: Path) -> Iterator[Target]:
    settings = '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n'
    with gateway(folder / "edgewhisk", settings) as running:
        assert running.process is not None
        config = running.config.read_text().replace("[limits]\n", "[limits]\nconcurrent_invocations = 1000\n")
        running.stop()
        running.config.write_text(config)
        running.start()
        running.action("c2f", CODE)
        url = f"http://127.0.0.1:{running.port}/api/v1/namespaces/_/actions/c2f?blocking=true&result=true"
        auth = "Basic " + base64.b64encode(running.auth.encode()).decode()
        yield Target("EdgeWhisk", running.process.pid, url, auth=auth)


@contextlib.contextmanager
def _process(
    command: list[str], folder: Path, port: int, environment: dict[str, str] | None = None
) -> Iterator[int]:
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(listens, what=command[0])
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def node_red(folder: Path, installed: Path, node: str) -> Iterator[Target]:
    port, home = free_port(), folder / "node-red"
    home.mkdir()
    function = (
        "const d = msg.payload; const f = Math.round((d.c * 9 / 5 + 32) * 100) / 100;"
        "msg.payload = {seq: d.seq, dev: d.dev, f: f, alarm: f > 104}; return msg;"
    )
    flow = [
        {"id": "f", "type": "tab", "label": "bench"},
        {"id": "in", "type": "http in", "z": "f", "url": "/c2f", "method": "post", "wires": [["fn"]]},
        {"id": "fn", "type": "function", "z": "f", "func": function, "outputs": 1, "wires": [["out"]]},
        {"id": "out", "type": "http response", "z": "f", "statusCode": "200", "wires": []},
    ]
    (home / "flows.json").write_text(json.dumps(flow))
    (home / "settings.js").write_text(
        f'module.exports = {{uiPort: {port}, uiHost: "127.0.0.1", flowFile: "flows.json", logging: {{}}}};'
    )
    script = installed / "node_modules/node-red/red.js"
    command = [node, str(script), "-u", str(home), "-s", str(home / "settings.js")]
    with _process(command, home, port) as pid:
        target = Target("Node-RED", pid, f"http://127.0.0.1:{port}/c2f")
        until(lambda: _answers(target), what="the flow runs")
        yield target


def _answers(target: Target) -> bool:
    try:
        check(target)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def workerd(folder: Path, installed: Path) -> Iterator[Target]:
    port, home = free_port(), folder / "workerd"
    home.mkdir()
    (home / "worker.js").write_text(
        CODE
        + "\nexport default {async fetch(request) { return Response.json(main(await request.json())); }};\n"
    )
    (home / "config.capnp").write_text(
        f"""using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = (modules = [(name = "worker.js", esModule = embed "worker.js")],
    compatibilityDate = "2024-09-01"))],
  sockets = [(name = "http", address = "127.0.0.1:{port}", http = (), service = "main")]
);
"""
    )
    found = sorted((installed / "node_modules/@cloudflare").glob("workerd-linux-*/bin/workerd"))
    with _process([str(found[0]), "serve", str(home / "config.capnp")], home, port) as pid:
        yield Target("workerd", pid, f"http://127.0.0.1:{port}/c2f")


@contextlib.contextmanager
def action_proxy(folder: Path, installed: Path, node: str) -> Iterator[Target]:
    """The proxy listens on 8080 of every interface; here on a port of loopback."""
    port, home = free_port(), folder / "proxy"
    home.mkdir()
    (home / "loopback.js").write_text(
        "const net = require('net'); const own = net.Server.prototype.listen;\n"
        "net.Server.prototype.listen = function (port, ...rest) {\n"
        f"  return own.call(this, {port}, '127.0.0.1', rest.find(one => typeof one === 'function'));\n"
        "};\n"
    )
    command = [node, "-r", str(home / "loopback.js"), str(installed / "app.js")]
    environment = {"__OW_ALLOW_CONCURRENT": "true"}
    with _process(command, installed, port, environment) as pid:
        code = {"value": {"name": "c2f", "main": "main", "binary": False, "code": CODE, "env": {}}}
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/init", json.dumps(code).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=30).close()
        wrapped = {"value": json.loads(BODY), "activation_id": "a1", "action_name": "/_/c2f",
                   "namespace": "_", "deadline": "99999999999999"}  # fmt: skip
        yield Target("action proxy", pid, f"http://127.0.0.1:{port}/run", json.dumps(wrapped))


# -- report --------------------------------------------------------------------------------------

Results = dict[str, dict[int, list[Figures]]]


def report(results: Results) -> None:
    """Medians, and EdgeWhisk's ratio to each peer (above 1: better)."""
    print(f"{'':14}{'at once':>8}{'req/s':>9}{'p50 ms':>8}{'p99 ms':>8}{'CPU s/10k':>11}{'disk B':>8}"
          f"{'EdgeWhisk: req/s':>18}{'CPU':>7}")  # fmt: skip
    ours = results["EdgeWhisk"]
    for name, by_concurrency in results.items():
        for concurrency, rounds in by_concurrency.items():
            middle = [statistics.median(values) for values in zip(*rounds, strict=True)]
            pairs = list(zip(ours[concurrency], rounds, strict=True))
            rate = statistics.median(own.rate / peer.rate for own, peer in pairs)
            cpu = statistics.median(own.cpu / peer.cpu for own, peer in pairs)
            beside = "" if name == "EdgeWhisk" else f"{rate:>17.2f}x{cpu:>6.2f}x"
            print(f"{name:14}{concurrency:>8}{middle[0]:>9,.0f}{middle[1]:>8.2f}{middle[2]:>8.2f}"
                  f"{middle[3]:>11.2f}{middle[4]:>8,.0f}{beside}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each load")
    parser.add_argument("--node", default="node", help="Node for the peers; Node-RED 5 wants 22.9")
    parser.add_argument("--node-red", type=Path, metavar="DIR")
    parser.add_argument("--workerd", type=Path, metavar="DIR")
    parser.add_argument("--action-proxy", type=Path, metavar="DIR")
    parser.add_argument(
        "--work", type=Path, default=Path.home(), help="a folder on a real disk, for the records"
    )
    given = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is needed: apt install wrk")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=given.work)))
        script = folder / "load.lua"
        script.write_text(LUA)
        targets = [stack.enter_context(edgewhisk(folder))]
        if given.node_red:
            targets.append(stack.enter_context(node_red(folder, given.node_red, given.node)))
        if given.workerd:
            targets.append(stack.enter_context(workerd(folder, given.workerd)))
        if given.action_proxy:
            targets.append(stack.enter_context(action_proxy(folder, given.action_proxy, given.node)))
        results: Results = {target.name: {count: [] for count in CONCURRENCY} for target in targets}
        for target in targets:
            check(target)
            load(target, 8, 2, script)  # warm
        for round_ in range(given.rounds):
            for concurrency in CONCURRENCY:
                for target in targets:
                    results[target.name][concurrency].append(load(target, concurrency, given.seconds, script))
            print(f"round {round_ + 1} of {given.rounds}", file=sys.stderr)
            time.sleep(0.5)
        report(results)


if __name__ == "__main__":
    main()
