"""Disks that others fill: what is here is kept, nothing new is taken, and it goes on when there is room."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import BufferConfig, LaneConfig
from edgewhisk.entity.annotations.lane import ERRORS, NORMAL, TELEMETRY
from edgewhisk.errors import NoRoom, StorageError
from edgewhisk.spi import Query
from edgewhisk.store.activations import activations as activations_module
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.store.activations.retention import fitting
from edgewhisk.store.log import log as log_module
from tests.fakes.clock import HandClock
from tests.fakes.disk import MemoryDisk
from tests.path.gateway import until
from tests.store.activations.test_activations import commit, message, record, wait
from tests.store.activations.test_lane import fill

SEGMENT = 4000  # bytes
FLOOR = 20 * SEGMENT


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "SEGMENT", SEGMENT)
    monkeypatch.setattr(activations_module, "LOOK", 0.0)


def roomy() -> MemoryDisk:
    disk = MemoryDisk()
    disk.free = 1000 * SEGMENT
    return disk


def open_store(
    disk: MemoryDisk, *, others: Callable[[], int] = lambda: 0, state: int = 0, full: str = "evict-oldest"
) -> ActivationLog:
    settings = BufferConfig(
        max_bytes=200 * SEGMENT, max_state_bytes=state, min_free_bytes=FLOOR, commit_window=0
    )
    lanes = {lane: LaneConfig(full=full) for lane in (NORMAL, ERRORS, TELEMETRY)}
    return ActivationLog.open(Path("/store"), settings, SystemClock(), lanes=lanes, disk=disk, others=others)


def take_all(store: ActivationLog, lane: str = NORMAL, first: int = 10_000) -> int:
    """Write until the store takes no more; how many it took."""
    for n in range(1000):
        try:
            fill(store, lane, range(first + n, first + n + 1))
        except NoRoom:
            return n
    raise AssertionError("it never ends")


@pytest.mark.parametrize("full", ["evict-oldest", "reject"])
@pytest.mark.parametrize("again", [False, True], ids=["while it runs", "at the start"])
def test_a_foreign_file_costs_nothing_that_is_here(full: str, again: bool) -> None:
    disk = roomy()
    store = open_store(disk, full=full)
    for lane, first in ((NORMAL, 0), (ERRORS, 300), (TELEMETRY, 600)):
        fill(store, lane, range(first, first + 100))
    wait(lambda done: store.accept([message(5000)], done, urgent=True))
    disk.free = FLOOR // 2  # somebody else
    if again:
        store.close()
        store = open_store(disk, full=full)
    took = sum(
        take_all(store, lane, 10_000 + at * 1000) for at, lane in enumerate((NORMAL, ERRORS, TELEMETRY))
    )
    assert took <= 3 * SEGMENT // 200  # what the open segments still held
    store.tend()
    for urgent in (True, False):
        with pytest.raises(NoRoom, match="others have filled the disk"):
            wait(lambda done, urgent=urgent: store.accept([message(6000)], done, urgent=urgent))
    stats = store.stats()
    assert store.count(Query("guest")) == 300 + took
    assert (stats.evicted, stats.rejected, stats.expired) == (0, 0, 0)
    assert [int(one.activation_id, 16) for one in store.unfinished()] == ([5000] if again else [])
    assert "min_free_bytes" in store.refusal
    store.close()
    store = open_store(MemoryDisk(disk.image()), full=full)  # with room
    assert store.count(Query("guest")) == 300 + took
    assert [int(one.activation_id, 16) for one in store.unfinished()] == [5000]
    store.close()


def test_it_goes_on_by_itself_when_there_is_room() -> None:
    disk = roomy()
    store = open_store(disk)
    fill(store, NORMAL, range(100))
    disk.free = FLOOR // 2
    take_all(store)
    assert store.refusal
    disk.free = 1000 * SEGMENT
    until(lambda: not store.refusal, what="it looked again, without anything being written")
    commit(store, record(1))
    store.close()


def test_what_the_cloud_takes_makes_room_meanwhile() -> None:
    disk = roomy()
    store = open_store(disk)
    fill(store, NORMAL, range(300))
    disk.free = FLOOR // 2
    take_all(store)
    assert store.refusal
    while (batch := store.pending(20, 1 << 20)).records:
        store.confirm(batch.epoch, batch.last)
    assert store.stats().unsynced == 0
    until(lambda: not store.refusal, what="what is synced has gone")
    fill(store, NORMAL, range(2000, 2010))
    assert store.stats().evicted == 0
    store.close()


def test_marks_that_share_a_round_with_what_is_refused_are_taken() -> None:
    """Else a busy gateway could never say what the cloud has, and never had room again."""
    disk = roomy()
    store = open_store(disk)
    fill(store, NORMAL, range(100))
    disk.free = FLOOR // 2
    take_all(store)
    ended, stop = threading.Event(), threading.Event()

    def flood() -> None:
        while not stop.is_set():
            for n in range(20):
                store.record([record(n)], lambda _: None, urgent=False)
            wait_quietly(store)
        ended.set()

    threading.Thread(target=flood).start()
    try:
        batch = store.pending(40, 1 << 20)
        for last in range(batch.first, batch.last + 1):
            store.confirm(batch.epoch, last)
    finally:
        stop.set()
        ended.wait(30)
    assert store.pending(1, 1).first == batch.last + 1
    store.close()


def test_a_round_that_is_refused_leaves_nothing_of_itself_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What went to another lane before would be there twice, or there and refused."""
    disk = roomy()
    store = open_store(disk)
    numbers = iter(range(10_000))
    while not store._records.normal.log.full:
        commit(store, record(next(numbers)))
    busy, go_on, sync = threading.Event(), threading.Event(), disk.sync

    def slow(file: int) -> None:
        busy.set()
        assert go_on.wait(30)
        sync(file)

    monkeypatch.setattr(disk, "sync", slow)
    first = threading.Thread(target=fill, args=(store, TELEMETRY, range(20_000, 20_001)))
    first.start()
    assert busy.wait(30)
    disk.free = FLOOR // 2  # somebody else, while a round is being written
    told: dict[str, StorageError | None] = {}
    store.record([record(20_001)._replace(lane=TELEMETRY)], partial(told.__setitem__, "record"), urgent=True)
    store.accept([message(5000)], partial(told.__setitem__, "event"), urgent=True)
    go_on.set()
    first.join()
    until(lambda: len(told) == 2, what="both are told")
    assert isinstance(told["event"], NoRoom)
    assert isinstance(told["record"], NoRoom)
    assert store.get(f"{20_001:032x}") is None
    store.close()


def wait_quietly(store: ActivationLog) -> None:
    try:
        commit(store, record(1))
    except StorageError:
        return


def test_a_file_in_the_state_directory_stops_its_growth_and_costs_nothing() -> None:
    others = [0]
    store = open_store(roomy(), others=lambda: others[0], state=100 * SEGMENT)
    fill(store, NORMAL, range(300))
    kept = store.count(Query("guest", NORMAL))
    others[0] = 1 << 40
    fill(store, NORMAL, range(1000, 1100))
    left = store.count(Query("guest", NORMAL))
    assert kept - 40 <= left <= kept + 40  # for each new segment an old one goes
    store.close()


def test_a_disk_of_its_own_that_is_too_small_goes_round() -> None:
    disk = MemoryDisk()
    disk.free = 60 * SEGMENT
    store = open_store(disk)
    fill(store, NORMAL, range(1500))
    stats = store.stats()
    assert stats.evicted > 0
    assert stats.lanes[NORMAL]["max_bytes"] == 20 * SEGMENT
    assert any("does not fit on the disk" in line for line in store.incidents)
    assert not store.refusal
    store.close()


@pytest.mark.parametrize(
    ("most", "floor", "size", "found"),
    [(100, 20, 1000, 100), (100, 20, 120, 100), (100, 20, 119, 49), (100, 20, 10, 0), (100, 0, 10, 100)],
)
def test_what_fits(most: int, floor: int, size: int, found: int) -> None:
    assert fitting(most, floor, size) == found


@pytest.mark.parametrize("cut", [False, True])
def test_wear_and_running_time_survive_every_kind_of_end(cut: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of lives that are too short for a segment; a power cut costs an hour at most."""
    clock, disk = HandClock(), MemoryDisk()
    worn = ran = 0
    for life in range(5):
        disk.worn = 0
        store = ActivationLog.open(
            Path("/store"), BufferConfig(min_free_bytes=0, commit_window=0), clock, disk=disk
        )
        assert (store.stats().worn, store.stats().ran) == (worn, ran)
        commit(store, record(life))
        disk.worn += 4096  # what this disk does not count
        clock.pass_(4000)
        store.tend()
        if not cut:
            clock.pass_(100)
            commit(store, record(100 + life))
            disk.worn += 4096
        worn, ran = store.stats().worn, store.stats().ran
        if cut:
            disk = MemoryDisk(disk.image())
        else:
            store.close()
    assert (worn, ran) == ((5 * 4096, 5 * 4000) if cut else (10 * 4096, 5 * 4100))


def test_an_idle_gateway_writes_nothing_at_its_end() -> None:
    disk = MemoryDisk()
    store = ActivationLog.open(Path("/store"), BufferConfig(min_free_bytes=0), SystemClock(), disk=disk)
    begun = len(disk.trace)
    store.close()
    assert len(disk.trace) == begun


def test_a_disk_that_stays_full_gives_what_the_cloud_has_one_segment_after_the_other() -> None:
    disk = roomy()
    store = open_store(disk)
    fill(store, NORMAL, range(100))
    store.confirm(store.pending(1, 1).epoch, 100)
    begun = len(disk.image())
    disk.refuse["write"] = errno.ENOSPC
    for n in (1, 2):
        with pytest.raises(StorageError):
            commit(store, record(1000 + n))
        assert len(disk.image()) == begun - n
    disk.refuse.clear()
    commit(store, record(2000))
    store.close()
    again = ActivationLog.open(
        Path("/store"), BufferConfig(min_free_bytes=0), SystemClock(), disk=MemoryDisk(disk.image())
    )
    assert again.incidents == []  # what went, went on purpose
    again.close()
