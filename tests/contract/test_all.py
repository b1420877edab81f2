"""No seam without a suite, and nobody stands at one who is not held to it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

from edgewhisk import spi
from edgewhisk.store.log.disk import Disk
from tests.contract.suites import Suite

ROOT = Path(__file__).resolve().parents[2]
SUITES: dict[type, Suite] = {
    found.protocol: found
    for path in sorted(Path(__file__).parent.glob("test_*.py"))
    if path != Path(__file__)
    for found in vars(import_module(f"tests.contract.{path.stem}")).values()
    if isinstance(found, Suite)
}
SEAMS = [
    found
    for found in vars(spi).values()
    if getattr(found, "_is_protocol", False) and found.__module__ == spi.__name__
]
BREAKS_IT = {
    "tests.sandbox.test_unforeseen.Failing": "raises where the contract forbids it: that is what is tested",
}


class Method(NamedTuple):
    """What can be seen of a method without running it."""

    name: str
    arguments: int  # positional ones
    waits: bool


class Found(NamedTuple):
    """A class, as its text says."""

    where: str  # module.Name
    bases: frozenset[str]
    methods: frozenset[Method]


def _method(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Method:
    given = len(node.args.posonlyargs) + len(node.args.args) - 1  # without `self`
    return Method(node.name, given, isinstance(node, ast.AsyncFunctionDef))


def classes(text: str, module: str) -> Iterator[Found]:
    """The classes in a module, also those inside of functions."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            functions = (one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))
            bases = frozenset(ast.unparse(base).rpartition(".")[2] for base in node.bases)
            yield Found(f"{module}.{node.name}", bases, frozenset(map(_method, functions)))


def methods(protocol: type) -> frozenset[Method]:
    """What a Protocol asks for, its own parents' included."""
    found = {}
    for parent in reversed(protocol.__mro__):
        for name, value in vars(parent).items():
            if inspect.isfunction(value) and getattr(parent, "_is_protocol", False) and name != "__init__":
                given = [
                    one
                    for one in inspect.signature(value).parameters.values()
                    if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
                ]
                found[name] = Method(name, len(given) - 1, inspect.iscoroutinefunction(value))
    found.pop("_no_init_or_replace_init", None)
    found.pop("__subclasshook__", None)
    return frozenset(found.values())


ASKED = {protocol: methods(protocol) for protocol in (*SEAMS, Disk)}


def strangers(text: str, module: str) -> list[str]:
    """Classes in a module that stand at a seam, or come from one that does, and run under no suite."""
    held = {f"{one.__module__}.{one.__qualname__}" for suite in SUITES.values() for one in suite.classes}
    standing = {name.rpartition(".")[2] for name in held}
    return [
        found.where
        for found in classes(text, module)
        if found.where not in held
        and "Protocol" not in found.bases
        and (found.bases & standing or any(asked <= found.methods for asked in ASKED.values()))
    ]


@pytest.mark.parametrize("protocol", [*SEAMS, Disk], ids=lambda protocol: protocol.__name__)
def test_each_seam_has_a_suite_that_runs_over_something_real(protocol: type) -> None:
    suite = SUITES[protocol]
    assert any(one.__module__.startswith("edgewhisk.") for one in suite.classes)
    assert ASKED[protocol]


def test_nobody_stands_at_a_seam_without_its_suite() -> None:
    found = []
    for path in sorted([*(ROOT / "edgewhisk").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found += [] if module.startswith("tests.bench.") else strangers(path.read_text(), module)
    assert sorted(found) == sorted(BREAKS_IT)


@pytest.mark.parametrize(
    "text",
    [
        "class Late(SystemClock):\n    def up(self): return 0",
        "def test():\n    class Full(LogDocumentStore):\n        pass",
        "class Deaf:\n    async def send(self, _device, epoch, sent): return 0",
        "class Own:\n    def read(self, c, check=None): ...\n    def write(self, changes): ...",
        "class F:\n    def __call__(s, e): ...\n    def full(self, t): ...\n    def on_room(s, r, t): ...",
    ],
)
def test_who_stands_at_one_is_seen(text: str) -> None:
    assert len(strangers(text, "tests.made_up")) == 1


@pytest.mark.parametrize(
    "text",
    ["class Socket:\n    async def send(self, data): ...", "class Reader:\n    def read(self, size): ..."],
)
def test_who_does_not_is_left_alone(text: str) -> None:
    assert strangers(text, "tests.made_up") == []
