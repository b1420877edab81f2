"""The data path that edgewhisk/README.md tells is the one that a reading takes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import edgewhisk
from tests.guests import lend_compiled
from tests.path.gateway import MOSQUITTO

README = (Path(edgewhisk.__file__).parent / "README.md").read_text()
SECTION = README.split("## The data path")[1].split("\n## ")[0]
TOLD = re.findall(r"^\| `([\w/]+(?:\.py|/))` \|", SECTION, re.MULTILINE)
THREADS = re.findall(r"^\| `([\w-]+)` \|", README.split("## Threads")[1].split("\n## ")[0], re.MULTILINE)


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto")
def test_a_reading_goes_through_the_modules_that_the_readme_lists(tmp_path: Path) -> None:
    """In a process of its own: every thread of it is followed."""
    lend_compiled(tmp_path / "edge" / "state" / "cache")
    command = [sys.executable, "-m", "tests.path.follow", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    gone_through = re.findall(r"^\| `([^`]+)` \|", done.stdout, re.MULTILINE)
    assert set(TOLD) == set(gone_through), f"the table must have these rows:\n{done.stdout}"
    running = set(re.findall(r"^thread (.+)$", done.stdout, re.MULTILINE))
    assert running <= {*THREADS, "MainThread"}, "the table of threads lacks some"


def test_no_module_is_listed_twice() -> None:
    assert len(TOLD) == len(set(TOLD)) > 20
