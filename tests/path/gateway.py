"""Real gateways, brokers and ports for end-to-end tests."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.guests import lend_compiled

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def until(condition: Callable[[], bool], seconds: float = 30.0, what: str = "") -> None:
    """Wait for a condition; the pause only sets how often we look."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what or condition}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: Any
    headers: dict[str, str]


class Gateway:
    """One `edgewhisk run`."""

    command: tuple[str, ...] = ("-m", "edgewhisk", "run")

    def __init__(self, folder: Path, settings: str = "", port: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port() if port is None else port
        self.config = folder / "edgewhisk.toml"
        limits = "[limits]\ninvocations_per_minute = 1000000\nfires_per_minute = 1000000\n"
        lend_compiled(folder / "state" / "cache")
        self.config.write_text(
            f'state_dir = "{folder}/state"\n[api]\nport = {self.port}\n{limits}{settings}', encoding="utf-8"
        )
        self.process: subprocess.Popen[str] | None = None

    @property
    def auth(self) -> str:
        return (self.folder / "state" / "subjects" / "guest").read_text().strip()

    def start(self) -> Gateway:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.command, "--config", str(self.config)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert "ready" in line, (self.folder / "log").read_text()
        return self

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        code = process.wait(30)
        if process.stdout is not None:
            process.stdout.close()
        return code

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request; `path` below /api/v1/namespaces/ unless it begins with a slash."""
        url = f"http://127.0.0.1:{self.port}" + (path if path[0] == "/" else f"/api/v1/namespaces/{path}")
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        token = base64.b64encode(self.auth.encode()).decode()
        sent = {"Authorization": f"Basic {token}", "Content-Type": "application/json", **headers}
        request = urllib.request.Request(url, data, {k: v for k, v in sent.items() if v}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return _answer(answer.status, answer.read(), dict(answer.headers))
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.read(), dict(error.headers))

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.call(method, path, body)
        assert answer.status < 300, answer
        return answer.body

    def action(self, name: str, code: str, **more: Any) -> None:
        self.ok(
            "PUT",
            f"_/actions/{name}?overwrite=true",
            {"exec": {"kind": "nodejs:default", "code": code}, **more},
        )

    def feed(self, trigger: str, feed: str, **parameters: Any) -> None:
        self.trigger(trigger, feed)
        self.connect(trigger, feed, **parameters)

    def trigger(self, trigger: str, feed: str) -> None:
        """One that is not fed yet."""
        annotation = {"key": "feed", "value": f"/whisk.system/{feed}"}
        self.ok("PUT", f"_/triggers/{trigger}", {"annotations": [annotation]})

    def connect(self, trigger: str, feed: str, **parameters: Any) -> None:
        """Feed it from now on."""
        asked = {"lifecycleEvent": "CREATE", "triggerName": f"/_/{trigger}", "authKey": self.auth}
        self.ok("POST", f"whisk.system/actions/{feed}?blocking=true", {**asked, **parameters})

    def rule(self, trigger: str, action: str) -> None:
        ends = {"trigger": f"/_/{trigger}", "action": f"/_/{action}"}
        self.ok("PUT", f"_/rules/{trigger}-{action}", ends)

    def bind(self, name: str, package: str, **parameters: Any) -> None:
        """A package of one's own, bound to a system package with parameters."""
        held = [{"key": key, "value": value} for key, value in parameters.items()]
        binding = {"namespace": "whisk.system", "name": package}
        self.ok("PUT", f"_/packages/{name}", {"binding": binding, "parameters": held})

    def sequence(self, name: str, *parts: str) -> None:
        components = [f"/_/{part}" for part in parts]
        self.ok("PUT", f"_/actions/{name}", {"exec": {"kind": "sequence", "components": components}})

    def subject(self, name: str) -> str:
        """Add a second subject; its key. It may take a few seconds until it is known."""
        command = [sys.executable, "-m", "edgewhisk", "subject", "add", name, "--config", str(self.config)]
        return subprocess.check_output(command, text=True).splitlines()[-1]

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def count(self, name: str) -> int:
        found: int = self.ok("GET", f"_/activations?count=true&name={name}")["activations"]
        return found

    def activations(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := self.ok("GET", f"_/activations?docs=true&limit=200&skip={len(found)}&name={name}"):
            found += page
        return found

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ok("GET", "/edgewhisk/status")
        return found

    def feeds_run(self) -> bool:
        return all(feed.get("state") == "running" for feed in self.status()["feeds"])


def _answer(status: int, data: bytes, headers: dict[str, str]) -> Answer:
    try:
        body = json.loads(data) if data else None
    except ValueError:
        body = data.decode()
    return Answer(status, body, {key.lower(): value for key, value in headers.items()})


@contextlib.contextmanager
def gateway(folder: Path, settings: str = "", port: int | None = None) -> Iterator[Gateway]:
    made = Gateway(folder, settings, port)
    try:
        yield made.start()
    finally:
        made.stop()


@contextlib.contextmanager
def mosquitto(
    folder: Path, settings: str = "allow_anonymous true", port: int = 0, *, queue: int = 100_000
) -> Iterator[int]:
    """A private mosquitto; its port. It keeps `queue` messages for each client: its default is 1000."""
    assert MOSQUITTO is not None
    port = port or free_port()
    config = folder / "mosquitto.conf"
    config.write_text(f"user root\nlistener {port} 127.0.0.1\nmax_queued_messages {queue}\n{settings}\n")
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stderr=subprocess.DEVNULL)

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(listens, what="mosquitto listens")
        yield port
    finally:
        process.terminate()
        process.wait(10)
