"""State of actions: nobody waits for another action's disk, and what was not stored is never taken for it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.capability.dispatcher import CapabilityRequest
from edgewhisk.capability.state import ActionState
from edgewhisk.entity.action import Action, ActionPut
from edgewhisk.entity.annotations.grants import Grants
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import StorageError
from edgewhisk.spi import Asker
from edgewhisk.store.documents.entity_store import EntityStore
from tests.fakes.disk import FaultyDisk


def action(name: str) -> Action:
    put = ActionPut.from_json(
        {"exec": {"kind": "nodejs:20", "code": "function main() {}"}},
        kinds={"nodejs:20": "nodejs:20"},
        namespace="guest",
        limits=Limits(),
    )
    return put.create(parse_name(f"/guest/{name}", "_"), Limits(), 0)


A, B = action("a"), action("b")


def ask(state: ActionState, op: str, which: Action, **fields: Any) -> Any:
    grants = Grants(quota=1000)
    asker = Asker(which, "guest", 1e9)
    return state.operations[f"state.{op}"](
        CapabilityRequest(f"state.{op}", fields, grants, asker, lambda *_: None)
    )


def test_an_action_does_not_wait_for_the_state_of_another_to_be_on_disk(tmp_path: Path) -> None:
    disk = FaultyDisk()
    store = EntityStore.open(tmp_path, disk)
    state = ActionState(store)
    ask(state, "set", A, key="k", value=1)
    ask(state, "set", B, key="k", value=2)
    disk.hold()
    writing = threading.Thread(target=state.settle, args=[A])
    writing.start()
    assert disk.begun.wait(20)
    done = threading.Event()

    def other() -> None:
        ask(state, "set", B, key="k", value=3)
        done.set()

    threading.Thread(target=other).start()
    assert done.wait(20)
    disk.go.set()
    writing.join()
    assert store.read("guest/a") == {"k": {"value": 1}}
    store.close()


def test_a_call_whose_changes_were_taken_back_with_anothers_is_told(tmp_path: Path) -> None:
    disk = FaultyDisk()
    store = EntityStore.open(tmp_path, disk)
    state = ActionState(store)
    ask(state, "set", A, key="one", value=1)
    state.settle(A)
    outcome: list[str] = []
    ready, settled = threading.Event(), threading.Event()

    def other() -> None:
        ask(state, "set", A, key="two", value=2)
        ready.set()
        assert settled.wait(20)
        try:
            state.settle(A)
        except StorageError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=other)
    thread.start()
    assert ready.wait(20)
    ask(state, "set", A, key="three", value=3)
    disk.full = True
    with pytest.raises(StorageError):
        state.settle(A)
    disk.full = False
    settled.set()
    thread.join()
    assert len(outcome) == 1
    state.settle(A)
    assert store.read("guest/a") == {"one": {"value": 1}}
    assert ask(state, "keys", A) == ["one"]
    store.close()


def test_what_is_forgotten_is_not_found_again(tmp_path: Path) -> None:
    store = EntityStore.open(tmp_path)
    state = ActionState(store)
    ask(state, "set", A, key="k", value=1)
    state.settle(A)
    ask(state, "set", A, key="l", value=1)
    state.forget("guest/a")
    state.settle(A)
    assert ask(state, "keys", A) == []
    assert store.read("guest/a") == {}
    store.close()
