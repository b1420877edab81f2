"""The layout keeps its promises."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import fields
from importlib import metadata
from pathlib import Path

import pytest

from edgewhisk.cli import _VERBS
from edgewhisk.config import NAMED, SECTIONS
from edgewhisk.sandbox.engine import VERSION
from edgewhisk.settings import Config

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "edgewhisk"
MODULES = sorted(PACKAGE.rglob("*.py"))
PURE = [
    *PACKAGE.glob("entity/*.py"),
    PACKAGE / "errors.py",
    PACKAGE / "jsontext.py",
    PACKAGE / "histogram.py",
    PACKAGE / "room.py",
    *(
        PACKAGE / "device" / f"{name}.py"
        for name in (
            "table",
            "checksum",
            "framing",
            "decode",
            "sparkplug",
            "registers",
            "capture",
            "topics",
            "discovery",
        )
    ),
    *(
        PACKAGE / "feed" / f"{name}.py"
        for name in (
            "payload",
            "backoff",
            "garbage",
            "schedule",
            "mqtt_packets",
            "mqtt_subscription",
            "alarm",
            "shaping",
        )
    ),
    PACKAGE / "actuator" / "request.py",
    *(PACKAGE / "controller" / f"{name}.py" for name in ("firing", "entitlement")),
    *(
        PACKAGE / "invoker" / f"{name}.py"
        for name in (
            "queue",
            "streams",
            "batch",
            "lifecycle",
            "policy",
            "plan",
            "composition",
            "breaker",
            "metrics",
            "failure_policy",
            "templates",
            "records",
        )
    ),
    *(PACKAGE / "sandbox" / f"{name}.py" for name in ("abi", "outcome", "archive", "streams", "image")),
    *(
        PACKAGE / "buffer" / f"{name}.py"
        for name in ("journal", "repair", "index", "ledger", "loss", "retention", "witness")
    ),
    *(PACKAGE / "sync" / f"{name}.py" for name in ("batch", "uplink")),
]
WORLD = re.compile(
    r"^\s*(?:import|from) (asyncio|socket|threading|time|os|random|subprocess)\b", re.MULTILINE
)
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_are_small(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= 400


@pytest.mark.parametrize("module", PURE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_pure_modules_do_not_touch_the_world(module: Path) -> None:
    assert not WORLD.findall(module.read_text())


def test_each_library_has_one_door() -> None:
    doors = {
        "gmqtt": {
            "feed/mqtt_client.py",
            "feed/mqtt_connection.py",
            "demo/sensors.py",
        },  # the demo's sensor is a device, not the gateway
        "amqtt": {"feed/broker_bounds.py"},
        "serial": {
            "feed/serial.py",
            "feed/port.py",
            "feed/ports.py",
            "feed/modbus_bus.py",
            "feed/modbus_rtu.py",
        },
        "inotify_simple": {"feed/watch.py"},
        "cbor2": {"device/document.py", "feed/payload.py"},
        "google": {"device/sparkplug.py"},
        "pymodbus": {"feed/modbus_bus.py", "feed/modbus_rtu.py"},
        "apscheduler": {"feed/cron.py"},
        "tinydb": {"buffer/storage.py"},
        "httpx": {
            "feed/couchdb.py",
            "sync/client.py",
            "capability/fetch.py",
            "actuator/http.py",
            "demo/client.py",
            "demo/story.py",
        },
        "httpcore": {"capability/fetch.py", "capability/patience.py"},
        "uvicorn": {"server.py"},
        "prometheus_client": {"api/metrics.py"},
        "cryptography": {"cli/tls.py"},
        "yaml": {"cli/yaml_text.py"},
    }
    for library, expected in doors.items():
        importing = re.compile(rf"^\s*(?:import|from) {library}\b", re.MULTILINE)
        found = {
            path.relative_to(PACKAGE).as_posix() for path in MODULES if importing.search(path.read_text())
        }
        assert found == expected, library


def test_readme_documents_every_configuration_key() -> None:
    keys = ["state_dir", "log_level"]
    keys += [f"{name}.{entry.name}" for name, section in SECTIONS.items() for entry in fields(section)]
    keys += [f"serial.NAME.{entry.name}" for entry in fields(NAMED["serial"][0])]
    keys += [f"files.NAME.{entry.name}" for entry in fields(NAMED["files"][0])]
    keys += [f"lanes.NAME.{entry.name}" for entry in fields(NAMED["lanes"][0])]
    keys += [f"grants.SUBJECT.{entry.name}" for entry in fields(NAMED["grants"][0])]
    assert {entry.name for entry in fields(Config)} == {
        "state_dir",
        "log_level",
        "source",
        *SECTIONS,
        *NAMED,
    }
    assert [key for key in keys if f"`{key}`" not in README] == []


def test_readme_documents_every_verb() -> None:
    assert [verb for verb in _VERBS if f"edgewhisk {verb}" not in README] == []


def test_the_path_in_the_readme_exists() -> None:
    path = re.findall(r"`((?:feed|device|controller|invoker|sandbox|buffer|sync)/\w+\.py)`", README)
    assert len(path) >= 8
    assert [name for name in path if not (PACKAGE / name).is_file()] == []


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
        "import sys, edgewhisk.daemon\n"
        "rare = {'quart', 'werkzeug', 'httpx', 'prometheus_client', 'cryptography', 'yaml', 'rich',\n"
        "        'google.protobuf', 'pymodbus', 'apscheduler', 'sqlite3', 'cbor2'}\n"
        "assert not rare & set(sys.modules), rare & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


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
