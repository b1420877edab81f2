"""The first sensors of edgewhisk/device/README.md, word by word, on simulated hardware."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewhisk import device
from tests.path.gateway import MOSQUITTO, gateway, mosquitto, until

README = (Path(device.__file__).parent / "README.md").read_text()
SECTION = README.split("## Try a device")[1].split("\n## ")[0]
COMMANDS = re.findall(r"^    (.+)$", SECTION, re.MULTILINE)
SIMULATED = re.findall(r"`edgewhisk (device replay [^`]+)`", SECTION)


@contextlib.contextmanager
def playing(words: str, *more: str) -> Iterator[str]:
    """`edgewhisk device replay ...`; the first line it prints."""
    command = [sys.executable, "-m", "edgewhisk", *words.split(), *more, "--speed", "5"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield "" if "tasmota" in words else process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
        process.stdout.close()


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto")
def test_every_command_works_and_the_readings_come(tmp_path: Path) -> None:
    plug, dust, meter = (
        next(words for words in SIMULATED if kind in words) for kind in ("tasmota", "sds011", "sdm120")
    )
    master, slave = os.openpty()
    tty.setraw(slave)
    with (
        mosquitto(tmp_path) as broker,
        gateway(tmp_path / "e", f'[mqtt]\nurl = "mqtt://127.0.0.1:{broker}"\n') as made,
        playing(plug, "--broker", f"mqtt://127.0.0.1:{broker}"),
        playing(dust) as dust_port,
        playing(meter) as meter_port,
    ):
        environment = {**os.environ, "EDGEWHISK_CONFIG": str(made.config), "HOME": str(tmp_path)}
        # Where the text says port or broker of a new user's machine, the simulated ones.
        port = dust_port
        for command in COMMANDS:
            if "sdm120" in command:
                port = meter_port
            if command.startswith("edgewhisk device try tasmota"):
                command += f" --broker mqtt://127.0.0.1:{broker}"
            command = command.replace("/dev/ttyUSB0", port).replace("/dev/ttyUSB1", os.ttyname(slave))
            shell = command.replace("edgewhisk ", f"{shlex.quote(sys.executable)} -m edgewhisk ", 1)
            done = subprocess.run(
                shell if "echo" not in command else command, shell=True, cwd=tmp_path, env=environment,
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == 0, (command, done.stdout, done.stderr)
        until(lambda: made.count("show") >= 3, 60)

        def shown() -> set[str]:
            return {one["response"]["result"]["device"] for one in made.activations("show")}

        until(lambda: shown() == {"tasmota/energy", "nova/sds011", "eastron/sdm120"}, 60)
        until(lambda: made.count("follow") > 0)
        assert made.activations("follow")[0]["response"]["result"] == {"delivered": True}
        assert os.read(master, 4) == b"\xa0\x01\x01\xa2"  # 37 W are more than 30: the relay goes on
    os.close(master)
    os.close(slave)
