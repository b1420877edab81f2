"""The conformance table in edgewhisk/api/README.md names every file of tests, and no other."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_names_every_file_of_tests() -> None:
    text = (ROOT / "edgewhisk" / "api" / "README.md").read_text()
    named = re.findall(r"\| `(test_\w+\.py)` \|", text)
    there = {file.name for file in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).name}
    assert sorted(named) == sorted(there)
