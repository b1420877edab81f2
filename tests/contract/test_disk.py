"""The contract of `Disk`, over the real one and over the one in memory that the simulator cuts."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgewhisk.store.log.disk import Disk, RealDisk
from tests.contract.suites import Suite, named
from tests.fakes.disk import FaultyDisk, MemoryDisk

SUITE = Suite(Disk, {RealDisk: RealDisk, FaultyDisk: FaultyDisk, MemoryDisk: MemoryDisk})


@pytest.fixture(params=SUITE.classes, ids=named)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    made: Disk = SUITE.implementations[request.param]()
    made.make_directory(tmp_path / "d")
    made.make_directory(tmp_path / "d")  # again: nothing happens
    return made


def test_what_is_written_is_read(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "d" / "a"
    file = disk.open(path, new=True)
    disk.write(file, b"hello", 0)
    disk.write(file, b"y, world", 4)
    disk.sync(file)
    assert disk.read(path, 0, 100) == b"helly, world"
    assert disk.read(path, 7, 3) == b"wor"
    assert disk.read(path, 50, 3) == b""
    disk.write(file, b"!", 14)
    assert disk.read(path, 10, 9) == b"ld\0\0!"
    disk.truncate(file, 5)
    assert disk.names(tmp_path / "d") == {"a": 5}
    disk.truncate(file, 7)
    assert disk.read(path, 0, 9) == b"helly\0\0"
    disk.close(file)
    again = disk.open(path)
    disk.write(again, b"J", 0)
    disk.close(again)
    assert disk.read(path, 0, 3) == b"Jel"


def test_names(disk: Disk, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    for name in "cab":
        file = disk.open(folder / name, new=True)
        disk.write(file, name.encode(), 0)
        disk.close(file)
    assert list(disk.names(folder)) == ["a", "b", "c"]
    disk.rename(folder / "c", folder / "b")
    assert disk.read(folder / "b", 0, 1) == b"c"
    disk.remove(folder / "a")
    disk.sync_directory(folder)
    assert disk.names(folder) == {"b": 1}
    assert disk.room(folder) > 0


def test_what_is_not_there(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "d" / "a"
    with pytest.raises(FileNotFoundError):
        disk.open(path)
    with pytest.raises(FileNotFoundError):
        disk.read(path, 0, 1)
    with pytest.raises(FileNotFoundError):
        disk.rename(path, tmp_path / "d" / "b")
    with pytest.raises(FileNotFoundError):
        disk.remove(path)
    disk.close(disk.open(path, new=True))
    with pytest.raises(FileExistsError):
        disk.open(path, new=True)


def test_a_file_that_was_renamed_or_removed_can_still_be_written(disk: Disk, tmp_path: Path) -> None:
    path, other = tmp_path / "d" / "a", tmp_path / "d" / "b"
    file = disk.open(path, new=True)
    disk.rename(path, other)
    disk.write(file, b"x", 0)
    assert disk.read(other, 0, 1) == b"x"
    disk.remove(other)
    disk.write(file, b"y", 0)
    disk.sync(file)
    disk.close(file)
    assert disk.names(tmp_path / "d") == {}
