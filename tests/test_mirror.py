"""Each module of the data path has a test module of its name, or says here where else it is tested.

`tests/PACKAGE/test_MODULE.py` is the mirror; a suite of `tests/contract/` counts as one. The table names the
test module that holds a module's promises through a seam of others, and why it has none of its own. A row for
a module that is gone, or that has its mirror by now, fails: the table only shrinks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("entity", "controller", "sync", "buffer", "sandbox", "capability", "feed")
CRASHES: Final = "buffer/test_crashes.py"  # every state that a power cut leaves, by a model of all promises
LOG: Final = "buffer/test_log.py"  # the log as the store uses it, its files and what is read of them
STORE: Final = "buffer/test_activations.py"  # the store's door, over starts, kills and refusing disks
NOUNS: Final = "entity/test_entities.py"  # one table of requests and documents for all nouns
POOL: Final = "sandbox/test_pool.py"  # the door of all sandboxes, in real WebAssembly
PYTHON: Final = "sandbox/test_components.py"  # the component that Python is
MODULES: Final = "sandbox/test_modules.py"  # modules of any language as actions
MQTT: Final = "feed/test_mqtt.py"  # a real broker
BROKERS: Final = "feed/test_mqtt_brokers.py"  # brokers that misbehave, as a script says
MODBUS: Final = "feed/test_modbus.py"  # servers and a pty
PURE: Final = "feed/test_pure.py"  # the small pure modules of feeds together
ALARMS: Final = "feed/test_alarms.py"  # alarms and the clock that a test moves
ELSEWHERE: Final = {
    "entity": {
        "action": NOUNS, "arguments": NOUNS, "exec": NOUNS, "limits": NOUNS, "names": NOUNS, "package": NOUNS,
        "parameters": NOUNS, "rule": NOUNS, "trigger": NOUNS, "version": NOUNS, "delivery": NOUNS,
        "activation": "entity/test_sheaf.py", "message": "entity/test_sheaf.py",
        "timing": "entity/test_boots.py", "age": "test_timekeeper.py",
        "web": "api/test_web.py", "identity": "controller/test_entitlement.py",
        "grants": "capability/test_grants.py", "lane": "buffer/test_lanes.py",
        "stats": "buffer/test_space.py", "call": "contract/test_sandbox.py", "facts": PURE,
        "reading": "device/test_profiles.py",
    },
    "controller": {
        "controller": "contract/test_fire.py", "entities": "contract/test_lookup.py",
        "packages": "controller/test_actions.py", "rules": "controller/test_firing.py",
        "triggers": "controller/test_feeds.py", "subjects": "test_checked.py",
        "system": "actuator/test_alike.py",
    },
    "sync": {
        "batch": "sync/test_sync.py", "uplink": "sync/test_sync.py", "ingest": "contract/test_cloud.py",
        "client": "sync/test_hostile.py", "doubt": "sync/test_refused.py",
    },
    "buffer": {
        "catalog": LOG, "index": LOG, "witness": STORE, "wear": LOG, "committer": STORE,
        "identity": STORE, "lane": CRASHES, "ledger": CRASHES, "records": CRASHES,
        "loss": "buffer/test_space.py", "retention": "buffer/test_space.py", "routes": "buffer/test_lanes.py",
        "outgoing": "contract/test_activation_store.py", "repair": "buffer/test_journal.py",
        "storage": "buffer/test_tinydb_suite.py",
    },
    "sandbox": {
        "abi": POOL, "archive": POOL, "engine": POOL, "guests": POOL, "hostcalls": POOL, "outcome": POOL,
        "slot": POOL, "runtimes": POOL, "native": POOL, "creator": "sandbox/test_budget.py",
        "linear": PYTHON, "undo": PYTHON, "component": PYTHON, "wasi": MODULES,
        "streams": MODULES,
    },
    "capability": {
        "outward": "capability/test_capabilities.py", "patience": "capability/test_fetch.py",
    },
    "feed": {
        "alarm": ALARMS, "cron": ALARMS, "schedule": PURE, "backoff": PURE, "garbage": PURE, "payload": PURE,
        "broker_bounds": "feed/test_broker.py", "http": "api/test_devices.py",
        "modbus_bus": MODBUS, "modbus_device": MODBUS, "modbus_rtu": "feed/test_modbus_lines.py",
        "mqtt_client": BROKERS, "mqtt_connection": BROKERS, "mqtt_limits": BROKERS, "mqtt_strife": BROKERS,
        "mqtt_events": MQTT, "mqtt_session": MQTT, "mqtt_subscription": MQTT, "rebirth": MQTT,
        "port": "feed/test_pacing.py", "ports": "feed/test_serial.py", "shaped": "feed/test_shaping.py",
        "watch": "feed/test_pacing.py",
    },
}  # fmt: skip


def mirrored(package: str, module: str) -> bool:
    """Whether a module has a test module of its name."""
    places = (ROOT / "tests" / folder / f"test_{module}.py" for folder in (package, "contract"))
    return any(place.is_file() for place in places)


@pytest.mark.parametrize("package", PACKAGES)
def test_each_module_has_its_mirror_or_says_where_it_is_tested(package: str) -> None:
    modules = {path.stem for path in (ROOT / "edgewhisk" / package).glob("*.py")} - {"__init__"}
    listed = ELSEWHERE[package]
    bare = {module for module in modules if not mirrored(package, module)}
    assert sorted(bare - listed.keys()) == [], "neither tested by name nor listed"
    assert sorted(listed.keys() - bare) == [], "listed, but gone or tested by name"


def test_what_is_named_is_there() -> None:
    named = {place for rows in ELSEWHERE.values() for place in rows.values()}
    assert [place for place in sorted(named) if not (ROOT / "tests" / place).is_file()] == []
