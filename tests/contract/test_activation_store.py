"""The contract of `spi.ActivationStore`, on a disk and in memory. Tests use no fake of it."""

from __future__ import annotations

import errno
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.entity.annotations.lane import ERRORS, NORMAL, TELEMETRY
from edgewhisk.errors import StorageError
from edgewhisk.spi import ActivationStore, Query, Starts, SyncBatch
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.store.log.disk import Disk
from tests.contract.suites import Suite, named
from tests.fakes.disk import FaultyDisk, MemoryDisk
from tests.store.activations.test_activations import message, open_store, record, wait
from tests.store.record_blocks import record_block as sheaf_of

SUITE = Suite(ActivationStore, {ActivationLog: open_store})


def ident(number: int) -> str:
    return f"{number:032x}"


class Lives:
    """A store, from one start to the next."""

    def __init__(self, made: type, folder: Path, disk: Disk) -> None:
        self._open = partial(SUITE.implementations[made], folder, disk=disk)
        self.store: Any = self._open()

    def again(self) -> None:
        self.store.close()
        self.store = self._open()


PAIRS = [(made, disk) for made in SUITE.classes for disk in (FaultyDisk, MemoryDisk)]


@pytest.fixture(params=PAIRS, ids=lambda pair: "-".join(map(named, pair)))
def lives(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made, disk = request.param
    found = Lives(made, tmp_path / "store", disk())
    yield found
    found.store.close()


def accept(store: ActivationStore, *numbers: int) -> None:
    messages = [message(number, f"mqtt:{number}") for number in numbers]
    wait(lambda done: store.accept(messages, done, urgent=True))


def write(store: ActivationStore, *numbers: int, lane: str = NORMAL, **more: Any) -> None:
    records = [record(number)._replace(lane=lane) for number in numbers]
    wait(lambda done: store.record(records, done, urgent=True, **more))


def starts(store: ActivationStore, **query: Any) -> list[int]:
    return [one["start"] for one in store.records(Query("guest", **query))]


def test_what_was_accepted_is_unfinished_in_the_next_lives_until_it_is_recorded(lives: Lives) -> None:
    accept(lives.store, 1, 2, 3)
    write(lives.store, 2)
    lives.again()
    assert [one.activation_id for one in lives.store.unfinished()] == [ident(1), ident(3)]
    assert lives.store.unfinished()[0] == message(1, "mqtt:1")
    write(lives.store, 1, 3)
    lives.again()
    assert lives.store.unfinished() == []


def test_done_is_called_once_for_each_call_in_their_order(lives: Lives) -> None:
    told: list[tuple[int, StorageError | None]] = []
    last = threading.Event()

    def done(at: int, error: StorageError | None) -> None:
        told.append((at, error))
        if at == 29:
            last.set()

    for at in range(30):
        urgent = at % 3 != 0
        if at % 2:
            lives.store.accept([message(at)], partial(done, at), urgent=urgent)
        else:
            lives.store.record([record(at)], partial(done, at), urgent=urgent)
    assert last.wait(30)
    assert told == [(at, None) for at in range(30)]
    assert starts(lives.store) == list(range(28, -1, -2))


def test_runs_that_were_begun_are_counted_until_they_are_recorded(lives: Lives) -> None:
    accept(lives.store, 1, 2)
    wait(lambda done: lives.store.begin([ident(1)], done))
    lives.again()
    wait(lambda done: lives.store.begin([ident(1)], done))
    lives.again()
    assert lives.store.starts() == {ident(1): Starts(2, 2)}  # both in this boot; none of 2
    write(lives.store, 1)
    lives.again()
    assert lives.store.starts() == {}


def test_origins_are_known_of_what_was_accepted_and_of_what_never_was(lives: Lives) -> None:
    accept(lives.store, 1, 2)
    write(lives.store, 3, origins=["mqtt:3"])
    lives.again()
    assert lives.store.origins() == ["mqtt:1", "mqtt:2", "mqtt:3"]


def test_records_are_found_newest_first_with_those_of_a_sheaf_behind_the_others(lives: Lives) -> None:
    write(lives.store, 1, 2, block=sheaf_of([ident(3), ident(4)], [ident(5), ident(6)], 3))
    for _ in range(2):
        assert lives.store.get(ident(1))["start"] == 1
        assert lives.store.get(ident(3))["name"] == "a"
        assert lives.store.get(ident(5))["name"] == "s"
        assert lives.store.get(ident(9)) is None
        names = [one["name"] for one in lives.store.records(Query("guest"))]
        assert sorted(names[:4]) == ["a", "a", "s", "s"]
        assert [one["start"] for one in lives.store.records(Query("guest", upto=2))] == [2, 1]
        assert lives.store.count(Query("guest", limit=1, skip=1)) == 6
        assert lives.store.count(Query("guest", "s")) == 2
        assert list(lives.store.records(Query("other"))) == []
        lives.again()


def test_the_cloud_is_offered_what_it_has_not_and_errors_first(lives: Lives) -> None:
    write(lives.store, 1, 2, 3, lane=TELEMETRY)
    write(lives.store, 4, lane=NORMAL)
    write(lives.store, 5, lane=ERRORS)
    found = []
    while (batch := lives.store.pending(2, 1 << 20)).records:
        found.append(len(batch.records))
        assert lives.store.pending(2, 1 << 20) == batch  # asking takes nothing
        lives.store.confirm(batch.epoch, batch.last)
    assert found == [1, 1, 2, 1]
    lives.again()
    assert lives.store.pending(2, 1 << 20).records == ()
    assert starts(lives.store) == [5, 4, 3, 2, 1]  # they stay readable
    write(lives.store, 6)
    assert len(lives.store.pending(1, 0).records) == 1  # at least one, however large


def test_what_is_passed_over_is_left_out_and_counted_once_the_cloud_is_beyond_it(lives: Lives) -> None:
    write(lives.store, 1, 2, 3)
    epoch = lives.store.pending(1, 1).epoch
    lives.store.pass_over(epoch, (2,))
    lives.again()
    batch = lives.store.pending(9, 1 << 20)
    assert (batch.first, len(batch.records)) == (1, 1)
    lives.store.confirm(epoch, 1)
    batch = lives.store.pending(9, 1 << 20)
    assert (batch.first, batch.after, len(batch.records)) == (3, 1, 1)
    lives.store.confirm(epoch, 3)
    assert (lives.store.stats().refused, lives.store.stats().unsynced) == (1, 1)  # an activation tells of it
    assert lives.store.get(ident(2)) is not None


def test_another_gateways_batches_are_stored_once(lives: Lives) -> None:
    def batch(first: int, last: int, after: int) -> SyncBatch:
        return SyncBatch(first, tuple(record(number).text for number in range(first, last + 1)), after)

    absorb = partial(lives.store.absorb, "d" * 32, "e" * 32)
    assert absorb(batch(3, 4, 2)) == 4  # the first of its epoch may begin anywhere
    assert absorb(batch(4, 5, 3)) == 5
    assert absorb(batch(8, 9, 7)) == 5  # a gap
    assert absorb(batch(8, 9, 5)) == 9  # a gap that is told
    lives.again()
    assert lives.store.absorb("d" * 32, "e" * 32, SyncBatch(10, (), 9)) == 9
    assert lives.store.absorb("d" * 32, "f" * 32, batch(3, 3, 2)) == 3  # another epoch, known by its id
    assert starts(lives.store) == [9, 8, 5, 4, 3]


@pytest.mark.parametrize("made", SUITE.classes, ids=named)
def test_a_disk_that_refuses_is_told_and_nothing_of_it_is_kept(made: type) -> None:
    disk = MemoryDisk()
    lives = Lives(made, Path("/store"), disk)
    accept(lives.store, 1)
    disk.refuse["write"] = errno.ENOSPC
    for refused in (accept, write):
        with pytest.raises(StorageError):
            refused(lives.store, 2)
    assert lives.store.refusal
    disk.refuse.clear()

    def retried() -> bool:
        try:
            accept(lives.store, 3)
        except StorageError:
            return False
        return True

    while not retried():  # a disk that refused is tried again
        pass
    assert lives.store.refusal == ""
    lives.again()
    assert [one.activation_id for one in lives.store.unfinished()] == [ident(1), ident(3)]
    lives.store.close()
