"""A removed subject: nothing of it goes on, and nothing serves the next of that name."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.capability.state import ActionState
from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import BufferConfig
from edgewhisk.controller.auth.subjects import (
    Subjects,
    add_subject,
    ensure_key,
    key_file,
    remove_subject,
    removed_subjects,
)
from edgewhisk.controller.auth.tokens import add_token, tokens_of
from edgewhisk.controller.entities import Entities
from edgewhisk.controller.removal import Removal
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.trigger import Trigger
from edgewhisk.entity.version import SemVer
from edgewhisk.errors import Conflict, StorageError
from edgewhisk.spi import Change
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.store.documents.entity_store import EntityStore
from tests.api.test_subjects import As, plant, subject
from tests.path.gateway import Gateway, gateway, until

COUNT = """const { state } = require('edgewhisk')
function main() { const n = (state.get('n') || 0) + 1; state.set('n', n); return { n } }"""
COUNTED = [{"key": "edge-capabilities", "value": {"state": True}}]


def fill(ask: As) -> None:
    """An action with state in a package, a schedule that starts it, and a device's trigger."""
    assert ask("PUT", "_/packages/p", {"publish": True}).status == 200
    body = {"exec": {"kind": "nodejs:default", "code": COUNT}, "annotations": COUNTED}
    assert ask("PUT", "_/actions/p/count", body).status == 200
    assert ask("PUT", "_/triggers/tick", {}).status == 200
    assert ask("PUT", "_/rules/r", {"trigger": "/_/tick", "action": "/_/p/count"}).status == 200
    asked = {"lifecycleEvent": "CREATE", "triggerName": "tick", "minutes": 60}
    assert ask("POST", "whisk.system/actions/alarms/interval?blocking=true", asked).status == 200
    assert ask("POST", "_/actions/p/count?blocking=true&result=true", {}).body["n"] >= 1
    url = "http://localhost/api/v1/web/plant/p/count.json"
    paths = {"/n": {"get": {"x-openwhisk": {"url": url}}}}
    apidoc = {"namespace": "_", "swagger": {"basePath": "/", "info": {"title": "n"}, "paths": paths}}
    path = "whisk.system/actions/apimgmt/createApi?blocking=true&result=true"
    assert ask("POST", path, {"apidoc": apidoc}).status == 200


def stored(made: Gateway) -> str:
    """All that the gateway keeps of entities, feeds, state and tokens."""
    state = made.folder / "state"
    found: list[str] = []
    for name in ("entities", "state"):
        kept = EntityStore.open(state / name)
        found += [key for name in kept.collections() for key in (name, *kept.read(name))]
        kept.close()
    found += [token.trigger for token in tokens_of(state).values()]
    return json.dumps(found)


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_all_of_it_goes(tmp_path: Path, running: bool) -> None:
    with gateway(tmp_path, '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n') as made:
        ask = plant(made)
        fill(ask)
        add_token(tmp_path / "state", parse_name("/plant/tick", "_"), "d1")
        made.ok("PUT", "_/triggers/mine", {})
        if not running:
            made.kill()
        said = subject(made, "remove", "plant")
        assert ("all that it had is gone" in said) is running
        if not running:
            made.start()
        assert ask("GET", "_/actions").status == 401
        assert made.status()["feeds"] == []
        assert "there was a subject plant" in subject(made, "add", "plant", code=1)
        made.stop()
        assert "plant" not in stored(made)
        assert "guest/mine" in stored(made)


def test_a_subject_can_log_in_once_it_is_added_and_no_more_once_it_is_removed(made: Gateway) -> None:
    for _ in range(3):
        key = subject(made, "add", "brief").splitlines()[-1]
        assert made.call("GET", "_/actions", Authorization=_basic(key)).status == 200
        subject(made, "remove", "brief")
        assert made.call("GET", "_/actions", Authorization=_basic(key)).status == 401
        free = lambda: not (made.folder / "state" / "removed" / "brief").exists()  # noqa: E731
        until(free, what="no record of it was ever there: its name is free")


def _basic(key: str) -> str:
    return "Basic " + base64.b64encode(key.encode()).decode()


class Parts:
    """Entities, state and records of a gateway, without the rest of it."""

    def __init__(self, folder: Path) -> None:
        ensure_key(folder)
        self.folder, clock = folder, SystemClock()
        self.artifacts = EntityStore.open(folder / "entities")
        self.kept = EntityStore.open(folder / "state")
        self.entities = Entities(self.artifacts)
        self.entities.load()
        self.log = ActivationLog.open(
            folder / "buffer", BufferConfig(max_bytes=1 << 26, min_free_bytes=0), clock
        )
        self.stopped: list[str] = []
        forget = ActionState(self.kept).forget_all
        self.removal = Removal(folder, self.entities, Subjects(folder, clock), self.log, forget, self._stop)

    async def _stop(self, trigger: FullyQualifiedName) -> None:
        self.stopped.append(str(trigger))

    def close(self) -> None:
        self.log.close()
        self.kept.close()
        self.artifacts.close()


@pytest.mark.parametrize("cut", ["entities", "state", "nothing"])
def test_what_was_cut_off_is_done_again(tmp_path: Path, cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    add_subject(tmp_path, "plant")
    made = Parts(tmp_path)
    trigger = Trigger(parse_name("/plant/t", "_"), Parameters(), Parameters(), SemVer(), 0)
    made.artifacts.write([Change("triggers", "plant/t", trigger.to_json())])
    made.artifacts.write([Change("feeds", "plant/t", {"feed": "alarms/alarm", "parameters": {}})])
    made.kept.write([Change("plant/p/gone", "n", {"value": 1}), Change("planted/a", "n", {"value": 1})])
    made.entities.load()

    def refuse(_changes: Any) -> None:
        raise StorageError("no space left")

    async def play() -> None:
        remove_subject(tmp_path, "plant")
        if cut != "nothing":
            with monkeypatch.context() as full:
                full.setattr(made.artifacts if cut == "entities" else made.kept, "write", refuse)
                await made.removal.look()
        assert removed_subjects(tmp_path) == ["plant"]
        with pytest.raises(Conflict, match="there was a subject plant"):
            add_subject(tmp_path, "plant")
        await made.removal.look()
        await made.removal.look()

    asyncio.run(play())
    assert made.stopped[-1] == "/plant/t"
    assert (made.artifacts.read("triggers"), made.artifacts.read("feeds")) == ({}, {})
    assert made.kept.collections() == ["planted/a"]
    assert removed_subjects(tmp_path) == []  # no record of it was ever there: the name is free
    assert not key_file(tmp_path, "plant").exists()
    add_subject(tmp_path, "plant")
    made.close()
