"""A store that got records in record blocks is, to whoever asks it, one that got them one by one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk.clock.history import ClockHistory
from edgewhisk.config.schema import BufferConfig, LaneConfig
from edgewhisk.entity.activation import Record, id_of
from edgewhisk.entity.annotations.lane import NORMAL, TELEMETRY
from edgewhisk.entity.records.record_block import RecordBlock, expand
from edgewhisk.spi import Query
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.store.export import export
from edgewhisk.store.log import log as log_module
from tests.fakes.clock import HandClock
from tests.store.activations.test_activations import commit, message, open_store, record, wait
from tests.store.activations.test_clocks import BEHIND, FIRST, KNOWN, LOST, NEVER
from tests.store.record_blocks import record_block

TIMINGS = (FIRST, LOST, NEVER, BEHIND)


def ids(first: int, count: int) -> list[str]:
    """Activation ids that differ in their fingerprints."""
    return [f"{number:08x}{number:024x}" for number in range(first, first + count)]


def batch(first: int, count: int, lane: str = NORMAL) -> RecordBlock:
    """A record block of `2 * count` records, ids from `first` on."""
    return record_block(ids(first, count), ids(first + count, count), 1_800_000_000_000 + first, lane)


def put(store: ActivationLog, made: RecordBlock, origins: Sequence[str] = ()) -> None:
    wait(partial(_record, store, made, origins))


def _record(store: ActivationLog, made: RecordBlock, origins: Sequence[str], done: object) -> None:
    store.record((), done, urgent=True, origins=origins, block=made)  # type: ignore[arg-type]


def singly(made: RecordBlock) -> list[Record]:
    """The same records, one by one, as their writer tells about them."""
    gist, texts = made.gist, iter(expand(made.text))
    return [
        Record(id_of(text), text, lane=made.lane, filed=name, start=start, timing=gist.timing)
        for name, starts in zip(gist.filed, gist.starts, strict=True)
        for start, runs in zip(starts, gist.flights, strict=True)
        for text in islice(texts, runs)
    ]


class Pair:
    """Two stores with the same records; only one has record blocks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 1
        self.open: list[int] = []
        self.crashed: list[ActivationLog] = []
        self.stores = [self._opened("sheaves"), self._opened("singles")]

    def crash(self) -> None:
        """Both are opened again though nobody closed them."""
        self.crashed += self.stores
        self.stores = [self._opened("sheaves"), self._opened("singles")]

    def close(self) -> None:
        """Both are closed and opened again."""
        for store in self.stores:
            store.close()
        self.stores = [self._opened("sheaves"), self._opened("singles")]

    def end(self) -> None:
        for store in self.crashed + self.stores:
            store.close()

    def block(self, count: int, lane: str, timing: int, finish: int) -> None:
        """Records of both parts; the first wholes are those of accepted messages."""
        wholes, parts = ids(self.number + count, count), ids(self.number, count)
        known = [self.open.pop(0) for _ in range(min(finish, count, len(self.open)))]
        wholes[: len(known)] = [message(number).activation_id for number in known]
        clock = TIMINGS[timing]
        made = record_block(parts, wholes, clock.offset + 60_000 + self.number, lane, clock)
        self.number += 2 * count
        put(self.stores[0], made)
        commit(self.stores[1], *singly(made))

    def single(self) -> None:
        for store in self.stores:
            commit(store, record(10**6 + self.number))
        self.number += 1

    def accept(self) -> None:
        self.open.append(2 * 10**6 + self.number)
        for store in self.stores:
            wait(partial(store.accept, [message(self.open[-1])], urgent=True))
        self.number += 1

    def confirm(self, share: float) -> None:
        """The cloud takes a part of what waits in a lane, perhaps of a record block."""
        for store in self.stores:
            batch = store.pending(1000, 1 << 20)
            store.confirm(batch.epoch, batch.first - 1 + int(share * len(batch.records)))

    def check(self, names: Sequence[str | None], bounds: Sequence[int | None]) -> None:
        """All answers are the same."""
        one, other = self.stores
        everything = Query("guest", limit=10**6)
        assert one.list(everything) == other.list(everything)
        for name in names:
            for since in bounds:
                for upto in bounds:
                    query = Query("guest", name, since, upto, limit=5, skip=2)
                    assert one.list(query) == other.list(query)
                    assert one.count(query) == other.count(query)
        for number in range(1, self.number, 3):
            assert one.get(ids(number, 1)[0]) == other.get(ids(number, 1)[0])
        assert one.unfinished() == other.unfinished()
        for records, size in ((3, 1 << 20), (1000, 1500), (1000, 1 << 20)):
            mine, theirs = one.pending(records, size), other.pending(records, size)
            assert mine._replace(epoch="") == theirs._replace(epoch="")
        for what in ("records", "unsynced", "unfinished", "corrupt", "evicted"):
            assert getattr(one.stats(), what) == getattr(other.stats(), what)
        assert self._exported("sheaves") == self._exported("singles")

    def _exported(self, name: str) -> list[bytes]:
        return [found.line for found in export(self.folder / name) if b'"activation":' in found.line]

    def _opened(self, name: str) -> ActivationLog:
        policy = BufferConfig(max_bytes=1 << 26, min_free_bytes=0, commit_window=0)
        boots = ClockHistory(KNOWN)
        return ActivationLog.open(self.folder / name, policy, HandClock(boot="b0000004"), history=boots)


STEPS = st.one_of(
    st.tuples(
        st.just("block"),
        st.integers(1, 5),
        st.sampled_from((NORMAL, NORMAL, TELEMETRY)),
        st.integers(0, len(TIMINGS) - 1),
        st.integers(0, 3),
    ),
    st.tuples(st.just("block"), st.integers(1, 20), st.just(NORMAL), st.just(0), st.integers(0, 3)),
    st.tuples(st.just("single")),
    st.tuples(st.just("accept")),
    st.tuples(st.just("confirm"), st.floats(0, 1)),
    st.tuples(st.sampled_from(("close", "crash"))),
)


@settings(max_examples=30, deadline=None)
@given(st.lists(STEPS, min_size=2, max_size=14), st.integers(0, 60), st.integers(0, 60))
def test_sheaves_answer_as_their_records_do(steps: list[tuple[object, ...]], since: int, upto: int) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_module, "SEGMENT", 4000)
        pair = Pair(Path(name))
        try:
            for what, *how in steps:
                getattr(pair, str(what))(*how)
            begun = FIRST.offset + 60_000
            pair.check((None, "a", "s", "b"), (None, begun + since, begun + upto))
        finally:
            pair.end()


def lines(folder: Path, op: bytes) -> list[tuple[Path, int, bytes]]:
    """Segment, place and bytes of the lines with this op that end a round of one."""
    found = []
    for path in sorted(folder.glob("seg-*")):
        at = 0
        for line in path.read_bytes().splitlines(keepends=True):
            if line[9:10] == op:
                found.append((path, at, line))
            at += len(line)
    return found


def spoil(path: Path, at: int, by: bytes) -> None:
    data = bytearray(path.read_bytes())
    for place, bits in enumerate(by, at):
        data[place] ^= bits
    path.write_bytes(data)


@pytest.mark.parametrize("sealed", [False, True])
def test_a_damaged_sheaf_costs_its_records_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, sealed: bool
) -> None:
    """`sealed`: its segment has a footer and was written before the newest."""
    monkeypatch.setattr(log_module, "SEGMENT", 4000 if sealed else 1 << 20)
    store = open_store(tmp_path)
    for first in range(1, 81, 8):
        put(store, batch(first, 4))
    store.close()
    assert (len(list(tmp_path.glob("seg-*"))) > 1) is sealed
    (path, at, _), (_, behind, line) = lines(tmp_path, b"G")[1:3]
    spoil(path, at + 100, b"\x01")
    spoil(path, behind + len(line) // 2, b"\x11\x11")
    store = open_store(tmp_path)
    batch_ = store.pending(1000, 1 << 20)
    assert (batch_.first, batch_.last) == (1, 16)
    store.confirm(batch_.epoch, 16)
    batch_ = store.pending(1000, 1 << 20)
    assert (batch_.first, batch_.last, batch_.after) == (25, 80, 16)
    assert store.stats().corrupt == 8
    assert len(store.list(Query("guest", limit=1000))) == 72
    assert [store.get(one) is None for one in ids(9, 16)] == [False] * 8 + [True] * 8
    assert store.stats().corrupt == 8
    store.close()


def test_numbers_of_a_sheaf_that_cannot_be_read_are_not_given_twice(tmp_path: Path) -> None:
    """The cloud would take what is stored under them for what it has."""
    for synced in (False, True):
        folder = tmp_path / str(synced)
        store = open_store(folder)
        put(store, batch(1, 2))
        put(store, batch(5, 4))
        epoch = store.pending(1, 1).epoch
        if synced:
            store.confirm(epoch, 12)
        else:
            wait(partial(store.accept, [message(99)], urgent=True))  # the record block is not the last line
        store.close()
        path, at, line = lines(folder, b"G")[1]
        spoil(path, at + len(line) // 2, b"\x11\x11")
        store = open_store(folder)
        assert store.stats().corrupt == 1  # a line: what stood in it is not known
        put(store, batch(20, 3))
        found = store.pending(1000, 1 << 20)
        assert {id_of(text) for text in found.records} >= set(ids(20, 6))
        assert found.epoch != epoch
        store.close()


def test_a_lane_that_is_full_refuses_a_sheaf_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "SEGMENT", 4000)
    store = open_store(tmp_path, telemetry=LaneConfig(max_bytes=8000, full="reject"))
    wait(partial(store.accept, [message(1), message(2)], urgent=True))
    wholes = [message(1).activation_id, *ids(900, 2)]
    count = 0
    while not (refused := store.stats().rejected):
        put(store, batch(1000 + 8 * count, 4, TELEMETRY))
        count += 1
        assert count < 100
    assert refused == 8
    put(store, record_block(ids(800, 3), wholes, 5, TELEMETRY))
    stats = store.stats()
    assert (stats.rejected, stats.unfinished) == (14, 1)
    assert stats.lanes[TELEMETRY]["records"] == 8 * (count - 1)
    store.close()
    store = open_store(tmp_path)
    assert store.unfinished() == [message(2)]
    store.close()


@pytest.mark.parametrize("lane", [NORMAL, TELEMETRY])
def test_origins_are_kept_with_a_sheaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lane: str) -> None:
    monkeypatch.setattr(log_module, "SEGMENT", 4000)
    told: list[str] = []
    for life in range(3):
        store = open_store(tmp_path)
        assert store.origins() == told
        for at in range(4):
            origins = [f"mqtt:{life}:{at}", f"mqtt:{life}:{at} \xfc\n"]
            put(store, batch(1 + 100 * life + 8 * at, 3, lane), origins)
            told += origins
        store.close()


def test_origins_of_a_sheaf_that_is_refused_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "SEGMENT", 4000)
    policy = LaneConfig(max_bytes=8000, full="reject")
    store = open_store(tmp_path, normal=policy)
    told: list[str] = []
    while not store.stats().rejected:
        told.append(f"mqtt:{len(told)}:a")
        put(store, batch(1 + 8 * len(told), 4), told[-1:])
        assert len(told) < 100
    store.close()
    store = open_store(tmp_path, normal=policy)
    assert store.origins()[-1] == told[-1]
    store.close()
