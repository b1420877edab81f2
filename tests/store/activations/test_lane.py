"""Lanes: what goes first, what is told of it, and that the cloud still gets each once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import BufferConfig, LaneConfig
from edgewhisk.entity.annotations.lane import ERRORS, NORMAL, TELEMETRY, check_lane, lane_of
from edgewhisk.entity.invocation.message import Status
from edgewhisk.entity.parameters import Parameters
from edgewhisk.errors import MalformedContent
from edgewhisk.spi import Query
from edgewhisk.store.activations import partitions as records_module
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.store.log import log as log_module
from edgewhisk.store.log.disk import RealDisk
from tests.fakes.clock import TickingClock
from tests.fakes.disk import MemoryDisk
from tests.store.activations.test_activations import commit, message, open_store, record, wait

SEGMENT = 4000  # bytes


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "SEGMENT", SEGMENT)
    monkeypatch.setattr(records_module, "TELL_EVERY", 0.0)


def fill(store: ActivationLog, lane: str, numbers: range) -> None:
    status = Status.APPLICATION_ERROR if lane == ERRORS else Status.SUCCESS
    for n in numbers:
        commit(store, record(n, lane, size=200)._replace(lane=lane, status=status))


def losses(store: ActivationLog) -> list[dict[str, Any]]:
    found = store.list(Query("guest", "edge/loss", limit=1000))
    return [one["response"]["result"] for one in reversed(found)]


def test_an_action_chooses_its_lane() -> None:
    assert lane_of(Parameters.of({})) == NORMAL
    assert lane_of(Parameters.of({"edge-lane": "telemetry"})) == TELEMETRY
    with pytest.raises(MalformedContent, match="'edge-lane' must be one of telemetry, normal, errors, not 5"):
        check_lane(Parameters.of({"edge-lane": 5}))


def test_the_least_worth_goes_first_and_all_of_it_is_told(tmp_path: Path) -> None:
    store = open_store(tmp_path, max_bytes=20 * SEGMENT, errors=LaneConfig(max_bytes=12 * SEGMENT))
    fill(store, ERRORS, range(1000, 1020))
    fill(store, TELEMETRY, range(2000, 2060))
    fill(store, NORMAL, range(3000, 3200))
    stats = store.stats()
    lanes = stats.lanes
    assert stats.bytes <= 21 * SEGMENT
    assert lanes[ERRORS]["evicted"] == 0
    assert store.count(Query("guest", ERRORS)) == 20
    assert lanes[TELEMETRY]["evicted"] == 60 - store.count(Query("guest", TELEMETRY)) > 0
    assert lanes[NORMAL]["evicted"] == 200 - store.count(Query("guest", NORMAL)) > 0
    told = losses(store)
    for lane in (TELEMETRY, NORMAL):
        mine = [one for one in told if one["lane"] == lane]
        assert sum(one["count"] for one in mine) == lanes[lane]["evicted"]
        assert {one["reason"] for one in mine} == {"evicted"}
    assert told[0]["from"].startswith("1970-01-01T00:00:02")  # telemetry, of 2000 ms on
    store.close()
    store = open_store(tmp_path, max_bytes=20 * SEGMENT, errors=LaneConfig(max_bytes=12 * SEGMENT))
    again = store.stats().lanes
    assert [again[lane]["evicted"] for lane in again] == [lanes[lane]["evicted"] for lane in again]
    assert losses(store) == told
    store.close()


def test_a_lane_keeps_to_its_quota(tmp_path: Path) -> None:
    store = open_store(tmp_path, telemetry=LaneConfig(max_bytes=4 * SEGMENT))
    fill(store, TELEMETRY, range(200))
    held = store.stats().lanes[TELEMETRY]
    assert held["bytes"] <= 5 * SEGMENT
    assert held["evicted"] == 200 - held["records"] > 100
    store.close()


def test_a_lane_that_rejects_keeps_what_it_has_and_its_events_are_done(tmp_path: Path) -> None:
    store = open_store(tmp_path, telemetry=LaneConfig(max_bytes=4 * SEGMENT, full="reject"))
    for n in range(100):
        wait(lambda done, n=n: store.accept([message(n)], done, urgent=True))
        fill(store, TELEMETRY, range(n, n + 1))
    held = store.stats().lanes[TELEMETRY]
    kept = held["records"]
    assert held["rejected"] == 100 - kept > 50
    assert store.count(Query("guest", TELEMETRY, upto=kept - 1)) == kept  # the first ones
    assert sum(one["count"] for one in losses(store) if one["reason"] == "rejected") == held["rejected"]
    store.close()
    store = open_store(tmp_path, telemetry=LaneConfig(max_bytes=4 * SEGMENT, full="reject"))
    assert store.unfinished() == []
    # What the cloud takes makes room.
    while (batch := store.pending(50, 1 << 20)).records:
        store.confirm(batch.epoch, batch.last)
    fill(store, TELEMETRY, range(500, 510))
    assert store.count(Query("guest", TELEMETRY, since=500)) == 10
    store.close()


def test_what_is_too_old_expires_but_not_while_the_clock_is_wrong(tmp_path: Path) -> None:
    clock = TickingClock()
    disk = MemoryDisk()
    store = open_store(tmp_path, disk=disk, clock=clock, telemetry=LaneConfig(ttl=3600))
    now = clock.now()
    fill(store, TELEMETRY, range(10))  # 1970: the clock was not set
    fill(store, NORMAL, range(now, now + 10))
    store.tend()
    assert store.stats().expired == 0
    fill(store, TELEMETRY, range(now, now + 10))
    store.tend()
    assert store.stats().expired == 0
    clock.pass_(4000)
    store.tend()
    assert store.stats().lanes[TELEMETRY]["expired"] == 20
    assert store.count(Query("guest", TELEMETRY)) == 0
    assert store.count(Query("guest", NORMAL)) == 10
    (told,) = losses(store)
    assert (told["reason"], told["count"]) == ("expired", 20)
    fill(store, TELEMETRY, range(now + 5_000_000, now + 5_000_003))
    store.close()
    store = open_store(tmp_path, disk=disk, clock=clock, telemetry=LaneConfig(ttl=3600))
    assert store.stats().lanes[TELEMETRY]["records"] == 3
    store.close()


def test_the_cloud_gets_each_lane_once_errors_first(tmp_path: Path) -> None:
    edge, cloud = open_store(tmp_path / "edge"), open_store(tmp_path / "cloud")
    fill(edge, TELEMETRY, range(1, 30))
    fill(edge, NORMAL, range(101, 130))
    fill(edge, ERRORS, range(201, 230))
    order: list[str] = []
    while (batch := edge.pending(7, 1 << 20)).records:
        order.append(orjson.loads(batch.records[0])["name"])
        for _ in range(2):  # a repeat changes nothing
            assert cloud.absorb(edge.device, batch.epoch, batch) == batch.last
        edge.confirm(batch.epoch, batch.last)
    assert order == [ERRORS] * 5 + [NORMAL] * 5 + [TELEMETRY] * 5
    assert edge.stats().unsynced == 0
    assert cloud.count(Query("guest")) == 87
    edge.close()
    cloud.close()


def test_a_free_space_floor_stops_growth_and_costs_nothing_that_is_not_synced(tmp_path: Path) -> None:
    disk = MemoryDisk()
    disk.free = 30 * SEGMENT
    settings = BufferConfig(max_bytes=1 << 30, min_free_bytes=20 * SEGMENT, commit_window=0)
    store = ActivationLog.open(tmp_path, settings, SystemClock(), disk=disk)
    fill(store, NORMAL, range(300))
    assert disk.free >= 13 * SEGMENT  # a footer, a spare and the other lanes' first segments go over it
    assert store.stats().evicted > 0
    kept = store.count(Query("guest", NORMAL))
    disk.free -= 10 * SEGMENT  # somebody else
    store.tend()
    assert store.count(Query("guest", NORMAL)) == kept
    while (batch := store.pending(500, 1 << 20)).records:
        store.confirm(batch.epoch, batch.last)
    store.tend()
    assert store.count(Query("guest", NORMAL)) < kept
    assert store.stats().bytes < 4 * SEGMENT
    store.close()


def test_the_state_directory_has_a_quota(tmp_path: Path) -> None:
    settings = BufferConfig(max_state_bytes=20 * SEGMENT, min_free_bytes=0, commit_window=0)
    store = ActivationLog.open(
        tmp_path, settings, SystemClock(), disk=MemoryDisk(), others=lambda: 12 * SEGMENT
    )
    fill(store, NORMAL, range(300))
    assert store.stats().bytes <= 9 * SEGMENT
    assert store.stats().evicted > 0
    store.close()


def test_lists_of_all_lanes_are_one(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for n in range(0, 60, 3):
        fill(store, NORMAL, range(n, n + 1))
        fill(store, TELEMETRY, range(n + 1, n + 2))
        fill(store, ERRORS, range(n + 2, n + 3))
    found = [one["start"] for one in store.list(Query("guest", limit=10, skip=5))]
    assert found == list(range(54, 44, -1))
    assert store.count(Query("guest")) == 60
    assert store.count(Query("guest", TELEMETRY, since=10, upto=20)) == 4
    for n in (0, 31, 59):
        one = store.get(f"{n:032x}")
        assert one is not None
        assert one["start"] == n
    store.close()


def test_unfinished_events_that_fill_the_buffer_are_kept_and_do_not_stop_it(tmp_path: Path) -> None:
    store = open_store(tmp_path, max_bytes=4 * SEGMENT)
    wait(lambda done: store.accept([message(n) for n in range(100)], done, urgent=True))
    fill(store, NORMAL, range(1000, 1100))
    assert store.stats().unfinished == 100
    store.close()
    store = open_store(tmp_path, max_bytes=4 * SEGMENT)
    assert [int(one.activation_id, 16) for one in store.unfinished()] == list(range(100))
    assert 1099 in [one["start"] for one in store.list(Query("guest"))]
    store.close()


def test_readers_are_not_disturbed_by_what_goes_meanwhile(tmp_path: Path) -> None:
    store = open_store(tmp_path, max_bytes=6 * SEGMENT)
    last = [0]
    trouble: list[BaseException] = []

    def read() -> None:
        try:
            while last[0] < 1500:
                found = [one["start"] for one in store.list(Query("guest", NORMAL, limit=40))]
                assert found == sorted(found, reverse=True)
                store.list(Query("guest", NORMAL, upto=last[0] - 20, limit=40))
                store.count(Query("guest", NORMAL, since=last[0] - 25))
                store.get(f"{max(0, last[0] - 30):032x}")
                store.pending(40, 1 << 20)
                store.stats()
        except BaseException as error:  # noqa: BLE001 - shown by the test itself
            trouble.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for n in range(1501):
        commit(store, record(n, NORMAL, size=200))
        last[0] = n
    for reader in readers:
        reader.join()
    assert trouble == []
    assert store.stats().corrupt == 0
    store.close()


def test_a_list_that_waits_for_the_card_does_not_hold_up_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = open_store(tmp_path)
    fill(earlier, NORMAL, range(1, 60))
    earlier.close()
    oldest = min(tmp_path.rglob("seg-*"))
    disk, asked, go_on = RealDisk(), threading.Event(), threading.Event()
    store = open_store(tmp_path, disk=disk)
    found: list[int] = []
    reader = threading.Thread(target=lambda: found.append(len(store.list(Query("guest", limit=1000)))))
    read = disk.read

    def slow(path: Path, start: int, size: int) -> bytes:
        if threading.current_thread() is reader and path == oldest and not asked.is_set():
            asked.set()
            go_on.wait()
        return read(path, start, size)

    monkeypatch.setattr(disk, "read", slow)
    reader.start()
    try:
        assert asked.wait(30)
        fill(store, NORMAL, range(60, 80))  # needs a new segment, too
        assert not found
    finally:
        go_on.set()
        reader.join()
    assert found[0] >= 59
    assert len(store.list(Query("guest", limit=1000))) == 79
    store.close()
