"""Who may connect, and publish and subscribe to what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.base.mqtt_topics import matches
from edgewhisk.broker import packets
from edgewhisk.broker.rights import rights_of
from edgewhisk.clock.system import SystemClock
from edgewhisk.config.loader import load
from edgewhisk.config.schema import EmbeddedConfig
from edgewhisk.controller.auth.tokens import DeviceTokens, add_token, remove_token
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import ConfigError
from edgewhisk.gateway.wiring.broker import admitted
from tests.broker.bench import Bench, connect, got, publish, subscribe

BOUNDS = replace(EmbeddedConfig(), publish=("tele/%u/#", "all"), subscribe=("cmd/%u/#", "all"))


def by_password(_address: str, username: str | None, password: bytes | None) -> str | None:
    return username if username and password == b"secret" else None


def test_a_stranger_is_refused() -> None:
    bench = Bench(BOUNDS, admit=by_password)
    for version, answer in ((3, b"\0\4"), (4, b"\0\4"), (5, b"\0\x86\0")):
        for said in (connect("a", version), connect("a", version, user="a", password="wrong")):
            peer = bench.peer()
            assert peer.say(said) == [(packets.CONNACK, answer)]
            assert peer.closed
    assert bench.broker.describe()["refused"] == {"bad_user": 6}


def test_a_device_reaches_its_own_topics_only() -> None:
    bench = Bench(BOUNDS, admit=by_password)
    one, other = bench.peer(), bench.peer()
    one.say(connect("1", 5, user="plug", password="secret"))
    other.say(connect("2", user="spy", password="secret"))
    asked = subscribe(
        1, ("cmd/plug/#", 1), ("cmd/#", 1), ("#", 0), ("$share/g/cmd/plug/x", 0), ("all", 0), version=5
    )
    assert one.say(asked) == [(packets.SUBACK, b"\0\1\0\1\x87\x87\0\0")]
    assert other.say(subscribe(1, ("tele/plug/#", 0), ("all", 0))) == [(packets.SUBACK, b"\0\1\x80\0")]
    assert one.say(publish("cmd/plug/x", b"", 1, 1, version=5)) == [(packets.PUBACK, b"\0\1\x87")]
    assert other.say(publish("cmd/plug/x", b"", 1, 1) + publish("cmd/plug/x", b"")) == [
        (packets.PUBACK, b"\0\1")
    ]
    assert one.take() == []
    answers = one.say(publish("all", b"x", 1, 2, version=5))
    assert [found.payload for found in got(answers, 5)] == [b"x"]
    assert len(got(other.take())) == 1
    assert bench.broker.describe()["denied"] == 6


def test_a_session_is_of_the_one_who_began_it() -> None:
    bench = Bench(BOUNDS, admit=by_password)
    one = bench.peer()
    one.say(connect("door", clean=False, user="door", password="secret"))
    one.say(subscribe(1, ("cmd/door/#", 1)))
    thief = bench.peer()
    assert thief.say(connect("door", clean=True, user="spy", password="secret")) == [
        (packets.CONNACK, b"\0\5")
    ]
    assert not one.closed
    one.cut()
    bench.wait(2)
    again = Bench(BOUNDS, bench.disk, by_password)
    assert again.peer().say(connect("door", clean=False, user="spy", password="secret")) == [
        (packets.CONNACK, b"\0\5")
    ]
    assert again.peer().say(connect("door", clean=False, user="door", password="secret")) == [
        (packets.CONNACK, b"\1\0")
    ]


def test_a_will_needs_the_right_of_a_publish() -> None:
    bench = Bench(BOUNDS, admit=by_password)
    said = connect("a", user="a", password="secret", will=("tele/other/LWT", b"x", 0, False))
    assert bench.peer().say(said) == [(packets.CONNACK, b"\0\5")]


@given(st.text(st.sampled_from("ab+#/$%uc"), max_size=4), st.text(st.sampled_from("ab+#/$%uc"), max_size=4))
def test_no_name_opens_more_than_one_level(user: str, client: str) -> None:
    rights = rights_of(user, client, ("tele/%u/x", "c/%c"), ())
    for topic in ("tele/a/b/x", "tele/x", "other", "c/a/b", "c"):
        assert not rights.may_publish(topic)
    if user and not set("+#/") & set(user):
        assert rights.may_publish(f"tele/{user}/x")
        assert not rights.may_publish(f"tele/{user}b/x")
    assert matches("tele/+/x", "tele/a/x")


def test_tokens_of_devices_are_their_passwords(tmp_path: Path) -> None:
    tokens = DeviceTokens(tmp_path, SystemClock())
    secret = add_token(tmp_path, parse_name("/guest/t", "_"), "plug")

    def whose(
        address: str, username: str | None, password: str | None, *, anonymous: bool = False
    ) -> str | None:
        settings = replace(EmbeddedConfig(), anonymous=anonymous)
        data = None if password is None else password.encode()
        return admitted(tokens, settings, address, username, data)

    assert whose("10.0.0.5", "plug", secret) == "plug"
    for username, password in ((None, None), ("plug", None), ("plug", "x"), ("other", secret), ("", "")):
        assert whose("10.0.0.5", username, password) is None
        assert whose("10.0.0.5", username, password, anonymous=True) == ""
        assert whose("127.0.0.1", username, password) == ""
    assert whose("127.0.0.1", "plug", secret) == "plug"
    assert DeviceTokens(tmp_path, SystemClock()).device_of(secret) == "plug"
    (shown,) = [
        name[:12] for name in (path.name for path in (tmp_path / "tokens").iterdir()) if name[0] != "."
    ]
    remove_token(tmp_path, shown)
    assert DeviceTokens(tmp_path, SystemClock()).device_of(secret) == ""


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[mqtt]\nurl = "embedded://0.0.0.0"', "mqtt.url: 0.0.0.0 can be reached by others"),
        ('[mqtt]\nurl = "embedded://0.0.0.0"\n[embedded]\ntls = true', "embedded.tls: needs api.tls_cert"),
        ('[embedded]\npublish = ["a/#/b"]', "embedded.publish: topic"),
        ("[embedded]\nconnections = 0", "embedded.connections: must be 1 to"),
    ],
)
def test_what_opens_more_than_is_meant_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "edgewhisk.toml"
    path.write_text(f'state_dir = "{tmp_path}"\n{text}\n')
    with pytest.raises(ConfigError, match=fault):
        load(path, {})
    path.write_text('[mqtt]\nurl = "embedded://0.0.0.0"\n[embedded]\nplain_mqtt = true\n')
    assert load(path, {}).embedded.plain_mqtt
