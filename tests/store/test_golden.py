"""Stores that older versions wrote are read for ever: `tests/golden/`, never made anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgewhisk.spi import Query, SyncBatch
from edgewhisk.store.documents.entity_store import EntityStore
from edgewhisk.store.log.frames import FORMAT
from tests.store.activations.test_activations import commit, open_store, record

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
FORMATS = sorted(GOLDEN.glob("format-*"))


def test_there_is_a_sample_of_each_format() -> None:
    assert [path.name for path in FORMATS] == [f"format-{number}" for number in range(1, FORMAT + 1)]


@pytest.mark.parametrize("kept", FORMATS, ids=lambda path: str(path.name))
def test_a_kept_store_is_read_and_written_on(kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept / "buffer", tmp_path / "buffer")
    expected = json.loads((kept / "expected.json").read_text())
    for life in range(3):
        store = open_store(tmp_path / "buffer")
        assert store.incidents == []
        batch = store.pending(100, 1 << 20)
        assert (store.device, batch.epoch) == (expected["device"], expected["epoch"])
        assert [batch.first, batch.last] == [expected["pending"][0], expected["pending"][1] + life]
        assert [one.activation_id for one in store.unfinished()] == expected["unfinished"]
        assert sorted(store.origins()) == expected["origins"]
        own = [999 + at for at in range(life, 0, -1)]
        assert [one["start"] for one in store.list(Query("guest", limit=200))] == [*own, *expected["starts"]]
        for sender, number in expected["absorbed"].items():
            device, _, epoch = sender.partition(":")
            assert store.absorb(device, epoch, SyncBatch(number + 1, (), number)) == number
        commit(store, record(1000 + life))
        store.close()


@pytest.mark.parametrize("kept", FORMATS, ids=lambda path: str(path.name))
def test_kept_entities_are_read_and_written_on(kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept / "entities", tmp_path / "entities")
    for life in range(3):
        store = EntityStore.open(tmp_path / "entities")
        assert store.incidents == []
        assert store.read("actions") == {"guest/a": {"v": 3}}
        assert store.read("rules") == {"guest/r": {"v": 4}}
        assert store.read("triggers") == {}
        assert len(store.db.table("own")) == 1 + life
        store.db.table("own").insert({"life": life})
        store.close()
