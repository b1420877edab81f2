"""Framers: chunks make no difference, the next good frame is found, memory is bounded."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU

from edgewhisk.device.framing import framer
from edgewhisk.device.profile import FRAMINGS, Check, Framing
from tests.device.test_profiles import PROFILES, chunks, golden


def recorded(name: str) -> bytes:
    return next(one.data for one in golden(name)[0] if not one.asked)


def profiled(name: str) -> tuple[Framing, bytes, bytes]:
    return PROFILES[name].framing, recorded(name), recorded(name)


CHECKED = Check("crc16-modbus", 0, -2, -2, "little")
KINDS = {  # framing, what is sent, the frame in it
    "line": (Framing("line", 20), b"\ngood\n", b"good"),
    "line with a long end": (Framing("line", 20, end=b"\r\n\r\n"), b"\r\n\r\ngood\r\n\r\n", b"good"),
    "nmea": (Framing("nmea", 20), b"$GP*17\r\n", b"$GP*17"),
    "fixed": profiled("nova/sds011"),
    "fixed without an end": profiled("winsen/mh-z19"),
    "length": profiled("plantower/pms5003"),
    "length with an end": (
        Framing("length", 20, b"\x02", b"\x03", 0, 1, "u8", "big", 3, Check("xor8", 1, -2, -2)),
        b"\x02\x05good\x06\x03",
        b"\x02\x05good\x06\x03",
    ),
    "delimited": (Framing("delimited", 20, b"\x02", b"\x03"), b"\x02good\x03", b"\x02good\x03"),
    "delimited by many bytes": (Framing("delimited", 20, b"<<", b">>"), b"<<good>>", b"<<good>>"),
    "slip": (Framing("slip", 20), b"\xc0a\xdb\xdcb\xdb\xdd\xc0", b"a\xc0b\xdb"),
    "slip with a checksum": (
        Framing("slip", 20, check=CHECKED),
        b"\xc0123456789\x37\x4b\xc0",
        b"123456789\x37\x4b",
    ),
    "cobs": (Framing("cobs", 20), b"\0\x02a\x02b\0", b"a\0b"),
    "telegram": profiled("generic/dsmr-p1"),
}
STARTS = st.sampled_from(
    [b"\x02", b"\xaa\xc0", b"BM", b"/ISk5", b"$", b"<", b"<<", b"\r\n", b"\xff\x86", b"!", b"\xc0"]
)
GARBAGE = st.lists(st.binary(max_size=30) | STARTS, max_size=8).map(b"".join)


def test_every_framing_is_tested() -> None:
    assert {framing.kind for framing, _, _ in KINDS.values()} == set(FRAMINGS)


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=200)
@given(GARBAGE, st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_chunks_make_no_difference(kind: str, garbage: bytes, sizes: list[int]) -> None:
    framing, sent, _ = KINDS[kind]
    data = garbage + sent + garbage[:7] + sent
    whole, pieces = framer(framing), framer(framing)
    expected = whole.feed(data)
    found, left = [], data
    while left:
        for size in sizes:
            found += pieces.feed(left[:size])
            left = left[size:]
    assert found == expected
    assert pieces.idle() == whole.idle()
    assert (pieces.overlong, pieces.corrupt) == (whole.overlong, whole.corrupt)


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=200)
@given(GARBAGE)
@example(b"\x02\r\0\2\2\2\0\r")
def test_the_next_good_frame_is_found_after_anything(kind: str, garbage: bytes) -> None:
    """At once, or once the line is quiet: what begins like a frame may hold what follows until then.

    A frame that is known by its end alone is found behind that of the garbage; one that is known by its
    start even if the garbage has no end.
    """
    framing, sent, frame = KINDS[kind]
    cutter = framer(framing)
    found = cutter.feed(garbage + sent) + cutter.idle()
    # Eight bits of checksum fit by chance, too: then what began in the garbage ends with the good one.
    by_chance = kind == "length with an end" and any(one.endswith(frame) for one in found)
    assert frame in found or by_chance


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=100)
@given(GARBAGE)
def test_without_a_pause_it_is_found_when_more_is_sent(kind: str, garbage: bytes) -> None:
    framing, sent, frame = KINDS[kind]
    cutter = framer(framing)
    cutter.feed(garbage)
    found: list[bytes] = []
    for _ in range(framing.longest // len(sent) + 2):
        found += cutter.feed(sent)
    assert frame in found


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_memory_is_bounded_whatever_comes(kind: str) -> None:
    framing, sent, _ = KINDS[kind]
    chance = random.Random(5)
    start = framing.start or sent[:2]
    streams = [
        chance.randbytes(200_000),
        b"x" * 200_000,
        (start * 200_000)[:200_000],
        start + b"\xfe" * 200_000,
    ]
    for stream in streams:
        cutter = framer(framing)
        for piece in chunks(stream, 999):
            cutter.feed(piece)
            assert len(vars(cutter)["_rest"]) <= framing.longest + len(framing.end)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_frame_that_is_too_long_is_counted_and_the_next_one_read(kind: str) -> None:
    framing, sent, frame = KINDS[kind]
    cutter = framer(framing)
    cutter.feed((framing.start or b"") + b"y" * (framing.longest * 2))
    assert frame in cutter.feed(sent) + cutter.idle()


def test_an_end_that_is_cut_by_a_chunk_ends_what_was_too_long() -> None:
    cutter = framer(Framing("line", 4, end=b"\r\n"))
    found = [frame for piece in (b"much too long\r", b"\nok\r", b"\n") for frame in cutter.feed(piece)]
    assert (found, cutter.overlong) == ([b"ok"], 1)


# -- Modbus: the framers are pymodbus's; this is what the gateway relies on --------------------------

RTU = golden("eastron/sdm120")[0][1].data
TCP = b"\0\1\0\0\0\x05\1\4\2\0\x2a"


def pdus(wire: type[FramerRTU | FramerSocket], pieces: Iterator[bytes]) -> list[list[int]]:
    """What a client makes of answers that arrive in pieces."""
    cutter, left, found = wire(DecodePDU(False)), b"", list[list[int]]()
    for piece in pieces:
        left += piece
        used, pdu = cutter.handleFrame(left, 0, 0)
        left = left[used:]
        if pdu is not None:
            found.append(list(pdu.registers))
    return found


@settings(max_examples=100)
@given(st.sampled_from([(FramerRTU, RTU), (FramerSocket, TCP)]), st.integers(1, 80))
def test_modbus_answers_in_any_pieces(wire: tuple[type[FramerRTU | FramerSocket], bytes], size: int) -> None:
    kind, answer = wire
    assert pdus(kind, chunks(answer, size)) == pdus(kind, iter([answer])) != []


@settings(max_examples=200)
@given(st.integers(0, len(RTU) - 1), st.integers(1, 255))
def test_a_damaged_modbus_answer_is_no_answer(at: int, change: int) -> None:
    damaged = bytearray(RTU)
    damaged[at] ^= change
    assert pdus(FramerRTU, iter([bytes(damaged)])) == []


@given(st.binary(max_size=60), st.integers(1, 9))
def test_no_byte_is_taken_twice_and_those_skipped_are_counted(noise: bytes, size: int) -> None:
    """A frame that ends as the next one would begin: its last byte was taken twice."""
    framing = Framing("fixed", 4, b"BM", b"", 4)
    frame = b"BMxB"
    stream = noise.replace(b"B", b"-") + frame + b"M??" + frame
    cutter = framer(framing)
    found = [one for at in range(0, len(stream), size) for one in cutter.feed(stream[at : at + size])]
    found += cutter.idle()
    assert found == [frame, frame]
    assert cutter.skipped == len(stream) - 8
