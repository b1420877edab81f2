"""Images: what a patch makes of a memory is exactly another one, and equal granules are kept once."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk.entity.action import Revision
from edgewhisk.sandbox.guest.image import GRANULE, NO_GRANULES, Blank, Image, Images, changes

START = 2 * GRANULE
BLANK = Blank(b"".join(bytes([n + 1]) * GRANULE for n in range(6)) + b"end", START, 1)

memories = st.lists(
    st.sampled_from([bytes(GRANULE), b"\1" * GRANULE, b"\2" * GRANULE, b"x" * GRANULE, b"\7" * 10]),
    max_size=12,
).map(b"".join)


def revision(of: object, version: str = "0.0.1") -> Revision:
    return f"guest/{of}", version, 1


def whole(data: bytes) -> bytes:
    return data.ljust(20 * GRANULE, b"\0")


def patched(memory: bytes, table: bytes) -> bytes:
    """What the driver does."""
    count, made = len(table) // (GRANULE + 4), bytearray(memory)
    for n, address in enumerate(struct.unpack(f"<{count}I", table[: 4 * count])):
        at = address - START
        made[at : at + GRANULE] = table[4 * count + n * GRANULE : 4 * count + (n + 1) * GRANULE]
    return bytes(made)


@settings(max_examples=300, deadline=None)
@given(st.lists(memories, min_size=1, max_size=5))
def test_each_memory_can_be_made_of_each_other(found: list[bytes]) -> None:
    images = Images(BLANK.granule)
    shown, image = whole(BLANK.data), BLANK.image
    for at, data in enumerate([*found, BLANK.data]):
        wanted = images.keep(revision(at), BLANK.difference(data, 3))
        shown, image = patched(shown, BLANK.patch(image, wanted)), wanted
        assert shown == whole(data)
        assert (image.high, image.pages) == (START + len(data), 3)
    assert patched(shown, BLANK.patch(image, BLANK.image)) == whole(BLANK.data)


def test_a_change_touches_what_differs_only() -> None:
    one = BLANK.difference(BLANK.data[: 2 * GRANULE] + b"x" * GRANULE + BLANK.data[3 * GRANULE :], 1)
    assert list(one.own) == [START + 2 * GRANULE]
    assert BLANK.patch(one, one) == b""
    assert len(BLANK.patch(BLANK.image, one)) == GRANULE + 4


def image(*granules: int) -> Image:
    return Image(
        {at * GRANULE: bytes([one]) * GRANULE for at, one in enumerate(granules)}, NO_GRANULES, 9 * GRANULE, 1
    )


def test_equal_granules_of_many_actions_are_kept_once() -> None:
    images = Images(lambda _: bytes(GRANULE))
    for n in range(1000):
        images.keep(revision(n), image(1, 2, n % 3))
    assert len(images) == 1000
    assert images.weight < 1000 * GRANULE


def test_what_was_not_used_for_longest_goes_and_leaves_nothing() -> None:
    images = Images(lambda _: bytes(GRANULE), most=20 * GRANULE)
    for n in range(200):
        images.keep(revision(n), image(n, 255 - n))
        assert images.find(revision(0)) is not None  # it is used each time
        assert images.weight <= 20 * GRANULE
    assert revision(199) in images
    assert revision(1) not in images
    images.keep(revision(0), image(7))
    images.keep(revision("large"), image(*range(100)))  # alone heavier than all may be
    assert len(images) == 1
    images.keep(revision("last"), image(1))
    assert images.find(revision("large")) is None
    assert images.weight < 7 * GRANULE  # of which three are common


def test_nothing_is_written_above_what_either_image_holds() -> None:
    """A slot has no room there: the first action that was loaded may have needed more than all others."""
    images = Images(BLANK.granule)
    images.keep(revision("first"), BLANK.difference(BLANK.data + b"x" * 9 * GRANULE, 1))
    small = images.keep(revision("small"), BLANK.difference(b"y" + BLANK.data[1:], 1))
    assert set(changes(BLANK.image, small, BLANK.granule)) == {START}


def test_of_each_action_only_the_newest_revision_is_kept_until_it_is_gone() -> None:
    images = Images(lambda _: bytes(GRANULE))
    images.keep(revision("other"), image(1))
    before = images.weight
    for version in ("0.0.1", "0.0.2", "0.0.3"):
        images.keep(revision("a", version), image(1, 2, 3))
    assert [images.find(revision("a", f"0.0.{n}")) is None for n in (1, 2, 3)] == [True, True, False]
    images.forget("guest/a")
    images.forget("guest/a")
    assert (len(images), images.weight) == (1, before)
