"""Lines of a file of keys."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.errors import BadRequest, StorageError
from edgewhisk.sync.credential import SIGNATURE, Credential, Scheme, parse
from edgewhisk.sync.key_file import read

ALL = tuple(Scheme)


def token(claims: object) -> str:
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{part}.c2ln"


def test_each_scheme_and_what_it_sends() -> None:
    text = "# of 2026\n\nname:se:cret until 2027-01-31\nBearer abc\nhmac key\n"
    basic, bearer, signed = parse(text, ALL)
    assert basic == Credential(Scheme.BASIC, "name:se:cret", datetime(2027, 1, 31, tzinfo=UTC))
    assert basic.headers(b"") == {"Authorization": "Basic bmFtZTpzZTpjcmV0"}
    assert (bearer.headers(b""), bearer.until) == ({"Authorization": "Bearer abc"}, None)
    digest = hmac.new(b"key", b"body", hashlib.sha256).hexdigest()
    assert signed.headers(b"body") == {SIGNATURE: f"sha256={digest}"}


@pytest.mark.parametrize("exp", [None, "soon", [], 10**30, float("nan"), {"deep": 1}, -(10**15)])
def test_the_end_of_a_token(exp: object) -> None:
    (known,) = parse(f"bearer {token({'exp': 1_800_000_000})}", ALL)
    assert known.until == datetime.fromtimestamp(1_800_000_000, UTC)
    for odd in (token({"exp": exp}), token([]), "a.b.c", "a.%%.c"):
        assert parse(f"bearer {odd}", ALL)[0].until is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is no key in it"),
        ("# nothing\n", "there is no key in it"),
        ("alone", "line 1: it must be name:secret, bearer TOKEN, hmac SECRET"),
        (":secret", "line 1: it must be"),
        ("name:", "line 1: it must be"),
        ("a:b c", "line 1: it must be"),
        ("a:b\nb:ä", "line 2: a key has printable ASCII"),
        ("a:b until tomorrow", "line 1: behind `until` must be a day"),
        ("hmac key", "line 1: this kind of cloud takes name:secret, not hmac SECRET"),
        ("a:b\n" * 9, "there are 9 keys in it; at most 8 go"),
    ],
)
def test_what_is_wrong_is_told_without_the_key(text: str, told: str) -> None:
    with pytest.raises(BadRequest, match=told) as caught:
        parse(text, (Scheme.BASIC,))
    assert caught.value.__cause__ is None


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    try:
        found = parse(data.decode("latin-1"), ALL)
    except BadRequest:
        return
    for one in found:
        assert all(value.isascii() and value.isprintable() for value in one.headers(b"x").values())


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for content, told in (
        (None, "cannot be read"),
        (b"\xff", "no text in ASCII"),
        (b"x" * 70_000, "no file of keys"),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(StorageError, match=told):
            read(path, ALL)


def test_a_key_is_not_shown() -> None:
    assert "hidden" not in repr(parse("name:hidden", ALL))
