"""The store over boots whose clocks were wrong: order, filters, what is told, what is not run again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from edgewhisk.clock.history import COLLECTION, ClockHistory
from edgewhisk.clock.offset import ClockOffset
from edgewhisk.config.schema import BufferConfig
from edgewhisk.entity.activation import Record, stamp
from edgewhisk.entity.annotations.lane import ERRORS, NORMAL
from edgewhisk.entity.invocation.message import Status
from edgewhisk.spi import Change, Query, Starts
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.store.export import export
from edgewhisk.store.log import log as log_module
from tests.fakes.clock import HandClock, ms
from tests.store.activations.test_activations import commit, message, wait

SEGMENT = 4000
MAY = ms("2026-05-01T12:00:00")
HOUR = 3_600_000
FIRST = ClockOffset("b0000001", MAY - 40 * HOUR)  # its clock was right
LOST = ClockOffset("b0000002", 0)  # it said 1970, and was set at last
NEVER = ClockOffset("b0000003", 1000)  # it said 1970 all along
BEHIND = ClockOffset("b0000004", MAY - 60 * HOUR)  # it went on from where the card stood, and nobody knows
KNOWN = {
    "b0000001": {"number": 1, "offset": FIRST.offset, "sureness": "kept", "until": 0},
    "b0000002": {"number": 2, "offset": MAY - 30 * HOUR, "sureness": "set", "until": 8 * HOUR},
    "b0000003": {"number": 3, "offset": 1000, "sureness": "unset", "until": 0},
    "b0000004": {"number": 4, "offset": BEHIND.offset, "sureness": "unconfirmed", "until": 0},
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "SEGMENT", SEGMENT)


def open_store(folder: Path, *, known: bool = True, boot: str = "b0000004") -> ActivationLog:
    settings = BufferConfig(max_bytes=1 << 26, min_free_bytes=0, commit_window=0)
    return ActivationLog.open(
        folder, settings, HandClock(boot=boot), history=ClockHistory(KNOWN if known else {})
    )


def record(number: int, timing: ClockOffset, up: int, *, told: bool, lane: str = NORMAL) -> Record:
    start = timing.offset + up
    document = {
        "namespace": "guest",
        "name": "a",
        "version": "0.0.1",
        "subject": "guest",
        "activationId": f"{number:08x}{number:024x}",
        "start": start,
        "end": start + 1,
        "response": {"result": {"n": number}, "success": lane != ERRORS, "statusCode": 0},
        "logs": [],
        "annotations": [{"key": "path", "value": "guest/a"}, stamp(start, timing)],
        "publish": False,
    }
    status = Status.APPLICATION_ERROR if lane == ERRORS else Status.SUCCESS
    made = Record(document["activationId"], orjson.dumps(document), status, lane=lane)  # type: ignore[arg-type]
    return made._replace(filed=("guest", "a"), start=start, timing=timing) if told else made


def fill(store: ActivationLog) -> list[int]:
    """Sixty runs in each of four boots, each third one failed; when each was, as far as anybody knows."""
    times = []
    for boot, timing in enumerate((FIRST, LOST, NEVER, BEHIND)):
        for at in range(60):
            lane = ERRORS if at % 3 == 2 else NORMAL
            commit(store, record(60 * boot + at, timing, 60_000 * (at + 1), told=at % 2 == 0, lane=lane))
            offset = MAY - 30 * HOUR if timing is LOST else timing.offset
            times.append(offset + 60_000 * (at + 1))
    return times


def shown(store: ActivationLog, query: Query) -> list[int]:
    return [one["response"]["result"]["n"] for one in store.list(query)]


@pytest.mark.parametrize("reopened", [False, True])
def test_lists_and_filters_go_by_what_is_known_of_the_clocks(tmp_path: Path, *, reopened: bool) -> None:
    store = open_store(tmp_path)
    times = fill(store)
    if reopened:
        store.close()
        store = open_store(tmp_path)
    assert shown(store, Query("guest", limit=1000)) == list(range(239, -1, -1))
    assert shown(store, Query("guest", limit=7, skip=100)) == list(range(139, 132, -1))
    bounds = (None, 0, times[10], times[30], times[59], times[70], times[119], times[130], times[200], MAY)
    for since in bounds:
        for upto in bounds:
            query = Query("guest", since=since, upto=upto, limit=1000)
            wanted = [
                n
                for n, time in reversed(list(enumerate(times)))
                if (since is None or time >= since) and (upto is None or time <= upto)
            ]
            assert shown(store, query) == wanted
            assert store.count(query) == len(wanted)
    found = store.get(f"{70:08x}{70:024x}")
    assert found is not None
    assert (found["start"], found["end"]) == (times[70], times[70] + 1)
    assert {"key": "edge-clock", "value": "corrected"} in found["annotations"]
    sent = orjson.loads(store.pending(1000, 1 << 20).records[0])
    assert sent["start"] == times[2]  # of the lane of errors, which goes first
    store.close()


def test_without_anything_known_of_boots_it_goes_by_the_clock(tmp_path: Path) -> None:
    store = open_store(tmp_path, known=False)
    for n, (up, lane) in enumerate([(1, NORMAL), (5, ERRORS), (9, NORMAL), (12, ERRORS)]):
        commit(store, record(n, FIRST, up, told=True, lane=lane))
    assert shown(store, Query("guest")) == [3, 2, 1, 0]
    assert shown(store, Query("guest", since=FIRST.offset + 6)) == [3, 2]
    store.close()


def test_an_event_whose_record_has_another_time_is_not_run_again(tmp_path: Path) -> None:
    """Accepted when the clock was right, recorded as failed by a boot that never knew the time."""
    store = open_store(tmp_path, boot="b0000001")
    event = message(70)._replace(activation_id=f"{70:08x}{70:024x}", at=FIRST.offset + 5)
    wait(lambda done: store.accept([event], done, urgent=True))
    commit(store, record(70, NEVER, 5, told=True, lane=ERRORS))
    assert store.stats().unfinished == 0
    for n in range(100, 130):
        commit(store, record(n, NEVER, n, told=True, lane=ERRORS))
    # Not closed: the mark in the lane of events was to go along with its next round.
    again = open_store(tmp_path)
    assert again.unfinished() == []
    again.close()
    store.close()


def test_begun_runs_are_known_when_only_the_newest_segment_is_read(tmp_path: Path) -> None:
    store = open_store(tmp_path, boot="b0000001")
    wait(lambda done: store.accept([message(1), message(2)], done, urgent=True))
    wait(lambda done: store.begin([f"{1:032x}"], done))
    for n in range(200):
        commit(store, record(n, FIRST, n, told=True))
    store.close()
    store = open_store(tmp_path, boot="b0000004")
    assert [int(one.activation_id, 16) for one in store.unfinished()] == [1, 2]
    assert store.starts() == {f"{1:032x}": Starts(1, 0)}
    store.close()


def test_a_copy_tells_times_right(tmp_path: Path) -> None:
    async def keep() -> None:
        shelf = LogDocumentStore.open(tmp_path / "shelf")
        gone = Change(COLLECTION, "b0000009", {"number": 9, "offset": 0, "sureness": "unset", "until": 0})
        others = [Change("other", mark, {"n": 1}) for mark in KNOWN]
        await shelf.write([gone, *others])
        await shelf.write([Change(COLLECTION, mark, document) for mark, document in KNOWN.items()])
        await shelf.write([Change(COLLECTION, "b0000009", None)])
        await shelf.close()

    asyncio.run(keep())
    store = open_store(tmp_path / "buffer")
    times = fill(store)
    store.close()
    found = [orjson.loads(one.line)["activation"] for one in export(tmp_path / "buffer", tmp_path / "shelf")]
    assert sorted(one["start"] for one in found) == sorted(times)
    raw = [orjson.loads(one.line)["activation"]["start"] for one in export(tmp_path / "buffer")]
    assert sum(start < HOUR * 2 for start in raw) == 120
