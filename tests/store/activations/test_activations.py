"""The activation store: what was acknowledged is there, once, whatever happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import BufferConfig, LaneConfig
from edgewhisk.entity.activation import Record
from edgewhisk.entity.invocation.message import ActivationMessage
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import MalformedContent, StorageError
from edgewhisk.spi import Clock, Query, Starts, SyncBatch
from edgewhisk.store.activations import catalog as catalog_module
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.store.log import log as log_module
from edgewhisk.store.log.disk import Disk
from tests.fakes.clock import HandClock

ACTION = parse_name("/guest/a", "_")
NOW = 1_800_000_000_000


def open_store(
    folder: Path,
    *,
    max_bytes: int = 1 << 26,
    disk: Disk | None = None,
    clock: Clock | None = None,
    **lanes: LaneConfig,
) -> ActivationLog:
    settings = BufferConfig(max_bytes=max_bytes, min_free_bytes=0, commit_window=0)
    return ActivationLog.open(folder, settings, clock or SystemClock(), lanes=lanes, disk=disk)


def record(number: int, name: str = "a", namespace: str = "guest", size: int = 0) -> Record:
    document = {
        "namespace": namespace,
        "name": name,
        "activationId": f"{number:032x}",
        "start": number,
        "end": number,
        "response": {"result": {"n": number, "fill": "x" * size}, "statusCode": 0},
        "annotations": [{"key": "path", "value": f"{namespace}/{name}"}],
    }
    return Record(f"{number:032x}", orjson.dumps(document))


def message(number: int, origin: str = "") -> ActivationMessage:
    payload = b'{"x": "%d"}' % number
    return ActivationMessage(
        f"{number:032x}", ACTION, "guest", "guest", payload, NOW, "/guest/t", "", origin, durable=True
    )


def commit(store: ActivationLog, *records: Record) -> None:
    wait(lambda done: store.record(records, done, urgent=True))


def wait(start: object) -> None:
    done = threading.Event()
    errors: list[StorageError] = []

    def finished(error: StorageError | None) -> None:
        errors.extend([error] if error else [])
        done.set()

    start(finished)  # type: ignore[operator]
    assert done.wait(30)
    if errors:
        raise errors[0]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ActivationLog]:
    made = open_store(tmp_path / "log")
    yield made
    made.close()


def test_records_are_listed_newest_first_and_found(store: ActivationLog) -> None:
    commit(store, *(record(n, name="a" if n % 2 else "b") for n in range(1, 11)))
    commit(store, record(11, namespace="other"))
    assert [found["start"] for found in store.list(Query("guest", limit=3, skip=1))] == [9, 8, 7]
    assert [found["start"] for found in store.list(Query("guest", "a", since=3, upto=7))] == [7, 5, 3]
    assert store.count(Query("guest")) == 10
    assert store.count(Query("guest", "b", since=9)) == 1
    assert store.count(Query("nobody")) == 0
    found = store.get(f"{4:032x}")
    assert found is not None
    assert found["start"] == 4
    assert store.get("f" * 32) is None


def test_events_are_unfinished_until_they_are_recorded(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    wait(
        lambda done: store.accept(
            [message(1, "mqtt:1:aa"), message(2, "mqtt:2:bb"), message(3)], done, urgent=True
        )
    )
    commit(store, record(2))
    store.close()
    store = open_store(tmp_path)
    assert store.unfinished() == [message(1, "mqtt:1:aa"), message(3)]
    assert store.origins() == ["mqtt:1:aa", "mqtt:2:bb"]
    commit(store, record(1), record(3))
    store.close()
    store = open_store(tmp_path)
    assert store.unfinished() == []
    assert store.stats().records == 3
    store.close()


def test_origins_of_what_was_never_journalled_are_kept_with_the_records(tmp_path: Path) -> None:
    for life in range(3):
        store = open_store(tmp_path)
        assert store.origins() == [f"mqtt:{n}:{at}" for n in range(life) for at in "ab"]
        origins = [f"mqtt:{life}:{at}" for at in "ab"]
        done = threading.Event()
        store.record([record(life)], lambda _error: done.set(), urgent=True, origins=origins)  # noqa: B023
        assert done.wait(30)
        store.close()


def test_segments_roll_and_unfinished_events_survive_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "SEGMENT", 4000)
    store = open_store(tmp_path, max_bytes=20_000)
    wait(lambda done: store.accept([message(1)], done, urgent=True))
    for n in range(10, 200):
        commit(store, record(n, size=200))
    stats = store.stats()
    assert stats.bytes < 26_000
    assert stats.evicted == 190 - stats.lanes["normal"]["records"] > 0
    store.close()
    store = open_store(tmp_path, max_bytes=20_000)
    assert store.unfinished() == [message(1)]
    assert store.stats().evicted == stats.evicted
    assert [r["start"] for r in store.list(Query("guest", "a", limit=2))] == [199, 198]
    errors = pending = store.pending(10, 1 << 20)  # go first
    while pending.epoch == errors.epoch:
        assert {orjson.loads(text)["name"] for text in pending.records} == {"loss"}
        store.confirm(pending.epoch, pending.last)
        pending = store.pending(10, 1 << 20)
    assert pending.first == store.stats().evicted + 1  # marks may need a segment of their own
    assert pending.after == 0
    store.close()


def test_what_is_kept_to_find_records_does_not_grow_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "_KEPT", 2)
    monkeypatch.setattr(catalog_module, "_MARKS", 64)
    monkeypatch.setattr(log_module, "SEGMENT", 4096)
    store = open_store(tmp_path)
    for number in range(1, 200):
        commit(store, record(number))
    (lane,) = [one for one in store._lanes.values() if one.log.segments]
    assert len(lane.log.segments) > 8
    for number in (*range(1, 200), *range(199, 0, -7)):
        assert store.get(f"{number:032x}") == orjson.loads(record(number).text)
        assert lane.catalog._marks.weight <= 64 + 4 * 200 // len(lane.log.segments)
    assert store._known([f"{number:032x}" for number in (7, 190, 200)]) == {f"{n:032x}" for n in (7, 190)}
    store.close()


def test_the_cloud_gets_each_once_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "SEGMENT", 3000)
    edge, cloud = open_store(tmp_path / "edge"), open_store(tmp_path / "cloud")
    for n in range(1, 60):
        commit(edge, record(n))
    epoch = edge.pending(1, 1).epoch
    while (batch := edge.pending(7, 3000)).records:
        assert cloud.absorb(edge.device, batch.epoch, batch) == batch.last
        assert cloud.absorb(edge.device, batch.epoch, batch) == batch.last  # a repeat changes nothing
        edge.confirm(batch.epoch, batch.last)
    assert [r["start"] for r in cloud.list(Query("guest", limit=200))] == list(range(59, 0, -1))
    assert edge.stats().unsynced == 0
    gap = SyncBatch(70, (record(70).text,))
    assert cloud.absorb(edge.device, epoch, gap) == 59
    assert cloud.absorb(edge.device, epoch, gap._replace(after=59)) == 70
    edge.close()
    cloud.close()
    cloud = open_store(tmp_path / "cloud")
    assert cloud.absorb(edge.device, epoch, SyncBatch(59, ())) == 70
    assert cloud.count(Query("guest")) == 60
    # The same activation from another log is still the same activation.
    assert cloud.absorb("d" * 32, "e" * 32, SyncBatch(1, (record(5).text, record(99).text))) == 2
    assert cloud.count(Query("guest")) == 61
    with pytest.raises(MalformedContent, match="record 2 is no activation"):
        cloud.absorb("f" * 32, "e" * 32, SyncBatch(1, (record(200).text, b'{"activationId": 5}')))
    cloud.close()


def uncleanly_ended(folder: Path) -> None:
    """Make a store that was closed one that was not: nothing tells where its newest segment ends."""
    (witness,) = folder.glob("newest-*")
    witness.rename(folder / witness.name[: len("newest-00000001")])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.data())
def test_any_torn_tail_is_cut_and_written_over(sizes: list[int], draw: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store, number, ends = open_store(folder), 0, []
        for size in sizes:
            commit(store, *(record(number + at + 1) for at in range(size)))
            number += size
            ends.append((store.stats().bytes, number))
        store.close()
        (segment,) = folder.glob("seg-*")
        uncleanly_ended(folder)
        header = segment.read_bytes().index(b"\n") + 1
        cut = draw.draw(st.integers(header, segment.stat().st_size))
        os.truncate(segment, cut)
        if draw.draw(st.booleans()):
            with segment.open("ab") as file:
                file.write(draw.draw(st.binary(max_size=30)))
        store = open_store(folder)
        kept = max((count for end, count in ends if end <= cut), default=0)
        assert store.count(Query("guest")) == kept
        commit(store, record(1000))
        store.close()
        store = open_store(folder)
        starts = [found["start"] for found in store.list(Query("guest", limit=100))]
        assert starts == [1000, *range(kept, 0, -1)]
        store.close()


CHILD = """
import sys, threading, secrets
from pathlib import Path
from tests.store.activations.test_activations import open_store, record, message
store = open_store(Path(sys.argv[1]))
lock = threading.Lock()
def work(base):
    for n in range(base, base + 10**6):
        done = threading.Event()
        store.record([record(n)], lambda error: done.set(), urgent=True)
        done.wait()
        with lock:
            print(n, flush=True)
for at in range(4):
    threading.Thread(target=work, args=(int(sys.argv[2]) + at * 10**7,)).start()
"""


def test_killed_again_and_again_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    for life in range(6):
        command = [sys.executable, "-c", CHILD, str(tmp_path), str((life + 1) * 10**9)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for count, line in enumerate(child.stdout):
                if line.endswith("\n"):
                    acknowledged.add(int(line))
                if count == 40 + life * 37:
                    child.send_signal(signal.SIGKILL)
    store = open_store(tmp_path)
    found = [
        one["start"]
        for skip in range(0, 10**5, 200)
        for one in store.list(Query("guest", limit=200, skip=skip))
    ]
    assert acknowledged <= set(found)
    assert len(found) == len(set(found))
    store.close()


def test_a_disk_that_refuses_is_told_and_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path)
    commit(store, record(1))
    real = os.fdatasync

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdatasync", refuse)
    with pytest.raises(StorageError, match="No space left"):
        commit(store, record(2))
    monkeypatch.setattr(os, "fdatasync", real)
    commit(store, record(3))
    store.close()
    store = open_store(tmp_path)
    assert [found["start"] for found in store.list(Query("guest"))] == [3, 1]
    assert store.pending(10, 1 << 20).records == (record(1).text, record(3).text)
    store.close()


def test_a_damaged_line_costs_one_record_and_is_told(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for n in range(1, 11):
        commit(store, record(n))
    store.close()
    (segment,) = tmp_path.glob("seg-*")
    data = bytearray(segment.read_bytes())
    data[data.index(b'"start":5')] ^= 1
    segment.write_bytes(data)
    store = open_store(tmp_path)
    assert store.count(Query("guest")) == 10
    assert (store.stats().repaired, store.stats().corrupt) == (1, 0)
    store.close()
    data[data.index(b'"fill"', data.index(b'"start":4') + 20)] ^= 0x11
    segment.write_bytes(data)
    store = open_store(tmp_path)
    assert store.count(Query("guest")) == 9
    assert "damaged" in store.incidents[0]
    assert store.stats().corrupt == 1
    batch = store.pending(100, 1 << 20)
    assert (batch.first, batch.last) == (1, 3)
    store.confirm(batch.epoch, 3)
    batch = store.pending(100, 1 << 20)
    assert (batch.first, batch.last, batch.after) == (5, 10, 3)
    store.close()


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    commit(store, record(1))
    store.close()
    from edgewhisk.store.log.frames import Frame, encode, seed_of

    (segment,) = tmp_path.glob("seg-*")
    header = {"format": 99, "last": 0, "confirmed": 0, "evicted": 0, "absorbed": {}, "oldest": 1}
    data, _ = encode([Frame("H", 1, orjson.dumps(header))], seed_of(segment.name))
    segment.write_bytes(data)
    with pytest.raises(StorageError, match="format 99"):
        open_store(tmp_path)


def test_begun_runs_are_counted_by_boot_until_they_are_recorded(tmp_path: Path) -> None:
    def life(boot: str, *begun: int) -> ActivationLog:
        clock = HandClock(boot=boot)
        made = open_store(tmp_path, clock=clock)
        if begun:
            wait(lambda done: made.begin([f"{number:032x}" for number in begun], done))
        return made

    store = life("b0000001")
    wait(lambda done: store.accept([message(1), message(2), message(3)], done, urgent=True))
    wait(lambda done: store.begin([f"{2:032x}"], done))
    assert store.starts() == {}  # of earlier lives only
    store.close()
    store = life("b0000001", 2, 3)
    assert store.starts() == {f"{2:032x}": Starts(1, 1)}
    store.close()
    store = life("b0000002", 2)
    assert store.starts() == {f"{2:032x}": Starts(2, 0), f"{3:032x}": Starts(1, 0)}
    commit(store, record(3))
    store.close()
    store = life("b0000002")
    assert store.starts() == {f"{2:032x}": Starts(3, 1)}
    store.close()
