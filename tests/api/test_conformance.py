"""The conformance table in edgewhisk/api/README.md tells the truth about the number of checks."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_numbers_of_the_table() -> None:
    text = (ROOT / "edgewhisk" / "api" / "README.md").read_text()
    told = {name: int(count) for count, name in re.findall(r"\| (\d+) \| `(test_\w+\.py)`", text)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        *(f"tests/api/{name}" for name in told),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    cases = (line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line)
    assert told == Counter(Path(case).name for case in cases)
