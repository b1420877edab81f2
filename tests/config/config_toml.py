"""Writes the commented configuration from the schema: `python -m tests.config.config_toml >
edgewhisk/config/config.toml`.

The schema is the dataclasses of the sections; the comments on their fields are the text.
"""

from __future__ import annotations

import ast
import inspect
import io
import json
import sys
import textwrap
import tokenize
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, Final

from edgewhisk.config import loader
from edgewhisk.config.schema import Config

TARGET: Final = Path(loader.__file__).with_name("config.toml")
_WIDTH: Final = 100
_HEAD: Final = """\
# The configuration of EdgeWhisk: every key, with its default where it has one.
#
# The gateway reads the file that --config names, else the one that $EDGEWHISK_CONFIG names, else
# /etc/edgewhisk/edgewhisk.toml if it is there; without a file the defaults hold. A variable
# EDGEWHISK_SECTION_KEY overrides a key: EDGEWHISK_API_PORT=8080.
# `edgewhisk check --config FILE` checks a file.
#
# This text is made from the schema: python -m tests.config.config_toml
"""


def comments(kind: type) -> dict[str, str]:
    """Returns the comment on each field of a dataclass: the lines above it, then the one behind it."""
    source = textwrap.dedent(inspect.getsource(kind))
    found: dict[int, str] = {}
    alone: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            found[token.start[0]] = token.string.lstrip("# ")
            if token.line.lstrip().startswith("#"):
                alone.add(token.start[0])
    texts: dict[str, str] = {}
    definition = ast.parse(source).body[0]
    assert isinstance(definition, ast.ClassDef)
    for entry in definition.body:
        if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name):
            above = entry.lineno - 1
            while above in alone:
                above -= 1
            lines = [found[line] for line in range(above + 1, entry.lineno)]
            lines += [found[entry.lineno]] if entry.lineno in found else []
            texts[entry.target.id] = " ".join(lines)
    return texts


def example(entry: Field[Any]) -> str:
    """Returns the default of a field as TOML; `...` where it has none."""
    if entry.default is MISSING or entry.default is None:
        return "..."
    if isinstance(entry.default, tuple):
        return json.dumps(entry.default)
    if isinstance(entry.default, str):
        return f'"{entry.default}"'
    return str(entry.default).lower()


def text() -> str:
    """Returns the whole file."""
    top = {entry.name: entry for entry in fields(Config)}
    told = comments(Config)
    lines = [_HEAD]
    for name in ("state_dir", "log_level"):
        lines += [*_wrapped(told[name]), f"#{name} = {example(top[name])}", ""]
    for name, kind in loader.SECTIONS.items():
        lines += _section(f"[{name}]", kind)
    for name, (kind, like) in loader.NAMED.items():
        header = f"[{name}.{'SUBJECT' if name == 'grants' else 'NAME'}]"
        if name == "brokers":
            lines += [
                *_about(kind),
                f"#{header}",
                "# The keys are those of [mqtt].",
                f"# Example: {like}",
                "",
            ]
        else:
            lines += _section(f"#{header}", kind, f"Example: {like}")
    return "\n".join(lines).rstrip() + "\n"


def _section(header: str, kind: type, like: str = "") -> Iterator[str]:
    yield from _about(kind)
    yield header
    if like:
        yield f"# {like}"
    told = comments(kind)
    for entry in fields(kind):
        yield from _wrapped(told[entry.name])
        yield f"#{entry.name} = {example(entry)}"
    yield ""


def _about(kind: type) -> list[str]:
    return _wrapped((kind.__doc__ or "").split("\n")[0].replace("`", "").rstrip("."))


def _wrapped(comment: str) -> list[str]:
    return textwrap.wrap(comment, _WIDTH, initial_indent="# ", subsequent_indent="# ")


if __name__ == "__main__":
    sys.stdout.write(text())
