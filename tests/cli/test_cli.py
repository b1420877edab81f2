"""The command line, as a person uses it."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edgewhisk.config.loader import load
from edgewhisk.errors import ConfigError
from tests.path.gateway import Gateway, gateway, until


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgewhisk", *arguments]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("EDGEWHISK")}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env={**kept, **environment}
    )


def test_every_fault_of_a_configuration_is_named(tmp_path: Path) -> None:
    path = tmp_path / "edgewhisk.toml"
    path.write_text(
        'log_level = "loud"\nstat_dir = "x"\n[api]\nport = "80"\nprot = 1\n[mqtt]\nurl = "ftp://x"\n'
        "[limits]\nfires_per_minute = true\nmin_action_memory = 9000\n[cloud]\nurl = 5\n"
        '[serial.meter]\nprofile = "a/b"\n[serial."x y"]\nport = "/dev/x"\n[nonsense]\n'
    )
    done = run("check", "--config", str(path))
    assert done.returncode == 2
    for text in (
        "stat_dir: is not a key; did you mean 'state_dir'?",
        "api.port: must be a whole number, not '80' (example: port = 3233)",
        "api.prot: is not a key; did you mean 'port'?",
        "limits.fires_per_minute: must be a whole number, not True",
        "cloud.url: must be text, not 5",
        "serial.meter.port: is missing",
        "serial.x y: a name has letters",
        "nonsense: is not a key",
    ):
        assert text in done.stderr, done.stderr
    assert str(path) in done.stderr


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[mqtt]\nurl = 'ftp://x'", "mqtt.url: must be embedded"),
        ("[mqtt]\npassword_file = '/x'", "mqtt.username: is needed"),
        ("log_level = 'loud'", "log_level: must be one of"),
        ("[api]\nport = 70000", "api.port: must be 0 to 65535"),
        ("[cloud]\nurl = 'http://x'", "cloud.auth_file: is needed"),
        ("[cloud]\nurl = 'x'\nauth_file = '/x'", "cloud.url: must be http"),
        ("[cloud]\ninterval = 0", "cloud.interval"),
        ("[buffer]\nmax_bytes = 5", "buffer.max_bytes: must be at least"),
        ("[buffer]\nmin_free_bytes = -5", "buffer.min_free_bytes: must not be below 0"),
        ("[lanes.nope]\nttl = 5", "lanes.nope: is no lane; there are telemetry, normal, errors"),
        ("[lanes.errors]\nttl = -1", "lanes.errors.ttl: must be seconds, or 0 for ever"),
        ("[lanes.errors]\nfull = 'shrug'", "lanes.errors.full: must be evict-oldest or reject"),
        ("[lanes.errors]\nmax_bytes = 5", "lanes.errors.max_bytes: must be at least"),
        ("[limits]\nmin_action_memory = 400", "limits.default_action_memory: min, default and max"),
        (
            "[limits]\nsandbox_memory = 100",
            "limits.sandbox_memory: must be at least limits.default",
        ),
        ("[limits]\nsandbox_memory = -1", "limits.sandbox_memory: must be at least 0"),
        ("[limits]\nmax_queue = 0", "limits.max_queue: must be at least 1"),
        ("[api]\naccess_log = 5", "api.access_log: must be true or false, not 5"),
        ("[api]\ntls_cert = '/c.pem'", "api.tls_cert: and api.tls_key are needed together"),
        ("[api]\nhost = '0.0.0.0'", "keys would cross the network in clear"),
        ("[grants.b]\nmqtt = ['a/#/b']", "grants.b.mqtt: topic 'a/#/b': '#' must be alone"),
        ("[api", "is not valid TOML"),
        (f"[api]\nport = {'9' * 5000}", "is not valid TOML"),
        (f"[api]\nport = {'[' * 5000}{']' * 5000}", "is not valid TOML"),
        ("[cloud]\nurl = 'http://['\nauth_file = '/x'", "cloud.url: must be http"),
        ("[mqtt]\nurl = 'mqtt://['", "mqtt.url: must be embedded"),
        ("[api]\ntls_cert = '~nobody-here/c.pem'", "api.tls_cert: and api.tls_key are needed together"),
        (f"[cloud]\ninterval = 1{'0' * 400}", "cloud.interval: must be a number"),
        ("[buffer]\ncommit_window = nan", "buffer.commit_window: must be a number"),
        ("[mqtt]\nca_file = 5", "mqtt.ca_file: must be a path, not 5 (example: ca_file = "),
        ("api = 5", "api: must be a table"),
        ("serial = 5", "serial: must hold tables"),
        ("[serial]\nmeter = 5", "serial.meter: must be a table"),
    ],
)
def test_faults(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert problem in str(caught.value)


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[api]\nport = 1\n[serial.meter]\nport = '/dev/a'\n")
    named = {
        "EDGEWHISK_CONFIG": str(path),
        "EDGEWHISK_API_PORT": "2",
        "EDGEWHISK_SERIAL_METER_PORT": "/dev/b",
    }
    config = load(None, {**named, "EDGEWHISK_STATE_DIR": "/s"})
    assert (config.api.port, config.serial["meter"].port, str(config.state_dir)) == (2, "/dev/b", "/s")
    with pytest.raises(ConfigError, match="EDGEWHISK_API_PORT: must be a whole number, not 'x'"):
        load(None, {"EDGEWHISK_API_PORT": "x"})
    assert load(None, {"EDGEWHISK_API_ACCESS_LOG": "true"}).api.access_log is True
    with pytest.raises(ConfigError, match="EDGEWHISK_API_ACCESS_LOG: must be true or false, not 'on'"):
        load(None, {"EDGEWHISK_API_ACCESS_LOG": "on"})


def test_a_missing_file_is_named() -> None:
    done = run("run", "--config", "/nowhere/edgewhisk.toml")
    assert (done.returncode, "/nowhere/edgewhisk.toml" in done.stderr) == (2, True)
    assert "there is no such file" in done.stderr


def test_help_has_examples() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "examples:" in done.stdout
    assert run("demo", "--help").returncode == 0
    assert run().returncode == 2


def test_the_verbs_of_a_running_gateway(tmp_path: Path) -> None:
    with gateway(tmp_path, '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n') as made:
        config = ("--config", str(made.config))
        key = run("auth", *config).stdout.strip()
        assert key == made.auth
        file = tmp_path / "state" / "subjects" / "guest"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        props = run("wskprops", *config).stdout
        assert f"APIHOST=http://127.0.0.1:{made.port}\nAUTH={key}\n" in props
        assert "actions   none run" in run("status", *config).stdout
        assert json.loads(run("status", "--json", *config).stdout)["version"]
        second = run("run", *config)
        assert second.returncode == 1
        assert "another gateway (process" in second.stderr
        log = (tmp_path / "log").read_text()
        assert key.split(":")[1] not in log
    down = run("status", *config)
    assert (down.returncode, "no gateway answers" in down.stderr) == (3, True)


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        made = Gateway(tmp_path, port=taken.getsockname()[1])
        done = run("run", "--config", str(made.config))
    assert done.returncode == 1
    assert "cannot listen on 127.0.0.1" in done.stderr
    assert "hint:" in done.stderr


def test_systemd_is_told_when_it_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        made = Gateway(tmp_path / "g", '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n').start()
        assert manager.recv(100) == b"READY=1"
        assert made.stop() == 0
        assert manager.recv(100) == b"STOPPING=1"


def test_queued_work_survives_an_orderly_stop(tmp_path: Path) -> None:
    made = Gateway(tmp_path, '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n').start()
    made.action("slow", "async function main(p) { await new Promise(d => setTimeout(d, 100)); return p }")
    ids = [made.ok("POST", "_/actions/slow", {"n": n})["activationId"] for n in range(20)]
    assert made.stop() == 0
    made.start()
    until(lambda: made.count("slow") == 20, what="all ran")
    assert {record["activationId"] for record in made.activations("slow")} == set(ids)
    made.stop()
