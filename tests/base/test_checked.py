"""Small files and their checksums."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgewhisk.base import checked
from edgewhisk.base.process import lasting_name
from edgewhisk.controller.auth.subjects import Subjects, ensure_key, key_file, read_key, remove_subject
from edgewhisk.errors import StorageError
from tests.fakes.clock import HandClock


def test_a_flipped_bit_in_a_key_does_not_change_it(tmp_path: Path) -> None:
    made = ensure_key(tmp_path)
    path = key_file(tmp_path)
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert read_key(path) == made


def test_a_key_that_is_damaged_worse_is_told_and_no_key(tmp_path: Path) -> None:
    ensure_key(tmp_path)
    path = key_file(tmp_path)
    path.write_bytes(path.read_bytes()[:40] + b"xxxx" + path.read_bytes()[44:])
    with pytest.raises(StorageError, match="damaged"):
        read_key(path)


def test_a_damaged_key_is_told_no_more_when_its_subject_is_removed(tmp_path: Path) -> None:
    ensure_key(tmp_path, "plant")
    key_file(tmp_path, "plant").write_bytes(b"x" * 40)
    subjects = Subjects(tmp_path, HandClock())
    assert [line.split(":")[0] for line in subjects.problems()] == ["subject plant cannot log in"]
    remove_subject(tmp_path, "plant")
    subjects.refresh()
    assert subjects.problems() == []


def test_a_file_of_an_older_version_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "client_id").write_text("edgewhisk-01234567")
    assert lasting_name(tmp_path / "client_id") == ("edgewhisk-01234567", "")


@pytest.mark.parametrize("data", [bytes(18), b"", b"\xff" * 18])
def test_a_damaged_client_id_is_made_anew_and_the_file_is_named(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "client_id"
    first, trouble = lasting_name(path)
    assert trouble == ""
    path.write_bytes(data)
    name, trouble = lasting_name(path)
    assert name != first
    assert str(path) in trouble
    assert path.with_name("client_id.bad").read_bytes() == data
    assert lasting_name(path) == (name, "")


def test_a_client_id_that_is_gone_is_told(tmp_path: Path) -> None:
    path = tmp_path / "client_id"
    lasting_name(path)
    path.unlink()
    assert "is gone" in lasting_name(path)[1]


def test_a_damaged_checksum_changes_nothing(tmp_path: Path) -> None:
    checked.write(tmp_path / "one", b"text")
    (tmp_path / ".one.crc32").write_bytes(b"0" + (tmp_path / ".one.crc32").read_bytes()[1:])
    assert checked.read(tmp_path / "one").data == b"text"


class _PowerCut(Exception):
    """The process ends here."""


@pytest.mark.parametrize("before", ["an old text, which is much longer", ""])
def test_a_file_that_is_being_replaced_is_whole_wherever_the_power_is_cut(
    before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "one"
    for cut in range(20):
        path.unlink(missing_ok=True)
        checked.forget(path)
        if before:
            checked.write(path, before.encode())
        left = iter(range(cut))

        def cutting(call: Callable[..., object], left: Iterator[int]) -> Callable[..., object]:
            def step(*given: object, **more: object) -> object:
                if next(left, None) is None:
                    raise _PowerCut
                return call(*given, **more)

            return step

        with monkeypatch.context() as patch:
            for owner, name in ((Path, "rename"), (Path, "unlink"), (os, "fsync"), (os, "open")):
                patch.setattr(owner, name, cutting(getattr(owner, name), left))
            try:
                checked.write(path, b"new")
                ended = True
            except (_PowerCut, FileNotFoundError):
                ended = False
        if path.exists():
            found = checked.read(path)
            assert found.data in (before.encode(), b"new")
            assert not found.trouble
        else:
            assert not before
            assert not checked.was_there(path)
        if ended:
            assert checked.read(path).data == b"new"
            return
    raise AssertionError("it never ends")


def test_what_is_removed_stays_so_after_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked.write(tmp_path / "one", b"x")
    synced: list[list[str]] = []
    fsync = os.fsync

    def watched(opened: int) -> None:
        fsync(opened)
        synced.append(os.listdir(opened))

    monkeypatch.setattr(os, "fsync", watched)
    checked.remove(tmp_path / "one")
    checked.remove(tmp_path / "one")  # it is gone already
    assert synced == [[], []]
