"""The uplink against a cloud that fails in every way: each record arrives once, in order."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk import jsontext
from edgewhisk.clock.system import SystemClock
from edgewhisk.errors import CloudError, MalformedContent
from edgewhisk.spi import Query, SyncBatch
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.sync import batch
from edgewhisk.sync import sync as module
from edgewhisk.sync.client import Busy, CloudRefusal, TooMuch
from edgewhisk.sync.sync import Sync
from edgewhisk.sync.uplink import TABLE, Effect, Event, IllegalTransition, UplinkState, step
from tests import odd
from tests.fakes.cloud import AnswerLost, FaultyCloud, in_turn
from tests.store.activations.test_activations import commit, open_store, record

FAULTY = [None, CloudError("lost"), AnswerLost("answer lost"), CloudRefusal("refused"), TooMuch("too much")]
FAULTS = st.lists(st.sampled_from(FAULTY), max_size=12)


@settings(max_examples=25, deadline=None)
@given(FAULTS, st.integers(0, 10))
def test_each_record_arrives_once_in_order(faults: list[CloudError | None], count: int) -> None:
    async def play(edge: ActivationLog, cloud: ActivationLog) -> None:
        sync = Sync(edge, FaultyCloud(cloud, in_turn(faults)), SystemClock(), interval=0)
        task = asyncio.create_task(sync.run())
        async with asyncio.timeout(30):
            while edge.stats().unsynced or sync.state is not UplinkState.IDLE:  # noqa: ASYNC110 - a real loop
                await asyncio.sleep(0.002)
            await asyncio.to_thread(commit, edge, record(999))
            sync.wake()
            while edge.stats().unsynced:  # noqa: ASYNC110 - a real loop
                await asyncio.sleep(0.002)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PAUSE", (0.0, 0.0))
        patch.setattr(module, "PAUSE_LONG", 0.0)
        patch.setattr(batch, "MAX_BATCH_RECORDS", 3)
        edge = open_store(Path(name) / "edge")
        cloud = open_store(Path(name) / "cloud")
        if count:
            commit(edge, *(record(number) for number in range(1, count + 1)))
        asyncio.run(play(edge, cloud))
        found = [one["start"] for one in cloud.list(Query("guest", limit=200))]
        edge.close()
        cloud.close()
    assert found == [999, *range(count, 0, -1)]


def test_every_state_can_be_left_and_odd_events_are_faults() -> None:
    assert set(TABLE) == set(UplinkState)
    reached = {state for row in TABLE.values() for state, _ in row.values()}
    assert reached == set(UplinkState)
    assert step(UplinkState.IDLE, Event.BUFFERED) == (UplinkState.SENDING, Effect.SEND)
    with pytest.raises(IllegalTransition, match="EMPTY while OFFLINE"):
        step(UplinkState.OFFLINE, Event.EMPTY)


@given(
    st.lists(st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=2), max_size=4),
    st.integers(1, 99),
)
def test_a_batch_survives_the_wire(records: list[dict[str, int]], first: int) -> None:
    texts = tuple(orjson.dumps(record) for record in records)
    body = batch.body("d", "e", SyncBatch(first, texts, 0))
    assert batch.read(orjson.loads(body)) == ("d", "e", SyncBatch(first, texts, 0))


@settings(max_examples=30, deadline=None)
@given(odd.objects() | st.sampled_from([odd.nested(levels) for levels in (995, 996, 997, 1000)]))
def test_a_record_with_any_result_goes_through_the_door_of_any_cloud(result: Any) -> None:
    text = jsontext.dumps({"response": {"result": result, "success": True}, "annotations": [{"key": "path"}]})
    body = batch.body("d", "e", SyncBatch(1, (text,), 0))
    _, _, found = batch.read(jsontext.parse(body).value)  # which takes no more levels than OpenWhisk's
    assert found.records == (jsontext.dumps(jsontext.loads(text)),)


@pytest.mark.parametrize("annotations", [5, "edge-result", [{"key": "edge-result", "value": "text"}]])
@pytest.mark.parametrize("response", [None, {}, {"result": 5}, {"result": "{"}])
def test_what_only_looks_like_a_record_is_left_for_the_store(annotations: Any, response: Any) -> None:
    record = {"annotations": annotations, "response": response}
    taken = batch.read({"v": 1, "device": "d", "epoch": "e", "first": 1, "after": 0, "records": [record, 5]})
    assert taken[2].records == (orjson.dumps(record), b"5")


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


@pytest.mark.parametrize("after", [None, 0.0])
def test_a_cloud_that_answers_and_takes_nothing_is_asked_ever_less_often(
    after: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    enough = asyncio.Event()

    async def rest(seconds: float, _told: asyncio.Event) -> None:
        pauses.append(seconds)
        if len(pauses) > 5:
            enough.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(module, "wakeable_sleep", rest)
    monkeypatch.setattr("random.random", lambda: 0.9)

    def fault(sent: SyncBatch) -> CloudError | None:
        if not sent.records:
            return None
        return CloudError("no") if after is None else Busy("later", after)

    async def play() -> None:
        cloud = FaultyCloud(far, fault)
        task = asyncio.create_task(Sync(store, cloud, SystemClock(), interval=0).run())
        async with asyncio.timeout(20):
            await enough.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    store, far = open_store(tmp_path / "edge"), open_store(tmp_path / "cloud")
    commit(store, record(1))
    asyncio.run(play())
    store.close()
    far.close()
    assert min(pauses) >= 1
    if after is None:
        assert pauses == sorted(pauses)
        assert pauses[-1] > 50
