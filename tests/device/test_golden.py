"""What `device test` tells: each frame with what must come of it, whichever way the device is reached."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.cli import main
from edgewhisk.device import library
from edgewhisk.device.capture import CapturedBytes
from edgewhisk.device.golden import seen
from edgewhisk.device.rejected import sample

KINDS = ("nova/sds011", "tasmota/energy", "eastron/sdm120", "advantech/adam-6015", "eclipse/sparkplug-b")


def test_every_profile_reads_its_golden_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'state_dir = "{tmp_path}"\n')
    assert main(["device", "test", "--config", str(config), *library.names()]) == 0
    shown = capsys.readouterr().out
    assert shown.count("as it must") == len(library.names())
    assert "frame   00 ff fe 7b" in shown  # what is refused, in hexadecimal


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('@ tele/p/SENSOR b\'{"ENERGY": {"Power": 5}}\'\n< {"power": 6}', 'wanted  {"power": 6}'),
        ("@ tele/p/SENSOR b'\\xff\\x00'\n< {\"power\": 6}", "frame   ff 00"),
        ("@ other/p b'{}'\n! no", "no topic of the profile fits other/p"),
        ('@ tele/p/SENSOR b\'{"ENERGY": {"Power": 5}}\'', "nothing is expected"),
        ("nonsense", "a line begins with one of"),
    ],
)
def test_what_is_wrong_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: str, told: str
) -> None:
    config, golden = tmp_path / "c.toml", tmp_path / "my.golden"
    config.write_text(f'state_dir = "{tmp_path}"\n')
    golden.write_text(lines)
    words = ["device", "test", "tasmota/energy", "--golden", str(golden), "--config", str(config)]
    assert main(words) == 1
    shown = "".join(capsys.readouterr())
    assert told in shown


@given(st.sampled_from(KINDS), st.lists(st.binary(max_size=40), max_size=4))
def test_anything_may_have_been_said(name: str, said: list[bytes]) -> None:
    topics = ("tele/p/SENSOR", "spBv1.0/a/NDATA/b", "Advantech/x/data")
    for topic in topics:
        for one in seen(library.load(name), [CapturedBytes(0, data, topic) for data in said]):
            assert (one.values is None) == bool(one.reason)


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_a_sample_is_one_line_and_text_only_where_it_was_text(data: bytes) -> None:
    shown = sample(data)
    assert "\n" not in shown
    assert len(shown) < 500
    if len(data) <= 80 and not shown.startswith(("'", '"')):
        assert bytes.fromhex(shown) == data
