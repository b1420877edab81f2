"""Each module of the data path has a test module of its name, or says here where else it is tested.

`tests/ROOM/.../test_MODULE.py` is the mirror; a suite of `tests/contract/` counts as one. The table names the
test module that holds a module's promises through a seam of others, and why it has none of its own. A row for
a module that is gone, or that has its mirror by now, fails: the table only shrinks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from edgewhisk.config.schema import CLOUD_KINDS

ROOT: Final = Path(__file__).resolve().parent.parent
ROOMS: Final = (
    "actuator",
    "broker",
    "capability",
    "clock",
    "controller",
    "entity",
    "feed",
    "sandbox",
    "store",
    "sync",
    "transport",
)
CRASHES: Final = "store/test_crashes.py"  # every state that a power cut leaves, by a model of all promises
LOG: Final = "store/log/test_log.py"  # the log as the store uses it, its files and what is read of them
# the store's door, over starts, kills and refusing disks
STORE: Final = "store/activations/test_activations.py"
NOUNS: Final = "entity/test_entities.py"  # one table of requests and documents for all nouns
POOL: Final = "sandbox/test_pool.py"  # the door of all sandboxes, in real WebAssembly
PYTHON: Final = "sandbox/component/test_components.py"  # the component that Python is
MODULES: Final = "sandbox/module/test_modules.py"  # modules of any language as actions
# clients and a disk as they are, and the core by what those hear
BROKER: Final = "broker/test_broker.py"
MQTT: Final = "feed/mqtt/test_feed.py"  # a real broker
BROKERS: Final = "feed/mqtt/test_session.py"  # brokers that misbehave, as a script says
MODBUS: Final = "feed/modbus/test_feed.py"  # servers and a pty
PURE: Final = "feed/test_pure.py"  # the small pure modules of feeds together
ALARMS: Final = "feed/alarms/test_feed.py"  # alarms and the clock that a test moves
ELSEWHERE: Final = {
    "actuator/lost": "actuator/test_outbox.py", "actuator/target": "actuator/test_outbox.py",
    "actuator/targets/modbus": "actuator/test_writes.py",
    "actuator/targets/serial": "actuator/test_writes.py",
    "broker/link": BROKER, "broker/message": BROKER,
    "broker/properties": "broker/test_packets.py", "broker/reason": "broker/test_packets.py",
    "broker/recovery": "broker/test_deliveries.py",
    "broker/requests": BROKER, "broker/retained": "broker/test_topics.py", "broker/session": BROKER,
    "broker/sys_topics": BROKER, "broker/writes": BROKER,
    "capability/dispatcher": "capability/test_capabilities.py",
    "capability/host": "capability/test_capabilities.py", "capability/patience": "capability/test_fetch.py",
    "capability/rest": "capability/test_openwhisk.py",
    "clock/age": "gateway/test_clock_watcher.py", "clock/offset": "clock/test_history.py",
    "clock/system": "contract/test_clock.py",
    "controller/apis": "api/test_apis.py",
    "controller/auth/subjects": "base/test_checked.py", "controller/controller": "contract/test_fire.py",
    "controller/feed_service": "controller/test_feeds.py",
    "controller/entities": "contract/test_lookup.py", "controller/packages": "controller/test_actions.py",
    "controller/removal": "api/test_removal.py", "controller/rules": "controller/test_firing.py",
    "controller/system": "actuator/targets/test_mqtt.py", "controller/triggers": "controller/test_feeds.py",
    "entity/action": NOUNS, "entity/activation": "entity/records/test_record_block.py",
    "entity/annotations/delivery": NOUNS, "entity/annotations/grants": "capability/test_grants.py",
    "entity/annotations/lane": "store/activations/test_lane.py", "entity/exec": NOUNS,
    "entity/identity": "controller/auth/test_entitlement.py", "entity/invocation/arguments": NOUNS,
    "entity/invocation/call": "contract/test_sandbox.py", "entity/invocation/facts": PURE,
    "entity/invocation/message": "entity/records/test_record_block.py", "entity/limits": NOUNS,
    "entity/names": NOUNS, "entity/package": NOUNS, "entity/parameters": NOUNS,
    "entity/records/stats": "store/activations/test_space.py", "entity/rule": NOUNS, "entity/trigger": NOUNS,
    "entity/version": NOUNS, "entity/web": "api/test_web.py",
    "feed/alarms/alarm": ALARMS, "feed/alarms/schedule": PURE, "feed/alarms/request": PURE,
    "feed/http": "api/test_devices.py", "feed/modbus/device": MODBUS,
    "feed/modbus/poller": MODBUS, "feed/mqtt/events": MQTT,
    "feed/mqtt/sparkplug_rebirth": MQTT, "feed/mqtt/subscription": MQTT, "feed/payload": PURE,
    "feed/rejects": PURE, "feed/serial/source": "feed/serial/test_feed.py",
    "feed/shaping/spec": "feed/shaping/test_shaping_stage.py",
    "sandbox/archive": POOL, "sandbox/code_cache": POOL,
    "sandbox/component/component": PYTHON, "sandbox/engine": POOL,
    "sandbox/guest/abi": POOL, "sandbox/guest/guests": POOL, "sandbox/guest/slot": POOL,
    "sandbox/host/hostcalls": POOL, "sandbox/memory/creator": "sandbox/memory/test_budget.py",
    "sandbox/memory/linear": PYTHON, "sandbox/memory/restorer": PYTHON, "sandbox/module/streams": MODULES,
    "sandbox/module/wasi": MODULES, "sandbox/outcome": POOL, "sandbox/runtimes": POOL,
    "sandbox/wasmtime_ffi": POOL,
    "store/activations/catalog": LOG, "store/activations/damage": "store/test_damage.py",
    "store/activations/index": LOG, "store/activations/log_state": CRASHES,
    "store/activations/loss": "store/activations/test_space.py",
    "store/activations/outgoing": "contract/test_activation_store.py",
    "store/activations/partitions": CRASHES,
    "store/activations/retention": "store/activations/test_space.py",
    "store/activations/routes": "store/activations/test_lane.py", "store/activations/wear": LOG,
    "store/log/committer": STORE, "store/log/identity": STORE,
    "store/log/repair": "store/log/test_frames.py", "store/log/witness": STORE,
    "sync/batch": "sync/test_sync.py", "sync/client": "sync/test_hostile.py",
    **{f"sync/dialects/{kind}": "sync/test_dialects.py" for kind in (*CLOUD_KINDS, "dialect")},
    "sync/receivers/sqlite_asgi": "sync/test_receivers.py",
    "controller/catalog/catalog": "controller/test_catalog.py",
    "sync/doubt": "sync/test_refused.py", "sync/key_file": "sync/test_credential.py",
    "sync/ingest": "contract/test_cloud.py", "sync/uplink": "sync/test_sync.py",
    "transport/http_body": "sync/test_hostile.py", "transport/modbus/buses": MODBUS,
    "transport/modbus/rtu": "transport/modbus/test_bus.py",
    "transport/mqtt/brokers": BROKERS, "transport/mqtt/session": BROKERS,
    "transport/mqtt/config": "feed/mqtt/test_session.py", "transport/mqtt/connection": BROKERS,
    "transport/mqtt/disconnects": BROKERS, "transport/mqtt/gmqtt_adapter": BROKERS,
    "transport/mqtt/limits": BROKERS, "transport/serial/opener": "transport/serial/test_ports.py",
    "transport/serial/port": "transport/serial/test_ports.py",
}  # fmt: skip


def mirrored(module: str) -> bool:
    """Whether the module `feed/mqtt/session` has a test module of its name."""
    folder, _, name = module.rpartition("/")
    places = (ROOT / "tests" / place / f"test_{name}.py" for place in (folder, "contract"))
    return any(place.is_file() for place in places)


@pytest.mark.parametrize("room", ROOMS)
def test_each_module_has_its_mirror_or_says_where_it_is_tested(room: str) -> None:
    package = ROOT / "edgewhisk"
    paths = (path for path in (package / room).rglob("*.py") if path.name != "__init__.py")
    modules = {path.relative_to(package).with_suffix("").as_posix() for path in paths}
    listed = {module for module in ELSEWHERE if module.startswith(f"{room}/")}
    bare = {module for module in modules if not mirrored(module)}
    assert sorted(bare - listed) == [], "neither tested by name nor listed"
    assert sorted(listed - bare) == [], "listed, but gone or tested by name"


def test_what_is_named_is_there() -> None:
    named = sorted(set(ELSEWHERE.values()))
    assert [place for place in named if not (ROOT / "tests" / place).is_file()] == []
