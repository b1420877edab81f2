"""A user who may not look into the gateway's folders is told what to do, by every verb."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

HINT = "sudo edgewhisk wskprops > ~/.wskprops"
_PR_CAPBSET_DROP = 24  # prctl(2)
_DAC = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: what lets root read everything


def nothing_special() -> None:
    """Root is bound by the modes of files, too."""
    for capability in _DAC if os.geteuid() == 0 else ():
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("auth", 1, HINT),
        ("wskprops", 1, HINT),
        ("status", 1, HINT),
        ("action list", 1, HINT),
        ("check", 2, "cannot be written by this user"),
        ("subject list", 1, "run it as root or as the service's user"),
        ("subject add b", 1, "run it as root or as the service's user"),
        ("tls self-signed", 1, "run it as root or as the gateway's user"),
        ("device list", 0, "nova/sds011"),
        ("device test nova/sds011", 0, "as it must"),
        ("device tokens", 1, "Permission denied"),
        ("device token --trigger a --device b", 1, "Permission denied"),
        ("buffer export -", 1, "Permission denied"),
        ("run", 1, "Permission denied"),
        ("completion words action invoke ", 0, ""),
    ],
)
def test_every_verb_says_what_to_do(tmp_path: Path, words: str, code: int, told: str) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o000)
    (tmp_path / "c.toml").write_text(f'state_dir = "{state}"\n[mqtt]\nurl = "mqtt://127.0.0.1:1"\n')
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("EDGEWHISK", "WSK"))}
    done = subprocess.run(
        [sys.executable, "-m", "edgewhisk", *words.split(" ")],
        env={**kept, "HOME": str(tmp_path), "EDGEWHISK_CONFIG": f"{tmp_path}/c.toml"},
        capture_output=True, text=True, check=False, preexec_fn=nothing_special,
    )  # fmt: skip
    state.chmod(0o700)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert told in done.stdout + done.stderr, done.stderr
