"""Neighbours that mean ill: actions and clients, each of whom does the worst that it may."""

from __future__ import annotations

import base64
import contextlib
import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from tests.bench.hostile import Liar
from tests.bench.mqtt import PUBACK, Client, encoded
from tests.path.gateway import Gateway
from tests.sandbox import wat

GRANTS: Final = {"state": {"quota": 1 << 20}, "invoke": ["js-echo", "js-itself"], "fire": ["open"],
                 "mqtt": ["out/#"]}  # fmt: skip
JAVASCRIPT: Final = {
    "js-echo": "function main(p) { return p }",
    "js-allocates": "function main() { const a = []; for (;;) a.push('x'.repeat(1e6) + a.length) }",
    "js-prints": "function main() { for (;;) console.log('x'.repeat(10000)) }",
    "js-throws": "function main() { throw new Error('e'.repeat(100000)) }",
    "js-spins": "function main() { for (;;); }",
    "js-sleeps": "async function main() { await new Promise(() => setTimeout(() => {}, 1e9)) }",
    "js-large": "function main() { return {v: 'x'.repeat(1048000)} }",
    "js-too-large": "function main() { return {v: 'x'.repeat(3e6)} }",
    "js-many-keys": "function main() { const r = {}; for (let i = 0; i < 40000; i++) r['k' + i] = i; return r }",
    "js-recurses": "function main() { return main() }",
    "js-nests": "function main() { let v = 0; for (let i = 0; i < 900; i++) v = {v}; return v }",
    "js-itself": "const {invoke} = require('edgewhisk')\n"
    "async function main(p) { return {r: await invoke('js-itself', p)} }",
    "js-fires": "const {fire} = require('edgewhisk')\n"
    "async function main() { for (let i = 0; i < 20; i++) await fire('open', {v: 'x'.repeat(20000)}); return {} }",
    "js-state": "const {state} = require('edgewhisk')\nfunction main(p) { "
    "for (let i = 0; i < 20; i++) state.set('k' + (p.n + i) % 50, 'x'.repeat(15000)); return {} }",
    "js-publishes": "const {mqtt} = require('edgewhisk')\nasync function main() { "
    "for (let i = 0; i < 5; i++) await mqtt.publish('out/x', 'x'.repeat(200000)); return {} }",
    "js-fetches": "async function main(p) { return {r: (await (await fetch(p.url)).text()).length} }",
    "js-web": "function main() { return {statusCode: 200, body: 'x'.repeat(1e6)} }",
}
PYTHON: Final = {
    "py-allocates": "def main(p):\n    a = []\n    while True:\n        a.append(bytes(1000000))\n",
    "py-prints": "def main(p):\n    while True:\n        print('x' * 10000)\n",
    "py-spins": "def main(p):\n    while True:\n        pass\n",
    "py-recurses": "def main(p):\n    return main(p)\n",
    "py-raises": "def main(p):\n    raise ValueError('e' * 100000)\n",
    "py-large": "def main(p):\n    return {'v': 'x' * 1048000}\n",
    "py-too-large": "def main(p):\n    return {'v': 'x' * 3000000}\n",
}
MODULES: Final = {
    "wasm-loops": wat.module(wat.LOOP),
    "wasm-traps": wat.module(wat.TRAP),
    "wasm-greedy": wat.module(wat.GREEDY),
    "wasm-echo": wat.module(wat.ECHO_COMMAND),
}
# What fills a slot as far as it is kept: some 3 MB that are put back after each call.
FILLING: Final = {
    "nodejs": "async function main() { const a = new Uint8Array(3e6).fill(1); "
    "await new Promise(done => setTimeout(done, 1000)); return {n: a.length} }",
    "python": "import time\ndef main(p):\n    a = bytearray(b'x') * 3000000\n    time.sleep(1)\n    return {'n': len(a)}\n",
}
TOPICS: Final = 10_000  # that a feed remembers
NAMES: Final = (*JAVASCRIPT, *PYTHON, *MODULES)
FOREVER: Final = ("js-spins", "js-sleeps", "js-prints", "py-spins", "py-prints", "wasm-loops")
PATIENCE: Final = 300.0  # seconds until a gateway has run what it accepted
LONG: Final = "x" * 1_000_000


class Neighbours:
    """All of them, around one gateway."""

    def __init__(self, gateway: Gateway, broker: int, cloud: Liar, seed: int) -> None:
        """Deploy the actions and connect the feeds."""
        self._gateway, self._broker, self._cloud = gateway, broker, cloud
        self._chance = random.Random(seed)
        self._client = Client(broker, "hostile")
        self._packets = self._rounds = 0
        self._deploy()
        self._bearer = self._token()

    def fill(self) -> None:
        """Fill what a gateway keeps on purpose: idle sandboxes, modules, topics."""
        made = self._gateway
        for kind, code in FILLING.items():
            made.ok("PUT", f"_/actions/fills-{kind}", {"exec": {"kind": f"{kind}:default", "code": code}})
            with ThreadPoolExecutor(12) as pool:
                path = f"_/actions/fills-{kind}?blocking=true"
                list(pool.map(lambda _: self._ask("POST", path, {}), range(48)))  # noqa: B023 - at once
        for n in range(40):
            text = f'(module (memory (export "memory") 1) (func (export "_start")) (data (i32.const 0) "fill {n}"))'
            body = {"exec": {"kind": "wasm:default", "code": wat.module(text), "binary": True}}
            self._ask("PUT", "_/actions/fills-wasm?overwrite=true", body)
            self._ask("POST", "_/actions/fills-wasm?blocking=true", {})
        for n in range(TOPICS):
            self._publish(f"fill/{n}", b'{"v":1}')

    def round(self) -> None:
        """Each of them once, in another order."""
        ways: list[Callable[[], None]] = [
            self._invoke, self._mqtt, self._entities, self._lists, self._web, self._half_open, self._bad,
            self._fetch, self._posts,
        ]  # fmt: skip
        self._rounds += 1
        self._chance.shuffle(ways)
        for way in ways:
            way()

    def _deploy(self) -> None:
        made, url = self._gateway, f"http://127.0.0.1:{self._cloud.port}"
        granted = [{"key": "edge-capabilities", "value": {**GRANTS, "http": [url.removeprefix("http://")]}}]
        for kind, codes in (("nodejs", JAVASCRIPT), ("python", PYTHON), ("wasm", MODULES)):
            for name, code in codes.items():
                web = [{"key": "web-export", "value": True}] if name in ("js-web", "js-echo") else []
                code_of = {"kind": f"{kind}:default", "code": code, "binary": kind == "wasm"}
                limits = {"timeout": 500 if name in FOREVER else 20_000, "memory": 128, "logs": 1}
                body = {"exec": code_of, "annotations": [*granted, *web], "limits": limits}
                made.ok("PUT", f"_/actions/{name}", body)
        made.ok("PUT", "_/triggers/open", {})
        made.rule("open", "js-echo")
        made.feed("in", "mqtt/message", topic="in/#", qos=1)
        made.feed("fill", "mqtt/message", topic="fill/#", qos=1)
        made.feed("posts", "http/post")
        made.feed("couch", "changes/couchdb", url=f"{url}/couch", db="d", since="0")
        for trigger, action in (
            ("in", "js-echo"),
            ("in", "js-throws"),
            ("fill", "js-echo"),
            ("posts", "py-raises"),
            ("couch", "js-echo"),
        ):
            made.rule(trigger, action)

    def _token(self) -> str:
        command = [sys.executable, "-m", "edgewhisk", "device", "token", "--trigger", "posts", "--device", "d",
                   "--config", str(self._gateway.config), "--json"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return "Bearer " + str(json.loads(done.stdout)["token"])

    def _ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """An answer below 500, but where no room is left; raises `AssertionError`."""
        answer = self._gateway.call(method, path, body, **headers)
        assert answer.status < 500 or answer.status in (502, 503, 507), (path, str(answer)[:500])
        return answer.body

    def _invoke(self) -> None:
        def one(name: str) -> None:
            body = {"n": self._rounds, "url": f"http://127.0.0.1:{self._cloud.port}/x", "v": "v" * 2000}
            self._ask("POST", f"_/actions/{name}?blocking=true", body)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(one, self._chance.sample(NAMES, len(NAMES))))

    def _fetch(self) -> None:
        for n in range(6):
            self._ask(
                "POST",
                "_/actions/js-fetches?blocking=true",
                {"url": f"http://127.0.0.1:{self._cloud.port}/{n}"},
            )

    def _mqtt(self) -> None:
        payloads = [LONG.encode(), json.dumps({"v": LONG}).encode(), b"[" * 5000, b"\xff" * 100_000]
        payloads += [b'{"v":%d}' % n for n in range(300)]
        for payload in payloads:
            self._publish(f"in/{self._rounds}/{self._packets % 50}", payload)

    def _publish(self, topic: str, payload: bytes) -> None:
        """Send a message, and wait until the broker has it."""
        self._packets = self._packets % 65_535 + 1
        self._client.send(encoded(topic, payload, 1, self._packets))
        while self._client.unsent:
            self._client.flush()
        self._client._wait(PUBACK)

    def _entities(self) -> None:
        for n in range(4):
            name = f"odd-{self._rounds}-{n}"
            code = f"function main() {{ return {{n: {n}}} }} // {self._rounds} " + "c" * 400_000
            for text in (code, code + "x", "function main( {"):
                body = {
                    "exec": {"kind": "nodejs:default", "code": text},
                    "parameters": [{"key": "k", "value": LONG[:90_000]}],
                }
                self._ask("PUT", f"_/actions/{name}?overwrite=true", body)
                self._ask("POST", f"_/actions/{name}?blocking=true", {})
            self._ask("PUT", f"_/triggers/{name}", {})
            self._ask("PUT", f"_/rules/{name}", {"trigger": f"/_/{name}", "action": f"/_/{name}"})
            self._ask("POST", f"_/triggers/{name}", {"v": n})
            for kind in ("rules", "triggers", "actions"):
                self._ask("DELETE", f"_/{kind}/{name}")
        for text in (wat.module(f'(module (memory (export "memory") 1) (func (export "_start")) (data (i32.const 0) "{self._rounds}"))'),
                     base64.b64encode(b"\0asm" + bytes(300_000)).decode()):  # fmt: skip
            self._ask(
                "PUT",
                "_/actions/odd-wasm?overwrite=true",
                {"exec": {"kind": "wasm:default", "code": text, "binary": True}},
            )
            self._ask("POST", "_/actions/odd-wasm?blocking=true", {})
        self._ask("DELETE", "_/actions/odd-wasm")

    def _lists(self) -> None:
        for path in (
            "_/activations?docs=true&limit=200",
            "_/activations?limit=200",
            "_/actions?limit=200",
            "_",
            "/metrics",
        ):
            found = self._ask("GET", path)
            if "activations?limit" in path:
                for one in self._chance.sample(found, min(20, len(found))):
                    for part in ("", "/result", "/logs"):
                        self._ask("GET", f"_/activations/{one['activationId']}{part}")
        for name in NAMES:
            self._ask("GET", f"_/activations?docs=true&limit=5&name={name}")

    def _web(self) -> None:
        for kind in ("http", "json", "text"):
            self._ask("POST", f"/api/v1/web/guest/default/js-web.{kind}", {"v": 1})
            self._ask(
                "POST",
                f"/api/v1/web/guest/default/js-echo.{kind}",
                LONG.encode(),
                **{"Content-Type": "text/plain"},
            )
        with contextlib.suppress(OSError):  # it may hang up on so much
            self._ask("POST", "/api/v1/web/guest/default/js-echo.json", bytes(5_000_000))

    def _half_open(self) -> None:
        address = ("127.0.0.1", self._gateway.port)
        with contextlib.ExitStack() as ends:
            for n in range(60):
                client = ends.enter_context(socket.create_connection(address, 10))
                client.sendall((b"", b"POST /api/v1/namespaces/_/triggers/open HTTP/1.1\r\nContent-Length: 900000\r\n\r\n" + b"x" * 50_000,
                                b"GET / HT", b"\xff" * 5000, b"GET / HTTP/1.1\r\nX: " + b"x" * 30_000)[n % 5])  # fmt: skip
            broker = ends.enter_context(socket.create_connection(("127.0.0.1", self._broker), 10))
            broker.sendall(b"\x10\xff\xff\xff\x7f")

    def _bad(self) -> None:
        texts = ("{", "[" * 5000, '{"a":NaN}', "\ud800", '{"k":"' + "x" * 900_000, "1" * 50_000, "null")
        for text in texts:
            data = text.encode(errors="surrogatepass")
            self._ask("POST", "_/actions/js-echo", data)
            self._ask("POST", "_/triggers/open", data)
            self._ask("PUT", "_/actions/odd?overwrite=true", data)
        for n in range(100):
            self._ask("GET", f"_/activations/{self._chance.randbytes(16).hex()}")
            self._ask("GET", f"_/actions/none-{self._rounds}-{n}")

    def _posts(self) -> None:
        for n in range(10):
            body = json.dumps({"v": LONG[:50_000], "n": n}).encode()
            self._ask("POST", "/api/v1/devices/guest/posts", body, Authorization=self._bearer)
            self._ask("POST", "/api/v1/devices/guest/posts", b"{", Authorization=f"Bearer {self._rounds}-{n}")

    def rest(self) -> None:
        """Return when the gateway has nothing left to do."""
        end = time.monotonic() + PATIENCE
        while (told := self._gateway.status()["invoker"])["running"] or (
            told["queued"] > told["held"] + told["parked"]
        ):
            assert time.monotonic() < end, f"the gateway does not come to rest: {told}"
            time.sleep(0.2)
