"""`edgewhisk device` with simulated devices, as a new user would: replay plays one, try reads it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.device import capture
from edgewhisk.device import profile as profiles
from edgewhisk.device.capture import Said
from tests.path.gateway import MOSQUITTO, mosquitto

needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto"
)


def device(*words: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgewhisk", "device", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


@contextlib.contextmanager
def replayed(*words: str) -> Iterator[str]:
    """A simulated device; its port."""
    command = [sys.executable, "-m", "edgewhisk", "device", "replay", *words, "--loop", "--speed", "20"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
        process.stdout.close()


def tried(*words: str) -> list[dict[str, Any]]:
    done = device("try", *words, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("name", "point", "value"),
    [("nova/sds011", "pm2_5", 12.3), ("winsen/mh-z19", "co2", 608), ("generic/dsmr-p1", "gas", 12785.123)],
)
def test_a_serial_device_is_read_as_it_was_recorded(name: str, point: str, value: float) -> None:
    with replayed(name) as port:
        found = tried(name, "--port", port, "--count", "3")
    assert value in [one.get(point) for one in found]


def test_a_modbus_meter_answers(tmp_path: Path) -> None:
    link = tmp_path / "meter"
    with replayed("eastron/sdm120", "--link", str(link)) as port:
        assert str(link.readlink()) == port
        found = tried("eastron/sdm120", "--port", port, "--every", "0.1", "--count", "2")
    assert [(one["voltage"], one["energy_import"]) for one in found] == [(230.5, 1234.5)] * 2
    assert not link.exists()


@needs_mosquitto
def test_an_mqtt_device_publishes(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        url = f"mqtt://127.0.0.1:{broker}"
        command = [sys.executable, "-m", "edgewhisk", "device", "replay", "tasmota/energy", "--loop",
                   "--speed", "20", "--broker", url]  # fmt: skip
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            (found,) = tried("tasmota/energy", "--broker", url, "--count", "1")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(10)
    assert (found["id"], found["power"]) == ("plug1", 37)


def test_what_is_recorded_can_be_replayed(tmp_path: Path) -> None:
    file = tmp_path / "fault.capture"
    with replayed("winsen/mh-z19") as port:
        done = device("record", str(file), "--port", port, "--profile", "winsen/mh-z19", "--seconds", "1")
    assert done.returncode == 0, done.stderr
    said = [one for one in capture.read(file.read_text().splitlines(), "x") if isinstance(one, Said)]
    assert said[0].asked
    assert b"".join(one.data for one in said[1:]).startswith(b"\xff\x86")
    with replayed(str(file)) as port:
        assert tried("winsen/mh-z19", "--port", port, "--count", "1")[0]["co2"] == 608


def test_list_show_and_scan() -> None:
    listed = json.loads(device("list", "--json").stdout)
    assert {one["name"] for one in listed} == set(profiles.names())
    assert len(listed) >= 15
    shown = device("show", "eastron/sdm120").stdout
    assert "2400 baud, 8N1" in shown
    assert "voltage" in shown
    assert json.loads(device("show", "nova/sds011", "--json").stdout)["framing"]["start"] == "aac0"
    assert isinstance(json.loads(device("scan", "--json").stdout), list)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("show", "no/thing"), "there is no profile 'no/thing'"),
        (("try", "nova/sds011"), "--port is needed"),
        (("try", "nova/sds011", "--port", "/etc/passwd"), "below /dev"),
        (("try", "eastron/sdm120"), "either port"),
        (("try", "tasmota/energy", "--broker", "http://x"), "--broker must be"),
        (("replay", "no/thing"), "there is no profile"),
        (("replay", "nova/sds011", "--speed", "0"), "--speed must be above 0"),
        (("record", "/tmp/x", "--port", "/dev/nothing"), "No such file"),
        (("token", "--trigger", "a//b", "--device", "d"), "name of the entity"),
        (("untoken", "abc"), "there is no token abc"),
    ],
)
def test_what_is_wrong_is_told(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'state_dir = "{tmp_path}/state"\n')
    done = device(*words, "--config", str(config))
    assert done.returncode in (1, 2), done
    assert told in done.stderr
    assert "Traceback" not in done.stderr
