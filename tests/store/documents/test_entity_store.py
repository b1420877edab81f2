"""Entities on the log, and TinyDB's own operations over it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tinydb import TinyDB
from tinydb import where as field
from tinydb.storages import MemoryStorage

from edgewhisk.spi import Change
from edgewhisk.store.documents import entity_store as module
from edgewhisk.store.documents.entity_store import EntityStore
from tests.store.activations.test_activations import uncleanly_ended


def test_entities_survive(tmp_path: Path) -> None:
    store = EntityStore.open(tmp_path)
    store.write([Change("actions", "guest/a", {"v": 1}), Change("triggers", "guest/t", {"v": 2})])
    store.write([Change("actions", "guest/a", {"v": 3}), Change("triggers", "guest/t", None)])
    store.write([Change("triggers", "guest/none", None)])
    store.close()
    store = EntityStore.open(tmp_path)
    assert store.read("actions") == {"guest/a": {"v": 3}}
    assert store.read("triggers") == {}
    store.close()


def test_changes_of_one_write_see_each_other(tmp_path: Path) -> None:
    store = EntityStore.open(tmp_path)
    store.write([Change("letters", "a", {"v": 1}), Change("letters", "a", {"v": 2})])
    store.write([Change("letters", "b", {"v": 1}), Change("letters", "b", None)])
    store.write([Change("letters", "a", None), Change("letters", "a", {"v": 3})])
    for _ in range(2):
        assert store.read("letters") == {"a": {"v": 3}}
        assert len(store.db.table("letters")) == 1
        store.close()
        store = EntityStore.open(tmp_path)
    store.write([Change("letters", "a", None)])
    assert store.read("letters") == {}
    store.close()


def test_results_that_tinydb_remembers_follow_writes_beside_it(tmp_path: Path) -> None:
    store = EntityStore.open(tmp_path)
    table = store.db.table("actions")
    store.write([Change("actions", "a", {"v": 1})])
    assert table.count(field("key") == "a") == 1
    store.write([Change("actions", "a", None), Change("actions", "b", {"v": 1})])
    assert table.count(field("key") == "a") == 0
    store.close()


def test_space_of_what_was_replaced_is_reclaimed(tmp_path: Path) -> None:
    store = EntityStore.open(tmp_path)
    store.write([Change("actions", "keep", {"v": 1})])
    for number in range(40):
        store.write([Change("actions", "big", {"v": str(number) * 300_000})])
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size < 2 * module.SPARE
    store.close()
    store = EntityStore.open(tmp_path)
    assert store.read("actions") == {"keep": {"v": 1}, "big": {"v": "39" * 300_000}}
    store.close()


def test_a_torn_write_is_not_half_done(tmp_path: Path) -> None:
    store = EntityStore.open(tmp_path)
    store.write([Change("actions", "a", {"v": 1})])
    store.write([Change("actions", "a", {"v": 2}), Change("rules", "r", {"v": 2})])
    store.close()
    (segment,) = tmp_path.glob("seg-*")
    uncleanly_ended(tmp_path)
    data = segment.read_bytes()
    segment.write_bytes(data[:-3])
    store = EntityStore.open(tmp_path)
    assert store.read("actions") == {"a": {"v": 1}}
    assert store.read("rules") == {}
    store.close()


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 9)), max_size=5), max_size=5
    )
)
def test_changes_of_one_group_count_in_their_order(groups: list[list[tuple[str, int | None]]]) -> None:
    """The shelf puts changes that were asked for separately into one group."""
    expected: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = EntityStore.open(Path(folder))
        for group in groups:
            store.write([Change("t", key, None if value is None else {"v": value}) for key, value in group])
            for key, value in group:
                expected.pop(key, None)
                if value is not None:
                    expected[key] = {"v": value}
            assert store.read("t") == expected
            assert len(store.db.table("t")) == len(expected)
        store.close()
        store = EntityStore.open(Path(folder))
        assert store.read("t") == expected
        store.close()


VALUE = st.fixed_dictionaries({"k": st.integers(0, 3), "v": st.text(max_size=3)})
STEP = st.tuples(
    st.sampled_from(["insert", "many", "update", "remove", "upsert", "truncate"]), st.integers(0, 3), VALUE
)


def perform(table: Any, step: tuple[str, int, dict[str, Any]]) -> None:
    what, key, value = step
    match what:
        case "insert":
            table.insert(dict(value))
        case "many":
            table.insert_multiple([dict(value), {"k": key, "v": "m"}])
        case "update":
            table.update({"v": "u"}, field("k") == key)
        case "remove":
            table.remove(field("k") == key)
        case "upsert":
            table.upsert(dict(value), field("k") == key)
        case "truncate":
            table.truncate()


@settings(max_examples=50, deadline=None)
@given(st.lists(STEP, max_size=12))
def test_tinydb_works_on_the_log_as_on_its_own_storage(steps: list[tuple[str, int, dict[str, Any]]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        store = EntityStore.open(Path(name))
        ours, theirs = store.db.table("t"), TinyDB(storage=MemoryStorage).table("t")
        for step in steps:
            perform(ours, step)
            perform(theirs, step)
            assert [dict(one) for one in ours.all()] == [dict(one) for one in theirs.all()]
            for key in range(4):
                assert ours.count(field("k") == key) == theirs.count(field("k") == key)
        assert len(ours) == len(theirs)
        expected = [dict(one) for one in theirs.all()]
        store.close()
        store = EntityStore.open(Path(name))
        assert [dict(one) for one in store.db.table("t")] == expected
        store.db.drop_tables()
        assert store.db.tables() == set()
        store.close()
