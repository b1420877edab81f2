"""The main job, end to end on real parts: nothing that was acknowledged is lost, nothing runs twice."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import tty
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.path.gateway import MOSQUITTO, Gateway, free_port, gateway, mosquitto, until

ECHO = "function main(p) { return {seq: p.seq} }"


@contextlib.contextmanager
def device(port: int, count: int, rate: float) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.path.publisher", str(port), "t/a", str(count), str(rate)]
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.wait(90)
        assert process.returncode == 0


def seqs(records: list[dict[str, Any]]) -> Counter[int]:
    return Counter(record["response"]["result"].get("seq") for record in records)


def fed(made: Gateway) -> None:
    made.action("echo", ECHO)
    made.feed("t", "mqtt/message", topic="t/+", qos=1)
    made.rule("t", "echo")
    until(made.feeds_run, what="the feed runs")


def test_the_embedded_broker(tmp_path: Path) -> None:
    port = free_port()
    with gateway(tmp_path, f'[mqtt]\nurl = "embedded://127.0.0.1:{port}"\n') as made:
        fed(made)
        with device(port, 500, 0):
            pass
        until(lambda: made.count("echo") == 500, what="500 activations")
        assert seqs(made.activations("echo")) == Counter(range(1, 501))


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto")
def test_killed_in_mid_stream_and_started_again(tmp_path: Path) -> None:
    count = 2000
    with mosquitto(tmp_path) as port:
        made = Gateway(tmp_path / "edge", f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n').start()
        fed(made)
        with device(port, count, 500):
            until(lambda: made.count("echo") >= count // 2, 60, "half of them ran")
            made.kill()
            made.start()
        until(lambda: made.count("echo") >= count, 60, "all of them ran")
        until(lambda: made.status()["buffer"]["unfinished"] == 0, what="nothing is unfinished")
        records = made.activations("echo")
        assert seqs(records) == Counter(range(1, count + 1))
        assert {record["response"]["status"] for record in records} == {"success"}
        made.stop()


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto")
def test_readings_keep_their_order_and_garbage_is_counted(tmp_path: Path) -> None:
    with (
        mosquitto(tmp_path) as port,
        gateway(tmp_path / "e", f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n') as made,
    ):
        fed(made)
        made.feed("all", "mqtt/message", topic="#", qos=0, format="text")
        made.rule("all", "echo")
        until(made.feeds_run, what="both feeds run")
        with device(port, 1000, 0):
            pass
        until(lambda: made.count("echo") == 2000, what="each message fired both triggers")
        newest_first = made.activations("echo")
        of_json = [r["response"]["result"]["seq"] for r in newest_first if r["response"]["result"]]
        assert of_json == list(range(1000, 0, -1))


def test_a_serial_line_at_full_speed_with_garbage(tmp_path: Path) -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    port = tmp_path / "dev"
    settings = (
        f'[serial.meter]\nport = "{port}"\nprofile = "arduino/bme280"\n[mqtt]\nurl = "mqtt://127.0.0.1:1"\n'
    )
    port.symlink_to(os.ttyname(slave))
    good = b'{"temperature": 21.5, "humidity": 40, "pressure": 1000}\r\n'
    lines = b"".join((b"\x00\xffnoise\n" if at % 40 == 20 else b"") + good for at in range(2000))
    with gateway(tmp_path / "edge", settings) as made:
        made.action("read", "function main(p) { return {t: p.temperature, port: p.port} }")
        made.feed("meter", "serial/reading", port="meter")
        made.rule("meter", "read")
        until(made.feeds_run, what="the port is open")
        writer = threading.Thread(target=write_all, args=(master, lines))
        writer.start()
        until(lambda: made.count("read") == 2000, 60, "2000 activations")
        writer.join()
        (feed,) = made.status()["feeds"]
        assert (feed["garbage"], feed["readings"]) == (50, 2000)
        assert made.activations("read")[0]["response"]["result"] == {"t": 21.5, "port": "meter"}

        port.unlink()  # before its number is free: another test's port may get it
        os.close(master)  # unplugged
        os.close(slave)
        until(lambda: not made.feeds_run(), what="the feed notices")
        master, slave = os.openpty()
        tty.setraw(slave)
        port.symlink_to(os.ttyname(slave))  # plugged in again, under another number
        until(made.feeds_run, what="the port is open again")
        os.write(master, good)
        until(lambda: made.count("read") == 2001, what="one more")
    os.close(master)
    os.close(slave)


def write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def test_the_cloud_away_and_back(tmp_path: Path) -> None:
    port, broker = free_port(), free_port()
    cloud = Gateway(tmp_path / "cloud", '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n', port).start()
    key = tmp_path / "key"
    key.write_text(cloud.auth)
    settings = (
        f'[mqtt]\nurl = "embedded://127.0.0.1:{broker}"\n'
        f'[cloud]\nurl = "http://127.0.0.1:{port}"\nauth_file = "{key}"\n'
        "interval = 0.1\nlongest_pause = 1.0\n"
    )
    with gateway(tmp_path / "edge", settings) as edge:
        fed(edge)
        with device(broker, 1500, 150):
            until(lambda: cloud.count("echo") > 100, what="some are at the cloud")
            cloud.kill()
            before = edge.count("echo")
            until(lambda: edge.count("echo") > before + 300, what="the edge goes on")
            cloud.start()
        until(lambda: edge.count("echo") == 1500, what="all ran")
        edge.kill()  # the embedded broker dies with it, so not before the device is done
        edge.start()
        until(lambda: cloud.count("echo") >= 1500, 60, "all are at the cloud")
        here = Counter(record["activationId"] for record in edge.activations("echo"))
        there = Counter(record["activationId"] for record in cloud.activations("echo"))
        assert here == there
        assert set(there.values()) == {1}
    assert cloud.stop() == 0


def test_a_schedule_fires(tmp_path: Path) -> None:
    with gateway(tmp_path, '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n') as made:
        made.action("echo", "function main(p) { return {who: p.who} }")
        made.trigger("tick", "alarms/alarm")
        made.rule("tick", "echo")  # before it fires: on a slow machine a second is soon over
        made.connect(
            "tick", "alarms/alarm", cron="* * * * * *", trigger_payload={"who": "clock"}, maxTriggers=2
        )
        until(lambda: made.count("echo") == 2, what="two firings")
        assert made.activations("echo")[0]["response"]["result"] == {"who": "clock"}


def test_a_stuck_action_harms_nobody_else(tmp_path: Path) -> None:
    with gateway(tmp_path, '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n') as made:
        made.action("stuck", "function main() { while (true); }", limits={"timeout": 5000})
        made.action("echo", ECHO)
        for _ in range(4):
            made.ok("POST", "_/actions/stuck", {})
        assert made.ok("POST", "_/actions/echo?blocking=true&result=true", {"seq": 5}) == {"seq": 5}
        assert made.count("stuck") == 0  # it was answered while all of them were stuck
        until(lambda: made.count("stuck") == 4, what="all were stopped")
        (one, *_) = made.activations("stuck")
        assert one["response"]["result"] == {
            "error": "The action exceeded its time limits of 5000 milliseconds."
        }
