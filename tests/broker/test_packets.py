"""Packets of clients, right ones and any other bytes."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgewhisk.broker import packets
from edgewhisk.broker.packets import split
from edgewhisk.broker.properties import Property, prop
from edgewhisk.broker.reason import BadPacket, Reason
from edgewhisk.config.schema import EmbeddedConfig
from tests.broker.bench import Bench, connect, publish, subscribe, text

SEEDS = [
    connect("a"),
    connect("a", 5, clean=False, properties=prop(Property.SESSION_EXPIRY, 9), will=("w", b"x", 1, True),
            will_properties=prop(Property.WILL_DELAY, 1)),
    connect("", 3),
    subscribe(1, ("a/+", 1), ("$share/g/#", 2)),
    subscribe(2, ("#", 0x2E), version=5, properties=prop(Property.SUBSCRIPTION, 5)),
    publish("a/b", b"hello", 1, 1, retain=True),
    publish("a/b", b"hello", 2, 2, version=5, properties=prop(Property.ALIAS, 1) + prop(Property.EXPIRY, 7)),
    packets.answer(packets.PUBREL, 2),
    packets.answer(packets.PUBREC, 1, Reason.QUOTA, 5),
    packets.packet(packets.UNSUBSCRIBE, b"\0\3", text("a/+")),
    b"\xc0\0",
    b"\xe0\2\4\0",
]  # fmt: skip


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Right packets, of which some bytes are others, some gone, some doubled."""
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(SEEDS), min_size=1, max_size=12))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(data)


@settings(max_examples=300, deadline=None)
@given(st.lists(streams() | st.binary(max_size=80), min_size=1, max_size=4), st.integers(1, 50))
def test_any_bytes_end_a_connection_at_most(said: list[bytes], chunk: int) -> None:
    bench = Bench(replace(EmbeddedConfig(), packet_bytes=1000, queued_messages=5, retained_topics=5))
    watcher = bench.peer()
    watcher.say(connect("watcher"))
    watcher.say(subscribe(1, ("#", 2)))
    for data in said:
        peer = bench.peer()
        buffer = bytearray()
        for at in range(0, len(data), chunk):
            buffer += data[at : at + chunk]
            try:
                for first, body in split(buffer, 1000):
                    bench.broker.received(peer.number, first, body, bench.now)
            except BadPacket as error:
                bench.broker.broke(peer.number, error, bench.now)
            bench.act()
            if peer.closed:
                break
        peer.cut()
    bench.wait(20)
    watcher.inbox.clear()
    assert watcher.say(b"\xc0\0")[-1] == (0xD0, b"")
    Bench(disk=bench.disk)  # what it wrote can be read


@given(st.lists(st.sampled_from(SEEDS), max_size=8), st.integers(1, 20))
def test_a_stream_is_split_whatever_the_chunks_are(said: list[bytes], chunk: int) -> None:
    stream, buffer, found = b"".join(said), bytearray(), []
    for at in range(0, len(stream), chunk):
        buffer += stream[at : at + chunk]
        found += [packets.packet(first, body) for first, body in split(buffer, 1000)]
    assert found == said
    assert not buffer


def test_a_long_packet_is_refused_before_it_is_here() -> None:
    buffer = bytearray(b"\x30\xff\xff\xff\x7f")
    with pytest.raises(BadPacket) as caught:
        list(split(buffer, 1000))
    assert caught.value.reason == Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (connect("a", 5, properties=prop(Property.RECEIVE_MAXIMUM, 0)), Reason.PROTOCOL_ERROR),
        (connect("a", 5, properties=2 * prop(Property.SESSION_EXPIRY, 1)), Reason.PROTOCOL_ERROR),
        (connect("a", 5, properties=prop(Property.ALIAS, 1)), Reason.PROTOCOL_ERROR),
        (connect("a", 6), Reason.OTHER_VERSION),
        (connect("a", will=("w/#", b"", 0, False)), Reason.BAD_TOPIC),
        (packets.packet(0x10, text(b"MQTT") + b"\4\2\0\0" + text(b"\xff")), Reason.MALFORMED),
        (packets.packet(0x10, text(b"MQTT") + b"\4\3\0\0" + text(b"a")), Reason.MALFORMED),
        (packets.packet(0x10, text(b"MQTT") + b"\4\2\0\0" + text(b"a") + b"x"), Reason.MALFORMED),
        (packets.packet(0x10, text(b"MQTT") + b"\4\x0a\0\0" + text(b"a")), Reason.MALFORMED),
        (packets.packet(0x10, text(b"HTTP") + b"\4\2\0\0" + text(b"a")), Reason.MALFORMED),
    ],
)
def test_what_is_no_connect_says_why(said: bytes, reason: Reason) -> None:
    ((_, body),) = split(bytearray(said), 1000)
    with pytest.raises(BadPacket) as caught:
        packets.read_connect(body)
    assert caught.value.reason == reason


def test_a_connect_says_who_and_what() -> None:
    said = packets.packet(
        0x10,
        text(b"MQTT") + b"\4\xee\0\x0a",
        text("dev"),
        text("w"),
        text("gone"),
        text("user"),
        text(b"\0pw"),
    )
    ((_, body),) = split(bytearray(said), 1000)
    found = packets.read_connect(body)
    assert (found.client_id, found.clean, found.keep_alive) == ("dev", True, 10)
    assert (found.username, found.password) == ("user", b"\0pw")
    assert found.will is not None
    assert (found.will.topic, found.will.payload, found.will.qos, found.will.retain) == (
        "w",
        b"gone",
        1,
        True,
    )


def test_a_topic_of_64_kb_leaves_little_behind() -> None:
    bench = Bench()
    peer = bench.peer()
    peer.say(connect("a"))
    tracemalloc.start()
    for number in range(50):
        peer.say(publish(f"{number}" + "/x" * 30_000, b""))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20
