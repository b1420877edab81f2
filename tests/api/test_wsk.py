"""The real `wsk`, where it is installed: https://github.com/apache/openwhisk-cli/releases."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.path.gateway import Gateway

WSK = shutil.which("wsk")
pytestmark = pytest.mark.skipif(WSK is None, reason="wsk is not on the PATH")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def wsk(made: Gateway, tmp_path: Path) -> Run:
    (tmp_path / ".wskprops").write_text(f"APIHOST=http://127.0.0.1:{made.port}\nAUTH={made.auth}\n")

    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "HOME": str(tmp_path), "WSK_CONFIG_FILE": str(tmp_path / ".wskprops")}
        done = subprocess.run(
            [str(WSK), *words], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done

    return run


def test_a_working_day(wsk: Run, tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("function main(p) { console.log('hi'); return {n: p.n} }")
    (tmp_path / "e.js").write_text("function main(p) { return {error: 'boom'} }")
    wsk("namespace", "list")
    wsk("property", "get", "--apibuild")
    wsk("action", "create", "w1", "a.js", "-p", "n", "1", "--web", "true")
    wsk("action", "create", "w1", "a.js", code=153)
    wsk("action", "update", "w1", "a.js", "-p", "n", "2")
    assert '"n": 2' in wsk("action", "invoke", "w1", "-r").stdout
    wsk("action", "create", "werr", "e.js")
    wsk("action", "invoke", "werr", "-b", code=246)
    wsk("action", "create", "ws", "--sequence", "w1,w1")
    assert '"n": 2' in wsk("action", "invoke", "ws", "-r").stdout
    wsk("action", "get", "w1", "--url")
    wsk("action", "list")
    wsk("package", "create", "wp", "-p", "x", "1", "--shared", "yes")
    wsk("package", "bind", "/_/wp", "wb")
    wsk("package", "get", "wp", "--summary")
    wsk("trigger", "create", "wt")
    wsk("trigger", "fire", "wt")
    wsk("rule", "create", "wr", "wt", "w1")
    wsk("rule", "disable", "wr")
    wsk("rule", "enable", "wr")
    wsk("trigger", "fire", "wt", "-p", "n", "3")
    wsk("trigger", "create", "wf", "--feed", "/whisk.system/alarms/alarm", "-p", "cron", "0 0 1 1 *")
    wsk("trigger", "get", "wf")
    wsk("trigger", "delete", "wf")
    wsk("list")
    wsk("activation", "list")
    wsk("activation", "poll", "--exit", "1")
    wsk("action", "get", "nope", code=148)
    for noun, name in (("rule", "wr"), ("trigger", "wt"), ("package", "wb"), ("package", "wp")):
        wsk(noun, "delete", name)
    for name in ("ws", "werr", "w1"):
        wsk("action", "delete", name)


def test_apis(wsk: Run, made: Gateway, tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("function main(p) { return {path: p.__ow_path} }")
    (tmp_path / "e.js").write_text("function main(p) { return {body: {path: p.__ow_path}} }")
    wsk("action", "create", "apis-a", "a.js", "--web", "true", "--web-secure", "open-sesame")
    wsk("action", "create", "apis-e", "e.js", "--web", "true")
    wsk("api", "create", "/club", "/{book}", "get", "apis-a", code=1)
    wsk("api", "create", "/club", "/all", "get", "apis-a", "-n", "Club")
    wsk("api", "create", "/club", "/{book}", "get", "apis-e", "--response-type", "http")
    assert f"{made.port}/api/guest/club/all" in wsk("api", "list").stdout
    assert "/guest/apis-e" in wsk("api", "list", "Club", "/{book}", "get", "-f").stdout
    assert made.call("GET", "/api/guest/club/all", Authorization="").body == {"path": ""}
    assert made.call("GET", "/api/guest/club/1", Authorization="").body == {"path": "/club/1"}
    document = wsk("api", "get", "/club").stdout
    wsk("api", "delete", "/club", "/all", "get")
    wsk("api", "delete", "Club")
    wsk("api", "get", "/club", code=1)
    (tmp_path / "club.json").write_text(document)
    wsk("api", "create", "-c", "club.json")
    assert made.call("GET", "/api/guest/club/1", Authorization="").body == {"path": "/club/1"}
    wsk("api", "delete", "/club")
    assert "club" not in wsk("api", "list").stdout
