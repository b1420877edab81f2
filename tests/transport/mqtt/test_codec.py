"""Packets as bytes: in any chunks, whole, cut and wrong, beside a reader that takes byte after byte."""

from __future__ import annotations

import base64
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.transport.mqtt import codec as packets
from edgewhisk.transport.mqtt.codec import Delivery, Message, Packets, Publication

VERSION = st.sampled_from([4, 5])


class Reader:
    """The specification, byte by byte. Raises `ValueError` for what is no packet."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        taken = self.data[self.at : self.at + count]
        if len(taken) < count:
            raise EOFError
        self.at += count
        return taken

    def varint(self) -> int:
        value = 0
        for shift in range(4):
            byte = self.take(1)[0]
            value += byte % 128 * 128**shift
            if byte < 128:
                return int(value)
        raise ValueError

    def text(self) -> bytes:
        return self.take(int.from_bytes(self.take(2), "big"))


def publish(first: int, body: bytes, version: int) -> Delivery:
    reader = Reader(body)
    try:
        topic = reader.text()
        packet_id = reader.take(2) if first & 6 else b""
        properties = reader.take(reader.varint()) if version == 5 else b""
    except EOFError:
        raise ValueError from None
    return Delivery(topic, body[reader.at :], packet_id, first, properties)


def reference(data: bytes, version: int) -> tuple[Packets, int]:
    deliveries, acknowledged, others = [], [], []
    reader, at = Reader(data), 0
    try:
        while True:
            at = reader.at
            first = reader.take(1)[0]
            body = reader.take(reader.varint())
            if first >> 4 == 3:
                deliveries.append(publish(first, body, version))
            elif first == 0x40 and len(body) == 2:
                acknowledged.append(body)
            else:
                others.append((first, body))
    except EOFError:
        return Packets(deliveries, acknowledged, others), at


class Sent(NamedTuple):
    """A packet on the wire."""

    first: int
    body: bytes

    @property
    def wire(self) -> bytes:
        return packets.head(self.first, len(self.body)) + self.body


@st.composite
def publishes(draw: st.DrawFn) -> bytes:
    size = draw(st.sampled_from([0, 1, 2, 3, 100, 127, 128, 300, 16_384]))
    message = Message(
        draw(st.sampled_from(["t/a", "é/b", "x" * 140])),
        draw(st.binary(min_size=1, max_size=4)) * size,
        draw(st.sampled_from([0, 1])),
        draw(st.booleans()),
        draw(st.sampled_from([0, 60])),
    )
    written = packets.write(message, draw(st.integers(1, 65_535)), draw(VERSION))
    return bytes([written[0] | draw(st.sampled_from([0, 8]))]) + written[1:]


PACKET = st.one_of(
    publishes(),
    st.integers(1, 65_535).map(lambda number: b"\x40\x02" + number.to_bytes(2, "big")),
    st.sampled_from([b"\xd0\0", b"\x20\2\0\0", b"\x90\3\0\1\1", b"\x40\4\0\7\x10\0", b"\x40\3\0\7\x87"]),
    st.builds(Sent, st.integers(0, 255), st.binary(max_size=400)).map(lambda sent: sent.wire),
)


def outcome(data: bytes, version: int, read: object) -> object:
    assert callable(read)
    try:
        return read(data, version)
    except ValueError:
        return ValueError


@given(st.lists(PACKET, max_size=8).map(b"".join) | st.binary(max_size=60), VERSION)
def test_any_bytes_are_read_as_the_specification_says(data: bytes, version: int) -> None:
    assert outcome(data, version, packets.read) == outcome(data, version, reference)


@given(st.lists(PACKET, max_size=8), VERSION, st.data())
def test_packets_are_found_in_any_chunks(sent: list[bytes], version: int, data: st.DataObject) -> None:
    stream = b"".join(sent)
    try:
        whole, end = reference(stream, version)
    except ValueError:
        return
    assert end == len(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    found: list[Packets] = []
    rest = bytearray()
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        rest += stream[start:stop]
        more, end = packets.read(bytes(rest), version)
        assert packets.begins_whole(rest) == (end > 0)
        del rest[:end]
        found.append(more)
    assert not rest
    for kind in range(3):
        assert [one for each in found for one in each[kind]] == whole[kind]


@pytest.mark.parametrize("read", [lambda data: packets.read(data, 4), packets.begins_whole])
def test_a_length_without_end_is_refused(read: object) -> None:
    assert callable(read)
    assert read(b"\x30\xff\xff\xff") in ((packets.NONE, 0), (([], [], []), 0), False)
    with pytest.raises(ValueError, match="no variable byte integer"):
        read(b"\x30\xff\xff\xff\xff\x01")


@given(
    st.text(alphabet="abc/é", min_size=1, max_size=10),
    st.lists(st.binary(max_size=300), max_size=5),
    st.sampled_from([0, 1]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
    VERSION,
)
def test_what_is_written_is_what_is_read(
    topic: str, payloads: list[bytes], qos: int, retain: bool, expiry: int, version: int
) -> None:
    what, taken = Publication(topic, qos, retain, expiry), range(77, 77 + len(payloads))
    written = packets.publishes(what, payloads, taken, version)
    (deliveries, acknowledged, others), end = packets.read(written, version)
    assert (end, list(acknowledged), list(others)) == (len(written), [], [])
    assert [one.payload for one in deliveries] == payloads
    for number, found in zip(taken, deliveries, strict=True):
        assert (found.topic.decode(), found.retained, found.again) == (topic, retain, False)
        assert found.packet_id == (number.to_bytes(2, "big") if qos else b"")
        if version == 5 and expiry:
            assert packets.properties(found.properties) == {"expiry": expiry}
    if qos:
        packet_ids = [one.packet_id for one in deliveries]
        assert packets.numbers(packet_ids) == tuple(taken)
        puback = packets.read(packets.acknowledgements(packet_ids), version)[0]
        assert list(puback.acknowledged) == packet_ids


@given(st.binary(max_size=40))
def test_any_properties_are_read_or_refused(data: bytes) -> None:
    try:
        packets.properties(data)
    except ValueError:
        return


def _string(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


_PAIRS = st.lists(
    st.tuples(st.sampled_from(["", "unit", "x"]), st.sampled_from(["", "1", "C", "F"])), max_size=8
)


@given(_PAIRS, st.none() | st.binary(max_size=20))
def test_user_properties_keep_all_values_in_order_and_correlation_data_its_bytes(
    pairs: list[tuple[str, str]], correlation: bytes | None
) -> None:
    data = b"".join(b"\x26" + _string(key.encode()) + _string(value.encode()) for key, value in pairs)
    if correlation is not None:
        data += b"\x09" + _string(correlation)
    found = packets.properties(data + b"\x08" + _string(b"r/1"))
    assert found["response_topic"] == "r/1"
    for key, told in found.get("user", {}).items():
        values = [value for name, value in pairs if name == key]
        assert told == (values if len(values) > 1 else values[0])
    assert set(found.get("user", {})) == {key for key, _ in pairs}
    if correlation is not None:
        assert base64.b64decode(found["correlation_data"]) == correlation
        assert found.get("correlation", "").encode() in (correlation, b"")
