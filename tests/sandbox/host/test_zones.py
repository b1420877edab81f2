"""Time zones for guests: every name has a file or none, and no name is a way to another file."""

from __future__ import annotations

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgewhisk.sandbox.host.zones import zone


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_a_zone_is_a_file_of_its_format(name: str) -> None:
    found = zone(name)
    assert found is not None
    assert base64.b64decode(found)[:5] in (b"TZif2", b"TZif3", b"TZif4")  # RFC 9636, section 3.1
    listed = zone("")
    assert listed is not None
    assert name in listed.decode().splitlines()


PARTS = st.sampled_from(["..", ".", "", "/", "\0", "Europe", "Berlin", "etc/passwd", "tzdata.zi", "x" * 300])


@given(st.lists(PARTS, max_size=5).map("/".join) | st.text(max_size=20))
@example("Europe")  # a folder
@example("../../../etc/passwd")
@example("\ud800")
def test_whatever_is_asked_for_is_a_zone_or_nothing(name: str) -> None:
    found = zone(name)
    if name and found is not None:
        assert base64.b64decode(found).startswith(b"TZif")
        assert ".." not in name
