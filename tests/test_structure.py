"""The layout keeps its promises."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest

from edgewhisk.cli import VERBS
from edgewhisk.sandbox.engine import VERSION

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "edgewhisk"
MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_are_small(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= 400


def test_each_library_has_one_door() -> None:
    doors = {
        "gmqtt": {
            "transport/mqtt/gmqtt_adapter.py",
            "transport/mqtt/connection.py",
            "demo/sensors.py",
        },  # the demo's sensor is a device, not the gateway
        "serial": {
            "transport/serial/discovery.py",
            "transport/serial/opener.py",
            "transport/serial/port.py",
            "transport/modbus/bus.py",
            "transport/modbus/rtu.py",
        },
        "inotify_simple": {"base/file_watch.py"},
        "cbor2": {"device/document.py", "feed/payload.py"},
        "google": {"device/sparkplug.py"},
        "pymodbus": {"transport/modbus/bus.py", "transport/modbus/rtu.py"},
        "apscheduler": {"feed/alarms/feed.py"},
        "tinydb": {"store/documents/tinydb_storage.py"},
        "httpx": {
            "feed/changes/couchdb.py",
            "sync/client.py",
            "capability/fetch.py",
            "actuator/targets/http.py",
            "demo/client.py",
            "demo/story.py",
        },
        "httpcore": {"capability/fetch.py", "capability/patience.py"},
        "uvicorn": {"api/server.py"},
        "quart": {"api/quart_adapter.py"},
        "werkzeug": {"api/quart_adapter.py"},
        "prometheus_client": {"api/metrics.py"},
        "cryptography": {"cli/gateway/tls.py"},
        "yaml": {"cli/deploy/yaml_text.py"},
    }
    for library, expected in doors.items():
        importing = re.compile(rf"^\s*(?:import|from) {library}\b", re.MULTILINE)
        found = {
            path.relative_to(PACKAGE).as_posix() for path in MODULES if importing.search(path.read_text())
        }
        assert found == expected, library


def test_the_commands_are_documented() -> None:
    readme = (PACKAGE / "cli" / "README.md").read_text()
    assert [verb for verb in VERBS if f"edgewhisk {verb}" not in readme] == []


@pytest.mark.parametrize(
    "words",
    [
        "check",
        "action --help",
        "activation --help",
        "list --help",
        "subject --help",
        "deploy --help",
        "device --help",
        "device show nova/sds011",
        "queue --help",
        "buffer --help",
    ],
)
def test_quick_verbs_do_not_load_the_daemon(words: str) -> None:
    """`python -m tests.bench.cli` measures what this keeps."""
    code = (
        f"import sys; from edgewhisk.cli import main\n"
        f"try: main({words.split()!r})\nexcept SystemExit: pass\n"
        "heavy = {'quart', 'wasmtime', 'gmqtt', 'apscheduler', 'tinydb', 'httpx', 'uvicorn', 'rich',\n"
        "         'uvloop', 'pymodbus', 'yaml', 'cryptography', 'prometheus_client', 'asyncio'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_start_loads_nothing_that_few_gateways_use() -> None:
    """Quart alone is 12 MB, of a gateway's 60: it comes with the first request that the door leaves to it."""
    code = (
        "import sys, edgewhisk.gateway.app\n"
        "rare = {'quart', 'werkzeug', 'httpx', 'prometheus_client', 'cryptography', 'yaml', 'rich',\n"
        "        'google.protobuf', 'pymodbus', 'apscheduler', 'sqlite3', 'cbor2', 'click',\n"
        "        'multiprocessing', 'http.cookiejar', 'urllib.request', 'zipfile', 'difflib',\n"
        "        'importlib.resources', 'logging.config', 'logging.handlers', 'socketserver'}\n"
        "assert not rare & set(sys.modules), rare & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_public_class_name_stands_twice() -> None:
    names = Counter(
        node.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_decisions_on_field_cases_say_why_and_are_held_by_tests() -> None:
    """Odd inputs that people reported, where the gateway does something else than one could expect."""
    decisions = json.loads((ROOT / "tests" / "field_decisions.json").read_text())
    for case, decision in decisions.items():
        assert sorted(decision) == ["does", "held_by", "why"], case
        for test in decision["held_by"]:
            path, name = test.split("::")
            assert f"def {name}(" in (ROOT / path).read_text(), (case, test)


def test_the_version_of_wasmtime_is_told_right() -> None:
    assert metadata.version("wasmtime") == VERSION
    assert f'"wasmtime=={VERSION}",' in (ROOT / "pyproject.toml").read_text()


_NAMED_TUPLE = {"_replace", "_asdict", "_fields", "_make"}  # public, whatever they look like
_REACHING = 86  # lines outside of tests/invoker and tests/bench; less is better, more needs a reason


def test_no_more_tests_reach_into_private_members() -> None:
    """What a test can only see from inside is either not observable or lacks a seam."""
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if path.relative_to(ROOT).parts[1] not in ("invoker", "bench")
        for line in sorted(_private(ast.parse(path.read_text())))
    ]
    assert len(found) <= _REACHING, "\n".join(found)


def _private(tree: ast.Module) -> set[int]:
    """The lines on which something private of somebody else is named."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name("self" | "cls") | ast.Call(ast.Name("super"))):
                continue
            case ast.Attribute(attr=name):
                names = [name]
            case ast.ImportFrom(names=aliases):
                names = [alias.name for alias in aliases]
            case ast.Call(ast.Attribute(attr="setattr"), [_, ast.Constant(str(name)), *_]):
                names = [name]
            case _:
                continue
        if any(re.match(r"_[a-z_]*[a-zA-Z]", name) and name not in _NAMED_TUPLE for name in names):
            lines |= {node.lineno} if not any(name.startswith("__") for name in names) else set()
    return lines
