"""What `tests.bench.site` measures: EdgeWhisk and Node-RED, connected to the same devices."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import BufferConfig
from edgewhisk.spi import Query
from edgewhisk.store.activations.activations import ActivationLog
from tests.bench import site_load
from tests.bench.load import right
from tests.bench.mqtt import PUBLISH, Client, encoded, payload
from tests.bench.node_red import JOB, Node, NodeRed, broker, function, mqtt_in, mqtt_out, parsed, serial_in
from tests.bench.readings import CODE
from tests.bench.site_load import BYTES, PROBE, SIZE, TICK
from tests.path.gateway import Gateway, until

LINE_CODE = """function main(p) {
  return {temperature: p.temperature, humidity: p.humidity, pressure: p.pressure,
          f: Math.round((p.temperature * 9 / 5 + 32) * 100) / 100};
}"""
LINE_FUNCTION = (
    "const p = msg.payload; msg.payload = {temperature: p.temperature, humidity: p.humidity,"
    "pressure: p.pressure, f: Math.round((p.temperature * 9 / 5 + 32) * 100) / 100};"
)


class Site(NamedTuple):
    """What is connected."""

    broker: int
    topics: int
    qos: int
    seconds: float
    masters: Sequence[int]  # the devices' ends of the ports
    paths: Sequence[str]  # the systems' ends

    @property
    def counts(self) -> dict[str, int]:
        """Readings of both kinds."""
        lines = len(self.paths) * site_load.lines(self.seconds)
        return {"topics": int(self.topics * self.seconds), "ports": lines}


class Result(NamedTuple):
    """What a system made of one kind of reading."""

    distinct: int
    doubled: int
    wrong: int
    waits: Counter[float]  # readings by ms


class Results(NamedTuple):
    """Of both kinds."""

    topics: Result
    ports: Result
    evicted: int = 0  # records that were dropped for newer ones, as the buffer was full: not to be checked


class System(NamedTuple):
    """One that runs and is ready for its devices."""

    name: str
    pid: int
    http: int  # port
    begin: Callable[[float], None]  # tells it when the load begins
    results: Callable[[], Results]  # once all have come


# -- EdgeWhisk -----------------------------------------------------------------------------------


@contextlib.contextmanager
def edgewhisk(folder: Path, site: Site) -> Iterator[System]:
    settings = f'[mqtt]\nurl = "mqtt://127.0.0.1:{site.broker}"\n'
    made = Gateway(folder, settings).start()
    try:
        made.action("topic", CODE)
        made.action("line", LINE_CODE)
        made.feed("topics", "mqtt/message", topic="site/+/reading", qos=1)
        made.rule("topics", "topic")
        for at, path in enumerate(site.paths):
            made.feed(f"port{at}", "serial/reading", port=path, profile="arduino/bme280")
            made.rule(f"port{at}", "line")
        made.stop()
        made.start()  # as on any day but the first
        until(made.feeds_run, what="the broker and all ports are connected")
        before = made.status()["buffer"]["records"]  # feeds are made by actions, which leave records
        begun: list[float] = []
        yield System(
            "edgewhisk", made.pid, made.port, begun.append, lambda: recorded(made, site, begun[0], before)
        )
    finally:
        made.stop()


def recorded(made: Gateway, site: Site, begun: float, before: int) -> Results:
    """By the activations on disk; what was accepted gets a minute to be run."""
    with contextlib.suppress(AssertionError):
        until(lambda: made.status()["invoker"]["queued"] == 0, 60)
    made.stop()
    # Page by page over HTTP takes longer than the load: each page parses all that is newer.
    directory = made.folder / "state" / "buffer"
    store = ActivationLog.open(directory, BufferConfig(max_bytes=1 << 40, commit_window=0.0), SystemClock())
    topics = judged(store, "topic", lambda result: of_topic(site, result), begun)
    ports = judged(store, "line", lambda result: of_line(site, result), begun)
    evicted = store.stats().evicted
    store.close()
    return Results(topics, ports, max(0, evicted - before))


def judged(
    store: ActivationLog, action: str, of: Callable[[dict[str, Any]], tuple[int, float] | None], begun: float
) -> Result:
    """All activations of an action; `of` gives number and due time (s) of a right result."""
    seen, waits, wrong = Counter[int](), Counter[float](), 0
    for one in store.list(Query("guest", action, limit=1 << 40)):
        found = of(one["response"]["result"])
        if found is None:
            wrong += 1
            continue
        number, due = found
        seen[number] += 1
        waits[round(one["end"] + 0.5 - (begun + due) * 1000, 1)] += 1
    return Result(len(seen), seen.total() - len(seen), wrong, waits)


def of_topic(site: Site, result: dict[str, Any]) -> tuple[int, float] | None:
    number = result.get("seq", -1)
    return (number, number / site.topics) if right(number, json.dumps(result).encode()) else None


def of_line(site: Site, result: dict[str, Any]) -> tuple[int, float] | None:
    if abs(result.get("f", 0) - (result.get("temperature", 0) * 9 / 5 + 32)) > 0.011:
        return None
    port, number = site_load.number_of(result)
    ports = len(site.paths)
    return number * ports + port, site_load.line_due(port, number, ports)


# -- Node-RED ------------------------------------------------------------------------------------


@contextlib.contextmanager
def node_red(installed: Path, folder: Path, site: Site) -> Iterator[System]:
    sink = (Path(__file__).parent / "sink.js").read_text()
    made = NodeRed(installed, folder, flow(site), serial=bool(site.paths), sink=sink)
    try:
        made.start()

        def all_read() -> bool:
            for at, master in enumerate(site.masters):
                os.write(master, site_load.line(at, PROBE))
            return bool(ask(site, {"probe": 1})["probed"] >= len(site.paths))

        def begin(begun: float) -> None:
            ask(site, {"begin": begun * 1000, "counts": site.counts})

        until(all_read, 60, what="Node-RED reads all ports")
        time.sleep(1)  # the last probes
        yield System("node-red", made.pid, made.port, begin, lambda: told(site))
    finally:
        made.stop()


def flow(site: Site) -> list[Node]:
    """All nodes."""
    head, ports = "const sink = global.get('sink');", max(1, len(site.paths))
    topic = function(f"{head} {JOB} sink.take('topics', d.seq, d.seq / {site.topics} * 1000);")
    due = f"(Math.ceil((number + 1) * {SIZE} / {BYTES * TICK} - 1e-9) + port / {ports}) * {TICK * 1000}"
    line = function(
        f"{head} {LINE_FUNCTION} const port = Math.round(p.humidity - 10);"
        f"const number = Math.round((p.temperature - 10) * 100) + {site_load.STEPS} * Math.round((p.pressure - 300) * 100);"
        f"sink.take('ports', number * {ports} + port, {due});"
    )
    text = parsed(line)
    out = mqtt_out("site/told", 0)
    asked = function(
        f"{head} if (msg.payload.begin) sink.begin(msg.payload.begin, msg.payload.counts);"
        "msg.payload = sink.report(); delete msg.topic; return msg;",
        out,
    )
    nodes = [broker(site.broker), mqtt_in("site/+/reading", topic), topic, line, text]
    nodes += [mqtt_in("site/asked", asked), asked, out]
    for path in site.paths:
        nodes += serial_in(path, text)
    return nodes


def ask(site: Site, what: dict[str, Any], seconds: float = 2.0) -> dict[str, Any]:
    """What the flow tells; nothing was probed as long as it does not answer."""
    client = Client(site.broker, f"asks-{os.getpid()}")
    try:
        client.subscribe("site/told", 0)
        client.send(encoded("site/asked", json.dumps(what).encode(), 0, 0))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for packet in client.receive():
                if packet.kind == PUBLISH:
                    found: dict[str, Any] = json.loads(payload(packet))
                    return found
            time.sleep(0.01)
        return {"probed": -1}
    finally:
        client.close()


def told(site: Site) -> Results:
    """By the flow's own count; what is under way gets ten seconds."""
    end = time.monotonic() + 10
    found = ask(site, {"tell": 1}, 10)
    while time.monotonic() < end and any(found[kind]["distinct"] < site.counts[kind] for kind in site.counts):
        found = ask(site, {"tell": 1}, 10)
    topics, ports = (
        Result(kind["distinct"], kind["doubled"], kind["foreign"], Counter(dict(kind["histogram"])))
        for kind in (found["topics"], found["ports"])
    )
    return Results(topics, ports)
