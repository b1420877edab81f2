"""What is remembered of accepted messages, beside a dictionary that remembers all."""

from __future__ import annotations

import asyncio
import tracemalloc
import zlib

from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.transport.mqtt.redelivery import AcceptedMessages, checksum

PACKETS = st.sampled_from([b"\0\1", b"\0\2", b"\xff\xff"])
CHECKS = st.integers(1, 3) | st.just(0xFFFFFFFF)
STEPS = st.lists(st.tuples(st.dictionaries(PACKETS, CHECKS, min_size=1), st.booleans()), max_size=8)


@given(STEPS)
def test_the_newest_of_each_identifier_is_known(steps: list[tuple[dict[bytes, int], bool]]) -> None:
    accepted, model, origins = AcceptedMessages("mqtt:", []), dict[bytes, int](), list[str]()
    loop = asyncio.new_event_loop()
    for fresh, refused in steps:
        stored = loop.create_future()
        accepted.add(fresh, stored)
        model.update(fresh)
        assert all(accepted.pending(packet, check) is stored for packet, check in fresh.items())
        accepted.settle(fresh, stored, refused=refused)
        if refused:
            model = {packet: check for packet, check in model.items() if fresh.get(packet) != check}
        assert all(accepted.pending(packet, check) is None for packet, check in fresh.items())
    loop.close()
    origins = [accepted.origin(packet, check) for packet, check in model.items()]
    for one in (accepted, AcceptedMessages("mqtt:", ["other:000100000001", "mqtt:short", *origins])):
        for packet in (b"\0\1", b"\0\2", b"\xff\xff"):
            known = [check for check in (1, 2, 3, 0xFFFFFFFF) if one.knows(packet, check)]
            assert known == ([model[packet]] if packet in model else [])


def test_all_identifiers_of_a_broker_take_no_more_memory_than_one() -> None:
    accepted, loop = AcceptedMessages("mqtt:", []), asyncio.new_event_loop()
    tracemalloc.start()
    try:
        for number in range(1, 1 << 16):
            fresh = {number.to_bytes(2, "big"): number * 65_537}
            stored = loop.create_future()
            accepted.add(fresh, stored)
            accepted.settle(fresh, stored, refused=False)
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        loop.close()
    assert accepted.knows(b"\xff\xff", 0xFFFF * 65_537)
    assert grown < 20_000  # 7 MB in a dictionary


def test_no_message_has_the_checksum_that_stands_for_none() -> None:
    text = b"\x9d\x0a\xd9\x6d"
    assert zlib.crc32(text) == 0
    assert checksum(b"", text) == 1
