"""The unit starts what it says, and systemd takes it."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parent.parent.parent / "systemd" / "edgewhisk.service"


def test_the_unit() -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    service = parser["Service"]
    assert service["Type"] == "notify"
    assert service["ExecStart"].endswith("edgewhisk run")
    assert service["StateDirectory"] == "edgewhisk"
    assert service["DynamicUser"] == "yes"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_it(tmp_path: Path) -> None:
    copy = tmp_path / "edgewhisk.service"
    copy.write_text(UNIT.read_text().replace("/opt/edgewhisk/bin/edgewhisk run", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    assert "edgewhisk.service" not in done.stderr, done.stderr
