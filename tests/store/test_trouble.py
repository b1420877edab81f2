"""Disks that are full, failing, read-only or rotten; processes that are killed."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from edgewhisk.errors import StorageError
from edgewhisk.spi import Change, Query
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.store.documents.entity_store import EntityStore
from edgewhisk.store.log import log as log_module
from tests.fakes.disk import MemoryDisk
from tests.store.activations.test_activations import (
    commit,
    message,
    open_store,
    record,
    uncleanly_ended,
    wait,
)

LOAD = """
import random, sys, threading
from pathlib import Path
from edgewhisk.store import log
from edgewhisk.store.documents.entity_store import EntityStore
from edgewhisk.entity.invocation.message import Status
from edgewhisk.spi import Change
from tests.store.activations.test_activations import message, open_store, record, wait

log.SEGMENT = 20_000
folder, base = Path(sys.argv[1]), int(sys.argv[2])
store = open_store(folder / "buffer")
entities = EntityStore.open(folder / "entities")
said = threading.Lock()


def say(*words):
    with said:
        print(*words, flush=True)


def records(first, lane, status):
    for n in range(first, first + 10**6):
        made = record(n)._replace(lane=lane, status=status)
        wait(lambda done: store.record([made], done, urgent=n % 2 == 0))
        say("record", n)


def events(first):
    for n in range(first, first + 10**6):
        wait(lambda done: store.accept([message(n)], done, urgent=True))
        say("event", n)
        made = record(n)._replace(lane=random.choice(["normal", "telemetry"]))
        wait(lambda done: store.record([made], done, urgent=False))
        say("record", n)


def confirm():
    while True:
        batch = store.pending(50, 1 << 20)
        if batch.records:
            store.confirm(batch.epoch, batch.last)


def change():
    for n in range(10**6):
        entities.write([Change("actions", "a", {"n": base + n}), Change("rules", "a", {"n": base + n})])
        say("entity", base + n)


for work in (
    lambda: records(base, "normal", Status.SUCCESS),
    lambda: records(base + 10**6, "telemetry", Status.SUCCESS),
    lambda: records(base + 2 * 10**6, "normal", Status.APPLICATION_ERROR),
    lambda: events(base + 3 * 10**6),
    confirm,
    change,
):
    threading.Thread(target=work).start()
"""


def test_what_a_cut_tore_is_not_taken_for_known_after_a_second_one(tmp_path: Path) -> None:
    """A message whose round was torn was never acknowledged: its source delivers it again."""
    store = open_store(tmp_path)
    messages = [message(n)._replace(origin=f"mqtt:{n}") for n in (1, 2, 3)]
    wait(lambda done: store.accept(messages[:1], done, urgent=True))
    wait(lambda done: store.accept(messages[1:], done, urgent=True))
    store.close()
    (segment,) = tmp_path.glob("seg-*")
    uncleanly_ended(tmp_path)
    whole = segment.read_bytes().rstrip(b"\0")
    torn = whole[: whole.rindex(b"\n", 0, whole.index(b"mqtt:3")) + 1]  # the first of two is all there
    segment.write_bytes(torn)
    second = open_store(tmp_path)
    assert second.origins() == ["mqtt:1"]
    commit(second, record(9))
    second.close()
    uncleanly_ended(tmp_path)
    segment.write_bytes(torn)  # what recovery cut off was not synced, and is back
    third = open_store(tmp_path)
    assert third.origins() == ["mqtt:1"]
    assert [one.origin for one in third.unfinished()] == ["mqtt:1"]
    third.close()


def all_starts(store: ActivationLog) -> list[int]:
    return [one["start"] for one in store.list(Query("guest", limit=10**6))]


def test_killed_at_any_instant_under_a_mixed_load(tmp_path: Path) -> None:
    said: dict[str, set[int]] = {"record": set(), "event": set(), "entity": set()}
    random = Random(5)
    for life in range(8):
        command = [sys.executable, "-c", LOAD, str(tmp_path), str((life + 1) * 10**8)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            end = random.randint(20, 400)
            for count, line in enumerate(child.stdout):
                if line.endswith("\n"):
                    word, number = line.split()
                    said[word].add(int(number))
                if count == end:
                    child.send_signal(signal.SIGKILL)
    store = open_store(tmp_path / "buffer")
    assert store.incidents == []
    found = all_starts(store)
    assert len(found) == len(set(found))
    assert said["record"] <= set(found)
    open_ = {int(one.activation_id, 16) for one in store.unfinished()}
    assert said["event"] <= set(found) | open_
    assert not said["record"] & open_
    store.close()
    entities = EntityStore.open(tmp_path / "entities")
    assert entities.incidents == []
    assert entities.read("actions") == entities.read("rules")
    assert entities.read("actions")["a"]["n"] >= max(said["entity"])
    entities.close()


# -- full, failing, read-only --------------------------------------------------------------------------


@contextlib.contextmanager
def tmpfs(folder: Path, size: int) -> Iterator[Path]:
    """A small disk of its own; skips where mounting is not permitted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


def fill(store: ActivationLog, first: int) -> list[int]:
    """Write until the disk refuses, at most 3,000; what was acknowledged."""
    kept: list[int] = []
    with contextlib.suppress(StorageError):
        for n in range(first, first + 3000):
            commit(store, record(n, size=600))
            kept.append(n)
    return kept


@needs_root
def test_a_full_disk_loses_nothing_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", 2 << 20) as disk:
        store = open_store(disk / "buffer")
        kept = fill(store, 0)
        assert len(kept) > 1000
        with pytest.raises(StorageError, match="No space left") as told:
            commit(store, record(99_999, size=600_000))
        assert "the disk is full" in told.value.hint
        assert sorted(all_starts(store)) == kept
        store.close()
        store = open_store(disk / "buffer")  # a full disk does not stop the start
        assert sorted(all_starts(store)) == kept
        while (batch := store.pending(500, 1 << 20)).records:
            store.confirm(batch.epoch, batch.last)
        assert len(more := fill(store, 20_000)) > 500
        assert set(more) <= set(all_starts(store))
        store.close()


@needs_root
def test_a_disk_that_becomes_read_only_is_read_and_told(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", 8 << 20) as disk:
        store = open_store(disk / "buffer")
        entities = EntityStore.open(disk / "entities")
        entities.write([Change("actions", "a", {"n": 1})])
        for n in range(20):
            commit(store, record(n))
        store.close()
        entities.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        store = open_store(disk / "buffer")
        entities = EntityStore.open(disk / "entities")
        assert sorted(all_starts(store)) == list(range(20))
        assert entities.read("actions") == {"a": {"n": 1}}
        with pytest.raises(StorageError, match="Read-only file system") as told:
            commit(store, record(20))
        assert "worn out" in told.value.hint
        with pytest.raises(StorageError, match="Read-only file system"):
            entities.write([Change("actions", "a", {"n": 2})])
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        commit(store, record(21))
        entities.write([Change("actions", "a", {"n": 3})])
        store.close()
        entities.close()
        store = open_store(disk / "buffer")
        assert sorted(all_starts(store)) == [*range(20), 21]
        store.close()


def test_after_a_failed_sync_the_file_is_never_written_again(tmp_path: Path) -> None:
    disk = MemoryDisk()
    store = open_store(tmp_path, disk=disk)
    commit(store, record(1))
    disk.refuse["sync"] = errno.EIO
    with pytest.raises(StorageError, match="refused to sync"):
        commit(store, record(2))
    failed = disk.trace[-1].file
    del disk.refuse["sync"]
    begun = len(disk.trace)
    commit(store, record(3))
    # Written again into a new file; the old one is not synced, as if that could help.
    assert not [op for op in disk.trace[begun:] if op.file == failed and op.what in ("write", "sync")]
    store.close()
    store = open_store(tmp_path, disk=MemoryDisk(disk.image()))
    assert sorted(all_starts(store)) == [1, 3]
    store.close()


def test_one_failed_sync_costs_the_one_who_waits_nothing(tmp_path: Path) -> None:
    """What was not acknowledged is written again, into a new segment."""
    disk = MemoryDisk()
    store = open_store(tmp_path, disk=disk)
    for n in range(10):
        disk.refuse_once = {"sync": errno.EIO} if n % 3 == 2 else {}
        commit(store, record(n))
    store.close()
    store = open_store(tmp_path, disk=MemoryDisk(disk.image()))
    assert sorted(all_starts(store)) == list(range(10))
    assert store.pending(100, 1 << 20).last == 10
    assert (store.incidents, store.stats().corrupt) == ([], 0)
    store.close()


# -- rot -------------------------------------------------------------------------------------------------


@pytest.fixture
def rotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryDisk:
    monkeypatch.setattr(log_module, "SEGMENT", 3000)
    disk = MemoryDisk()
    store = open_store(tmp_path, disk=disk)
    wait(lambda done: store.accept([message(500), message(501)], done, urgent=True))
    for n in range(40):
        commit(store, record(n), record(100 + n)._replace(lane="telemetry"))
    store.close()
    return MemoryDisk(disk.image())


def test_a_flipped_bit_anywhere_costs_at_most_one_record(rotten: MemoryDisk, tmp_path: Path) -> None:
    random = Random(3)
    image = rotten.image()
    expected = sorted([*range(40), *range(100, 140)])
    damage = 0
    for _ in range(400):
        path = random.choice([path for path, data in image.items() if data])
        data = bytearray(image[path])
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        store = open_store(tmp_path, disk=MemoryDisk({**image, path: bytes(data)}))
        found = sorted(all_starts(store))
        assert set(found) <= set(expected)
        assert len(found) >= len(expected) - 1, path
        if len(found) < len(expected):
            damage += 1
            assert store.stats().corrupt
        assert len(store.unfinished()) == 2
        for lane in ("normal", "telemetry"):
            assert store.stats().lanes[lane]["records"] == 40
        store.close()
    assert damage == 0  # more than asked: what one bit did, the checksum tells


def test_nonsense_in_any_file_does_not_stop_the_start(rotten: MemoryDisk, tmp_path: Path) -> None:
    image = rotten.image()
    random = Random(4)
    for path in image:
        for junk in (b"", b"\0" * 5000, random.randbytes(5000), b"{}", image[path][:100] + b"\xff" * 3000):
            disk = MemoryDisk({**image, path: junk})
            store = open_store(tmp_path, disk=disk)
            commit(store, record(1000))
            assert 1000 in all_starts(store)
            assert store.pending(10**6, 1 << 30).records
            store.close()
            again = open_store(tmp_path, disk=MemoryDisk(disk.image()))
            assert 1000 in all_starts(again)
            again.close()


def test_an_unreadable_newest_segment_is_set_aside_and_the_cloud_takes_new_numbers_for_new(
    rotten: MemoryDisk, tmp_path: Path
) -> None:
    image = rotten.image()
    newest = max(path for path in image if path.parent == tmp_path and path.suffix == ".ewj")
    before = open_store(tmp_path, disk=MemoryDisk(image))
    epoch = before.pending(1, 1).epoch
    before.close()
    disk = MemoryDisk({**image, newest: b"\xee" * 2000})
    store = open_store(tmp_path, disk=disk)
    assert any(newest.name in line and "set aside" in line for line in store.incidents)
    assert newest.with_suffix(".bad") in disk.image()
    assert store.pending(1, 1).epoch != epoch
    store.close()


def test_what_is_set_aside_does_not_fill_the_disk(tmp_path: Path) -> None:
    """A card that ruins a segment in each life: the newest few stay, and it is told how many went."""
    disk, told = MemoryDisk({}), list[str]()
    for number in range(1, 11):
        store = open_store(tmp_path, disk=disk)
        commit(store, record(number))
        told += [line for line in store.incidents if "set aside" in line]
        store.close()
        image = disk.image()
        newest = max(path for path in image if path.parent == tmp_path and path.suffix == ".ewj")
        disk = MemoryDisk({**image, newest: b"\xee" * 2000})
    kept = sorted(path.name for path in disk.image() if path.suffix == ".bad")
    assert len(kept) == log_module.BAD
    ruined = sorted(line.split(":")[0].rpartition("/")[2][:12] for line in told)
    assert len(ruined) == 9
    assert [name[:12] for name in kept] == ruined[-log_module.BAD :]
    assert sum("1 set aside earlier removed" in line for line in told) == 9 - log_module.BAD


def test_threads_share_a_store(tmp_path: Path) -> None:
    store = open_store(tmp_path)

    def work(base: int) -> None:
        for n in range(base, base + 50):
            commit(store, record(n))
            assert store.get(f"{n:032x}") is not None

    threads = [threading.Thread(target=work, args=(base,)) for base in range(0, 400, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(all_starts(store)) == list(range(400))
    store.close()
