"""Every profile against its recorded bytes, however they arrive; framing and decoding of anything."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cbor2
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

from edgewhisk.base import resources
from edgewhisk.base.mqtt_topics import matches
from edgewhisk.device import capture, library
from edgewhisk.device import profile as profiles
from edgewhisk.device.capture import CapturedBytes, Expected
from edgewhisk.device.decode import Undecodable, decode, decoder, learner, payload
from edgewhisk.device.framing import framer
from edgewhisk.device.modbus.registers import readings, requests
from edgewhisk.device.profile import Profile
from edgewhisk.device.reading import Reading
from edgewhisk.device.topics import pattern
from edgewhisk.errors import ConfigError

DEVICES = Path(__file__).resolve().parents[2] / "devices"
GOLDEN = sorted(DEVICES.glob("*/*.golden"))
NAMES = [path.relative_to(DEVICES).with_suffix("").as_posix() for path in GOLDEN]
PROFILES = {name: library.load(name) for name in NAMES}
SERIAL = [name for name in NAMES if PROFILES[name].transport == "serial"]
OVER_MQTT = [name for name in NAMES if PROFILES[name].transport == "mqtt"]
MODBUS = [name for name in NAMES if PROFILES[name].transport == "modbus"]


def golden(name: str) -> tuple[list[CapturedBytes], list[Any]]:
    """What is said, and what must come of it: values, or (as text) a refusal."""
    path = DEVICES / f"{name}.golden"
    entries = list(capture.read(path.read_text().splitlines(), str(path)))
    said = [entry for entry in entries if isinstance(entry, CapturedBytes)]
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
    assert sorted(NAMES) == sorted(library.names())
    assert [name for name in NAMES if not PROFILES[name].source.startswith("http")] == []
    silent = [name for name in NAMES if not golden(name)[1] and not PROFILES[name].writes]
    assert silent == []


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
        ({"serial": {}, "mqtt": {"topics": ["a"]}}, "mqtt: stands beside [serial]"),
    ],
)
def test_wrong_profiles_name_what_is_wrong(text: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        profiles.read("a/b", text, "a/b.toml")
    assert problem in str(caught.value)


LINE = {"framing": {"kind": "line"}, "decoding": {"kind": "json"}, "points": {"t": {"unit": "Cel"}}}
METER = {"modbus": {}, "points": {"t": {"unit": "V", "at": 1}}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            LINE | {"decoding": {"kind": "registers"}, "points": {"t": {"unit": "V", "at": 1}}},
            "does not fit a serial",
        ),
        (METER | {"decoding": {"kind": "json"}}, "decoding.kind: 'json' does not fit a modbus device"),
        (LINE | {"decoding": {"kind": "sparkplug"}}, "does not fit a serial"),
        (
            LINE
            | {"decoding": {"kind": "csv", "separator": ""}, "points": {"t": {"unit": "V", "column": 1}}},
            "decoding.separator: must not be empty",
        ),
        (LINE | {"framing": {"kind": "line", "end": ""}}, "framing.end: must not be empty"),
        (
            LINE | {"framing": {"kind": "delimited", "start": "02", "end": ""}},
            "framing.end: must not be empty",
        ),
        (LINE | {"framing": {"kind": "fixed", "start": "", "size": 4}}, "framing.start: must not be empty"),
        (LINE | {"framing": {"kind": "fixed", "start": "AA", "size": 0}}, "framing.size: must be at least 1"),
        (
            LINE | {"framing": {"kind": "fixed", "start": "AA", "size": 900}},
            "framing.longest: must be at least size",
        ),
        (
            LINE | {"framing": {"kind": "line", "check": {"kind": "xor8"}}},
            "framing.check: is not done for line",
        ),
        (LINE | {"serial": {"stopbits": 1.7}}, "serial.stopbits: must be 1, 1.5 or 2"),
        (LINE | {"match": {"usb": ["1A86:7523"]}}, "match.usb: '1A86:7523' must be vendor:product"),
        (LINE | {"points": {"topic": {"unit": "1"}}}, "points.topic: is a name that events use"),
        (METER | {"ask": [{"send": "01"}]}, "ask: only a serial port"),
        (METER | {"writes": {"on": "01"}}, "writes: only a serial port"),
        (
            METER | {"points": {"t": {"unit": "V", "at": 1, "bits": [14, 4]}}},
            "points.t.bits: must be [first bit",
        ),
        (
            METER | {"points": {"t": {"unit": "V", "at": 1, "bits": [0.5, 4]}}},
            "points.t.bits: must be 2 whole",
        ),
        (METER | {"points": {"t": {"unit": "V", "at": 65535, "type": "f32"}}}, "points.t.at: f32 takes 2"),
        (
            METER | {"modbus": {"most": 1}, "points": {"t": {"unit": "V", "at": 1, "type": "f32"}}},
            "modbus.most",
        ),
        ({"mqtt": {"topics": ["a/#/b"]}, "decoding": {"kind": "json", "others": True}}, "mqtt.topics: "),
    ],
)
def test_profiles_that_make_no_sense_name_what_does_not(text: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        profiles.read("a/b", text, "a/b.toml")
    assert problem in str(caught.value)


def test_an_unknown_profile_names_those_that_are_likely() -> None:
    with pytest.raises(ConfigError, match="arduino/bme280"):
        library.load("no/thing")
    with pytest.raises(ConfigError, match="did you mean nova/sds011"):
        library.load("nova/sds01")


def test_a_broken_profile_of_a_user_names_its_file_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "_own", tmp_path)
    folder = tmp_path / "devices" / "mine"
    folder.mkdir(parents=True)
    good = (DEVICES / "nova/sds011.toml").read_text()
    (folder / "good.toml").write_text(good)
    (folder / "wrong.toml").write_text(good.replace("sum8", "sum9"))
    (folder / "torn.toml").write_text(good + '\n[points."')
    (folder / "binary.toml").write_bytes(b"\xff\xfe")
    (folder / "gone.toml").symlink_to(tmp_path / "nowhere")
    (folder.parent / "stray.toml").write_text(good)
    found, faults = library.survey()
    assert {one.name for one in found} == {*NAMES, "mine/good"}
    told = [str(fault) for fault in faults]
    assert [one for one in told if f"{folder}/wrong.toml: framing.check.kind: must be one of" in one]
    assert [one for one in told if f"{folder}/torn.toml: (file): is not valid TOML: Unterminated" in one]
    assert [one for one in told if f"{folder}/binary.toml: (file): cannot be read" in one]
    assert [one for one in told if "stray.toml: (file): is not in a vendor's folder" in one]
    assert len(told) == 4


@pytest.mark.parametrize("name", OVER_MQTT)
def test_mqtt_profiles_where_messages_are_lost_or_come_twice(name: str) -> None:
    """Whatever the broker lost or delivers again: nothing is raised but a refusal, and events are JSON."""
    profile = PROFILES[name]
    said, _ = golden(name)
    for lost in range(len(said)):
        decoding = decoder(profile)
        for one in [*said[:lost], *said[lost + 1 :], *said]:
            fitting = next((p for p in map(pattern, profile.topics) if matches(p.plain, one.topic)), None)
            parts = fitting.parts(one.topic) if fitting else {}
            try:
                orjson.loads(payload(profile, one.topic, 5, decoding(one.data, parts, one.topic), parts))
            except Undecodable:
                continue


_ODD_LEAVES = st.none() | st.floats() | st.integers() | st.text(st.characters(codec=None), max_size=5)
_ODD_KEYS = _KEYS | st.sampled_from(["POWER", "POWER1", "POWER33", "nan"])
_ODD = st.recursive(
    _ODD_LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_ODD_KEYS, inner, max_size=5),
)


@pytest.mark.parametrize("name", ["tasmota/sensor", "tasmota/energy", "tasmota/state", "zigbee2mqtt/device"])
@settings(max_examples=150)
@given(
    st.dictionaries(_ODD_KEYS, _ODD, max_size=5), st.sampled_from([("", ""), ("\ufeff", "\0"), ("", "\0\n")])
)
def test_json_with_what_is_none_is_an_event_of_json_or_refused(
    name: str, said: dict[str, Any], around: tuple[str, str]
) -> None:
    """C programs print nan, inf, halves of pairs and what is around the text."""
    text = around[0] + json.dumps(said).replace("NaN", "nan") + around[1]
    found: Sequence[Reading] = ()
    refused = ""
    try:
        found = decode(PROFILES[name], text.encode(), {"id": "x"})
    except Undecodable as error:
        refused = str(error)
    assert "not JSON" not in refused
    event = orjson.loads(payload(PROFILES[name], "t", 5, found, {"id": "x"}))
    assert [key for key in event.get("errors", {}) if event[key] is not None] == []


def test_values_beyond_those_that_are_passed_on_are_told() -> None:
    said = orjson.dumps({f"v{number}": number for number in range(300)})
    found = decode(PROFILES["zigbee2mqtt/device"], said, {"id": "x"})
    assert len(found) == 257
    assert found[-1].reason == "44 values beyond 256 are left out"


def test_a_compressed_payload_is_bounded() -> None:
    body = zlib.compress(bytes(5 << 20), 9)
    size = len(body)
    said = b"\x22\x12SPBV1.0_COMPRESSED\x2a" + bytes((size & 0x7F | 0x80, size >> 7)) + body
    with pytest.raises(Undecodable, match="a compressed payload of more than 4194304 bytes"):
        decode(PROFILES["eclipse/sparkplug-b"], said, {"kind": "DDATA", "group": "g", "node": "n"})


def test_what_a_device_calls_like_the_events_own_keys_does_not_hide_them() -> None:
    profile = PROFILES["zigbee2mqtt/device"]
    found = decode(profile, b'{"device": "x", "topic": 1, "id": 2, "odd": 3}', {"id": "kitchen"})
    event = orjson.loads(payload(profile, "zigbee2mqtt/kitchen", 5, found, {"id": "kitchen"}))
    assert (event["device"], event["topic"], event["id"]) == (profile.name, "zigbee2mqtt/kitchen", "kitchen")
    assert (event["device_"], event["topic_"], event["id_"], event["odd"]) == ("x", 1, 2, 3)


@pytest.mark.parametrize(
    ("name", "frame", "value"),
    [
        ("esphome/sensors", b"9" * 30, "9" * 30),
        ("esphome/sensors", b"1_000", "1_000"),
        ("esphome/sensors", b"1e999", "1e999"),
        ("esphome/sensors", b"18446744073709551615", 18446744073709551615),
        ("esphome/sensors", b"-0.50", -0.5),
    ],
)
def test_numbers_that_json_cannot_carry_stay_what_they_are(name: str, frame: bytes, value: Any) -> None:
    found = decode(PROFILES[name], frame, {"point": "p"})
    assert orjson.loads(payload(PROFILES[name], "t", 5, found))["p"] == value


def test_cbor_numbers_beyond_64_bits_are_no_fault() -> None:
    text = {"mqtt": {"topics": ["a"]}, "decoding": {"kind": "cbor", "others": True},
            "points": {"t": {"unit": "1", "optional": True}}}  # fmt: skip
    profile = profiles.read("a/b", text, "a/b.toml")
    for sent in ({"t": 1 << 70}, {"n": 1 << 70, "m": -(1 << 70), "f": float("nan"), "d": {1: 2}}):
        orjson.loads(payload(profile, "a", 5, decode(profile, cbor2.dumps(sent))))
    with pytest.raises(Undecodable, match="t is no number"):
        decode(profile, cbor2.dumps({"t": 1 << 2000}))


def _read(kind: str, points: dict[str, Any], frame: bytes, **decoding: Any) -> dict[str, Any]:
    text = {
        "serial": {},
        "framing": {"kind": "line"},
        "decoding": {"kind": kind, **decoding},
        "points": points,
    }
    profile = profiles.read("a/b", text, "a/b.toml")
    return values(profile, payload(profile, "p", 5, decode(profile, frame)))


N: dict[str, Any] = {"unit": "1"}


def test_a_meter_of_two_channels_sends_a_list_for_each_of_what_it_measures_twice() -> None:
    reads = decoder(PROFILES["tasmota/energy"])

    def read(energy: str) -> dict[str, Any]:
        found = reads(b'{"Time":"2026-01-02T03:04:05","ENERGY":%b}' % energy.encode(), {}, "t")
        return values(PROFILES["tasmota/energy"], payload(PROFILES["tasmota/energy"], "t", 5, found))

    assert read('{"Total":3.262,"Today":0.005,"Power":[23,67],"Voltage":229,"Current":[0.103,0.293]}') == {
        "power_1": 23, "power_2": 67, "voltage": 229, "current_1": 0.103, "current_2": 0.293,
        "energy": 3.262, "energy_today": 0.005,
    }  # fmt: skip
    assert read('{"Total":3.262,"Power":[],"Voltage":"?","Current":[null,0.3]}') == {
        "voltage": None, "current_2": 0.3, "energy": 3.262, "errors": {"voltage": "voltage is no number"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "points", "frame", "expected", "wrong"),
    [
        ("json", {"a": N, "b": N}, b'{"a": {}, "b": 2}', {"a": None, "b": 2}, "a is no number"),
        ("json", {"a": N, "b": N}, b'{"b": 2}', {"a": None, "b": 2}, "a is missing"),
        (
            "json",
            {"a": {"kind": "text"}, "b": N},
            b'{"a": {"x": 1}, "b": 2}',
            {"a": None, "b": 2},
            "a is no text",
        ),
        (
            "csv",
            {"a": {"column": 0, **N}, "b": {"column": 1, **N}},
            b"x,2",
            {"a": None, "b": 2},
            "a is no number",
        ),
        (
            "csv",
            {"a": {"column": 4, **N}, "b": {"column": 1, **N}},
            b"x,2",
            {"a": None, "b": 2},
            "a is missing",
        ),
        (
            "regex",
            {"a": {"pattern": "a=([^ ]+)", **N}, "b": {"pattern": "b=(.)", **N}},
            b"a=-- b=2",
            {"a": None, "b": 2},
            "a is no number",
        ),
        (
            "struct",
            {"a": {"at": 9, **N}, "b": {"at": 0, "type": "u8", **N}},
            b"\x02\x00",
            {"a": None, "b": 2},
            "a is missing: the frame has 2 bytes only",
        ),
        (
            "struct",
            {"a": {"at": 1, "type": "f32", **N}, "b": {"at": 0, "type": "u8", **N}},
            b"\x02\x7f\xc0\x00\x00",
            {"a": None, "b": 2},
            "a is no number",
        ),
        (
            "struct",
            {"a": {"at": 1, "scale": 0.1, "invalid": [65535], **N}, "b": {"at": 0, "type": "u8", **N}},
            b"\x02\xff\xff",
            {"a": None, "b": 2},
            "a has no value: the device says 65535",
        ),
    ],
)
def test_a_value_that_is_bad_costs_no_other(
    kind: str, points: dict[str, Any], frame: bytes, expected: dict[str, Any], wrong: str
) -> None:
    assert _read(kind, points, frame) == {**expected, "errors": {"a": wrong}}
    with pytest.raises(Undecodable, match=r"^a "):  # nothing is good: refused
        _read(kind, {"a": points["a"]}, frame)


def test_a_switch_may_be_written_as_a_float() -> None:
    assert _read("json", {"on": {"kind": "boolean"}}, b'{"on": 1.0}') == {"on": True}
