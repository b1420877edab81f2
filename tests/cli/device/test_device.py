"""`edgewhisk device` with simulated devices, as a new user would: replay plays one, try reads it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serial.tools.list_ports_common import ListPortInfo

from edgewhisk.cli import main
from edgewhisk.device import capture, library
from edgewhisk.device.capture import CapturedBytes
from edgewhisk.transport.serial import discovery
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
    ("name", "count", "point", "value"),
    [
        ("nova/sds011", 4, "pm2_5", 123.6),
        ("winsen/mh-z19", 2, "co2", 608),
        ("generic/dsmr-p1", 8, "gas", 12785.123),
    ],
)
def test_a_serial_device_is_read_as_it_was_recorded(name: str, count: int, point: str, value: float) -> None:
    # The recording goes round: the port may be opened anywhere in it, so a whole round is read.
    with replayed(name) as port:
        found = tried(name, "--port", port, "--count", str(count))
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
    said = [one for one in capture.read(file.read_text().splitlines(), "x") if isinstance(one, CapturedBytes)]
    assert said[0].asked
    assert b"".join(one.data for one in said[1:]).startswith(b"\xff\x86")
    with replayed(str(file)) as port:
        assert tried("winsen/mh-z19", "--port", port, "--count", "1")[0]["co2"] == 608


def test_list_show_and_scan() -> None:
    listed = json.loads(device("list", "--json").stdout)
    assert {one["name"] for one in listed} == set(library.names())
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
        (("try", "eastron/sdm120"), "--port (RTU) or --host (TCP) is needed"),
        (("try", "tasmota/energy", "--port", "/dev/null"), "is reached over mqtt: use --broker, not --port"),
        (("try", "nova/sds011", "--host", "10.0.0.5"), "is reached over serial: use --port, not --host"),
        (("try", "nova/sds011", "--port", "/dev/null", "--unit", "3"), "use --port, not --unit"),
        (("try", "nova/sds01"), "did you mean nova/sds011?"),
        (("replay", "tasmota/energy", "--broker", "mqtt://127.0.0.1:1"), "broker 127.0.0.1:1: "),
        (("replay", "nova/sds011", "--broker", "mqtt://127.0.0.1:1"), "was recorded from a port"),
        (("replay", "no.capture"), "there is no file no.capture"),
        (("replay", "/"), "/ cannot be read"),
        (("replay", "/bin/true"), "is no text file"),
        (("record", "no/where/x", "--port", "/dev/ptmx"), "no/where/x cannot be written: No such file"),
        (("record", "x"), "--port is needed, or --topic"),
        (("record", "README.md", "--port", "/dev/ptmx"), "README.md exists"),
        (("record", "x", "--topic", "a", "--broker", "mqtt://127.0.0.1:1"), "broker 127.0.0.1:1: "),
        (("try", "tasmota/energy", "--broker", "http://x"), "--broker must be"),
        (("try", "tasmota/energy", "--broker", "mqtt://["), "--broker must be"),
        (("try", "tasmota/energy", "--broker", "mqtt://h:port"), "--broker must be"),
        (("replay", "no/thing"), "there is no profile"),
        (("replay", "nova/sds011", "--speed", "0"), "--speed must be above 0"),
        (("record", "no/where/x", "--port", "/dev/nothing"), "No such file"),
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


def test_scan_names_ports_that_last_and_guesses_by_chip_and_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dust, gps = ListPortInfo("/dev/ttyUSB0"), ListPortInfo("/dev/ttyACM3")
    dust.vid, dust.pid, dust.product = 0x1A86, 0x7523, "USB Serial"
    gps.vid, gps.pid, gps.product, gps.serial_number = 0x1A86, 0x7523, "u-blox GNSS receiver", "7"
    monkeypatch.setattr(
        "edgewhisk.transport.serial.discovery.list_ports.comports",
        lambda: [dust, gps, ListPortInfo("/dev/ttyS9")],
    )
    monkeypatch.setattr(discovery, "BY_ID", tmp_path)
    (tmp_path / "usb-1a86_USB_Serial-if00").symlink_to("/dev/ttyUSB0")
    assert main(["device", "scan", "--json"]) == 0
    second, first = json.loads(capsys.readouterr().out)
    assert (first["path"], first["by_id"]) == ("/dev/ttyUSB0", f"{tmp_path}/usb-1a86_USB_Serial-if00")
    assert {"nova/sds011", "lctech/relay-1"} <= set(first["profiles"])
    assert second["profiles"][0] == "generic/nmea-gps"  # what it calls itself comes before its chip
    assert "group dialout" in first["problem"]  # there is no such file here
    assert main(["device", "scan"]) == 0
    told = capsys.readouterr()
    assert "usb-1a86_USB_Serial-if00" in told.out
    assert "edgewhisk device try generic/nmea-gps --port /dev/ttyACM3" in told.err
    assert "by-path" not in told.err
    gps.serial_number = None  # twins
    assert main(["device", "scan"]) == 0
    assert "below /dev/serial/by-path" in capsys.readouterr().err


def test_a_truncated_capture_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "fault.capture"
    file.write_text("# a port\n> b'abc'\n+ 12\n> b'ab")
    done = device("replay", str(file))
    assert done.returncode == 1
    assert f"{file}, line 4: no bytes" in done.stderr
    assert "was the file cut off?" in done.stderr
    file.write_text("# a port\n")
    assert "nothing is said in" in device("replay", str(file)).stderr


def test_a_broken_profile_of_a_user_is_told_and_the_others_are_listed(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'state_dir = "{tmp_path}/state"\n')
    folder = tmp_path / "state" / "devices" / "mine"
    folder.mkdir(parents=True)
    (folder / "wrong.toml").write_text(
        '[framing]\nkind = "lines"\n[decoding]\nkind = "json"\nothers = true\n'
    )
    done = device("list", "--json", "--config", str(config))
    assert len(json.loads(done.stdout)) == len(library.names())
    told = f"{folder}/wrong.toml: framing.kind: must be one of line, nmea"
    assert (done.returncode, told in done.stderr) == (0, True)
    command = [sys.executable, "-m", "edgewhisk", "check", "--config", str(config)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (checked.returncode, told in checked.stderr) == (2, True)


@contextlib.contextmanager
def saying(data: bytes) -> Iterator[str]:
    """A port on which something says `data` ten times a second; its name."""
    master, slave = os.openpty()
    tty.setraw(slave)
    ended = threading.Event()

    def say() -> None:
        while not ended.wait(0.1):
            os.write(master, data)

    thread = threading.Thread(target=say)
    if data:
        thread.start()
    try:
        yield os.ttyname(slave)
    finally:
        ended.set()
        if data:
            thread.join()
        os.close(master)
        os.close(slave)


def first_word(*words: str) -> str:
    """What `device try` says first on stderr; it says nothing on stdout."""
    command = [sys.executable, "-m", "edgewhisk", "device", "try", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    told = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 0
    return told


@pytest.mark.parametrize(
    ("name", "said", "told"),
    [
        ("nova/sds011", b"", "the port is open and nothing was received at 9600 baud, 8N1"),
        ("winsen/mh-z19", b"", "asked and nothing came back"),
        ("nova/sds011", b"\xaa\xc0" + b"\x81" * 20, " bytes came and none is a frame of nova/sds011"),
        ("arduino/dht", b"hello\n", "not JSON: 'hello'"),
    ],
)
def test_where_nothing_comes_it_is_told_what_to_check(name: str, said: bytes, told: str) -> None:
    with saying(said) as port:
        assert told in first_word(name, "--port", port)


def test_a_port_that_another_program_has_is_told() -> None:
    with saying(b"") as port, Path(port).open("rb", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        told = first_word("nova/sds011", "--port", port)
    assert "another program has the port open (fuser shows which)" in told


def test_a_modbus_device_that_does_not_answer_is_told() -> None:
    with saying(b"") as port:
        told = first_word("eastron/sdm120", "--port", port, "--every", "1")
    assert "is that its address (--unit)? is 2400 baud, 8N1 right" in told


def test_try_ends_in_time_and_fails_if_nothing_came() -> None:
    with saying(b"") as port:
        done = device("try", "nova/sds011", "--port", port, "--seconds", "0.5")
    assert (done.returncode, done.stdout) == (1, "")


def test_ctrl_c_ends_try_without_a_word() -> None:
    with replayed("nova/sds011") as port:
        command = [sys.executable, "-m", "edgewhisk", "device", "try", "nova/sds011", "--port", port]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert "pm2_5=" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")


def test_a_simulated_relay_tells_what_it_is_told() -> None:
    command = [sys.executable, "-m", "edgewhisk", "device", "replay", "lctech/relay-1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    with Path(process.stdout.readline().strip()).open("wb", buffering=0) as port:
        assert "waits to be asked or told" in process.stderr.readline()
        port.write(b"\xa0\x01\x01\xa2")
        assert process.stderr.readline() == "told: on\n"
        port.write(b"\xa0\x01\x00\xa1")
        assert process.stderr.readline() == "told: off\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 0


@needs_mosquitto
def test_what_a_broker_delivers_is_recorded_and_replayed(tmp_path: Path) -> None:
    file = tmp_path / "plugs.capture"
    with mosquitto(tmp_path) as port:
        url = f"mqtt://127.0.0.1:{port}"
        command = [sys.executable, "-m", "edgewhisk", "device", "replay", "zigbee2mqtt/device", "--loop",
                   "--speed", "20", "--broker", url]  # fmt: skip
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            words = ("record", str(file), "--topic", "zigbee2mqtt/+", "--broker", url, "--seconds", "2")
            done = device(*words)
            assert done.returncode == 0, done.stderr
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(10)
        said = [
            one for one in capture.read(file.read_text().splitlines(), "x") if isinstance(one, CapturedBytes)
        ]
        assert {"zigbee2mqtt/kitchen", "zigbee2mqtt/Living Room"} <= {one.topic for one in said}
        assert device("replay", str(file), "--speed", "100", "--broker", url).returncode == 0


@needs_mosquitto
def test_the_broker_is_the_configured_one(tmp_path: Path) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "ann", "s3:@"], check=True)
    (tmp_path / "secret").write_text("s3:@\n")
    with mosquitto(tmp_path, f"allow_anonymous false\npassword_file {passwords}") as port:
        config = tmp_path / "c.toml"
        where = f'url = "mqtt://127.0.0.1:{port}"\nusername = "ann"\npassword_file = "{tmp_path}/secret"\n'
        config.write_text(f'state_dir = "{tmp_path}/state"\n[mqtt]\n{where}[brokers.plant]\n{where}')
        play = ("replay", "tasmota/availability", "--speed", "50")
        assert device(*play, "--config", str(config)).returncode == 0
        assert device(*play, "--config", str(config), "--broker", "plant").returncode == 0
        assert device(*play, "--broker", f"mqtt://ann:s3%3A%40@127.0.0.1:{port}").returncode == 0
        refused = device(*play, "--broker", f"mqtt://127.0.0.1:{port}")
    assert refused.returncode == 1
    assert "username" in refused.stderr
