"""What every text of the tree names is there, and the records of decisions have their form."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import edgewhisk

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(edgewhisk.__file__).parent
TEXTS = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("[!.]*/**/*.md"))
    if path.name != "CHANGELOG.md" and not {"node_modules", "build"} & set(path.parts)
)
DECISIONS = sorted(path for path in PACKAGE.glob("decisions/*.md") if path.name != "README.md")
PARTS = ["Context.", "Decision.", "Evidence.", "What would change it."]


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_files_that_it_names_are_there(text: Path) -> None:
    content = text.read_text()
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:md|py|toml|json|h|wat|mjs|service))`", content)
    named += re.findall(r"\]\(([\w./-]+)\)", content)
    places = (ROOT, PACKAGE, text.parent)
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_modules_that_it_names_without_a_folder_are_there(text: Path) -> None:
    there = {path.name for path in (*ROOT.glob("[!.]*/**/*.py"), *PACKAGE.rglob("*.wat"))}
    named = re.findall(r"`(\w+\.(?:py|wat))`", text.read_text())
    assert [name for name in named if name not in there] == []


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_programs_that_it_names_are_there(text: Path) -> None:
    named = re.findall(r"\b(tests(?:\.[a-z_]+)+)\b(?!\()", text.read_text())
    assert [name for name in named if find_spec(name) is None] == []


@pytest.mark.parametrize("record", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_its_four_parts(record: Path) -> None:
    text = record.read_text()
    assert re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE) == PARTS
    assert 10 <= len(text.splitlines()) <= 25


def test_every_decision_is_listed() -> None:
    listed = re.findall(
        r"^\| \[([\w-]+\.md)\]\(\1\)", (PACKAGE / "decisions" / "README.md").read_text(), re.MULTILINE
    )
    assert sorted(listed) == [path.name for path in DECISIONS]
