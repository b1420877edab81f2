"""Segments: recycled, allocated ahead where that pays, found by their footers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgewhisk.config.schema import BufferConfig
from edgewhisk.entity.activation import Record
from edgewhisk.entity.records.stats import BufferStats
from edgewhisk.spi import Query
from edgewhisk.store.activations.wear import wear
from edgewhisk.store.log import log as log_module
from edgewhisk.store.log.disk import RealDisk
from edgewhisk.store.log.frames import Frame
from edgewhisk.store.log.log import Log
from tests.fakes.disk import MemoryDisk
from tests.store.activations.test_activations import commit, open_store, record

HEADER = {"format": 2}


def fill(log: Log, size: int) -> None:
    """A whole segment, in commits of `size` bytes."""
    log.roll(1, HEADER)
    while not log.full:
        log.append([Frame("A", 1, b"x" * size)])
    log.seal([Frame("I", 0, b"i"), Frame("M", 0, b"m")])


def test_a_dropped_segment_is_overwritten_in_place_under_a_new_name(tmp_path: Path) -> None:
    log = Log(RealDisk(), tmp_path)
    fill(log, 30_000)
    fill(log, 30_000)
    old = log.segments[0]
    known = old.path.stat()
    log.drop(old)
    assert log.has_spare
    held = log.held
    fill(log, 30_000)
    new = log.segments[-1]
    assert new.path.stat().st_ino == known.st_ino
    assert new.path.name != old.path.name
    assert 0 <= log.held - held < 100  # nothing to speak of was allocated or freed
    log.close()
    again = Log(RealDisk(), tmp_path)
    assert [segment.path for segment in again.segments] == [segment.path for segment in log.segments]
    for segment in again.segments:
        found = again.footer(segment)
        assert found is not None
        assert (found.op, found.text) == ("M", b"m")
        assert again.scan(segment).corrupt == 0
    again.close()


def test_space_is_allocated_ahead_for_small_commits_only(tmp_path: Path) -> None:
    for size, ahead in ((600, True), (50_000, False)):
        log = Log(RealDisk(), tmp_path / str(size))
        fill(log, size)
        log.roll(1, HEADER)
        (path,) = (segment.path for segment in log.segments[1:])
        assert (path.stat().st_blocks * 512 >= log_module.SEGMENT) == ahead
        log.close()


def test_spares_are_few_and_whole_ones_at_start(tmp_path: Path) -> None:
    for number, size in enumerate((1 << 20, 1 << 20, 1 << 20, 100)):
        (tmp_path / f"spare-{number:016x}.ewj").write_bytes(b"z" * size)
    log = Log(RealDisk(), tmp_path)
    assert log.held == log_module.SPARES << 20
    assert len(list(tmp_path.iterdir())) == log_module.SPARES
    fill(log, 50_000)  # what stood in it is not taken for anything
    assert all(frame.text[:1] in b"x{im" for frame in log.scan(log.segments[0]).frames)
    log.close()


def key(number: int) -> str:
    """An id that begins as differently as real ones do."""
    return f"{number * 2654435761 % (1 << 32):08x}{number:024x}"


def spread(number: int, name: str) -> Record:
    made = record(number, name, size=100)
    return Record(key(number), made.text.replace(made.activation_id.encode(), key(number).encode()))


def test_starting_reads_the_newest_segments_only_and_questions_little_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "SEGMENT", 20_000)
    disk = MemoryDisk()
    store = open_store(tmp_path, disk=disk)
    for n in range(0, 6000, 20):
        commit(store, *(spread(at, "a" if n % 400 else "seldom") for at in range(n, n + 20)))
    store.close()
    segments = len(disk.names(tmp_path)) - 1
    assert segments > 70
    disk = MemoryDisk(disk.image())
    store = open_store(tmp_path, disk=disk)
    assert disk.octets < 4 * 20_000
    before, _ = disk.octets, store.get(key(3))  # summaries of all, once
    assert disk.octets - before < segments * 2_000
    questions: dict[str, Callable[[], object]] = {
        "get": lambda: store.get(key(5)),
        "none": lambda: store.get("ab" * 16),
        "count": lambda: store.count(Query("guest")),
        "count by name": lambda: store.count(Query("guest", "seldom")),
        "count by time": lambda: store.count(Query("guest", "a", since=1234, upto=4321)),
        "list": lambda: store.list(Query("guest")),
        "list by name": lambda: store.list(Query("guest", "seldom", upto=3000)),
        "list far behind": lambda: store.list(Query("guest", "a", upto=2000, limit=10, skip=100)),
        "pending": lambda: store.pending(20, 1 << 20),
    }
    for what, ask in questions.items():
        before = disk.octets
        assert ask() is not None or what == "none"
        assert disk.octets - before < 45_000, what  # an index or two, and the records
    assert [one["start"] for one in store.list(Query("guest", "seldom", upto=3000, limit=2))] == [2819, 2818]
    assert store.count(Query("guest", "a", since=1234, upto=4321)) == 3088 - 20 * 7
    store.close()


def test_how_long_a_card_lasts() -> None:
    def stats(worn: int, ran: int) -> BufferStats:
        return BufferStats(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, None, worn, ran, {})

    settings = BufferConfig(card_bytes=16_000_000_000, card_cycles=1000)
    told = wear(stats(1_000_000_000, 86_400), settings)  # a gigabyte a day
    assert (told["daily"], told["card_years"]) == (1_000_000_000, 43.8)
    assert wear(stats(4096, 30), settings)["card_years"] is None
