"""`status` reaches the gateway of this machine whatever the environment says."""

from __future__ import annotations

import http.server
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewhisk.cli import main

NOWHERE = "http://127.0.0.1:9"


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"path": "%b"}' % self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Path]:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    (tmp_path / "subjects").mkdir()
    (tmp_path / "subjects" / "guest").write_text(f"{uuid.uuid4()}:{'x' * 64}")
    (tmp_path / "url").write_text(f"http://127.0.0.1:{server.server_port}\n")
    config = tmp_path / "c.toml"
    config.write_text(f'state_dir = "{tmp_path}"\n')
    yield config
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_of_the_system_does_not_lead_to_this_machine(
    gateway: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv(name, NOWHERE)
    assert main(["status", "--json", "--config", str(gateway)]) == 0
    assert '"/edgewhisk/status"' in capsys.readouterr().out


def test_where_no_gateway_was_started_the_one_of_wskprops_is_asked(
    gateway: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none.toml").write_text(f'state_dir = "{tmp_path}/none"\n')
    monkeypatch.setenv("EDGEWHISK_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setenv("WSK_CONFIG_FILE", str(tmp_path / "props"))
    assert main(["status"]) == 1
    assert "there is no key in" in capsys.readouterr().err
    (tmp_path / "props").write_text(f"APIHOST={(tmp_path / 'url').read_text()}AUTH=a:b\n")
    assert main(["status", "--json"]) == 0
    assert '"/edgewhisk/status"' in capsys.readouterr().out
