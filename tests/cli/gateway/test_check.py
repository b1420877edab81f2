"""`check` finds what `run` would meet, and says nothing about what is right."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.cli import main
from tests.path.gateway import Gateway, free_port


def check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, api: str = "", mqtt: str = ""
) -> dict[str, Any]:
    """What `check --json` says of a configuration."""
    path = tmp_path / "edgewhisk.toml"
    mqtt = mqtt or f'url = "embedded://127.0.0.1:{free_port()}"\n'
    path.write_text(
        f'state_dir = "{tmp_path}/state"\n[api]\n{api or f"port = {free_port()}"}\n[mqtt]\n{mqtt}\n{text}'
    )
    capsys.readouterr()
    code = main(["check", "--config", str(path), "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (code == 0) == found["ok"]
    assert code in (0, 2)
    return found


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("EDGEWHISK_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        (
            '[cloud]\nurl = "https://x"\nauth_file = "/nowhere"',
            "cloud.auth_file",
            "/nowhere: there is no such file",
        ),
        ('[cloud]\nurl = "https://x"\nauth_file = "{}/odd"', "cloud.auth_file", "odd"),
        (
            '[brokers.p]\nurl = "mqtts://x"\nca_file = "/nowhere"',
            "brokers.p.ca_file",
            "there is no such file",
        ),
        (
            '[brokers.p]\nurl = "mqtts://x"\ncert_file = "{0}/odd"\nkey_file = "{0}/odd"',
            "brokers.p.cert_file",
            "are no certificate with its key",
        ),
        ('[brokers.p]\nurl = "mqtts://x"\nca_file = "/etc"', "brokers.p.ca_file", "/etc: is a directory"),
        ('[files.log]\npath = "/nowhere"', "files.log.path", "there is no such file"),
        (
            '[serial.m]\nport = "/dev/x"\nprofile = "nova/sds01"',
            "serial.m.profile",
            "did you mean nova/sds011?",
        ),
        ('[serial.m]\nport = "/dev/x"\nprofile = "zz"', "serial.m.profile", "edgewhisk device list"),
        (
            '[brokers.p]\nurl = "mqtt://joe:hush@x"',
            "brokers.p.url",
            "has a login, which is ignored: give user",
        ),
        ('[cloud]\nurl = "https://a:hush@x"\nauth_file = "{}/key"', "cloud.url", "give auth_file"),
        ('[brokers.p]\nurl = "mqtt://x/path"', "brokers.p.url", "which is ignored: 'mqtt://x/path'"),
        ('[brokers.p]\nurl = "mqtt://x:0"', "brokers.p.url", "port 0"),
        ('[grants.b]\nfiles = ["nope"]', "grants.b.files", "there is no [files.nope]"),
    ],
)
def test_what_a_start_would_meet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, key: str, problem: str
) -> None:
    (tmp_path / "odd").write_text("no key")
    (tmp_path / "key").write_text(f"23bc46b1-71f6-4ed5-8c54-816aa4f8c502:{'x' * 64}")
    (found,) = check(tmp_path, capsys, text.replace("{0}", str(tmp_path)).replace("{}", str(tmp_path)))[
        "problems"
    ]
    assert (found["key"], problem in found["problem"]) == (key, True), found
    assert "hush" not in str(found)


def test_ports_that_cannot_be_had(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (found,) = check(tmp_path, capsys, "", api=f"port = {port}")["problems"]
        assert (found["key"], "another program listens there" in found["problem"]) == ("api.port", True)
        (found,) = check(tmp_path, capsys, "", mqtt=f'url = "embedded://127.0.0.1:{port}"')["problems"]
        assert found["key"] == "mqtt.url"
    port = free_port()
    both = check(tmp_path, capsys, "", api=f"port = {port}", mqtt=f'url = "embedded://127.0.0.1:{port}"')
    assert "each needs its own" in both["problems"][0]["problem"]
    (found,) = check(tmp_path, capsys, "", api=f'host = "203.0.113.9"\nport = {port}\nplain_http = true')[
        "problems"
    ]
    assert "Cannot assign requested address" in found["problem"]


def test_variables_that_mean_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEWHISK_API_PROT", "1")
    monkeypatch.setenv("EDGEWHISK_API_ACCESS_LOG", "true")
    monkeypatch.setenv("EDGEWHISK_SERIAL_METER_PORT", "/dev/b")
    monkeypatch.setenv("EDGEWHISK_SERIAL_OTHER_PORT", "/dev/b")
    found = check(tmp_path, capsys, '[serial.meter]\nport = "/dev/a"')
    told = {one["key"]: one["problem"] for one in found["problems"]}
    assert set(told) == {"EDGEWHISK_API_PROT", "EDGEWHISK_SERIAL_OTHER_PORT"}
    assert "did you mean EDGEWHISK_API_PORT?" in told["EDGEWHISK_API_PROT"]
    assert found["waiting"] == [
        "serial.meter.port: /dev/b is not there: it is waited for (edgewhisk device scan)"
    ]


def test_faults_of_the_text_and_what_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = check(tmp_path, capsys, "[cloud]\nurl = 5")
    assert [one["key"] for one in found["problems"]] == ["cloud.url"]
    right = check(tmp_path, capsys, "")
    assert (right["ok"], right["problems"], right["waiting"]) == (True, [], [])
    assert not (tmp_path / "state").exists()
    (tmp_path / "state").write_text("a file")
    assert check(tmp_path, capsys, "")["problems"][0]["key"] == "state_dir"


def test_a_running_gateway_is_no_obstacle_to_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Gateway(tmp_path, f'[mqtt]\nurl = "embedded://127.0.0.1:{free_port()}"\n').start()
    try:
        assert main(["check", "--config", str(made.config)]) == 0
        assert capsys.readouterr().out.startswith("ok: ")
    finally:
        made.stop()
