"""The verbs that talk to an OpenWhisk, against a real gateway."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.path.gateway import Gateway, gateway, until

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("cli"), '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n') as running:
        yield running


@pytest.fixture
def run(made: Gateway, tmp_path: Path) -> Run:
    """Run a command with a `.wskprops` for the gateway, in an empty folder."""
    (tmp_path / ".wskprops").write_text(f"APIHOST=http://127.0.0.1:{made.port}\nAUTH={made.auth}\n")

    def command(*words: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "edgewhisk", *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path), **environment},
            check=False,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        return done

    return command


def test_actions(run: Run, tmp_path: Path) -> None:
    (tmp_path / "hello.js").write_text(
        "function main(p) { console.log('hi'); return {hello: p.name, n: p.n} }"
    )
    (tmp_path / "p.json").write_text('{"name": "file"}')
    made = run("action", "create", "hello", "hello.js", "-p", "n", "3", "-a", "desc", "x", "-t", "5000")
    assert made.stdout == "ok: created action hello\n"
    again = run("action", "create", "hello", "hello.js", code=153)
    assert "unable to create action 'hello': resource already exists" in again.stderr
    assert json.loads(run("action", "invoke", "hello", "-r", "-p", "name", "Ann").stdout) == {
        "hello": "Ann",
        "n": 3,
    }
    assert json.loads(run("action", "invoke", "hello", "-r", "-P", "p.json").stdout)["hello"] == "file"
    assert "with id" in run("action", "invoke", "hello").stdout
    record = json.loads(run("action", "invoke", "/_/hello", "-b", "--json").stdout)
    assert record["response"]["success"] is True
    run("action", "update", "hello", "--web", "true", "-p", "n", '{"a": 1}')
    found = json.loads(run("action", "get", "hello", "--json").stdout)
    assert {"key": "web-export", "value": True} in found["annotations"]
    assert {"key": "desc", "value": "x"} in found["annotations"]
    assert found["parameters"] == [{"key": "n", "value": {"a": 1}}]
    assert found["limits"]["timeout"] == 5000
    assert run("action", "get", "hello", "--url").stdout.strip().endswith("/api/v1/web/guest/default/hello")
    assert json.loads(run("action", "get", "hello", "version").stdout) == "0.0.2"
    assert "*n" in run("action", "get", "hello", "--summary").stdout
    run("action", "get", "hello", "--save-as", "saved.js")
    assert (tmp_path / "saved.js").read_text() == (tmp_path / "hello.js").read_text()
    run("action", "create", "copy", "--copy", "hello")
    run("action", "create", "chain", "--sequence", "hello,/_/copy")
    listed = run("action", "list").stdout
    assert "/guest/chain  private  sequence" in listed
    assert {item["name"] for item in json.loads(run("action", "list", "--json").stdout)} == {
        "hello",
        "copy",
        "chain",
    }
    run("action", "update", "hello", "--del-annotation", "desc")
    assert "desc" not in run("action", "get", "hello").stdout
    assert run("action", "delete", "chain").stdout == "ok: deleted action chain\n"
    assert (
        "unable to get action 'chain': The requested resource does not exist."
        in run("action", "get", "chain", code=148).stderr
    )


def test_failed_activations(run: Run, tmp_path: Path) -> None:
    (tmp_path / "no.js").write_text("function main() { return {error: 'no'} }")
    run("action", "create", "no", "no.js")
    assert json.loads(run("action", "invoke", "no", "-r", code=246).stdout) == {"error": "no"}
    record = json.loads(run("action", "invoke", "no", "-b", code=246).stdout)
    assert record["response"]["status"] == "application error"


def test_archives(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "index.js").write_text("exports.main = () => require('./other')")
    (tmp_path / "bundle" / "other.js").write_text("module.exports = {zipped: true}")
    run("action", "create", "zip", "bundle", "--kind", "nodejs:default")
    assert json.loads(run("action", "invoke", "zip", "-r").stdout) == {"zipped": True}
    assert "--kind" in run("action", "create", "zip2", "bundle", code=2).stderr


def test_triggers_rules_and_feeds(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("function main(p) { return p }")
    run("action", "create", "seen", "a.js")
    run("trigger", "create", "bell", "-p", "a", "1")
    assert "no active rule" in run("trigger", "fire", "bell").stdout
    run("rule", "create", "bell-seen", "bell", "seen")
    assert "with id" in run("trigger", "fire", "bell", "-p", "b", "2").stdout
    assert run("rule", "status", "bell-seen").stdout == "ok: rule bell-seen is active\n"
    run("rule", "disable", "bell-seen")
    assert json.loads(run("rule", "get", "bell-seen", "status").stdout) == "inactive"
    assert "/guest/bell -> /guest/seen" in run("rule", "list").stdout
    run("rule", "delete", "bell-seen")
    run("trigger", "create", "yearly", "--feed", "/whisk.system/alarms/alarm", "-p", "cron", "0 0 1 1 *")
    found = json.loads(run("trigger", "get", "yearly", "--json").stdout)
    assert found["feed"]["config"]["cron"] == "0 0 1 1 *"
    changed = run("trigger", "update", "yearly", "-p", "cron", "0 0 2 2 *", "-p", "timezome", "UTC")
    assert "parameter 'timezome' means nothing" in changed.stderr
    assert (
        json.loads(run("trigger", "get", "yearly", "--json").stdout)["feed"]["config"]["cron"] == "0 0 2 2 *"
    )
    assert "/whisk.system/alarms/alarm" in run("trigger", "list").stdout
    run("trigger", "delete", "yearly")
    wrong = run(
        "trigger", "create", "never", "--feed", "/whisk.system/alarms/alarm", "-p", "cron", "x", code=246
    )
    assert "feed /whisk.system/alarms/alarm: cron pattern 'x' is not valid" in wrong.stderr
    assert "cron must have five fields" in wrong.stderr
    run("trigger", "get", "never", code=148)


def test_packages_and_lists(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def main(args):\n    return args\n")
    run("package", "create", "tools", "-p", "host", "h", "--shared", "yes")
    run("action", "create", "tools/echo", "a.py")
    run("package", "bind", "/_/tools", "mine", "-p", "host", "m")
    assert json.loads(run("action", "invoke", "mine/echo", "-r").stdout) == {"host": "m"}
    assert "/guest/mine   private  -> /guest/tools" in run("package", "list").stdout
    assert "action echo" in run("package", "get", "tools", "--summary").stdout
    assert "/guest/tools/echo" in run("action", "list", "tools").stdout
    assert "/whisk.system/mqtt" in run("package", "list", "/whisk.system").stdout
    everything = run("list").stdout
    assert [title in everything for title in ("packages", "actions", "triggers", "rules")] == [True] * 4
    assert "/guest/tools/echo" in run("namespace", "get").stdout
    assert run("namespace", "list").stdout == "namespaces\nguest\n"
    assert "/whisk.system/mqtt" in run("list", "/whisk.system").stdout
    assert "Package not empty" in run("package", "delete", "tools", code=153).stderr
    run("package", "delete", "mine")
    run("package", "delete", "tools", "--recursive")


def test_activations(run: Run, made: Gateway, tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("function main(p) { console.log('printed'); return {n: p.n} }")
    run("action", "create", "act", "a.js")
    run("action", "invoke", "act", "-r", "-p", "n", "5")
    until(lambda: made.count("act") == 1)
    assert json.loads(run("activation", "get", "--last", "name").stdout) == "act"
    assert run("activation", "logs", "--last", "--strip").stdout == "printed\n"
    assert json.loads(run("activation", "result", "--last").stdout) == {"n": 5}
    assert "success" in run("activation", "list", "act").stdout
    (listed,) = json.loads(run("activation", "list", "act", "--json").stdout)
    assert (
        json.loads(run("activation", "get", listed["activationId"], "--json").stdout)["end"] == listed["end"]
    )
    polled = run("activation", "poll", "act", "--exit", "0.5", "--since-hours", "1").stdout
    assert ("act success" in polled, "printed" in polled) == (True, True)
    assert "length is 3 but must be 32" in run("activation", "get", "xyz", code=144).stderr


def test_a_poll_shows_what_comes(run: Run, made: Gateway, tmp_path: Path) -> None:
    made.action("live", "function main() { return {} }")
    poll = subprocess.Popen(
        [sys.executable, "-m", "edgewhisk", "activation", "poll", "--json", "--config", str(made.config)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        stream = poll.stdout
        assert stream is not None

        def comes() -> bool:
            made.ok("POST", "_/actions/live?blocking=true", {})
            return bool(select.select([stream], [], [], 0.2)[0])

        until(comes, what="an activation is shown")
        shown = stream.readline()
        assert json.loads(shown)["name"] == "live"
    finally:
        poll.terminate()
        poll.wait(10)
        if poll.stdout:
            poll.stdout.close()


def test_wrong_keys_and_hosts(run: Run, made: Gateway) -> None:
    wrong = run("action", "list", "--auth", "bad:key", code=145)
    assert ("authentication is invalid" in wrong.stderr, "hint:" in wrong.stderr) == (True, True)
    nowhere = run("action", "list", "--apihost", "http://127.0.0.1:9", code=3)
    assert "no answer from http://127.0.0.1:9" in nowhere.stderr
    assert "no name" in run("action", "get", "a//b", code=1).stderr
    assert made.auth.split(":")[1] not in run("action", "list", "-v").stderr


def test_the_local_gateway_needs_no_options(run: Run, made: Gateway, tmp_path: Path) -> None:
    (tmp_path / ".wskprops").unlink()
    done = run("namespace", "list", EDGEWHISK_CONFIG=str(made.config))
    assert done.stdout == "namespaces\nguest\n"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("action invoke x -P list.json", "list.json must hold a JSON object"),
        ("action invoke x -P broken.json", "broken.json is no JSON"),
        ("action invoke x -P nowhere.json", "nowhere.json: No such file"),
        ("trigger fire /x", "'/x' is no name"),
        ("activation get", "which activation?"),
        ("deploy", "there is no manifest.yaml here"),
        ("tls self-signed --days 0 --out tls", "--days must be at least 1"),
    ],
)
def test_wrong_words_say_what_is_wrong(run: Run, tmp_path: Path, words: str, problem: str) -> None:
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "broken.json").write_text("{")
    assert problem in run(*words.split(), code=1).stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("action create x", "code is missing"),
        ("action create x nowhere.js", "nowhere.js: No such file"),
        ("action create x list.json", "the kind of list.json is not clear"),
        ("action create x list.json --kind nodejs:default --web maybe", "--web must be true, false or raw"),
        ("action create x list.json --kind nodejs:default --web-secure s", "--web-secure needs --web"),
    ],
)
def test_wrong_usage_ends_as_with_wsk(run: Run, tmp_path: Path, words: str, problem: str) -> None:
    (tmp_path / "list.json").write_text("[1]")
    assert problem in run(*words.split(), code=2).stderr
