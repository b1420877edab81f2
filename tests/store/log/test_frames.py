"""Frames: whatever happens to the bytes, whole groups come back and nothing else."""

from __future__ import annotations

from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.store.log.frames import Frame, encode, read_line, scan, seed_of

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


def plain(frames: list[Frame]) -> list[tuple[str, int, bytes]]:
    return [frame[:3] for frame in frames]


@given(GROUPS)
def test_what_is_written_is_read(groups: list[list[Frame]]) -> None:
    data, _ = written(groups)
    found = scan(data, SEED)
    assert plain(found.frames) == [frame[:3] for group in groups for frame in group]
    assert (found.end, found.corrupt) == (len(data), 0)
    assert all(read_line(data[f.start : f.start + f.size], SEED, f.start) == f for f in found.frames)


@given(GROUPS, st.data())
def test_a_torn_tail_costs_the_torn_group_only(groups: list[list[Frame]], draw: st.DataObject) -> None:
    data, ends = written(groups)
    cut = draw.draw(st.integers(0, len(data)))
    found = scan(data[:cut], SEED)
    whole = max(at for at, end in enumerate(ends) if end <= cut)
    assert plain(found.frames) == [frame[:3] for group in groups[:whole] for frame in group]
    assert found.end == ends[whole]


@given(st.lists(st.lists(FRAMES, min_size=1, max_size=4), min_size=1, max_size=4), st.data())
def test_one_flipped_bit_costs_nothing(groups: list[list[Frame]], draw: st.DataObject) -> None:
    data, _ = written(groups)
    at = draw.draw(st.integers(0, len(data) - 1))
    bad = data[:at] + bytes([data[at] ^ (1 << draw.draw(st.integers(0, 7)))]) + data[at + 1 :]
    behind = draw.draw(st.sampled_from([b"", bytes(99), b"0badc0de A 1 of an earlier life\n" * 3]))
    found = scan(bad + behind, SEED)
    assert plain(found.frames) == plain(scan(data, SEED).frames)
    assert (found.corrupt, found.repaired) == (0, 1)


def test_more_than_a_bit_costs_one_line() -> None:
    groups = [
        [Frame("A", 1, b"one"), Frame("A", 2, b"two"), Frame("A", 3, b"three")],
        [Frame("A", 4, b"four")],
    ]
    data, _ = written(groups)
    bad = data.replace(b"two", b"2 !")
    found = scan(bad, SEED)
    assert [frame.number for frame in found.frames] == [1, 3, 4]
    assert (found.end, found.corrupt, found.repaired) == (len(data), 1, 0)
    assert scan(data.replace(b"three", b"drei!"), SEED).corrupt == 1  # the end of a round
    # In the last round it cannot be told from a torn write, unless it is known where the segment ended.
    last = written([groups[1], groups[0]])[0].replace(b"two", b"2 !")
    assert [frame.number for frame in scan(last, SEED).frames] == [4]
    assert [frame.number for frame in scan(last, SEED, len(last)).frames] == [4, 1, 3]


@given(
    st.lists(st.tuples(st.sampled_from("AGS"), st.integers(1, 9), st.booleans()), max_size=12),
    st.integers(1, 99),
)
def test_what_is_lost_with_damaged_lines_is_told_by_the_numbers(
    lines: list[tuple[str, int, bool]], first: int
) -> None:
    """`lines`: op, records if it is a record block, and whether it is damaged; the last one is sound."""
    data, last, lost, behind, blind = b"", first - 1, 0, 0, False
    for op, count, damaged in [*lines, ("S", 1, False)]:
        records = {"A": 1, "G": count, "S": 0}[op]
        line, _ = encode([Frame(op, last, b"%d words" % count)], SEED, last)
        data += line.replace(b"words", b"WORDS") if damaged else line
        last += records
        behind += records if damaged else 0
        if damaged:
            blind = True
        elif records:
            lost, behind, blind = lost + behind, 0, False
    found = scan(data, SEED)
    assert (found.missing(first), found.blind) == (lost, blind)


def test_a_round_is_whole_or_nothing_even_if_its_end_got_to_the_disk_first() -> None:
    data, ends = encode([Frame("A", 1, b"one"), Frame("B", 2, b"mark")], SEED)
    found = scan(bytes(ends[0]) + data[ends[0] :], SEED)
    assert (found.frames, found.end, found.corrupt) == ([], 0, 0)


def test_groups_of_format_1_are_read() -> None:
    def line(op: str, number: int, text: bytes) -> bytes:
        body = b"%b %d %b" % (op.encode(), number, text)
        return b"%08x %b\n" % (crc32(body, SEED), body)

    data = line("a", 1, b"one") + line("A", 2, b"two") + line("A", 3, b"three") + line("a", 4, b"torn")
    found = scan(data, SEED)
    assert [frame.number for frame in found.frames] == [1, 2, 3]
    assert found.corrupt == 0


@given(st.lists(st.text("-+_ 0af", min_size=8, max_size=24).map(str.encode), min_size=1, max_size=3))
def test_no_digits_break_the_scan(lines: list[bytes]) -> None:
    sound, _ = encode([Frame("A", 1, b"{}")], SEED)
    torn = b"\n".join(lines)
    assert plain(scan(sound + torn, SEED).frames) == [("A", 1, b"{}")]
    assert plain(scan(torn + b"\n" + sound, SEED).frames) == [("A", 1, b"{}")]


@given(st.binary(max_size=500))
def test_no_bytes_break_the_scan(data: bytes) -> None:
    scan(data, SEED)


def test_frames_of_another_segment_do_not_count() -> None:
    data, _ = encode([Frame("A", 1, b"{}")], seed_of("seg-00000001-000000000001-ffffffffffffffff.ewj"))
    assert scan(data, SEED).frames == []
