"""`activation poll` says what came in, what ran because of which rule, what came of it, and why not."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.path.gateway import Gateway, gateway, until

CODE = """function main(p) {
    console.log("got", p.celsius)
    if (p.celsius > 50) throw new Error("too hot")
    if (p.celsius > 45) return {error: "quite hot"}
    return {alarm: p.celsius > 40, note: p.note}
}"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("poll"), '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n') as running:
        running.action("hot", CODE)
        running.action("gone", CODE)
        for trigger in ("bell", "lonely"):
            running.ok("PUT", f"_/triggers/{trigger}", {})
        running.rule("bell", "hot")
        running.rule("lonely", "gone")
        running.ok("DELETE", "_/actions/gone")
        for payload in ({"celsius": 41, "note": "x" * 300}, {"celsius": 47}, {"celsius": 60}):
            running.ok("POST", "_/triggers/bell", payload)
        running.ok("POST", "_/triggers/lonely", {"n": 1})
        running.ok("POST", "_/actions/hot?blocking=true", {"celsius": 5})
        until(lambda: running.count("hot") == 4)
        yield running


def poll(made: Gateway, *words: str) -> str:
    command = [sys.executable, "-m", "edgewhisk", "activation", "poll", "--exit", "0.1", "--since-hours", "1"]
    done = subprocess.run(
        [*command, *words, "--config", str(made.config)], capture_output=True, text=True, check=True
    )
    return re.sub(r"\([0-9a-f]{32}\)|\b\d\d:\d\d:\d\d\.\d{3}(?!\d)|in \d+ ms", "-", done.stdout)


def test_it_shows_what_came_in_and_what_came_of_it(made: Gateway) -> None:
    shown = poll(made)
    in_, out = json.dumps({"celsius": 41, "note": "x" * 300}), json.dumps({"alarm": True, "note": "x" * 300})
    assert f"- bell fired -\n  in  {in_}\n  rule bell-hot: hot\n" in shown
    assert (
        f"- hot success -  trigger bell  rule bell-hot -\n  in  {in_}\n  out {out}\n  stdout: got 41\n"
        in shown
    )
    assert '- hot success - -\n  out {"alarm": false}\n  stdout: got 5\n' in shown


def test_it_shows_why_something_failed(made: Gateway) -> None:
    shown = poll(made)
    assert "  rule lonely-gone: gone\n  why The requested resource does not exist.\n" in shown
    assert (
        '- hot application error -  trigger bell  rule bell-hot -\n  in  {"celsius": 47}\n  why quite hot\n'
        in (shown)
    )
    assert (
        "  why An error has occurred: Error: too hot\n  stdout: got 60\n  stderr: Error: too hot\n" in shown
    )


def test_what_is_shown_can_be_chosen(made: Gateway) -> None:
    failed = poll(made, "--failed")
    assert sorted(re.findall(r"^- (\w+)", failed, re.MULTILINE)) == ["hot", "hot", "lonely"]
    bell = poll(made, "--trigger", "/_/bell")
    assert set(re.findall(r"^- (\w+)", bell, re.MULTILINE)) == {"bell", "hot"}
    assert "got 5\n" not in bell
    assert set(re.findall(r"^- (\w+)", poll(made, "--action", "hot"), re.MULTILINE)) == {"hot"}
    assert poll(made, "--action", "tools/hot") == ""
    full = poll(made, "--action", "hot", "--trigger", "bell", "--failed", "--full")
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d hot ", full, re.MULTILINE)
    assert re.search(r"^  \d{4}-\d\d-\d\dT\S+Z stdout: got 60$", full, re.MULTILINE)
    assert '  in  {\n          "celsius": 60\n      }\n' in full


def test_a_list_has_columns_for_trigger_and_rule(made: Gateway) -> None:
    words = ["activation", "list", "--config", str(made.config)]
    done = subprocess.run(
        [sys.executable, "-m", "edgewhisk", *words], capture_output=True, text=True, check=True
    )
    title, head, *rows = [re.split(r"  +", line) for line in done.stdout.splitlines()]
    assert (title, head[-3:]) == (["activations"], ["entity", "trigger", "rule"])
    assert [row[-2:] for row in rows if "guest/hot" in " ".join(row) and len(row) == 9] == [
        ["bell", "bell-hot"]
    ] * 3


def test_a_narrow_terminal_shows_all_of_it(made: Gateway) -> None:
    shown = on_terminal(60, "activation", "list", "--config", str(made.config)).splitlines()
    assert max(map(len, shown)) <= 60
    assert any("bell-hot" in line for line in shown)
    assert sum(bool(re.search(r"[0-9a-f]{32}", line)) for line in shown) == 8
    polled = on_terminal(
        60, "activation", "poll", "--exit", "0.1", "--since-hours", "1", "--config", str(made.config)
    )
    values = [line for line in polled.splitlines() if line.startswith(("  in ", "  out "))]
    assert max(map(len, values)) == 60
    assert values[0].endswith("…")


def on_terminal(columns: int, *words: str) -> str:
    """What a command shows on a terminal of so many columns, without colours."""
    leader, follower = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "edgewhisk", *words],
        stdout=follower, stderr=subprocess.DEVNULL, env={**os.environ, "COLUMNS": str(columns)},
    )  # fmt: skip
    os.close(follower)
    shown = b""
    while select.select([leader], [], [], 30)[0]:
        try:
            shown += os.read(leader, 1 << 16)
        except OSError:
            break
    os.close(leader)
    assert done.wait(30) == 0
    return re.sub(r"\x1b\[\d*m", "", shown.decode().replace("\r\n", "\n"))


def test_a_gateway_that_starts_anew_is_waited_for(tmp_path: Path) -> None:
    made = Gateway(tmp_path, '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n').start()
    made.action("live", "function main(p) { return p }")
    made.ok("POST", "_/actions/live?blocking=true", {"before": 1})
    command = [sys.executable, "-m", "edgewhisk", "activation", "poll", "--since-hours", "1"]
    told = tmp_path / "told"
    with told.open("w") as output:
        process = subprocess.Popen([*command, "--config", str(made.config)], stdout=output, stderr=output)
    try:
        until(lambda: '{"before": 1}' in told.read_text(), what="the first run")
        made.stop()
        until(lambda: "waiting for it" in told.read_text(), what="the gateway is missed")
        made.start()
        until(lambda: "it answers again" in told.read_text(), what="the gateway is back")
        made.ok("POST", "_/actions/live?blocking=true", {"after": 1})
        until(lambda: '{"after": 1}' in told.read_text(), what="the run after it")
        assert told.read_text().count('{"before": 1}') == 1
    finally:
        process.terminate()
        process.wait(10)
        made.stop()
