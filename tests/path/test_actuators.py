"""From a reading to a device: results published, a relay switched, registers set, all kept while away."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import subprocess
import sys
import threading
import tty
from pathlib import Path
from typing import Any

import gmqtt
import pytest
from gmqtt.mqtt.constants import MQTTv311

from tests.path.gateway import MOSQUITTO, gateway, mosquitto, until
from tests.path.publisher import publish

needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto"
)
DOUBLE = "function main(p) { return {seq: p.seq, twice: 2 * p.seq} }"


async def listening(port: int, topic: str, wanted: int, play: Any) -> list[bytes]:
    """What is published to a topic while `play` runs and until there are `wanted`.

    The broker keeps for it what it misses: a broker that comes back may have the gateway before it.
    """
    found: list[bytes] = []
    client = gmqtt.Client("listener", clean_session=False)

    def take(_client: Any, _topic: str, payload: bytes, _qos: int, _properties: Any) -> int:
        found.append(payload)
        return 0

    client.on_message = take
    subscribed = asyncio.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    await client.connect("127.0.0.1", port, version=MQTTv311)
    client.subscribe(topic, qos=1)
    await subscribed.wait()
    await play()
    async with asyncio.timeout(30):
        while len(found) < wanted:  # noqa: ASYNC110 - a real broker
            await asyncio.sleep(0.01)
    await client.disconnect()
    return found


def told_by(made: Any, *words: str) -> str:
    """What a verb prints."""
    command = [sys.executable, "-m", "edgewhisk", *words, "--config", str(made.config)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@needs_mosquitto
def test_results_are_published_in_order_as_the_last_step_of_a_sequence(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path) as port,
        gateway(tmp_path / "e", f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n') as made,
    ):
        made.action("double", DOUBLE)
        made.bind("out", "mqtt", topic="out")
        made.sequence("double-out", "double", "out/publish")
        made.feed("t", "mqtt/message", topic="in")
        made.rule("t", "double-out")
        until(made.feeds_run)

        async def play() -> None:
            await publish(port, "in", 300, 0)

        found = [json.loads(payload) for payload in asyncio.run(listening(port, "out", 300, play))]
        assert found == [{"seq": n, "twice": 2 * n} for n in range(1, 301)]
        until(lambda: made.count("double-out") == 300)
        assert made.status()["outbox"]["delivered"] == 300


@needs_mosquitto
def test_commands_are_kept_while_the_broker_is_away_and_over_kill_9(tmp_path: Path) -> None:
    kept = f"allow_anonymous true\npersistence true\npersistence_location {tmp_path}/"

    async def play() -> None:
        """The gateway connects by itself."""

    with mosquitto(tmp_path, kept) as port:
        assert asyncio.run(listening(port, "relay/set", 0, play)) == []
    with gateway(tmp_path / "e", f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n') as made:
        path = "whisk.system/actions/mqtt/publish?blocking=true&result=true"
        for n in range(3):
            told = made.ok("POST", path, {"topic": "relay/set", "payload": {"n": n}})
            assert told["delivered"] is False
            assert "no connection to the broker" in told["reason"]
        made.kill()
        made.start()
        assert made.status()["outbox"]["waiting"] == {"mqtt:": 3}
        # What waits and what was lost is seen without reading logs.
        assert made.ok("POST", path, {"topic": "late", "expires": 0.01})["delivered"] is False
        first, *_, last = json.loads(told_by(made, "queue", "show", "--json"))["commands"]
        assert (first["state"], first["told"]) == ("waiting", "publish to relay/set")
        assert "no connection to the broker" in first["reason"]
        assert "commands  4 wait for mqtt (mqtt.publish: there is no connection" in told_by(made, "status")
        assert "publish to relay/set" in told_by(made, "queue", "show")

        with mosquitto(tmp_path, kept, port):
            found = asyncio.run(listening(port, "relay/set", 3, play))
            assert [json.loads(payload)["n"] for payload in found] == [0, 1, 2]
            until(lambda: made.status()["outbox"]["waiting"] == {})
        assert "trouble   1 commands were lost: edgewhisk queue show" in told_by(made, "status")
        assert "expired  publish to late  expired before it could be" in told_by(made, "queue", "show")
        assert f"ok: dropped {last['id']}" in told_by(made, "queue", "drop", "--all")
        assert json.loads(told_by(made, "queue", "show", "--json")) == {"messages": [], "commands": []}
        refused = made.call("POST", path, {"topic": "a/#"})
        assert refused.status == 502
        assert "topic must be a topic" in json.dumps(refused.body)


def test_a_relay_is_switched_by_its_profile(tmp_path: Path) -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    relay = f'[serial.relay]\nport = "{os.ttyname(slave)}"\nprofile = "lctech/relay-1"\n'
    settings = f'[mqtt]\nurl = "mqtt://127.0.0.1:1"\n{relay}'
    with gateway(tmp_path, settings) as made:
        path = "whisk.system/actions/serial/write?blocking=true&result=true"
        assert made.ok("POST", path, {"port": "relay", "command": "on"}) == {"delivered": True}
        assert os.read(master, 100) == b"\xa0\x01\x01\xa2"
        assert made.ok("POST", path, {"port": "relay", "hex": "A0 01 00 A1"}) == {"delivered": True}
        assert os.read(master, 100) == b"\xa0\x01\x00\xa1"
        refused = made.call("POST", path, {"port": "relay", "command": "explode"})
        assert "known: on, off" in json.dumps(refused.body)
    os.close(master)
    os.close(slave)


def test_requests_are_sent_until_the_server_takes_them_and_only_where_granted(tmp_path: Path) -> None:
    answers, got = [503, 200, 418], list[tuple[str, bytes]]()

    class Server(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answers.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/hook"
    settings = '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n[grants.tenant]\nhttp = ["127.0.0.1"]\n'
    try:
        with gateway(tmp_path, settings) as made:
            path = "whisk.system/actions/http/request?blocking=true&result=true"
            assert "it answers 503" in made.ok("POST", path, {"url": url, "n": 1})["reason"]
            until(lambda: len(got) == 2)
            assert got == [("/hook", b'{"n":1}')] * 2
            until(lambda: made.status()["outbox"]["waiting"] == {})
            refused = made.call("POST", path, {"url": url, "n": 2})
            assert "it answers 418" in json.dumps(refused.body)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
