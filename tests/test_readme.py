"""Every command of README.md does what it is there for: typed as it stands there, in a fresh shell.

Then those of the folders' READMEs, but for the devices' (`path/test_first_sensor.py`), which need ports.

Two are not run here, as both build the package: the one that installs and shows the demo, and the one that
installs and tests. `.ci/run` is the second one, and runs this.

The shell has a home of its own and `edgewhisk` on its PATH. Variables of the configuration move the state and
the ports: other gateways may run on this machine, and one that root starts has its state below /var/lib.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import edgewhisk
from edgewhisk import device
from tests.guests import lend_compiled
from tests.path.gateway import free_port, until

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PACKAGE = Path(edgewhisk.__file__).parent
COMMAND = re.compile(r"^    ((?:edgewhisk|echo|printf|python3) .+)$", re.MULTILINE)
INSTALL = [
    "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/edgewhisk demo",
    "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest",
]
ENDLESS = {  # command -> what it must print; it goes on to the end of the test
    "edgewhisk run": "edgewhisk ready at http://127.0.0.1:",
    "edgewhisk device replay tasmota/energy --loop": "",
    "edgewhisk activation poll show": "stdout: 37 W",
}
ANSWERS = {  # command -> a part of what it prints, at the latest when it is typed again
    "edgewhisk action invoke hot --result -p celsius 41": '"alarm": true',
    "edgewhisk activation list hot --full": '"topic": "boiler/1/temperature"',
    "edgewhisk status": ": running, last event",
    "edgewhisk action get page --url": "/api/v1/web/guest/default/page",
    "edgewhisk device try tasmota/energy --count 2": "power",
    "edgewhisk action invoke count --result": '"n": ',
    "edgewhisk action invoke /whisk.system/mqtt/publish -p topic plant/lamp -p payload on --result": "true",
}


def commands(readme: Path) -> list[str]:
    return COMMAND.findall(readme.read_text())


class Shell:
    """A fresh shell for each command."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """In `folder`, which is also its home."""
        self._folder = folder
        self._environment = environment
        self._running: list[subprocess.Popen[bytes]] = []

    def run(self, command: str) -> str:
        """Returns what a command printed, which must succeed."""
        done = subprocess.run(
            ["bash", "-c", command], cwd=self._folder, env=self._environment, text=True,
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def start(self, command: str, printing: str) -> None:
        """Leave a command running, once it has printed what it must."""
        path = self._folder / f"output-{len(self._running)}"
        with path.open("wb") as output:
            started = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=self._folder, env=self._environment, stdout=output,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._running.append(started)
        until(
            lambda: printing in path.read_text() or started.poll() is not None,
            what=f"{printing!r} from {command}",
        )
        assert started.poll() is None, (command, path.read_text())

    def close(self) -> None:
        """Ctrl-C for what runs, the newest first."""
        for process in reversed(self._running):
            process.send_signal(signal.SIGINT)
            process.wait(30)


@contextlib.contextmanager
def shell(folder: Path) -> Iterator[Shell]:
    """A user's machine: nothing is configured, nothing runs."""
    (folder / "none.toml").touch()
    lend_compiled(folder / "state" / "cache")
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("EDGEWHISK", "WSK", "XDG"))
    }
    made = Shell(
        folder,
        {
            **kept,
            "HOME": str(folder),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "EDGEWHISK_CONFIG": str(folder / "none.toml"),
            "EDGEWHISK_STATE_DIR": str(folder / "state"),
            "EDGEWHISK_API_PORT": str(free_port()),
            "EDGEWHISK_MQTT_URL": f"embedded://127.0.0.1:{free_port()}",
        },
    )
    try:
        yield made
    finally:
        made.close()


def test_every_command_works(tmp_path: Path) -> None:
    ports = Path(str(device.__file__)).parent / "README.md"
    rooms = [readme for readme in sorted(PACKAGE.glob("*/README.md")) if readme != ports]
    every = dict.fromkeys(one for readme in (README, *rooms) for one in commands(readme))
    typed = [one for one in every if one not in INSTALL]
    assert set(ENDLESS) | set(ANSWERS) <= set(typed)
    with shell(tmp_path) as made:
        for command in typed:
            if command in ENDLESS:
                made.start(command, ENDLESS[command])
            elif answer := ANSWERS.get(command):
                until(lambda command=command, answer=answer: answer in made.run(command), what=command)  # type: ignore[misc]
            else:
                made.run(command)
        assert (tmp_path / ".wskprops").read_text().startswith("APIHOST=http://127.0.0.1:")
        (manifest,) = re.findall(
            r"(?:^      .+\n)+", (PACKAGE / "cli" / "README.md").read_text(), re.MULTILINE
        )
        (tmp_path / "manifest.yaml").write_text(textwrap.dedent(manifest))
        made.run("edgewhisk deploy -m manifest.yaml")
        assert "deployed: 0 changed" in made.run("edgewhisk deploy -m manifest.yaml")


def test_what_is_indented_is_a_command_or_the_picture() -> None:
    other = re.findall(r"^    (?!(?:edgewhisk|echo|python3) )(.+)$", README.read_text(), re.MULTILINE)
    assert other[0].startswith("sensor ──>")
    assert len(other) == 7


def test_the_two_that_install() -> None:
    assert [one for one in commands(README) if one.startswith("python3")] == INSTALL
    run = (ROOT / ".ci" / "run").read_text()
    assert [
        part for part in ("python3 -m venv .venv", "'.[test]'", ".venv/bin/pytest") if part not in run
    ] == []


def test_it_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150
