"""Odd values through every door of a real gateway, with five questions after each round.

    python -m tests.bench.fuzz_doors --minutes 30
    python -m tests.bench.fuzz_doors --minutes 2 --seed 7

Doors: REST (actions, triggers, rules, packages, invokes, fires, queries), web actions, MQTT, a serial line, a
device that POSTs, results and prints of JavaScript, Python and WebAssembly, capability calls, conductors and
sequences, and the sync to a second gateway. The questions: does the gateway live, do the lists and every look-up
answer, does the cloud get all, do others go on, does it start again after SIGKILL or SIGTERM with all that
it had? A fault is told with what was sent last; the seed repeats a run.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import tty
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import orjson

from tests.bench.mqtt import PUBACK, Client, encoded
from tests.bench.values import Values
from tests.path.gateway import Gateway, free_port, mosquitto, until
from tests.sandbox import wat

MOST_FAULTS: Final = 20  # then it is enough
ROUND: Final = 150  # values between two rounds of questions
STARTS: Final = 4  # rounds between two restarts
SPACE: Final = "/api/v1/namespaces/_"
JAVASCRIPT: Final = {
    "js-echo": "function main(p) { return p }",
    "js-print": "function main(p) { console.log(JSON.stringify(p), p, p.v); return {v: p.v} }",
    "js-throw": "function main(p) { throw new Error(p.v) }",
    "js-error": "function main(p) { return {error: p.v} }",
    "js-text": "function main(p) { return JSON.parse(p.text) }",
    "js-state": "const {state} = require('edgewhisk')\n"
    "function main(p) { state.set(String(p.key).slice(0, 20), p.v); return {v: state.get('v'), k: state.keys()} }",
    "js-invoke": "const {invoke} = require('edgewhisk')\n"
    "async function main(p) { return {r: await invoke('js-echo', p)} }",
    "js-fire": "const {fire} = require('edgewhisk')\nasync function main(p) { return {r: await fire('open', p)} }",
    "js-publish": "const {mqtt} = require('edgewhisk')\n"
    "async function main(p) { return {r: await mqtt.publish('out/' + String(p.key), p.v)} }",
    "js-fetch": "async function main(p) { return {r: await (await fetch('http://' + String(p.key))).text()} }",
    "js-web": "function main(p) { return {statusCode: p.s, headers: p.h, body: p.v} }",
    "js-conductor": "function main(p) { return p.go ? {action: 'js-echo', params: p, state: p} : {params: p} }",
}
PYTHON: Final = {
    "py-echo": "def main(p):\n    return p",
    "py-print": "import sys\ndef main(p):\n    print(p)\n    print(p.get('v'), file=sys.stderr)\n    return {'v': p.get('v')}",
    "py-text": "import json\ndef main(p):\n    return {'v': json.loads(p['text'])}",
    "py-raise": "def main(p):\n    raise ValueError(p.get('v'))",
    "py-state": "from edgewhisk import state\ndef main(p):\n    state.set('v', p.get('v'))\n    return {'v': state.get('v')}",
}
GRANTED: Final = {
    "state": True, "invoke": ["js-echo"], "fire": ["open"], "mqtt": ["out/#"], "http": ["127.0.0.1:9"],
}  # fmt: skip
LISTS: Final = (
    *(f"{SPACE}/{kind}?limit=200" for kind in ("actions", "triggers", "rules", "packages")),
    f"{SPACE}/activations?limit=200", f"{SPACE}/activations?docs=true&limit=50", "/api/v1/namespaces", "/edgewhisk/status",
    "/metrics",
)  # fmt: skip


class Fault(Exception):
    """A question had the wrong answer."""


class Site:
    """An edge with its devices, and the cloud above it."""

    def __init__(self, folder: Path, broker: int, port_of_line: str, master: int) -> None:
        self.broker, self.master = broker, master
        cloud_port = free_port()
        self.cloud = Gateway(folder / "cloud", '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n', cloud_port).start()
        (folder / "key").write_text(self.cloud.auth)
        self.edge = Gateway(
            folder / "edge",
            f'[mqtt]\nurl = "mqtt://127.0.0.1:{broker}"\n'
            f'[serial.line]\nport = "{port_of_line}"\nprofile = "arduino/dht"\n'
            f'[cloud]\nurl = "http://127.0.0.1:{cloud_port}"\nauth_file = "{folder}/key"\ninterval = 0.1\n'
            "longest_pause = 1.0\n",
        ).start()
        self.client = Client(broker, "fuzz")
        self.number = self.good = 0
        self._connection: http.client.HTTPConnection | None = None
        self._deploy()

    def _deploy(self) -> None:
        edge = self.edge
        grants = [{"key": "edge-capabilities", "value": GRANTED}]
        for name, code in JAVASCRIPT.items():
            more = [{"key": "web-export", "value": True}] if name in ("js-web", "js-echo") else []
            conducts = [{"key": "conductor", "value": True}] if name == "js-conductor" else []
            edge.action(name, code, annotations=[*grants, *more, *conducts])
        for name, code in PYTHON.items():
            body = {"exec": {"kind": "python:default", "code": code}, "annotations": grants}
            edge.ok("PUT", f"_/actions/{name}?overwrite=true", body)
        module = {"kind": "wasm:default", "code": wat.module(wat.ECHO_COMMAND), "binary": True}
        edge.ok("PUT", "_/actions/wasm-echo?overwrite=true", {"exec": module})
        edge.sequence("chain", "js-echo", "py-echo", "js-state")
        edge.action("good", "function main(p) { return {n: p.n} }")
        edge.ok("PUT", "_/triggers/open", {})
        edge.rule("open", "js-echo")
        for name, feed, parameters in (
            ("in", "mqtt/message", {"topic": "in/#", "qos": 1}), ("well", "mqtt/message", {"topic": "good", "qos": 1}),
            ("line", "serial/reading", {"port": "line"}), ("posts", "http/post", {}),
        ):  # fmt: skip
            edge.feed(name, feed, **parameters)
        for trigger, action in (("in", "js-echo"), ("line", "py-echo"), ("posts", "chain"), ("well", "good")):
            edge.rule(trigger, action)
        until(edge.feeds_run, 60, "all feeds run")

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        """One request with the default subject's key; raises `Fault` when nothing answers it."""
        token = base64.b64encode(self.edge.auth.encode()).decode()
        sent = {"Authorization": f"Basic {token}", "Content-Type": "application/json", **headers}
        for last in (False, True):
            try:
                if self._connection is None:
                    self._connection = http.client.HTTPConnection("127.0.0.1", self.edge.port, timeout=120)
                self._connection.request(method, path, body, sent)
                answer = self._connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.hang_up()  # an idle connection may have been closed
                if last:
                    raise Fault(f"no answer: {type(error).__name__}: {error}") from error
        raise AssertionError

    def hang_up(self) -> None:
        """The next request opens a new connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def close(self) -> None:
        """End all of it."""
        self.hang_up()
        self.client.close()
        self.edge.kill()
        self.cloud.kill()

    def publish(self, topic: str, payload: bytes) -> None:
        """At QoS 1; returns when the broker has it, or does not want the topic."""
        self.number += 1
        try:
            self.client.send(encoded(topic, payload, 1, self.number))
            while self.client.unsent:
                self.client.flush()
            self.client._wait(PUBACK)
        except ConnectionError:  # as mosquitto does for control characters
            self.client.close()
            self.client = Client(self.broker, "fuzz")


class Doors:
    """One odd value through one door at a time."""

    def __init__(self, site: Site, values: Values, token: str) -> None:
        """`token` is that of a device that POSTs."""
        self.site, self.values = site, values
        self._bearer = f"Bearer {token}"
        self.counts = Counter[str]()
        self.last: list[str] = []
        self._ways: list[Callable[[], None]] = [
            *[self._invoke] * 6, *[self._entity] * 3, *[self._web] * 2, self._fire, self._query, *[self._mqtt] * 4,
            self._line, self._post,
        ]  # fmt: skip

    def send(self) -> None:
        """One value; raises `Fault` when the answer is none of a sound server."""
        self.values.chance.choice(self._ways)()

    def _ask(self, door: str, method: str, path: str, text: str, **headers: str) -> None:
        self._say(f"{door} {method} {path[:200]} {text[:300]} ({len(text)})")
        status, answer = self.site.request(method, path, text.encode(), **headers)
        self.counts[f"{door} {status}"] += 1
        if status == 500 or (status > 502):
            raise Fault(f"{door}: {status} {answer[:300]!r}")

    def _say(self, text: str) -> None:
        self.last = [*self.last[-19:], text]

    def _invoke(self) -> None:
        values, chance = self.values, self.values.chance
        name = chance.choice((*JAVASCRIPT, *PYTHON, "wasm-echo", "chain"))
        body = values.object(broken=0.05)
        if name in ("js-text", "py-text"):
            body = json.dumps({"text": values.json(broken=0.3)})
        elif chance.random() < 0.5:
            members = {"v": values.json(broken=0.02), "key": json.dumps(values.text()), "go": "true",
                       "s": values.json(broken=0), "h": values.json(broken=0)}  # fmt: skip
            body = "{" + ",".join(f'"{key}":{value}' for key, value in members.items()) + "}"
        blocking = chance.choice(("", "?blocking=true", "?blocking=true&result=true"))
        self._ask(f"invoke {name}", "POST", f"{SPACE}/actions/{name}{blocking}", body)

    def _entity(self) -> None:
        values, chance = self.values, self.values.chance
        kind = chance.choice(("actions", "triggers", "rules", "packages"))
        name = quote(values.text(), safe="") if chance.random() < 0.2 else f"odd-{chance.randrange(20)}"
        value, key = (
            values.json(broken=0.02),
            chance.choice(("parameters", "annotations", "limits", "exec", "publish", "version")),
        )
        held = f'[{{"key":"k","value":{value}}}]' if chance.random() < 0.7 else value
        inner = {
            "actions": '"exec":{"kind":"nodejs:default","code":"function main(p){return p}"}',
            "rules": '"trigger":"/_/open","action":"/_/js-echo"',
        }.get(kind, '"publish":false')  # fmt: skip
        body = f'{{{inner},"{key}":{held}}}' if chance.random() < 0.8 else values.object()
        self._ask(f"put {kind}", "PUT", f"{SPACE}/{kind}/{name or 'x'}?overwrite=true", body)
        if chance.random() < 0.3:
            method = chance.choice(("GET", "DELETE", "POST"))
            self._ask(
                f"{method.lower()} {kind}",
                method,
                f"{SPACE}/{kind}/{name or 'x'}",
                values.object() if method == "POST" else "",
            )

    def _web(self) -> None:
        values, chance = self.values, self.values.chance
        name = chance.choice(("js-web", "js-echo"))
        kind = chance.choice((".json", ".http", ".html", ".text", ".svg", ""))
        path = f"/api/v1/web/guest/default/{name}{kind}/{quote(values.text(), safe='')}?{quote(values.text(), safe='=&')}"
        method = chance.choice(("GET", "POST", "PUT"))
        content = chance.choice(
            (
                "application/json",
                "text/plain",
                "application/x-www-form-urlencoded",
                "application/octet-stream",
            )
        )
        body = values.bytes().decode(errors="replace") if method != "GET" else ""
        if name == "js-web" and chance.random() < 0.7:
            body = (
                f'{{"s":{values.json(broken=0)},"h":{values.object(broken=0)},"v":{values.json(broken=0)}}}'
            )
            content = "application/json"
        self._ask(f"web {name}", method, path, body, **{"Content-Type": content})

    def _fire(self) -> None:
        self._ask("fire", "POST", f"{SPACE}/triggers/open", self.values.object())

    def _query(self) -> None:
        values, chance = self.values, self.values.chance
        key = chance.choice(
            ("limit", "skip", "since", "upto", "docs", "count", "name", "blocking", "overwrite")
        )
        value = quote(chance.choice((values.text(), values.json(), *("-1", "1e30", "10" * 20, ""))), safe="")
        what = chance.choice(
            ("activations", "actions", "triggers", "rules", "packages", "activations/" + "a" * 32)
        )
        self._ask("query", "GET", f"{SPACE}/{what}?{key}={value[:4000]}", "")

    def _mqtt(self) -> None:
        payload = self.values.bytes()
        topic = "in/" + self.values.text().replace("\0", "").replace("#", "").replace("+", "")[:1000]
        self._say(f"mqtt {topic[:100]!r} {payload[:300]!r} ({len(payload)})")
        self.site.publish(topic, payload)
        self.counts["mqtt"] += 1

    def _line(self) -> None:
        payload = self.values.bytes()[:4000].replace(b"\n", b" ") + b"\r\n"
        self._say(f"line {payload[:300]!r}")
        with contextlib.suppress(BlockingIOError):  # a line that nobody reads is full for a while
            os.write(self.site.master, payload)
        self.counts["line"] += 1

    def _post(self) -> None:
        self._ask(
            "post", "POST", "/api/v1/devices/guest/posts", self.values.json(), Authorization=self._bearer
        )


def questions(site: Site, restart: str) -> None:
    """The five; raises `Fault`."""
    edge = site.edge
    for gateway in (edge, site.cloud):
        if gateway.process is None or gateway.process.poll() is not None:
            raise Fault("a gateway is dead")
    site.good += 1
    n = site.good
    site.publish("good", b'{"n":%d}' % n)
    status, answer = site.request("POST", f"{SPACE}/actions/good?blocking=true&result=true", b'{"n":-5}')
    if (status, answer) != (200, b'{"n":-5}'):
        raise Fault(f"others do not go on: {status} {answer[:200]!r}")
    for path in LISTS:
        _listed(site, path)
    _settled("the good reading runs", lambda: n in _newest(site, "good"))
    _settled("nothing waits to be sent", lambda: _synced(site))
    if unforeseen := edge.status()["sandboxes"]["unforeseen"]:
        raise Fault(f"{unforeseen} fault(s) of what guests call were not foreseen")
    if restart:
        before = _total(site)
        edge.kill() if restart == "kill" else edge.stop()
        site.hang_up()
        edge.start()
        if (after := _total(site)) < before:
            raise Fault(f"{before} activations before {restart}, {after} after it")
        _settled("feeds run again", edge.feeds_run)


def _listed(site: Site, path: str) -> None:
    status, answer = site.request("GET", path)
    if status != 200:
        raise Fault(f"GET {path}: {status} {answer[:300]!r}")
    if path == "/metrics":
        return
    try:
        found = orjson.loads(answer)
    except ValueError as error:
        raise Fault(f"GET {path}: not JSON: {error}") from error
    if isinstance(found, list) and "activations" in path and "docs" not in path:
        for one in random.Random(len(answer)).sample(found, min(5, len(found))):
            for part in ("", "/result", "/logs"):
                _listed(site, f"{SPACE}/activations/{one['activationId']}{part}")
    elif isinstance(found, list) and "docs" not in path and path.startswith(SPACE):
        for one in found:
            space, _, package = one["namespace"].partition("/")
            name = quote(f"{package}/{one['name']}" if package else one["name"])
            _listed(site, f"/api/v1/namespaces/{space}/{path.split('?')[0].rpartition('/')[2]}/{name}")


def _status(site: Site) -> str:
    """What the gateway says of itself, after a fault."""
    try:
        return site.request("GET", "/edgewhisk/status")[1].decode(errors="replace")
    except Fault as error:
        return f"no status: {error}"


def _newest(site: Site, name: str) -> list[object]:
    """The `n` of the last results; how many there are in all says nothing once the oldest are evicted."""
    status, answer = site.request("GET", f"{SPACE}/activations?docs=true&limit=10&name={name}")
    if status != 200:
        raise Fault(f"list: {status} {answer[:200]!r}")
    return [one["response"]["result"].get("n") for one in orjson.loads(answer)]


def _total(site: Site) -> int:
    return int(orjson.loads(site.request("GET", f"{SPACE}/activations?count=true")[1])["activations"])


def _synced(site: Site) -> bool:
    told = site.edge.status()["buffer"]
    return bool(told["unsynced"] == 0)


def _settled(what: str, condition: Callable[[], bool]) -> None:
    try:
        until(condition, 60, what)
    except AssertionError as error:
        raise Fault(str(error)) from error


@contextlib.contextmanager
def site() -> Iterator[Site]:
    """Everything, in a folder that is thrown away."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    with (
        tempfile.TemporaryDirectory() as folder,
        mosquitto(Path(folder)) as broker,
        contextlib.ExitStack() as ends,
    ):
        made = Site(Path(folder), broker, os.ttyname(slave), master)
        ends.callback(made.close)
        yield made
    os.close(master)
    os.close(slave)


def play(site: Site, values: Values, rounds: Iterator[str]) -> tuple[Counter[str], str]:
    """Rounds of values and questions, each with the way to restart at its end ("": none).

    What was answered how often, and the first fault ("": none), with which it ends.
    """
    doors = Doors(site, values, _token(site.edge))
    try:
        for restart in rounds:
            for _ in range(ROUND):
                doors.send()
            questions(site, restart)
            doors.counts["rounds of questions"] += 1
            doors.counts["restarts"] += bool(restart)
    except (Fault, AssertionError) as error:
        log = (site.edge.folder / "log").read_text(errors="replace")
        told = [f"FAULT {error}", *(f"    {one}" for one in doors.last), log[-3000:], _status(site)]
        return doors.counts, "\n".join(told)
    return doors.counts, ""


def fuzz(seed: int, seconds: float) -> tuple[Counter[str], list[str]]:
    """Counts of what was answered, and faults; goes on after a fault with a new site."""
    values, counts, faults = Values(seed), Counter[str](), list[str]()
    left = seconds

    def rounds(end: float) -> Iterator[str]:
        number = 0
        while time.monotonic() < end:
            number += 1
            yield values.chance.choice(("kill", "stop")) if number % STARTS == 0 else ""

    while left > 0 and len(faults) < MOST_FAULTS:
        with site() as made:
            begun = time.monotonic()
            told, fault = play(made, values, rounds(begun + left))
            left -= time.monotonic() - begun
        counts.update(told)
        if fault:
            faults.append(fault)
            print(fault, file=sys.stderr, flush=True)
    return counts, faults


def _token(made: Gateway) -> str:
    command = [sys.executable, "-m", "edgewhisk", "device", "token", "--trigger", "posts", "--device", "d",
               "--config", str(made.config), "--json"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)["token"])


def main() -> int:
    """Fuzz, then tell what happened."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    counts, faults = fuzz(options.seed, options.minutes * 60)
    doors = Counter[str]()
    for name, count in sorted(counts.items()):
        print(f"{count:>10,}  {name}")
        doors["values"] += count if not name.startswith(("rounds", "restarts")) else 0
    print(f"{doors['values']:,} values, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
