"""Ctrl-C ends every verb that waits, at once and without a traceback."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.path.gateway import Gateway, free_port, until


def interrupted(command: list[str], log: Path, printed: str) -> tuple[int, str]:
    """Start a verb, press Ctrl-C when it has printed something; how it ended and what it said."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "edgewhisk", *command], stdout=output, stderr=subprocess.STDOUT
        )
    until(lambda: printed in log.read_text() or process.poll() is not None, what=f"{printed!r} of {command}")
    process.send_signal(signal.SIGINT)
    return process.wait(30), log.read_text()


@pytest.mark.parametrize("words", ["action invoke x --result", "status", "deploy -m manifest.yaml", "list"])
def test_while_an_answer_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "manifest.yaml").write_text("packages: {default: {triggers: {bell: {}}}}\n")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        where = ["--apihost", f"http://127.0.0.1:{silent.getsockname()[1]}", "--auth", "a:b", "-v"]
        code, said = interrupted([*words.split(), *where], tmp_path / "log", " http://127.0.0.1")
    assert (code, "Traceback" in said) == (130, False), said


def test_while_something_is_polled_or_run(tmp_path: Path) -> None:
    made = Gateway(tmp_path, f'[mqtt]\nurl = "embedded://127.0.0.1:{free_port()}"\n').start()
    try:
        for words, printed in (
            ("activation poll", "polling"),
            ("device try tasmota/energy", "nothing was published"),
            ("device record --topic # out.capture", "recording"),
            ("device replay tasmota/energy --loop", "publishing"),
        ):
            command = [
                *words.replace("out.capture", str(tmp_path / "out")).split(),
                "--config",
                str(made.config),
            ]
            code, said = interrupted(command, tmp_path / "told", printed)
            assert (words, code in (0, 1, 130), "Traceback" in said) == (words, True, False), said
    finally:
        made.stop()


def test_a_start_and_a_running_gateway(tmp_path: Path) -> None:
    made = Gateway(tmp_path, '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n')
    code, said = interrupted(["run", "--config", str(made.config)], tmp_path / "told", "edgewhisk ready")
    assert (code, "Traceback" in said) == (0, False), said
    (tmp_path / "fresh").mkdir()
    config = tmp_path / "fresh" / "edgewhisk.toml"
    config.write_text(
        f'state_dir = "{tmp_path}/fresh/state"\n[api]\nport = {free_port()}\n[mqtt]\nurl = "mqtt://127.0.0.1:1"\n'
    )
    code, said = interrupted(["run", "--config", str(config)], tmp_path / "early", "compiling quickjs")
    assert (code in (0, 130), "Traceback" in said) == (True, False), said
    until(lambda: not compiling(config.parent), what="the process that compiles goes with the gateway")


def compiling(folder: Path) -> list[str]:
    """Processes that compile for a gateway in `folder`."""
    found = []
    for one in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = one.read_text()
        except OSError:
            continue
        found += [command] if str(folder) in command else []
    return found
