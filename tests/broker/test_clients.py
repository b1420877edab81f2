"""The broker with clients that people have: mosquitto's, gmqtt, paho, aiomqtt; and killed."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Any

import aiomqtt
import gmqtt
import paho.mqtt.client as paho
import pytest
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgewhisk.controller.auth.tokens import add_token
from edgewhisk.entity.names import parse_name
from tests.broker.bench import connect, publish
from tests.broker.serving import serving
from tests.path.gateway import Gateway, free_port, until
from tests.transport.certificates import Authority

PUB, SUB = shutil.which("mosquitto_pub") or "", shutil.which("mosquitto_sub") or ""
needs_tools = pytest.mark.skipif(not (PUB and SUB), reason="apt install mosquitto-clients")
VERSIONS = {"31": "mqttv31", "311": "mqttv311", "5": "mqttv5"}


def with_broker(folder: Path, play: Callable[[int], Any]) -> None:
    """Run blocking code, with a broker served meanwhile."""

    async def run() -> None:
        async with serving(folder) as (port, _):
            await asyncio.to_thread(play, port)

    asyncio.run(run())


def tool(program: str, port: int, version: str, *more: str) -> list[str]:
    return [program, "-h", "127.0.0.1", "-p", str(port), "-V", VERSIONS[version], *more]


def run(command: list[str], expected: int = 0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == expected, done.stderr
    return done.stdout


@needs_tools
@pytest.mark.parametrize("version", VERSIONS)
def test_mosquittos_own_tools(tmp_path: Path, version: str) -> None:
    def play(port: int) -> None:
        away = ["-i", "away", "-c", "-q", "2", "-t", "home/#", *(["-x", "1000"] if version == "5" else [])]
        run(tool(SUB, port, version, *away, "-E"))
        for qos in "012":
            run(tool(PUB, port, version, "-q", qos, "-t", f"home/{qos}", "-m", f"m{qos}"))
        run(tool(PUB, port, version, "-q", "1", "-r", "-t", "state", "-m", "on"))
        assert run(tool(SUB, port, version, *away, "-C", "2", "-W", "20", "-F", "%t %q %p")).split("\n") == [
            "home/1 1 m1",
            "home/2 2 m2",
            "",
        ]
        assert run(tool(SUB, port, version, "-t", "+", "-C", "1", "-F", "%r %p")) == "1 on\n"
        run(tool(PUB, port, version, "-q", "1", "-r", "-t", "state", "-n"))
        run(tool(SUB, port, version, "-t", "+", "-W", "1"), 27)  # it timed out: nothing is there any more

    with_broker(tmp_path, play)


@needs_tools
def test_properties_pass_between_mosquittos_tools(tmp_path: Path) -> None:
    def play(port: int) -> None:
        run(tool(SUB, port, "5", "-i", "away", "-c", "-q", "1", "-x", "1000", "-t", "ask", "-E"))
        said = ["content-type text/plain", "response-topic answers", "correlation-data 42"]
        said += ["user-property b 1", "user-property a 2", "user-property b 3"]
        options = [word for one in said for word in ("-D", "publish", *one.split(" "))]
        run(tool(PUB, port, "5", "-q", "1", "-t", "ask", "-m", "x", *options))
        shown = run(tool(SUB, port, "5", "-i", "away", "-c", "-q", "1", "-x", "1000", "-t", "ask", "-C", "1",
                         "-F", "%C|%R|%D|%P"))  # fmt: skip
        assert shown == "text/plain|answers|42|b:1 a:2 b:3\n"

    with_broker(tmp_path, play)


class Paho:
    """A paho client for one connection, and what it got."""

    def __init__(self, name: str, protocol: MQTTProtocolVersion) -> None:
        self.got: Queue[paho.MQTTMessage] = Queue()
        self.up, self.subscribed = threading.Event(), threading.Event()
        clean = None if protocol == MQTTProtocolVersion.MQTTv5 else False
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=protocol, clean_session=clean
        )
        self.five = protocol == MQTTProtocolVersion.MQTTv5
        self.client.on_message = lambda _client, _data, message: self.got.put(message)
        self.client.on_connect = lambda *_: self.up.set()
        self.client.on_subscribe = lambda *_: self.subscribed.set()

    def join(self, port: int) -> None:
        more: dict[str, Any] = {}
        if self.five:
            lasting = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            lasting.SessionExpiryInterval = 1000
            more = {"clean_start": False, "properties": lasting}
        self.client.connect("127.0.0.1", port, keepalive=20, **more)
        self.client.loop_start()
        assert self.up.wait(20)

    def leave(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.parametrize("protocol", MQTTProtocolVersion)
def test_paho(tmp_path: Path, protocol: MQTTProtocolVersion) -> None:
    def play(port: int) -> None:
        reader, writer = Paho("reader", protocol), Paho("writer", protocol)
        reader.client.will_set("gone/reader", "bye", 1)
        reader.join(port)
        reader.client.subscribe([("a/+", 2), ("gone/#", 1)])
        assert reader.subscribed.wait(20)
        writer.join(port)
        for qos in (0, 1, 2):
            writer.client.publish(f"a/{qos}", f"m{qos}", qos).wait_for_publish(20)
        found = [reader.got.get(timeout=20) for _ in range(3)]
        assert {(one.topic, one.payload, one.qos) for one in found} == {
            (f"a/{qos}", b"m%d" % qos, qos) for qos in (0, 1, 2)
        }
        reader.leave()
        for number in range(200):
            writer.client.publish("a/x", b"%d" % number, 1 + number % 2)
        writer.client.publish("a/end", b"200", 2).wait_for_publish(20)
        again = Paho("reader", protocol)
        again.join(port)
        payloads = [again.got.get(timeout=20).payload for _ in range(201)]
        assert sorted(payloads, key=int) == [b"%d" % number for number in range(201)]
        writer.leave()
        again.leave()

    with_broker(tmp_path, play)


@pytest.mark.parametrize("version", [MQTTv311, MQTTv50])
def test_gmqtt(tmp_path: Path, version: int) -> None:
    async def run() -> None:
        async with serving(tmp_path) as (port, _):
            got: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
            client = gmqtt.Client("g", will_message=gmqtt.Message("w", "x"))
            subscribed = asyncio.Event()
            client.on_subscribe = lambda *_: subscribed.set()

            def take(_client: gmqtt.Client, topic: str, payload: bytes, *_more: object) -> int:
                got.put_nowait((topic, payload))
                return 0

            client.on_message = take
            await client.connect("127.0.0.1", port, version=version)
            client.subscribe("t/#", qos=1)
            async with asyncio.timeout(20):
                await subscribed.wait()
                for number in range(50):
                    client.publish("t/a", b"%d" % number, qos=1)
                found = [await got.get() for _ in range(50)]
            assert found == [("t/a", b"%d" % number) for number in range(50)]
            await client.disconnect()

    asyncio.run(run())


def test_aiomqtt(tmp_path: Path) -> None:
    async def run() -> None:
        async with asyncio.timeout(30), serving(tmp_path) as (port, _):
            five = aiomqtt.ProtocolVersion.V5
            async with (
                aiomqtt.Client("127.0.0.1", port, protocol=five) as reader,
                aiomqtt.Client("127.0.0.1", port) as writer,
            ):
                await writer.publish("home/lamp", "on", qos=1, retain=True)
                await reader.subscribe("home/+", qos=1)
                await writer.publish("home/fan", "off", qos=2)
                seen = []
                async for message in reader.messages:
                    seen.append((str(message.topic), message.payload, message.retain))
                    if len(seen) == 2:
                        break
            assert seen == [("home/lamp", b"on", True), ("home/fan", b"off", False)]

    asyncio.run(run())


@needs_tools
def test_a_device_with_its_token_over_tls(tmp_path: Path) -> None:
    certificate, key = (authority := Authority(tmp_path)).issue("gateway")
    port, state = free_port(), tmp_path / "g" / "state"
    made = Gateway(tmp_path / "g", f'[mqtt]\nurl = "embedded://127.0.0.1:{port}"\n')
    text = made.config.read_text()
    text = text.replace("[api]\n", f'[api]\ntls_cert = "{certificate}"\ntls_key = "{key}"\n')
    rights = 'publish = ["tele/%u/#"]\nsubscribe = ["cmd/%u/#"]\n'
    made.config.write_text(f"{text}[embedded]\ntls = true\n{rights}")
    token = add_token(state, parse_name("/guest/t", "_"), "plug")  # before it starts: it looks once a second
    made.start()
    trust = ["--cafile", str(authority.file)]
    login = [*trust, "-u", "plug", "-P", token]
    away = ["-i", "d", "-c", "-q", "1"]
    run(tool(SUB, port, "311", *login, *away, "-t", "cmd/plug/#", "-E"))
    run(tool(PUB, port, "311", *trust, "-q", "1", "-t", "cmd/plug/a", "-m", "on"))  # of this machine
    run(tool(PUB, port, "311", *login, "-q", "1", "-t", "cmd/plug/a", "-m", "not its own"))
    run(tool(PUB, port, "311", *trust, "-q", "1", "-t", "cmd/plug/a", "-m", "off"))
    assert (
        run(tool(SUB, port, "311", *login, *away, "-t", "cmd/plug/#", "-C", "2", "-W", "20")) == "on\noff\n"
    )
    refused = tool(PUB, port, "5", *trust, "-i", "d", "-t", "x", "-m", "y")  # the session is the device's
    assert subprocess.run(refused, capture_output=True, timeout=30, check=False).returncode != 0
    assert made.stop() == 0


@needs_tools
def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    port = free_port()
    made = Gateway(tmp_path, f'[mqtt]\nurl = "embedded://127.0.0.1:{port}"\n').start()
    away = ["-i", "away", "-c", "-q", "1", "-t", "t/#"]
    run(tool(SUB, port, "311", *away, "-E"))
    run(tool(PUB, port, "311", "-q", "1", "-r", "-t", "state", "-m", "on"))
    acknowledged = 0
    with socket.create_connection(("127.0.0.1", port), timeout=20) as device:
        device.sendall(connect("device"))
        assert device.recv(4) == b"\x20\2\0\0"
        while acknowledged < 200:
            acknowledged += 1
            device.sendall(publish("t/a", b"%d" % acknowledged, 1, acknowledged))
            assert device.recv(4) == b"\x40\2" + acknowledged.to_bytes(2, "big")
    made.kill()
    made.start()
    shown = run(tool(SUB, port, "311", *away, "-C", str(acknowledged), "-W", "30", "-F", "%p"))
    assert shown.split() == [str(number) for number in range(1, acknowledged + 1)]
    assert run(tool(SUB, port, "311", "-t", "state", "-C", "1", "-F", "%r %p")) == "1 on\n"
    until(lambda: made.status()["broker"]["queued"] == 0, what="nothing waits")
    assert made.stop() == 0
