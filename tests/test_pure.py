"""What calls itself pure is: it neither reads nor changes anything but its arguments and itself.

A module claims it with "Pure" in its docstring, or by its name in backticks after "Pure:" in that of its
package. Held to the claim are the module and all of edgewhisk that it imports, however late:

- no import of what reaches files, sockets, clocks, threads, processes or random numbers: of the standard
  library only what `HARMLESS` lists, of other libraries only those that turn bytes into values (`CODECS`);
- no seam of `spi` by name, not even for a type: who is given a clock reads it;
- no call of what does the same without such an import: `open`, `datetime.now`, a path's `read_text`.

An import below `TYPE_CHECKING` is left out: what is only annotated is not there at run time.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from edgewhisk import spi

ROOT = Path(__file__).resolve().parent.parent
HARMLESS = frozenset({
    "__future__", "abc", "array", "ast", "base64", "binascii", "bisect", "codecs", "collections",
    "contextlib", "copy", "dataclasses", "datetime", "decimal", "difflib", "enum", "fractions",
    "functools", "hashlib", "heapq", "hmac", "html", "io", "ipaddress", "itertools", "json", "keyword",
    "math", "numbers", "operator", "pathlib", "re", "stat", "statistics", "string", "struct", "sys",
    "textwrap", "tomllib", "types", "typing", "unicodedata", "urllib.parse", "zipfile", "zlib",
    "zoneinfo",
})  # fmt: skip
CODECS = frozenset({"orjson", "cbor2", "google.protobuf", "google.protobuf.message"})
EXCUSED = {
    "edgewhisk.feed.heard": "values of a time; one function makes them from the clock that a feed hands it",
}
SEAMS = frozenset(name for name, found in vars(spi).items() if getattr(found, "_is_protocol", False))
NOW = frozenset({"now", "today", "utcnow"})  # of a date
DISK = frozenset({  # of a path
    "absolute", "chmod", "cwd", "exists", "expanduser", "glob", "home", "is_dir", "is_file", "iterdir",
    "lstat", "mkdir", "open", "read_bytes", "read_text", "readlink", "rename", "resolve", "rglob",
    "rmdir", "samefile", "stat", "symlink_to", "touch", "unlink", "write_bytes", "write_text",
})  # fmt: skip
CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__", "breakpoint"})
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "edgewhisk").rglob("*.py")
}


def says_pure(name: str) -> set[str]:
    """The modules that the docstring of module `name` calls pure."""
    text = ast.get_docstring(ast.parse(MODULES[name].read_text())) or ""
    if MODULES[name].name != "__init__.py":
        return {name} if re.search(r"\bPure\b", text) else set()
    claim = re.search(r"\bPure: (.*?)(?:\.\s|\.?\Z)", text, re.DOTALL)
    if claim is None:
        return set()
    named = {f"{name}.{part}" for part in re.findall(r"`(\w+)`", claim[1])}
    return named or {module for module in MODULES if module.startswith(f"{name}.")}  # all of the package


CLAIMS = sorted(set().union(*map(says_pure, MODULES)))


def _at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those below `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from _at_run_time(child)


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports are not followed"
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            yield whole if whole in MODULES else str(node.module)


def _called(node: ast.AST) -> str:
    """What a call reaches that no import tells of; "" for nothing."""
    if not isinstance(node, ast.Call):
        return ""
    called = node.func
    if isinstance(called, ast.Name):
        return called.id if called.id in CALLS else ""
    if isinstance(called, ast.Attribute) and called.attr in NOW | DISK:
        owner = ast.unparse(called.value)
        on_date = re.search(r"(?i)\bdate(time)?$", owner)
        on_path = re.search(r"(?i)path|folder|directory|manifest", owner)
        if (called.attr in NOW and on_date) or (called.attr in DISK and on_path):
            return f"{owner}.{called.attr}"
    return ""


def reaches(text: str) -> tuple[set[str], set[str]]:
    """What a module imports of edgewhisk, and what of the world it reaches by itself."""
    ours: set[str] = set()
    world: set[str] = set()
    tree = ast.parse(text)
    for node in _at_run_time(tree):
        for name in _imported(node):
            if name.split(".")[0] == "edgewhisk":
                ours.add(name)
            elif name not in CODECS and name not in HARMLESS and name.split(".")[0] not in HARMLESS:
                world.add(name)
        if called := _called(node):
            world.add(f"{called}()")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "edgewhisk.spi":
            world |= {f"spi.{alias.name}" for alias in node.names if alias.name in SEAMS}
    return ours - {"edgewhisk"}, world


@cache
def _of(name: str) -> tuple[set[str], set[str]]:
    return reaches(MODULES[name].read_text())


@pytest.mark.parametrize("name", CLAIMS)
def test_what_calls_itself_pure_is(name: str) -> None:
    assert name in MODULES, "a package's docstring names a module that there is none of"
    way, todo = {name: name}, [name]
    found: dict[str, set[str]] = {}
    while todo:
        ours, world = _of(module := todo.pop())
        if world:
            found[way[module]] = world
        for one in sorted(ours - way.keys() - EXCUSED.keys()):
            way[one] = f"{way[module]} -> {one}"
            todo.append(one)
    assert not found


def test_each_excuse_is_needed() -> None:
    for name in EXCUSED:
        assert _of(name)[1], f"{name} needs no excuse"
        assert any(name in _of(module)[0] for module in CLAIMS), f"nothing pure imports {name}"


def test_most_of_what_decides_claims_it() -> None:
    """Deleting the word is no way to become quiet: these carry the promises that tests of values rest on."""
    kept = {
        "jsontext",
        "store.log.frames",
        "sync.uplink",
        "device.framing",
        "feed.shaping.spec",
        "entity.action",
    }
    assert {f"edgewhisk.{name}" for name in kept} <= set(CLAIMS)
    assert len(CLAIMS) >= 80


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import time", "time"),
        ("def f():\n    from os import path", "os"),
        ("import urllib.request", "urllib.request"),
        ("from edgewhisk.spi import Clock, Query", "spi.Clock"),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from edgewhisk.spi import Fire",
            "spi.Fire",
        ),
        ("from datetime import datetime\nx = datetime.now()", "datetime.now()"),
        ("def f(path):\n    return path.read_text()", "path.read_text()"),
        ("f = open('/etc/hostname')", "open()"),
    ],
)
def test_each_way_out_is_seen(text: str, found: str) -> None:
    assert found in reaches(text)[1]


@pytest.mark.parametrize(
    "text",
    [
        "import orjson, re",
        "from urllib.parse import urlsplit",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import asyncio",
        "from edgewhisk.spi import Query",
        "def f(frame, at):\n    return frame.open(at)",
    ],
)
def test_what_is_harmless_is_let_through(text: str) -> None:
    assert not reaches(text)[1]
