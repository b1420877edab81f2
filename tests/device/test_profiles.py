"""Every profile against its recorded bytes, however they arrive; framing and decoding of anything."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

from edgewhisk.device import capture
from edgewhisk.device import profile as profiles
from edgewhisk.device.capture import Expected, Said
from edgewhisk.device.decode import Undecodable, decode, decoder, learner, payload
from edgewhisk.device.framing import framer
from edgewhisk.device.profile import Framing, Profile
from edgewhisk.device.registers import readings, requests
from edgewhisk.device.topics import pattern
from edgewhisk.entity.reading import Reading
from edgewhisk.entity.topics import matches
from edgewhisk.errors import ConfigError

DEVICES = Path(__file__).resolve().parents[2] / "devices"
GOLDEN = sorted(DEVICES.glob("*/*.golden"))
NAMES = [path.relative_to(DEVICES).with_suffix("").as_posix() for path in GOLDEN]
PROFILES = {name: profiles.load(name) for name in NAMES}
SERIAL = [name for name in NAMES if PROFILES[name].transport == "serial"]
OVER_MQTT = [name for name in NAMES if PROFILES[name].transport == "mqtt"]
MODBUS = [name for name in NAMES if PROFILES[name].transport == "modbus"]


def golden(name: str) -> tuple[list[Said], list[Any]]:
    """What is said, and what must come of it: values, or (as text) a refusal."""
    path = DEVICES / f"{name}.golden"
    entries = list(capture.read(path.read_text().splitlines(), str(path)))
    said = [entry for entry in entries if isinstance(entry, Said)]
    expected = [entry for entry in entries if isinstance(entry, Expected)]
    return said, [entry.refusal if entry.values is None else entry.values for entry in expected]


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def values(profile: Profile, found: bytes) -> dict[str, Any]:
    event: dict[str, Any] = orjson.loads(found)
    assert event.pop("device") == profile.name
    assert event.pop("taken_at") == 5
    event.pop("port", None)
    event.pop("topic", None)
    return event


def read_port(profile: Profile, pieces: Iterator[bytes], *, idle: bool = False) -> list[Any]:
    cutter, decoding, found = framer(profile.framing), decoder(profile), list[Any]()
    for piece in pieces:
        frames = cutter.feed(piece) + (cutter.idle() if idle else [])
        for frame in frames:
            try:
                got = decoding(frame, {}, "")
            except Undecodable as error:
                found.append(str(error))
                continue
            if got:
                found.append(values(profile, payload(profile, "p", 5, got)))
    return found


@pytest.mark.parametrize("size", [10**6, 1, 7])
@pytest.mark.parametrize("name", SERIAL)
def test_serial_profiles_however_the_bytes_arrive(name: str, size: int) -> None:
    said, expected = golden(name)
    sent = b"".join(one.data for one in said if not one.asked)
    assert read_port(PROFILES[name], chunks(sent, size)) == expected
    asked = [one.data for one in said if one.asked]
    assert asked == [ask.send for ask in PROFILES[name].asks]


@pytest.mark.parametrize("name", SERIAL)
def test_serial_profiles_after_a_pause_behind_each_recorded_piece(name: str) -> None:
    said, expected = golden(name)
    pieces = (one.data for one in said if not one.asked)
    found = read_port(PROFILES[name], pieces, idle=True)
    assert [entry for entry in found if isinstance(entry, dict)] == [
        entry for entry in expected if isinstance(entry, dict)
    ]


@pytest.mark.parametrize("name", SERIAL)
def test_serial_profiles_where_bytes_are_lost(name: str) -> None:
    """Whatever was lost, the next whole frames are read, and nothing is raised."""
    said, expected = golden(name)
    sent = b"".join(one.data for one in said if not one.asked)
    good = [entry for entry in expected if isinstance(entry, dict)]
    lossy = random.Random(7)
    for _ in range(30):
        torn = bytes(byte for byte in sent if lossy.random() > 0.1)
        found = read_port(PROFILES[name], iter([torn, b"\r\n", sent, sent]))
        # The first whole copy may begin behind a torn frame; the second one is read whole.
        assert [entry for entry in found if isinstance(entry, dict)][len(good) * -1 :] == good[-len(good) :]


@pytest.mark.parametrize("name", OVER_MQTT)
def test_mqtt_profiles(name: str) -> None:
    profile = PROFILES[name]
    said, expected = golden(name)
    (decoding, learn), found = learner(profile), list[Any]()
    for one in said:
        patterns = [pattern(topic) for topic in (*profile.topics, *learn())]
        fitting = next(known for known in patterns if matches(known.plain, one.topic))
        parts = fitting.parts(one.topic)
        try:
            got = decoding(one.data, parts, one.topic)
        except Undecodable as error:
            found.append(str(error))
            continue
        if got:
            shown = {key: value for key, value in parts.items() if key != "point"}
            found.append(values(profile, payload(profile, one.topic, 5, got, shown)))
    assert found == expected


@pytest.mark.parametrize("name", MODBUS)
def test_modbus_profiles(name: str) -> None:
    """The requests are the recorded ones, and pymodbus reads the recorded answers."""
    profile = PROFILES[name]
    said, expected = golden(name)
    asked, answers = said[::2], said[1::2]
    server, client = (FramerRTU(DecodePDU(is_server)) for is_server in (True, False))
    found: list[Reading] = []
    for request, question, answer in zip(requests(profile), asked, answers, strict=True):
        _, pdu = server.handleFrame(question.data, 0, 0)
        assert pdu is not None
        assert (pdu.dev_id, pdu.address, pdu.count) == (profile.modbus.unit, request.first, request.size)
        assert pdu.function_code == {"coil": 1, "discrete": 2, "holding": 3, "input": 4}[request.table]
        _, reply = client.handleFrame(answer.data, 0, 0)
        assert reply is not None
        found += readings(request, reply.registers)
    assert [values(profile, payload(profile, "p", 5, found))] == expected


def test_every_profile_has_its_proof_and_its_source() -> None:
    assert sorted(NAMES) == sorted(profiles.names())
    assert [name for name in NAMES if not PROFILES[name].source.startswith("http")] == []
    silent = [name for name in NAMES if not golden(name)[1] and not PROFILES[name].writes]
    assert silent == []


def recorded(name: str) -> bytes:
    return next(one.data for one in golden(name)[0] if not one.asked)


KINDS = {
    "line": (Framing("line", 20), b"\ngood\n", b"good"),
    "nmea": (Framing("nmea", 20), b"\n$GP*17\r\n", b"$GP*17"),
    "fixed": (
        PROFILES["nova/sds011"].framing,
        recorded("nova/sds011"),
        recorded("nova/sds011"),
    ),
    "length": (
        PROFILES["plantower/pms5003"].framing,
        recorded("plantower/pms5003"),
        recorded("plantower/pms5003"),
    ),
    "delimited": (Framing("delimited", 20, b"\x02", b"\x03"), b"\x02good\x03", b"\x02good\x03"),
    "slip": (Framing("slip", 20), b"\xc0a\xdb\xdcb\xdb\xdd\xc0", b"a\xc0b\xdb"),
    "cobs": (Framing("cobs", 20), b"\0\x02a\x02b\0", b"a\0b"),
    "telegram": (
        PROFILES["generic/dsmr-p1"].framing,
        recorded("generic/dsmr-p1"),
        recorded("generic/dsmr-p1"),
    ),
}


STARTS = st.sampled_from([b"\x02", b"\xaa\xc0", b"BM", b"/"])


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=200)
@given(st.lists(st.binary(max_size=30) | STARTS, max_size=8), st.integers(1, 9))
def test_chunks_make_no_difference_and_the_next_good_frame_is_found(
    kind: str, parts: list[bytes], size: int
) -> None:
    framing, sent, frame = KINDS[kind]
    data = b"".join(parts) + sent
    whole, pieces = framer(framing), framer(framing)
    expected = whole.feed(data)
    found = [got for chunk in chunks(data, size) for got in pieces.feed(chunk)]
    assert found == expected
    assert (pieces.overlong, pieces.corrupt) == (whole.overlong, whole.corrupt)
    # What hides behind a false start comes when the line is quiet, or when more is sent.
    assert frame in found + pieces.idle()
    assert frame in expected + whole.feed(sent) + whole.feed(sent)


_KEYS = st.sampled_from(["temperature", "ENERGY", "Power", "output"])
_LEAVES = st.none() | st.floats() | st.text(max_size=5)
DOCUMENTS = st.recursive(_LEAVES, lambda inner: st.dictionaries(_KEYS, inner)).map(orjson.dumps)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60)
@given(st.one_of(st.binary(max_size=60), DOCUMENTS))
def test_any_frame_is_decoded_or_refused(name: str, frame: bytes) -> None:
    profile = PROFILES[name]
    if profile.transport == "modbus":
        for request in requests(profile):
            readings(request, [*frame])
        return
    try:
        found = decode(profile, frame, {"point": "p", "kind": "DDATA"}, "homeassistant/sensor/a/config")
    except Undecodable:
        return
    orjson.loads(payload(profile, "p", 5, found))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ({}, "framing.kind: must be one of line"),
        ({"framing": 5}, "framing: must be a table"),
        ({"colour": 1}, "colour: is not a key"),
        ({"framing": {"kind": "line", "longest": 0}}, "framing.longest"),
        ({"framing": {"kind": "fixed"}}, "framing.start"),
        ({"framing": {"kind": "line", "end": "XY"}}, "framing.end: must be bytes in hexadecimal"),
        ({"framing": {"kind": "line", "check": {"kind": "magic"}}}, "framing.check.kind"),
        ({"serial": {"baudrate": "fast"}}, "serial.baudrate"),
        ({"serial": {"parity": "some"}}, "serial.parity: must be one of none, even"),
        ({"decoding": {"kind": "xml"}}, "decoding.kind"),
        ({"ask": [{"every": 1}]}, "ask[0].send"),
        ({"ask": 5}, "ask: must be an array of tables"),
        ({"mqtt": {}}, "mqtt.topics: must name at least one topic"),
        ({"mqtt": {"topics": [5]}}, "mqtt.topics: must be a list of texts"),
        ({"modbus": {"unit": 300}}, "modbus.unit: must be a whole number from 0 to 247"),
        ({"match": {"product": "("}}, "match.product: is no regular expression"),
        ({"points": {"t": 5}}, "points.t: must be a table"),
        ({"points": {"t": {}}}, "points.t.unit: is missing"),
        ({"points": {"t": {"unit": "x", "range": [2, 1]}}}, "points.t.range"),
        ({"points": {"t": {"unit": "x", "scale": "2"}}}, "points.t.scale"),
        ({"points": {"t": {"unit": "x", "optional": 1}}}, "points.t.optional"),
        ({"points": {"t": {"unit": "x", "odd": 1}}}, "points.t.odd"),
        ({"points": {"t": {"unit": "x", "values": {"a": []}}}}, "points.t.values"),
        ({"writes": {"on": 5}}, "writes.on: must be bytes"),
    ],
)
def test_wrong_profiles_name_what_is_wrong(text: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        profiles.read("a/b", text, "a/b.toml")
    assert problem in str(caught.value)


def test_an_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="arduino/bme280"):
        profiles.load("no/thing")
