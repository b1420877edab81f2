"""Damage a stored file, start, and ask what differs: all that does must have been told.

`python -m tests.bench.damage` does so a thousand times, `test_damage.py` a few.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from edgewhisk.base.process import lasting_name
from edgewhisk.clock.system import SystemClock
from edgewhisk.controller.auth.subjects import Subjects, ensure_key, greet
from edgewhisk.entity.annotations.lane import LANES, NORMAL
from edgewhisk.entity.invocation.message import Status
from edgewhisk.spi import Change, Query, SyncBatch
from edgewhisk.store.activations.activations import ActivationLog
from edgewhisk.store.documents import entity_store as artifacts_module
from edgewhisk.store.documents.entity_store import EntityStore
from edgewhisk.store.log import log as log_module
from edgewhisk.store.log.frames import Frame
from tests.store.activations.test_activations import commit, message, open_store, record, wait
from tests.store.record_blocks import record_block

KINDS: Final = ("byte", "block", "truncated", "emptied", "deleted")
BLOCK: Final = 512  # bytes; segments are small here
STORES: Final = ("entities", "shelf", "state")
SEGMENT: Final = 6000


@dataclass
class Seen:
    """What a store holds, and what it tells."""

    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    lost: int = 0  # records that the log state says are damaged
    events: set[str] = field(default_factory=set)
    documents: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # client id, key, device
    told: list[str] = field(default_factory=list)


@contextlib.contextmanager
def small() -> Iterator[None]:
    """Segments of some records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_module, "SEGMENT", SEGMENT)
        patch.setattr(log_module, "BLOCK", 512)
        patch.setattr(artifacts_module, "SPARE", 4 * SEGMENT)
        yield


def build(folder: Path, random: Random) -> None:
    """Three lives of a gateway's files, each of which ended by itself."""
    folder.mkdir(mode=0o700)
    lasting_name(folder / "client_id")
    ensure_key(folder)
    for life in range(3):
        _live(folder, random, (life + 1) * 1000)
        for name in STORES:
            store = EntityStore.open(folder / name)
            for number in range(30):
                key = f"guest/{random.randint(1, 12)}"
                store.write([Change("actions", key, {"n": life * 100 + number, "code": "x" * 200})])
            store.close()


def _live(folder: Path, random: Random, first: int) -> None:
    store = open_store(folder / "buffer")
    for n in range(first, first + 60):
        made = record(n, size=random.randint(0, 200))._replace(
            lane=random.choice(LANES), status=random.choice((Status.SUCCESS, Status.APPLICATION_ERROR))
        )
        commit(store, made)
        if n % 20 == 0:
            wait(lambda done, n=n: store.accept([message(n + 500)], done, urgent=True))
        if n % 10 == 0:
            ids = [f"{random.getrandbits(128):032x}" for _ in range(8)]
            made_sheaf = record_block(ids[:4], ids[4:], 1_700_000_000_000 + n, NORMAL)
            frames = [Frame("G", 0, made_sheaf.text, about=made_sheaf.gist)]
            wait(lambda done, frames=frames: store._committer.submit(frames, done, urgent=True))
    store.absorb(
        "d" * 32, "e" * 32, SyncBatch(first, tuple(record(first + 300 + n).text for n in range(3)), 0)
    )
    batch = store.pending(10, 1 << 20)
    store.confirm(batch.epoch, batch.last)
    store.close()


def files_of(folder: Path) -> list[Path]:
    """What may be damaged."""
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def damage(path: Path, kind: str, random: Random) -> str:
    """Damage a file; how."""
    size = path.stat().st_size
    if kind == "deleted":
        path.unlink()
        return kind
    if kind == "emptied" or not size:
        path.write_bytes(b"")
        return "emptied"
    data, at = bytearray(path.read_bytes()), random.randrange(size)
    if kind == "byte":
        data[at] ^= random.randint(1, 255)
    elif kind == "block":
        begin = at // BLOCK * BLOCK
        end = min(size, begin + BLOCK)
        data[begin:end] = bytes(end - begin)
    else:
        del data[at:]
    path.write_bytes(data)
    return f"{kind} at {at} of {size}"


def start(folder: Path) -> Seen:
    """Start on the files as a gateway does; raises what refuses it."""
    seen = Seen()
    seen.names["client id"], trouble = lasting_name(folder / "client_id")
    seen.told += [trouble, greet(folder)]
    subjects = Subjects(folder, SystemClock())
    guest = subjects.find("guest")
    seen.names["key"] = guest.auth.compact if guest else ""
    seen.told += subjects.problems()
    store = open_store(folder / "buffer")
    _look(store, seen)
    for name in STORES:
        kept = EntityStore.open(folder / name)
        seen.documents.update({(name, key): one for key, one in kept.read("actions").items()})
        seen.told += kept.incidents
        kept.write([Change("rules", "r", {"n": 1})])
        kept.close()
    seen.told = [line for line in seen.told if line]
    return seen


def _look(store: ActivationLog, seen: Seen) -> None:
    seen.names["device"] = store.device
    found = store.list(Query("guest", limit=10**6))
    seen.records = {one["activationId"]: one for one in found if one["name"] != "loss"}
    seen.events = {one.activation_id for one in store.unfinished()}
    while store.patrol(1000):
        pass
    seen.lost = sum(lane["damaged"] for lane in store.stats().lanes.values())
    commit(store, record(10**6))
    seen.told += store.incidents
    store.close()


def silent(before: Seen, after: Seen) -> list[str]:
    """What differs and was not told; what cannot be right at all."""
    found = []
    changed = [key for key, one in after.records.items() if before.records.get(key) != one]
    if changed:
        found.append(f"{len(changed)} records are others")
    missing = before.records.keys() - after.records.keys()
    if len(missing) > after.lost:
        found.append(f"{len(missing)} records are missing, {after.lost} told")
    differs = (
        bool(missing)
        or before.events != after.events
        or before.documents != after.documents
        or before.names != after.names
    )
    if differs and not after.told:
        found.append(
            f"not told: {len(missing)} records, events {before.events ^ after.events}, documents "
            f"{[key for key in before.documents if before.documents[key] != after.documents.get(key)]}, "
            f"names {[key for key in before.names if before.names[key] != after.names[key]]}"
        )
    return found


def copy(source: Path, target: Path) -> None:
    """All files of a store."""
    shutil.copytree(source, target)
