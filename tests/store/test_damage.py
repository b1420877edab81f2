"""Stored bytes of any kind: nothing refuses a start, nothing that differs is silent.

`python -m tests.bench.damage` damages a thousand stores.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from edgewhisk.errors import StorageError
from edgewhisk.spi import Query
from edgewhisk.store.documents.entity_store import EntityStore
from edgewhisk.store.export import export
from edgewhisk.store.log.frames import Scan, encode, scan, seed_of
from edgewhisk.store.log.log import Segment
from tests.store import damage
from tests.store.activations.test_activations import commit, open_store, record

ODD = (
    b"",
    b"null",
    b"{}",
    b"[]",
    b'"x"',
    b"[1,2,3]",
    b'{"id":1,"t":[],"d":1}',
    b"[" * 2000,
    b"\xff\xfe",
    b"9" * 400,
    b"3 {}\x1e\x1e1 1\x1e\x1e",
    b'{"namespace":"g","name":{},"activationId":"zz","start":1e999,"annotations":[{"key":{}}]}',
    b'{"format":3,"last":[],"confirmed":{}}',
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store, in small segments; they stay small while it is used."""
    with damage.small():
        folder = tmp_path_factory.mktemp("damage") / "whole"
        damage.build(folder, Random(3))
        yield folder


@pytest.fixture(scope="module")
def before(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> damage.Seen:
    copy = tmp_path_factory.mktemp("damage") / "copy"
    damage.copy(whole, copy)
    seen = damage.start(copy)
    assert seen.told == []
    assert seen.lost == 0
    return seen


@pytest.mark.parametrize("kind", damage.KINDS)
def test_each_damaged_file_lets_it_start_and_is_told(
    kind: str, whole: Path, before: damage.Seen, tmp_path: Path
) -> None:
    random, files = Random(kind), damage.files_of(whole)
    kept = [path for path in files if path.suffix != ".ewj"]
    segments = [path for path in files if path.suffix == ".ewj"]
    for number, path in enumerate([*kept, *random.sample(segments, 4)]):
        folder = tmp_path / str(number)
        damage.copy(whole, folder)
        what = damage.damage(folder / path, kind, random)
        assert damage.silent(before, damage.start(folder)) == [], (path, what)


def odd_line(path: Path, text: bytes, random: Random) -> None:
    """Put another text into some line of a segment, with the checksum that it needs."""
    next(path.parent.glob("newest-*")).unlink()  # what it says of the end is right no more
    seed = seed_of(path.name)
    frames = list(scan(path.read_bytes(), seed).frames)
    at = random.randrange(1, len(frames))
    frames[at] = frames[at]._replace(text=text)
    path.write_bytes(b"".join(encode([frame], seed)[0] for frame in frames))


@pytest.mark.parametrize("text", ODD, ids=lambda text: text[:12].hex() or "empty")
def test_whatever_stands_in_a_whole_line_stops_nothing(text: bytes, whole: Path, tmp_path: Path) -> None:
    random = Random(text)
    for number, path in enumerate(random.sample(sorted((whole / "buffer").rglob("seg-*")), 3)):
        copy = tmp_path / str(number)
        damage.copy(whole, copy)
        odd_line(copy / path.relative_to(whole), text, random)
        assert len(damage.start(copy).records) > 100
        again = open_store(copy / "buffer")
        assert again.list(Query("guest", limit=5))
        while (batch := again.pending(50, 1 << 20)).records:
            again.confirm(batch.epoch, batch.last)
        assert again.stats().unsynced == 0
        again.close()
        assert sum(1 for one in export(copy / "buffer", copy / "shelf") if one.line) > 100


@pytest.mark.parametrize("text", ODD, ids=lambda text: text[:12].hex() or "empty")
def test_whatever_stands_in_an_entity_stops_nothing(text: bytes, whole: Path, tmp_path: Path) -> None:
    random = Random(text)
    copy = tmp_path / "entities"
    damage.copy(whole / "entities", copy)
    odd_line(random.choice(sorted(copy.glob("seg-*"))), text, random)
    store = EntityStore.open(copy)
    assert len(store.read("actions")) >= 5
    assert store.incidents
    store.close()


def test_an_unreadable_record_does_not_hold_the_next_ones_up(tmp_path: Path) -> None:
    """One that no parser took stopped lists, the sync and the next start."""
    store = open_store(tmp_path)
    odd = record(2)
    odd = odd._replace(text=odd.text.replace(b'"result":{', b'"result":{"p":!,'))
    commit(store, record(1), odd, record(3))
    assert [one["start"] for one in store.list(Query("guest"))] == [3, 1]
    assert store.get(odd.activation_id) is None
    store.close()
    again = open_store(tmp_path)
    assert [one["start"] for one in again.list(Query("guest"))] == [3, 1]
    again.patrol()
    assert again.stats().lanes["normal"]["damaged"] == 1
    assert any("cannot be read" in line for line in again.incidents)
    commit(again, record(4))
    again.close()
    (unread,) = [one for one in export(tmp_path) if b"unreadable" in one.line]
    assert b'"number":2' in unread.line


def test_a_segment_that_goes_while_it_is_looked_through_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with damage.small():
        store = open_store(tmp_path)
        for number in range(100):
            commit(store, record(number, size=200))
        store.close()
        store = open_store(tmp_path)
        lane = store._records.normal
        assert len(lane.log.segments) > 2

        def gone(segment: Segment) -> Scan:
            lane.drop(segment)  # as the commit thread may
            raise StorageError("no such file")

        monkeypatch.setattr(lane.log, "scan", gone)
        oldest = lane.log.segments[0]
        assert lane.look(oldest) is None
        assert oldest not in lane.log.segments
        store.close()


def test_what_is_damaged_is_told_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    with damage.small():
        store = open_store(tmp_path)
        for number in range(100):
            commit(store, record(number, size=200))
        store.close()
        store = open_store(tmp_path)
        commit(store, record(1000))  # what is new stands elsewhere
        segment = store._records.normal.log.segments[0]
        text = segment.path.read_bytes()
        at = text.index(f"{2:032x}".encode())
        segment.path.write_bytes(text[: at + 40] + b"~~~~" + text[at + 44 :])
        told = []
        for _ in range(3):
            store.list(Query("guest", limit=200))
            store.patrol(1000)
            told.append(len(store.incidents))
        assert told == [told[0]] * 3
        assert store.stats().lanes["normal"]["damaged"] == 1
        store.close()
