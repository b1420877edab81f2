"""The uplink against a cloud that fails in every way: each record arrives once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk.errors import CloudError, MalformedContent
from edgewhisk.spi import Batch
from edgewhisk.sync import batch
from edgewhisk.sync import sync as module
from edgewhisk.sync.client import CloudRefusal, TooMuch
from edgewhisk.sync.sync import Sync
from edgewhisk.sync.uplink import _TABLE, Effect, Event, IllegalTransition, State, step


class Store:
    """The part of an activation store that the uplink uses, over a list."""

    device, epoch = "d" * 32, "e" * 32

    def __init__(self, records: Sequence[bytes]) -> None:
        self.records = list(records)
        self.confirmed = 0

    def pending(self, max_records: int, max_bytes: int) -> Batch:
        rest = self.records[self.confirmed :][: min(max_records, 3)]
        return Batch(self.confirmed + 1, tuple(rest), self.confirmed)

    def confirm(self, upto: int) -> None:
        self.confirmed = max(self.confirmed, upto)


class Cloud:
    """A receiver with the rule of `ActivationStore.absorb`, and faults as told."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        self.got: list[bytes] = []
        self.flying = 0

    async def send(self, device: str, epoch: str, sent: Batch) -> int:
        assert self.flying == 0
        self.flying = 1
        await asyncio.sleep(0)
        self.flying = 0
        fault = self.faults.pop(0) if self.faults else "ok"
        if fault in ("lost", "refused", "too much"):
            raise {"lost": CloudError, "refused": CloudRefusal, "too much": TooMuch}[fault](fault)
        have = len(self.got)
        if sent.first <= have + 1:
            self.got += sent.records[have + 1 - sent.first :]
        if fault == "answer lost":
            raise CloudError(fault)
        return len(self.got)


class Clock:
    """Time stands still."""

    def now(self) -> int:
        return 5

    def monotonic(self) -> float:
        return 0.0

    def activation_ids(self, count: int) -> list[str]:
        return []


FAULTS = st.lists(st.sampled_from(["ok", "lost", "answer lost", "refused", "too much"]), max_size=12)


@settings(max_examples=60, deadline=None)
@given(FAULTS, st.integers(0, 10))
def test_each_record_arrives_once_in_order(faults: list[str], count: int) -> None:
    records = [b"%d" % number for number in range(count)]

    async def play() -> None:
        store, cloud = Store(records), Cloud(faults)
        sync = Sync(store, cloud, Clock(), interval=0)  # type: ignore[arg-type]
        task = asyncio.create_task(sync.run())
        for _ in range(2000):
            await asyncio.sleep(0)
            if store.confirmed == count and sync.state is State.IDLE:
                break
            await asyncio.sleep(0.0005)
        store.records.append(b"last")
        sync.wake()
        for _ in range(2000):
            if store.confirmed == count + 1:
                break
            await asyncio.sleep(0.0005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert cloud.got == [*records, b"last"]

    pauses = (module.PAUSE, module.PAUSE_LONG)
    module.PAUSE, module.PAUSE_LONG = (0.0, 0.0), 0.0  # type: ignore[misc]
    try:
        asyncio.run(play())
    finally:
        module.PAUSE, module.PAUSE_LONG = pauses  # type: ignore[misc]


def test_every_state_can_be_left_and_odd_events_are_faults() -> None:
    assert set(_TABLE) == set(State)
    reached = {state for row in _TABLE.values() for state, _ in row.values()}
    assert reached == set(State)
    assert step(State.IDLE, Event.BUFFERED) == (State.SENDING, Effect.SEND)
    with pytest.raises(IllegalTransition, match="EMPTY while OFFLINE"):
        step(State.OFFLINE, Event.EMPTY)


@given(
    st.lists(st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2), max_size=4),
    st.integers(1, 99),
)
def test_a_batch_survives_the_wire(records: list[dict[str, int]], first: int) -> None:
    texts = tuple(orjson.dumps(record) for record in records)
    body = batch.body("d", "e", Batch(first, texts, 0))
    assert batch.read(orjson.loads(body)) == ("d", "e", Batch(first, texts, 0))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"v": 2}, "v must be 1"),
        ({"device": ""}, "device must be"),
        ({"epoch": 5}, "epoch must be"),
        ({"first": 0}, "first must be"),
        ({"first": "1"}, "first must be"),
        ({"after": 1}, "after must be"),
        ({"records": {}}, "records must be"),
        ({"records": [1] * 3000}, "records must be"),
    ],
)
def test_wrong_batches_name_what_is_wrong(change: dict[str, Any], text: str) -> None:
    good = {"v": 1, "device": "d", "epoch": "e", "first": 1, "after": 0, "records": []}
    with pytest.raises(MalformedContent, match=text):
        batch.read({**good, **change})


@pytest.mark.parametrize("answer", [None, {}, {"have": "5"}, {"have": -1}, {"have": True}, [5]])
def test_an_answer_must_say_what_the_cloud_has(answer: Any) -> None:
    with pytest.raises(CloudError, match="answered"):
        batch.have(answer)
