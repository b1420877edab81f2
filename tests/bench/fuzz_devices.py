"""Damaged frames, messages, packets, profiles and captures for as long as you like: nothing may be raised.

    python -m tests.bench.fuzz_devices --minutes 10

A failure is an exception that is not the one that says what is wrong, an event that is no JSON, a framer that
keeps more than its longest frame, gives other frames for other chunks, or does not find the good frame behind the
garbage. The seed is printed; `--seed` repeats a run.
"""

from __future__ import annotations

import argparse
import random
import time
import tomllib
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson

from edgewhisk.base.mqtt_topics import matches
from edgewhisk.device import capture
from edgewhisk.device import profile as profiles
from edgewhisk.device.capture import CapturedBytes
from edgewhisk.device.decode import Undecodable, decoder, payload
from edgewhisk.device.framing import framer
from edgewhisk.device.modbus.registers import readings, requests
from edgewhisk.device.profile import Profile
from edgewhisk.device.topics import pattern
from edgewhisk.errors import BadRequest, ConfigError
from edgewhisk.feed.payload import FORMATS, Head, MalformedPayload
from edgewhisk.transport.mqtt import codec as packets
from tests.bench.fuzz import damaged
from tests.device.test_profiles import DEVICES, PROFILES, golden

SAID = {name: golden(name)[0] for name in PROFILES}
TEXTS = {name: (DEVICES / f"{name}.toml").read_bytes() for name in PROFILES}
CAPTURES = [(DEVICES / f"{name}.golden").read_bytes() for name in PROFILES]
SERIAL = [name for name, found in PROFILES.items() if found.transport == "serial"]
OVER_MQTT = [name for name, found in PROFILES.items() if found.transport == "mqtt"]
MODBUS = [name for name, found in PROFILES.items() if found.transport == "modbus"]
ODD: list[Any] = [None, True, -1, 0, 1 << 70, 1e308, float("nan"), float("inf"), "", "x", "\0", "(", "00", [], {},
                  [0, 0], [1, 0], ["a"], {"a": 1}, "9" * 30, "u8", "f64", "json", "line", "big"]  # fmt: skip


def main() -> None:
    """Fuzz, then tell what happened."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    chance, counts = random.Random(options.seed), Counter[str]()
    kinds: list[Callable[[random.Random, Counter[str]], None]] = [
        port,
        message,
        registers,
        packet,
        profile,
        recording,
    ]
    end = time.monotonic() + options.minutes * 60
    while time.monotonic() < end:
        for kind in kinds:
            kind(chance, counts)
    for name, count in sorted(counts.items()):
        print(f"{count:>12,}  {name}")


def mangled(data: bytes, chance: random.Random) -> bytes:
    """Damaged, or nothing that was ever sent."""
    way = chance.randrange(8)
    return chance.randbytes(chance.randrange(80)) if way == 0 else data if way == 1 else damaged(data, chance)


def event(found: Profile, frame: bytes, topic: str, decode: Any, counts: Counter[str]) -> None:
    """One frame or message: an event that is JSON, or a refusal."""
    fitting = next((one for one in map(pattern, found.topics) if matches(one.plain, topic)), None)
    parts = fitting.parts(topic) if fitting else {}
    try:
        got = decode(frame, parts, topic)
    except Undecodable:
        counts["frame refused"] += 1
        return
    orjson.loads(payload(found, topic or "p", 5, got, parts))
    counts["frame read" if got else "frame without readings"] += 1


def port(chance: random.Random, counts: Counter[str]) -> None:
    """What a port says, in any pieces; then something good."""
    found = PROFILES[chance.choice(SERIAL)]
    said = [one.data for one in SAID[found.name] if not one.asked]
    speak(found, said, chance, counts)


def speak(found: Profile, said: list[bytes], chance: random.Random, counts: Counter[str]) -> None:
    garbage = (
        b"".join(mangled(chance.choice(said), chance) for _ in range(chance.randrange(4))) if said else b""
    )
    data = garbage + b"".join(said)
    whole, pieces, decode = framer(found.framing), framer(found.framing), decoder(found)
    expected, got, at = whole.feed(data) + whole.idle(), [], 0
    while at < len(data):
        size = chance.choice((1, 2, 7, 64, 300))
        got += pieces.feed(data[at : at + size])
        at += size
        bound = found.framing.longest + max(len(found.framing.start), len(found.framing.end))
        assert len(vars(pieces)["_rest"]) <= bound
    got += pieces.idle()
    assert got == expected, (found.name, data)
    for frame in got:
        event(found, frame, "", decode, counts)
    counts["port"] += 1


def message(chance: random.Random, counts: Counter[str]) -> None:
    """Messages of a broker, to a decoder that remembers what came before."""
    found = PROFILES[chance.choice(OVER_MQTT)]
    decode, said = decoder(found), SAID[found.name]
    for _ in range(chance.randrange(1, 6)):
        one = chance.choice(said)
        event(found, mangled(one.data, chance), one.topic, decode, counts)


def registers(chance: random.Random, counts: Counter[str]) -> None:
    """Answers of a Modbus device, some too short."""
    found = PROFILES[chance.choice(MODBUS)]
    for request in requests(found):
        size = request.size if chance.random() < 0.8 else chance.randrange(request.size + 1)
        got = readings(request, [chance.choice((0, 1, 0x7F80, 0x7FC0, 0xFFFF, chance.randrange(1 << 16)))
                                 for _ in range(size)])  # fmt: skip
        orjson.loads(payload(found, "p", 5, got))
        counts["registers"] += 1


def packet(chance: random.Random, counts: Counter[str]) -> None:
    """A PUBLISH as a broker would never send it, and what a feed makes of its payload."""
    topic, data = (
        chance.choice(("a/b", "é", "x" * 300)),
        mangled(chance.choice(SAID[chance.choice(OVER_MQTT)]).data, chance),
    )
    sent = packets.Message(topic, data, chance.randrange(2), chance.random() < 0.5, chance.randrange(3))
    version = chance.choice((4, 5))
    written = packets.write(sent, 7, version)
    body = 1 + next(at for at in range(1, 5) if written[at] < 0x80)
    first, said = chance.choice((written[0], chance.randrange(256))), mangled(written[body:], chance)
    try:
        found, _ = packets.read(packets.head(first, len(said)) + said, version)
        if not found.deliveries:
            counts["packet of another kind"] += 1
            return
        (got,) = found.deliveries
        packets.properties(got.properties)
    except ValueError:
        counts["packet refused"] += 1
        return
    counts["packet read"] += 1
    kind = chance.choice(sorted(FORMATS))
    try:
        orjson.loads(FORMATS[kind](Head.of({"topic": "t"}), got.payload))
    except MalformedPayload:
        counts["payload refused"] += 1
        return
    counts["payload read"] += 1


def profile(chance: random.Random, counts: Counter[str]) -> None:
    """A profile with a mistake: refused with all its faults, or fit for use."""
    name = chance.choice(sorted(TEXTS))
    try:
        if chance.random() < 0.3:
            document = tomllib.loads(damaged(TEXTS[name], chance).decode())
        else:
            document = tomllib.loads(TEXTS[name].decode())
            for _ in range(chance.randrange(1, 4)):
                spoil(document, chance)
        made = profiles.read(name, document, "f")
    except (ConfigError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        counts["profile refused"] += 1
        return
    counts["profile read"] += 1
    said = SAID[name]
    if made.transport == "modbus":
        for request in requests(made):
            orjson.loads(payload(made, "p", 5, readings(request, [1] * request.size)))
    elif made.transport == "mqtt":
        decode = decoder(made)
        for one in said:
            event(made, one.data, one.topic, decode, counts)
    else:
        speak(made, [one.data for one in said if not one.asked], chance, counts)


def spoil(document: dict[str, Any], chance: random.Random) -> None:
    """Change, drop or add one key somewhere."""
    table: Any = document
    while isinstance(table, dict) and table:
        key = chance.choice(sorted(table))
        if not isinstance(table[key], dict) or chance.random() < 0.2:
            way = chance.randrange(3)
            if way == 0:
                del table[key]
            else:
                table[key if way == 1 else f"{key}x"] = chance.choice(ODD)
            return
        table = table[key]


def recording(chance: random.Random, counts: Counter[str]) -> None:
    """A capture that is damaged, cut or none."""
    data = damaged(chance.choice(CAPTURES), chance)
    try:
        found = list(capture.read(capture.text(data[: chance.randrange(len(data) + 1)], "f"), "f"))
    except BadRequest:
        counts["capture refused"] += 1
        return
    written = "".join(capture.line(one) for one in found if isinstance(one, CapturedBytes))
    again = list(capture.read(written.split("\n"), "f"))
    assert [one[1:] for one in again] == [one[1:] for one in found if isinstance(one, CapturedBytes)]
    counts["capture read"] += 1


if __name__ == "__main__":
    main()
