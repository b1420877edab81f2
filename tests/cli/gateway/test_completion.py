"""The tab key completes verbs, options, and the names of what there is, in the shells that are here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from edgewhisk.cli.gateway.completion import completions
from tests.path.gateway import Gateway, gateway


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("tab"), '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n') as running:
        running.action("hello", "function main(p) { return p }")
        for trigger in ("bell", "boiler"):
            running.ok("PUT", f"_/triggers/{trigger}", {})
        running.rule("bell", "hello")
        running.ok("PUT", "_/packages/tools", {})
        running.action("tools/mail", "function main(p) { return p }")
        yield running


@pytest.fixture
def environment(made: Gateway, tmp_path: Path) -> Mapping[str, str]:
    return {"EDGEWHISK_CONFIG": str(made.config), "HOME": str(tmp_path)}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["ac"], {"action", "activation"}),
        (["action", "inv"], {"invoke"}),
        (["action", "invoke", "x", "--res"], {"--result"}),
        (["action", "invoke", "he"], {"hello"}),
        (["action", "invoke", "too"], {"tools/mail"}),
        (["action", "create", "he"], set()),
        (["action", "create", "new", "--copy", "he"], {"hello"}),
        (["action", "invoke", "-p", "key", "value", "he"], {"hello"}),
        (["action", "invoke", "-p", "key", "he"], set()),
        (["action", "invoke", "/whisk.system/mqtt/p"], {"/whisk.system/mqtt/publish"}),
        (["trigger", "fire", "b"], {"bell", "boiler"}),
        (["trigger", "create", "x", "--feed", "/whisk.system/alarms/a"], {"/whisk.system/alarms/alarm"}),
        (["trigger", "create", "x", "--feed", "/whisk.system/mqtt/"], {"/whisk.system/mqtt/message"}),
        (["rule", "create", "x", "bo"], {"boiler"}),
        (["rule", "create", "x", "boiler", "he"], {"hello"}),
        (["rule", "delete", "b"], {"bell-hello"}),
        (["package", "get", "t"], {"tools"}),
        (["activation", "poll", "--trigger", "be"], {"bell"}),
        (["activation", "poll", "--failed", "he"], {"hello"}),
        (["device", "try", "nova/"], {"nova/sds011"}),
        (["device", "test", "nova/sds011", "tasmota/e"], {"tasmota/energy"}),
        (["device", "replay", "nova/"], {"nova/sds011"}),
        (["subject", "get", "gu"], {"guest"}),
        (["package", "create", "x", "--shared", ""], {"yes", "no"}),
        (["completion", "f"], {"fish"}),
        (["nothing", "x"], set()),
        (["queue", "drop", ""], set()),
    ],
)
def test_what_may_stand_there(environment: Mapping[str, str], words: list[str], found: set[str]) -> None:
    assert set(completions(words, environment)) == found


def test_without_a_gateway_there_is_no_word_and_no_error(tmp_path: Path) -> None:
    nowhere = {"EDGEWHISK_CONFIG": str(tmp_path / "none.toml"), "HOME": str(tmp_path)}
    assert completions(["action", "invoke", ""], nowhere) == []
    assert "invoke" in completions(["action", ""], nowhere)


def in_shell(made: Gateway, tmp_path: Path, *command: str) -> list[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "EDGEWHISK_CONFIG": str(made.config), "HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    return done.stdout.split()


def test_bash_completes(made: Gateway, tmp_path: Path) -> None:
    line = "COMP_WORDS=(edgewhisk action invoke he); COMP_CWORD=3; _edgewhisk; echo ${COMPREPLY[@]}"
    assert in_shell(made, tmp_path, "bash", "-c", f'eval "$(edgewhisk completion bash)"; {line}') == ["hello"]


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(made: Gateway, tmp_path: Path) -> None:
    line = "edgewhisk completion fish | source; complete -C 'edgewhisk action invoke he'"
    assert "hello" in in_shell(made, tmp_path, "fish", "-c", line)


def test_zsh_has_the_same_function(made: Gateway, tmp_path: Path) -> None:
    script = " ".join(in_shell(made, tmp_path, "edgewhisk", "completion", "zsh"))
    assert "bashcompinit" in script
    assert "complete -o default -F _edgewhisk edgewhisk" in script
