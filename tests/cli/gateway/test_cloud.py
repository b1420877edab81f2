"""`edgewhisk cloud`, against a gateway that is the cloud of another."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.path.gateway import Gateway, until


def cloud(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgewhisk", "cloud", *words, "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_cloud_is_tried_and_shown(tmp_path: Path) -> None:
    far = Gateway(tmp_path / "far").start()
    key = tmp_path / "key"
    settings = f'[cloud]\nurl = "http://127.0.0.1:{far.port}"\nauth_file = "{key}"\ninterval = 0.1\n'
    near = Gateway(tmp_path / "near", settings)
    try:
        bad = cloud(near.config, "test")
        assert bad.returncode == 1
        assert "auth_file" in bad.stdout
        key.write_text(f"# of the plant\n{far.auth} until 2999-01-01\n")
        good = cloud(near.config, "test", "--json")
        assert good.returncode == 0, good.stdout
        names = ["kind", "name", "connection", "clock", "ingest", "key"]
        assert [step["name"] for step in json.loads(good.stdout)] == names
        near.start()
        near.stop()
        assert cloud(near.config, "status").returncode == 3
        near.start()
        until(lambda: near.status()["cloud"].get("key_ends"))
        assert json.loads(cloud(near.config, "status", "--json").stdout)["key_ends"] == 32_472_144_000_000
        assert "idle" in cloud(near.config, "status").stdout
        none = cloud(far.config, "test")
        assert (none.returncode, "no cloud is configured" in none.stderr) == (1, True)
    finally:
        near.stop()
        far.stop()
