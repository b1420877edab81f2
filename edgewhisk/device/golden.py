"""A profile against what was recorded of its device. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.base.mqtt_topics import matches
from edgewhisk.device.capture import CapturedBytes
from edgewhisk.device.checksum import crc16_reflected
from edgewhisk.device.decode import Undecodable, decoder, learner, payload
from edgewhisk.device.framing import framer
from edgewhisk.device.modbus.registers import BITS, readings, requests
from edgewhisk.device.profile import Profile
from edgewhisk.device.topics import pattern

_ENVELOPE: Final = ("device", "taken_at", "port", "topic")
_HEAD: Final = 3  # bytes of a Modbus answer before its data: unit, function, size


class FrameSeen(NamedTuple):
    """What a profile made of one frame or message."""

    data: bytes
    values: dict[str, Any] | None  # None: it was refused
    reason: str = ""


def seen(profile: Profile, said: Sequence[CapturedBytes]) -> Iterator[FrameSeen]:
    """What comes of all that was said, in its order; nothing of noise, and of what has none of the points."""
    ways = {"serial": _serial, "mqtt": _mqtt, "modbus": _modbus}
    return ways[profile.transport](profile, said)


def _values(profile: Profile, got: Any, where: str, parts: dict[str, str] | None = None) -> dict[str, Any]:
    event: dict[str, Any] = jsontext.loads(payload(profile, where, 0, got, parts or {}))
    return {key: value for key, value in event.items() if key not in _ENVELOPE}


def _serial(profile: Profile, said: Sequence[CapturedBytes]) -> Iterator[FrameSeen]:
    cutter, decode = framer(profile.framing), decoder(profile)
    frames = cutter.feed(b"".join(one.data for one in said if not one.asked))
    for frame in frames:
        try:
            got = decode(frame, {}, "")
        except Undecodable as error:
            yield FrameSeen(frame, None, str(error))
            continue
        if got:
            yield FrameSeen(frame, _values(profile, got, ""))


def _mqtt(profile: Profile, said: Sequence[CapturedBytes]) -> Iterator[FrameSeen]:
    decode, learn = learner(profile)
    for one in said:
        patterns = [pattern(topic) for topic in (*profile.topics, *learn())]
        fitting = next((known for known in patterns if matches(known.plain, one.topic)), None)
        if fitting is None:
            yield FrameSeen(one.data, None, f"no topic of the profile fits {one.topic}")
            continue
        parts = fitting.parts(one.topic)
        try:
            got = decode(one.data, parts, one.topic)
        except Undecodable as error:
            yield FrameSeen(one.data, None, str(error))
            continue
        if got:
            levels = {key: value for key, value in parts.items() if key != "point"}
            yield FrameSeen(one.data, _values(profile, got, one.topic, levels))


def _modbus(profile: Profile, said: Sequence[CapturedBytes]) -> Iterator[FrameSeen]:
    """All answers together are one event: a poll asks for all that the profile has."""
    answers = [one.data for one in said if not one.asked]
    wanted = requests(profile)
    if len(answers) != len(wanted):
        yield FrameSeen(b"", None, f"{len(wanted)} requests are made, and {len(answers)} answers recorded")
        return
    found: list[Any] = []
    for request, answer in zip(wanted, answers, strict=True):
        try:
            found += readings(request, _registers(answer, bits=request.table in BITS))
        except Undecodable as error:
            yield FrameSeen(answer, None, str(error))
            return
    yield FrameSeen(b"".join(answers), _values(profile, found, ""))


def _registers(answer: bytes, *, bits: bool) -> list[int]:
    """The values in an RTU answer; raises `Undecodable`."""
    body, crc = answer[:-2], answer[-2:]
    if len(answer) < _HEAD + 2 or crc16_reflected(body).to_bytes(2, "little") != crc:
        raise Undecodable("the answer is cut off, or its checksum is wrong")
    if body[1] & 0x80:
        raise Undecodable(f"the device answers with the exception {body[2]}")
    data = body[_HEAD:]
    if bits:
        return [byte >> place & 1 for byte in data for place in range(8)]
    return [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
