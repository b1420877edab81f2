"""`edgewhisk buffer export`: all of it, from a store that is written to or that nobody owns."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from edgewhisk.cli import main
from edgewhisk.errors import StorageError
from edgewhisk.store.export import export
from edgewhisk.store.log import log as log_module
from tests.store.activations.test_activations import commit, message, open_store, record, wait


def numbers(folder: Path) -> list[int]:
    lines = [json.loads(found.line) for found in export(folder) if found.line]
    return [line["activation"]["start"] for line in lines if "activation" in line]


def test_a_dead_store_is_copied_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(tmp_path / "buffer")
    wait(lambda done: store.accept([message(1), message(2)], done, urgent=True))
    commit(store, record(2), *(record(n) for n in range(10, 20)))
    commit(store, record(30)._replace(lane="telemetry"))
    store.confirm(store.pending(1, 1).epoch, 3)
    # Not closed: as after a crash.
    out = tmp_path / "out.jsonl"
    assert main(["buffer", "export", "--directory", str(tmp_path / "buffer"), str(out)]) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["number"] for line in lines if line.get("lane") == "normal" and "number" in line] == [
        *range(1, 12)
    ]
    assert [line["synced"] for line in lines[:5]] == [True, True, True, False, False]
    assert lines[11]["lane"] == "telemetry"
    assert lines[12]["accepted"]["id"] == message(1).activation_id
    assert len(lines) == 13
    assert out.stat().st_mode & 0o777 == 0o600
    assert main(["buffer", "export", "--directory", str(tmp_path / "buffer"), str(out)]) == 1
    assert "--force replaces it" in capsys.readouterr().err
    with pytest.raises(StorageError, match="there is no buffer"):
        list(export(tmp_path / "none"))
    store.close()


def test_damage_is_named_and_the_rest_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(tmp_path)
    for n in range(1, 11):
        commit(store, record(n))
    store.close()
    (segment,) = tmp_path.glob("seg-*")
    segment.write_bytes(segment.read_bytes().replace(b'"start":5', b'"fiddle":'))
    out = tmp_path / "out.jsonl"
    assert main(["buffer", "export", "--directory", str(tmp_path), str(out), "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == {"file": str(out), "lines": 9, "troubles": 1}
    assert "1 damaged line(s) left out" in said.err


def test_a_store_is_copied_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "SEGMENT", 4000)
    store = open_store(tmp_path, max_bytes=1 << 24)
    for n in range(1, 200):
        commit(store, record(n))
    going = threading.Event()
    last = 200

    def write() -> None:
        nonlocal last
        while not going.is_set():
            commit(store, record(last))
            last += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(10):
            before = last
            found = numbers(tmp_path)
            assert found == list(range(1, len(found) + 1))
            assert len(found) >= before - 1
    finally:
        going.set()
        writer.join()
    store.close()
    assert numbers(tmp_path) == list(range(1, last))
