"""Frames: whatever happens to the bytes, whole groups come back and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.buffer.journal import Frame, encode, scan, seed_of

SEED = seed_of("seg-00000001-000000000001-0123456789abcdef.ewj")
TEXT = st.binary(max_size=40).map(lambda data: data.replace(b"\n", b" "))
FRAMES = st.builds(Frame, st.sampled_from("AES"), st.integers(0, 10**9), TEXT)
GROUPS = st.lists(st.lists(FRAMES, min_size=1, max_size=4), max_size=6)


def written(groups: list[list[Frame]]) -> tuple[bytes, list[int]]:
    data, ends = b"", [0]
    for group in groups:
        data += encode(group, SEED)[0]
        ends.append(len(data))
    return data, ends


def plain(frames: tuple[Frame, ...]) -> list[tuple[str, int, bytes]]:
    return [frame[:3] for frame in frames]


@given(GROUPS)
def test_what_is_written_is_read(groups: list[list[Frame]]) -> None:
    data, _ = written(groups)
    found = scan(data, SEED)
    assert plain(found.frames) == [frame[:3] for group in groups for frame in group]
    assert (found.end, found.corrupt) == (len(data), 0)
    assert all(data[f.start : f.start + len(f.text)] == f.text for f in found.frames)


@given(GROUPS, st.data())
def test_a_torn_tail_costs_the_torn_group_only(groups: list[list[Frame]], draw: st.DataObject) -> None:
    data, ends = written(groups)
    cut = draw.draw(st.integers(0, len(data)))
    found = scan(data[:cut], SEED)
    whole = max(at for at, end in enumerate(ends) if end <= cut)
    assert plain(found.frames) == [frame[:3] for group in groups[:whole] for frame in group]
    assert found.end == ends[whole]


@given(GROUPS, st.data())
def test_one_flipped_bit_costs_at_most_one_frame(groups: list[list[Frame]], draw: st.DataObject) -> None:
    data, _ = written([*groups, [Frame("S", 1, b"")]])
    at = draw.draw(st.integers(0, len(data) - 1))
    bad = data[:at] + bytes([data[at] ^ (1 << draw.draw(st.integers(0, 7)))]) + data[at + 1 :]
    good, found = plain(scan(data, SEED).frames), plain(scan(bad, SEED).frames)
    assert all(frame in good for frame in found)
    if at < len(data) - len(encode([Frame("S", 1, b"")], SEED)[0]) - 1:
        # A flip of a line's own end joins it with the next one: two lines, one of them damaged twice.
        assert len(found) >= len(good) - 2


@given(st.binary(max_size=500))
def test_no_bytes_break_the_scan(data: bytes) -> None:
    scan(data, SEED)


def test_frames_of_another_segment_do_not_count() -> None:
    data, _ = encode([Frame("A", 1, b"{}")], seed_of("seg-00000001-000000000001-ffffffffffffffff.ewj"))
    assert scan(data, SEED).frames == ()
