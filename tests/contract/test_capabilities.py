"""The contract of `spi.Capabilities`: the real ones, and those that tests of sandboxes use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.capability.dispatcher import CapabilityDispatcher
from edgewhisk.capability.state import ActionState
from edgewhisk.entity.action import Action, ActionPut
from edgewhisk.entity.annotations.grants import ANNOTATION
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import StorageError
from edgewhisk.spi import LARGEST_REQUEST, Answer, Asker, Capabilities
from edgewhisk.store.documents.entity_store import EntityStore
from tests import odd
from tests.contract.suites import Suite, named
from tests.fakes.capabilities import Gate, NoCapabilities
from tests.fakes.disk import FaultyDisk, MemoryDisk


def doors(disk: FaultyDisk | MemoryDisk, folder: Path = Path("/state")) -> CapabilityDispatcher:
    state = ActionState(EntityStore.open(folder, disk))
    return CapabilityDispatcher(dict(state.operations), state.settle, lambda *_: None)


SUITE = Suite(
    Capabilities,
    {
        CapabilityDispatcher: lambda: doors(MemoryDisk()),
        NoCapabilities: NoCapabilities,
        Gate: lambda: Gate(opened=True),
    },
)
MAKE = pytest.mark.parametrize("make", SUITE.implementations.values(), ids=map(named, SUITE.classes))
Make = Callable[[], Capabilities]
made_once = cache(lambda make: make())  # for all examples of a property


def action(name: str, *, state: bool = False) -> Action:
    document = {
        "exec": {"kind": "nodejs:20", "code": "function main() {}"},
        "annotations": [{"key": ANNOTATION, "value": {"state": state}}] if state else [],
    }
    put = ActionPut.from_json(document, kinds={"nodejs:20": "nodejs:20"}, namespace="guest", limits=Limits())
    return put.create(parse_name(f"/guest/{name}", "_"), Limits(), 0)


def asker(name: str = "a", *, state: bool = False) -> Asker:
    return Asker(action(name, state=state), "guest", 1e9)


def read(answer: Answer) -> dict[str, object]:
    """An answer, as the sandbox takes it: one of `ok` and `error`, the latter a text."""
    found: dict[str, object] = orjson.loads(answer.text)
    assert len(found) == 1
    assert "ok" in found or isinstance(found["error"], str)
    return found


ODD = st.one_of(
    st.binary(max_size=60),
    odd.objects().map(lambda value: odd.text_of(value).encode("utf-8", "surrogatepass")),
    st.builds(
        lambda op, rest: odd.text_of({**rest, "op": op}).encode("utf-8", "surrogatepass"),
        st.sampled_from(["state.get", "state.set", "state.keys", "state.none", "", None, 5]),
        odd.objects(),
    ),
)


@MAKE
@given(ODD)
def test_any_request_gets_an_answer(make: Make, request_: bytes) -> None:
    read(made_once(make).ask(asker(), request_))


@pytest.mark.parametrize("made", [CapabilityDispatcher, NoCapabilities], ids=named)  # a gate grants all
def test_what_is_not_granted_is_an_error_and_a_line_for_the_log(made: type) -> None:
    answer = SUITE.implementations[made]().ask(asker(), b'{"op":"state.get","key":"k"}')
    assert read(answer)["error"]
    assert answer.refusal


@MAKE
def test_a_request_that_is_too_large_gets_an_answer(make: Make) -> None:
    read(make().ask(asker(), b'{"op":"state.set","key":"%b"}' % (b"x" * LARGEST_REQUEST)))


@MAKE
def test_it_may_be_asked_and_settled_from_many_threads(make: Make) -> None:
    made, begin = make(), threading.Barrier(8)

    def thread(number: int) -> dict[str, object]:
        mine = asker(f"a{number}", state=True)
        begin.wait(20)
        made.ask(mine, b'{"op":"state.set","key":"k","value":%d}' % number)
        made.settle(mine.action)
        return read(made.ask(mine, b'{"op":"state.get","key":"k"}'))

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(thread, range(8)))
    if isinstance(made, CapabilityDispatcher):
        assert found == [{"ok": number} for number in range(8)]


def test_what_was_settled_is_there_after_a_start_and_what_cannot_be_is_told(tmp_path: Path) -> None:
    disk, mine = FaultyDisk(), asker(state=True)
    made = doors(disk, tmp_path)
    made.ask(mine, b'{"op":"state.set","key":"k","value":1}')
    made.settle(mine.action)
    made.ask(mine, b'{"op":"state.set","key":"k","value":2}')
    disk.full = True
    with pytest.raises(StorageError):
        made.settle(mine.action)
    disk.full = False
    again = doors(disk, tmp_path)
    assert read(again.ask(mine, b'{"op":"state.get","key":"k"}')) == {"ok": 1}
