"""`config.toml` tells of every key what the schema tells, and the defaults that it shows hold."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from edgewhisk.config.loader import NAMED, SECTIONS, load
from edgewhisk.config.schema import Config
from tests.config.config_toml import TARGET, comments, text

SHOWN = TARGET.read_text()


def test_it_is_what_the_schema_gives() -> None:
    assert text() == SHOWN, "write it anew: python -m tests.config.config_toml > edgewhisk/config/config.toml"


@pytest.mark.parametrize("kind", [*SECTIONS.values(), *(kind for kind, _ in NAMED.values())])
def test_every_key_has_a_comment(kind: type) -> None:
    told = comments(kind)
    assert [entry.name for entry in fields(kind) if not told[entry.name]] == []


def test_it_knows_every_section() -> None:
    top = {entry.name for entry in fields(Config)} - {"source"}
    assert top == {"state_dir", "log_level", *SECTIONS, *NAMED}
    assert set(re.findall(r"^#?\[(\w+)", SHOWN, re.MULTILINE)) == {*SECTIONS, *NAMED}


def test_as_it_is_it_changes_nothing(tmp_path: Path) -> None:
    environment = {"EDGEWHISK_STATE_DIR": str(tmp_path)}
    (tmp_path / "none.toml").touch()
    plain = load(tmp_path / "none.toml", environment)
    written = load(TARGET, environment)
    assert [getattr(written, name) for name in SECTIONS] == [getattr(plain, name) for name in SECTIONS]


def test_the_values_shown_are_the_defaults(tmp_path: Path) -> None:
    environment = {"EDGEWHISK_STATE_DIR": str(tmp_path)}
    (tmp_path / "none.toml").write_text(
        '[serial.x]\nport = "/dev/x"\n[files.x]\npath = "/x"\n[grants.x]\n[lanes.normal]\n'
        '[brokers.x]\nurl = "mqtt://127.0.0.1"\n'
    )
    shown = re.sub(r"^#(\w+ = (?!\.\.\.))", r"\1", SHOWN, flags=re.MULTILINE)
    for name, line in (("serial", 'port = "/dev/x"'), ("files", 'path = "/x"'), ("grants", "")):
        shown = re.sub(rf"^#\[{name}\.\w+\]$", f"[{name}.x]\n{line}", shown, flags=re.MULTILINE)
    shown = shown.replace("#[lanes.NAME]", "[lanes.normal]")
    shown = shown.replace("#[brokers.NAME]", '[brokers.x]\nurl = "mqtt://127.0.0.1"')
    (tmp_path / "shown.toml").write_text(shown)
    plain, read = load(tmp_path / "none.toml", environment), load(tmp_path / "shown.toml", environment)
    for entry in fields(Config):
        if entry.name != "source":
            assert getattr(read, entry.name) == getattr(plain, entry.name), entry.name
