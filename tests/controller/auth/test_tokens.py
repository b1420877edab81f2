"""Tokens of devices: whole or not there, followed at once, worthless when removed."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk.controller.auth.tokens import DeviceTokens, add_token, folder, remove_token, tokens_of
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import BadRequest, Forbidden, NotFound, Unauthorized
from tests.fakes.clock import TickingClock

T, OTHER = parse_name("/guest/t", "_"), parse_name("/guest/other", "_")


def test_a_token_is_good_for_its_trigger_until_it_is_removed(tmp_path: Path) -> None:
    tokens = DeviceTokens(tmp_path, TickingClock())
    mine, other = add_token(tmp_path, T, "greenhouse"), add_token(tmp_path, OTHER, "x")
    assert tokens.check(f"Bearer {mine}", T) == "greenhouse"
    assert tokens.check(f"bearer  {mine} ", T) == "greenhouse"
    with pytest.raises(Forbidden):
        tokens.check(f"Bearer {other}", T)
    for wrong in (
        "",
        "Bearer",
        f"Basic {mine}",
        f"Bearer {mine}x",
        "Bearer \ud800".encode(errors="replace").decode(),
    ):
        with pytest.raises(Unauthorized):
            tokens.check(wrong, T)
    shown = next(token.id for token in tokens_of(tmp_path).values() if token.device == "greenhouse")
    assert mine not in shown
    remove_token(tmp_path, shown)
    with pytest.raises(Unauthorized):
        tokens.check(f"Bearer {mine}", T)
    with pytest.raises(NotFound):
        remove_token(tmp_path, shown)
    assert tokens.check(f"Bearer {other}", OTHER) == "x"


def test_files_are_secret_and_hold_no_token(tmp_path: Path) -> None:
    token = add_token(tmp_path, T, "greenhouse")
    (path,) = (path for path in folder(tmp_path).iterdir() if path.name[0] != ".")
    assert (path.stat().st_mode & 0o777, folder(tmp_path).stat().st_mode & 0o777) == (0o600, 0o700)
    assert token not in path.read_text() + path.name


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb"])
def test_names_are_short_and_printable(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadRequest, match="printable"):
        add_token(tmp_path, T, name)


def test_damaged_and_unfinished_files_are_no_tokens(tmp_path: Path) -> None:
    add_token(tmp_path, T, "greenhouse")
    for name, text in (
        ("a" * 64, "{"),
        ("b" * 64, "[]"),
        (f".{'c' * 64}", '{"trigger":"/guest/t","device":"x"}'),
    ):
        (folder(tmp_path) / name).write_text(text)
    assert [token.device for token in tokens_of(tmp_path).values()] == ["greenhouse"]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.integers(0, 255))
def test_a_changed_byte_of_a_token_is_put_right_and_told(at: int, value: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        token = add_token(Path(name), T, "greenhouse")
        path = folder(Path(name)) / hashlib.sha256(token.encode()).hexdigest()
        data = bytearray(path.read_bytes())
        changed = data[at % len(data)] != value
        data[at % len(data)] = value
        path.write_bytes(data)
        tokens = DeviceTokens(Path(name), TickingClock())
        assert tokens.check(f"Bearer {token}", T) == "greenhouse"
        assert any("was put right" in line for line in tokens.problems()) is changed


@pytest.mark.parametrize("left", [None, b"", b"{", b"[]", b"\x00" * 40, b"[" * 5000])
def test_a_damaged_token_is_told_and_can_be_removed(left: bytes | None, tmp_path: Path) -> None:
    token, other = add_token(tmp_path, T, "greenhouse"), add_token(tmp_path, T, "other")
    path = folder(tmp_path) / hashlib.sha256(token.encode()).hexdigest()
    path.unlink() if left is None else path.write_bytes(left)
    tokens = DeviceTokens(tmp_path, TickingClock())
    with pytest.raises(Unauthorized):
        tokens.check(f"Bearer {token}", T)
    assert tokens.check(f"Bearer {other}", T) == "other"
    (line,) = tokens.problems()
    assert str(path) in line
    assert f"remove {path.name[:12]}" in line
    remove_token(tmp_path, path.name[:12])
    assert DeviceTokens(tmp_path, TickingClock()).problems() == []
    assert len(list(folder(tmp_path).iterdir())) == 2  # the other, with its checksum


def test_every_token_is_known_however_fast_they_are_made(tmp_path: Path) -> None:
    tokens, made, stop = DeviceTokens(tmp_path, TickingClock()), list[str](), threading.Event()

    def look() -> None:
        while not stop.is_set():
            with pytest.raises(Unauthorized):
                tokens.check("Bearer none", T)

    looking = threading.Thread(target=look)
    looking.start()
    made += [add_token(tmp_path, T, f"d{number}") for number in range(30)]
    stop.set()
    looking.join()
    assert [tokens.check(f"Bearer {token}", T) for token in made] == [f"d{number}" for number in range(30)]
