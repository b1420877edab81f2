"""What the buffer costs, beside raw appends, SQLite and stock TinyDB in the same run.

    python -m tests.bench.buffer                 # all of it: some minutes, 1 GB of disk
    python -m tests.bench.buffer --buffered 100000 --rounds 1

Records are 653 bytes of JSON. `bytes/byte` is what reached the block device for each byte of records:
counted by a loop device with its own ext4 where that can be mounted (root), else taken from
/proc/self/io. Ours is measured in its steady state: the buffer is full, segments are recycled.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from tinydb import TinyDB

from edgewhisk.clock.system import SystemClock
from edgewhisk.config.schema import BufferConfig
from edgewhisk.entity.activation import Record
from edgewhisk.entity.annotations.lane import NORMAL
from edgewhisk.spi import Query
from edgewhisk.store.activations.partitions import Partitions
from edgewhisk.store.activations.routes import MARKS, RECORDS
from edgewhisk.store.log.disk import RealDisk
from edgewhisk.store.log.frames import Frame

SIZE = 653  # bytes of a record
GROUPS = (1, 10, 60, 100)
_random = Random(1)
_numbers = itertools.count()
_OP = RECORDS[NORMAL]
Write = Callable[[list[Record]], None]


def record(_at: int = 0) -> Record:
    """A record as the gateway writes them, 50 ms after the one before."""
    number = next(_numbers)
    text = (
        b'{"namespace":"guest","name":"a%d","version":"0.0.1","subject":"guest","activationId":"%b",'
        b'"start":%d,"end":%d,"duration":3,"response":{"result":{"n":"%b"},"success":true,"status":"success",'
        b'"size":3,"statusCode":0},"logs":[],"annotations":[{"key":"path","value":"guest/a%d"},'
        b'{"key":"kind","value":"nodejs:20"}],"publish":false}'
    )
    kind, start, key = number % 5, 1_760_000_000_000 + number * 50, f"{_random.getrandbits(128):032x}"
    made = text % (kind, key.encode(), start, start + 3, b"", kind)
    made = made.replace(b'"n":""', b'"n":"%b"' % (b"x" * (SIZE - len(made))))
    return Record(key, made, filed=("guest", f"a{kind}"), start=start)


# -- the contenders ----------------------------------------------------------------------------------


class Ours:
    """The store, short of the thread that makes groups of what comes at once."""

    def __init__(self, folder: Path, max_bytes: int = 1 << 40) -> None:
        settings = BufferConfig(max_bytes=max_bytes, min_free_bytes=0)
        self.store = Partitions(RealDisk(), folder, settings, SystemClock())
        self.store.recover()

    def write(self, records: list[Record]) -> None:
        """As `Activations.record` hands them on."""
        frames = [
            Frame(_OP, 0, r.text, 0, 0, (r.filed, r.start, r.activation_id, r.timing) if r.filed else None)
            for r in records
        ]
        self.store.write(frames)

    def confirm(self) -> None:
        self.store.write([Frame(MARKS[NORMAL], self.store.normal.log_state.last, b"")])

    def drain(self, batch: int) -> int:
        """What the cloud takes, each batch confirmed durably."""
        from edgewhisk.store.activations.outgoing import batch as next_of

        done = 0
        while texts := (found := next_of(self.store.normal, self.store.history, batch, 900 << 10)).records:
            self.store.write([Frame(MARKS[NORMAL], found.last, b"")])
            done += len(texts)
        return done

    def close(self) -> None:
        self.store.close()


def steady(folder: Path) -> Ours:
    """Ours with a full buffer of synced records."""
    ours = Ours(folder, 8 << 20)
    for _ in range(14):
        ours.write([record(at) for at in range(1500)])
        ours.confirm()
    return ours


@contextlib.contextmanager
def writing(kind: str, folder: Path) -> Iterator[Write]:
    """One contender."""
    folder.mkdir()
    if kind == "ours":
        ours = steady(folder)
        yield ours.write
        ours.close()
    elif kind == "raw":
        file = os.open(folder / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def append(records: list[Record]) -> None:
            os.write(file, b"\n".join([one.text for one in records]) + b"\n")
            os.fdatasync(file)

        yield append
        os.close(file)
    elif kind == "sqlite":
        db = sqlite3.connect(folder / "db", isolation_level=None)
        db.execute("pragma journal_mode=wal")
        db.execute("pragma synchronous=full")
        db.execute("create table a (n integer primary key, text blob)")

        def insert(records: list[Record]) -> None:
            db.execute("begin")
            db.executemany("insert into a (text) values (?)", [(one.text,) for one in records])
            db.execute("commit")

        yield insert
        db.close()
    else:
        with TinyDB(folder / "db.json") as tiny:
            yield lambda records: tiny.insert_multiple([json.loads(one.text) for one in records]) and None


# -- where it goes -----------------------------------------------------------------------------------


class Device:
    """A place to write, and how many bytes reached it."""

    def __init__(self, folder: Path, stat: Path | None) -> None:
        self.folder, self._stat = folder, stat

    def written(self) -> int:
        if self._stat is not None:
            os.sync()
            return int(self._stat.read_text().split()[6]) * 512
        lines = Path("/proc/self/io").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


@contextlib.contextmanager
def device(folder: Path) -> Iterator[Device]:
    """A loop-mounted ext4 of its own where that is permitted."""
    image, mount = folder / "image", folder / "mount"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(1 << 30)
    steps = [["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image)],
             ["mount", "-o", "loop", str(image), str(mount)]]  # fmt: skip
    try:
        for step in steps:
            subprocess.run(step, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"(no loop device: {error}; bytes are those of /proc/self/io, without the file system's own)")
        yield Device(mount, None)
        return
    try:
        source = subprocess.check_output(["findmnt", "-no", "SOURCE", str(mount)], text=True).strip()
        yield Device(mount, Path("/sys/block") / Path(source).name / "stat")
    finally:
        subprocess.run(["umount", str(mount)], check=True)


# -- the tables --------------------------------------------------------------------------------------


def groups(folder: Path, rounds: int, records: int) -> None:
    """Durable records a second, the contenders in turn."""
    print(f"\ndurable records a second, median of {rounds} rounds")
    print(f"{'group':>10}{'ours':>10}{'raw':>10}{'sqlite':>10}{'tinydb':>10}{'x raw':>8}{'x sqlite':>10}")
    for group in GROUPS:
        found: dict[str, list[float]] = {}
        for turn in range(rounds):
            for kind in ("ours", "raw", "sqlite", "tinydb"):
                count = min(records, 100) if kind == "tinydb" else min(records, 60 * group + 500)
                with writing(kind, folder / f"{kind}-{group}-{turn}") as write:
                    texts = [[record(at) for at in range(group)] for _ in range(max(1, count // group))]
                    begun = time.perf_counter()
                    for some in texts:
                        write(some)
                    took = time.perf_counter() - begun
                found.setdefault(kind, []).append(len(texts) * group / took)
                shutil.rmtree(folder / f"{kind}-{group}-{turn}")
        rates = {kind: statistics.median(all_) for kind, all_ in found.items()}
        print(
            f"{group:>10}"
            + "".join(f"{rates[kind]:>10,.0f}" for kind in ("ours", "raw", "sqlite", "tinydb"))
            + f"{rates['ours'] / rates['raw']:>8.2f}{rates['ours'] / rates['sqlite']:>10.2f}"
        )


def wear(folder: Path) -> None:
    """Bytes that reach the device for each byte of records."""
    with device(folder) as place:
        print("\nbytes/byte at the device")
        print(f"{'group':>10}{'ours':>10}{'raw':>10}{'sqlite':>10}{'tinydb':>10}")
        for group in GROUPS:
            line = f"{group:>10}"
            for kind in ("ours", "raw", "sqlite", "tinydb"):
                with writing(kind, place.folder / f"{kind}-{group}") as write:
                    count = max(1, {"tinydb": 60}.get(kind, min(6000, 1500 + 40 * group)) // group)
                    before = place.written()
                    for _ in range(count):
                        write([record(at) for at in range(group)])
                    line += f"{(place.written() - before) / (count * group * SIZE):>10.2f}"
                shutil.rmtree(place.folder / f"{kind}-{group}")
            print(line)
        ours = Ours(place.folder / "drain")
        for _ in range(40):
            ours.write([record(at) for at in range(500)])
        before = place.written()
        drained = ours.drain(500)
        print(f"{'drain':>10}{(place.written() - before) / (drained * SIZE):>10.2f}   in batches of 500")
        ours.close()


def rss() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def many(folder: Path, buffered: int) -> None:
    """What it costs when much is buffered."""
    ours = Ours(folder / "many")
    commits: dict[int, float] = {}

    def commit_cost() -> float:
        times = []
        for _ in range(60):
            texts = [record(at) for at in range(100)]
            begun = time.perf_counter()
            ours.write(texts)
            times.append(time.perf_counter() - begun)
        return statistics.median(times) * 1000

    ours.write([record(at) for at in range(1000)])
    commits[1000] = commit_cost()
    while ours.store.normal.log_state.last < buffered - 6000:
        ours.write([record(at) for at in range(1000)])
    commits[buffered] = commit_cost()
    print(f"\nwith {ours.store.normal.log_state.last:,} buffered, {ours.store.held / 1e6:,.0f} MB")
    for count, ms in commits.items():
        print(f"  commit of 100, at {count:>9,}        {ms:8.2f} ms")
    print(f"  ratio                             {commits[buffered] / commits[1000]:8.2f}")
    # The process that wrote them is gone without a word; another one takes over.
    subprocess.run([sys.executable, "-m", __spec__.name, "--reopen", str(folder / "many")], check=True)
    ours.close()


def reopen(folder: Path) -> None:
    """In a process of its own, so that memory is this store's only."""
    empty = Path(tempfile.mkdtemp(dir=folder.parent))
    warm = Ours(empty)
    warm.write([record(1)])
    warm.close()
    before = rss()
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        ours = Ours(folder)
        times.append((time.perf_counter() - begun) * 1000)
    print(f"  open after a crash, median of 5   {statistics.median(times):8.1f} ms (first {times[0]:.1f})")
    lane = ours.store.normal

    def timed(what: str, ask: Callable[[], object]) -> None:
        begun = time.perf_counter()
        ask()
        print(f"  {what:<34}{(time.perf_counter() - begun) * 1000:8.1f} ms")

    def page(query: Query, count: int = 30) -> object:
        return [
            lane.catalog.read(one) for one, _ in zip(lane.catalog.matches(query), range(count), strict=False)
        ]

    oldest = json.loads(next(iter(lane.catalog.after(0, lane.log.segments)))[1])
    timed("look-up of the oldest, the first", lambda: lane.catalog.find(oldest["activationId"]))
    timed("look-up of the oldest, again", lambda: lane.catalog.find(oldest["activationId"]))
    timed("look-up of what is not there", lambda: lane.catalog.find("ab" * 16))
    timed("list of the newest 30", lambda: page(Query("guest")))
    timed("list of 30 by name", lambda: page(Query("guest", "a3")))
    middle = oldest["start"] + 50 * 500
    timed("list of 30 by name, of long ago", lambda: page(Query("guest", "a3", upto=middle)))
    timed("count of all", lambda: lane.catalog.count(Query("guest")))
    timed("count by name and time", lambda: lane.catalog.count(Query("guest", "a3", since=middle)))
    timed("first batch for the cloud", lambda: next(lane.backlog()))
    print(f"  memory for all of it              {rss() - before:8.1f} MB")
    begun = time.perf_counter()
    drained = ours.drain(2000)
    print(f"  drained, each batch confirmed     {drained / (time.perf_counter() - begun):8,.0f} records/s")
    print(f"  memory after that                 {rss() - before:8.1f} MB")
    ours.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=6000)
    parser.add_argument("--buffered", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="on the disk to measure (default: the temporary one)")
    parser.add_argument("--reopen", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.reopen:
        reopen(given.reopen)
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        groups(Path(name), given.rounds, given.records)
        wear(Path(name))
        many(Path(name), given.buffered)


if __name__ == "__main__":
    main()
