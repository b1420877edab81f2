"""The core of the broker by what clients hear: sessions, takeover, wills, retained messages, bounds, disk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgewhisk.broker import packets
from edgewhisk.broker.properties import Property, prop
from edgewhisk.config.schema import EmbeddedConfig
from tests.broker.bench import Bench, Disk, Peer, connect, got, publish, subscribe, text

ACCEPTED = [(0x20, b"\0\0")]
PRESENT = [(0x20, b"\1\0")]
BOUNDS = EmbeddedConfig()


def joined(bench: Bench, client: str, *filters: tuple[str, int], clean: bool = True) -> Peer:
    peer = bench.peer()
    assert peer.say(connect(client, clean=clean))[0] in (ACCEPTED[0], PRESENT[0])
    if filters:
        assert peer.say(subscribe(1, *filters))[0][0] == packets.SUBACK
    return peer


@pytest.mark.parametrize("version", [3, 4, 5])
def test_each_version_is_served(version: int) -> None:
    bench = Bench()
    peer = bench.peer()
    (answer,) = peer.say(connect("a", version))
    assert (answer[0], answer[1][:2]) == (0x20, b"\0\0")
    ((first, body),) = peer.say(subscribe(7, ("a/+", 1), version=version))
    assert (first, body) == (packets.SUBACK, b"\0\7" + (b"\0" if version == 5 else b"") + b"\1")
    answers = peer.say(publish("a/b", b"x", 1, 3, version=version))
    (one,) = got(answers, version)
    assert (one.topic, one.payload, one.qos, one.retain) == ("a/b", b"x", 1, False)
    assert (packets.PUBACK, b"\0\3") in answers
    assert peer.say(b"\xc0\0") == [(0xD0, b"")]


def test_what_is_for_an_absent_client_is_on_disk_before_it_is_acknowledged() -> None:
    bench = Bench()
    joined(bench, "away", ("a", 1), clean=False).cut()
    sender = joined(bench, "sender")
    bench.wait(2)
    bench.slow = True
    assert sender.say(publish("a", b"1", 1, 1) + publish("a", b"2", 1, 2)) == []
    bench.write()
    bench.write()
    assert sender.take() == [(packets.PUBACK, b"\0\1"), (packets.PUBACK, b"\0\2")]
    later = Bench(disk=bench.disk)
    back = later.peer()
    answers = back.say(connect("away", clean=False))
    assert answers[0] == PRESENT[0]
    assert [one.payload for one in got(answers)] == [b"1", b"2"]
    for one in got(answers):
        back.say(packets.answer(packets.PUBACK, one.packet_id))
    later.wait(2)
    assert later.disk.documents["copies"] == later.disk.documents["messages"] == {}


def test_what_a_connected_client_acknowledges_at_once_is_never_written() -> None:
    bench = Bench()
    reader = joined(bench, "reader", ("a", 1), clean=False)
    sender = joined(bench, "sender")
    bench.wait(2)
    groups = bench.disk.groups
    for number in range(1, 20):
        assert sender.say(publish("a", b"x", 1, number)) == []
        (one,) = got(reader.take())
        reader.say(packets.answer(packets.PUBACK, one.packet_id))
        assert sender.take() == [(packets.PUBACK, number.to_bytes(2, "big"))]
    bench.wait(2)
    assert bench.disk.groups == groups


def test_one_that_does_not_acknowledge_keeps_nobody_waiting() -> None:
    bench = Bench()
    reader = joined(bench, "reader", ("a", 1), clean=False)
    sender = joined(bench, "sender")
    assert sender.say(publish("a", b"x", 1, 1)) == []
    bench.wait(1)
    assert sender.take() == [(packets.PUBACK, b"\0\1")]
    assert len(got(reader.take())) == 1


def test_a_full_disk_acknowledges_nothing_and_goes_on_by_itself() -> None:
    bench = Bench()
    joined(bench, "away", ("a", 1), clean=False).cut()
    sender = joined(bench, "sender")
    bench.wait(2)
    bench.disk.refuses = "the disk is full"
    assert sender.say(publish("a", b"1", 1, 1) + publish("r", b"2", 1, 2, retain=True)) == []
    bench.wait(5)
    assert sender.take() == []
    assert bench.broker.describe()["problem"] == "the disk is full"
    assert sender.say(b"\xc0\0") == [(0xD0, b"")]
    bench.disk.refuses = ""
    bench.wait(2)
    assert sender.take() == [(packets.PUBACK, b"\0\1"), (packets.PUBACK, b"\0\2")]
    assert list(bench.disk.documents["retained"]) == ["r"]


def test_exactly_once_over_cuts_on_both_sides() -> None:
    disk = Disk()
    bench = Bench(disk=disk)
    joined(bench, "reader", ("a", 2), clean=False).cut()
    sender = joined(bench, "sender", clean=False)
    assert sender.say(publish("a", b"x", 2, 5)) == [(packets.PUBREC, b"\0\5")]
    bench = Bench(disk=disk)  # the power went
    sender = joined(bench, "sender", clean=False)
    assert sender.say(publish("a", b"x", 2, 5, again=True)) == [(packets.PUBREC, b"\0\5")]
    assert sender.say(packets.answer(packets.PUBREL, 5)) == [(packets.PUBCOMP, b"\0\5")]
    reader = bench.peer()
    _, *answers = reader.say(connect("reader", clean=False))
    (one,) = got(answers)
    assert reader.say(packets.answer(packets.PUBREC, one.packet_id))[0][0] == packets.PUBREL
    bench = Bench(disk=disk)  # again
    reader = bench.peer()
    _, *answers = reader.say(connect("reader", clean=False))
    assert answers == [(packets.PUBREL, one.packet_id.to_bytes(2, "big"))]
    assert reader.say(packets.answer(packets.PUBCOMP, one.packet_id)) == []
    sender = joined(bench, "sender", clean=False)
    assert sender.say(publish("a", b"y", 2, 5)) == [(packets.PUBREC, b"\0\5")]  # another message
    assert [one.payload for one in got(reader.take())] == [b"y"]


def test_a_second_connection_takes_the_session_over() -> None:
    bench = Bench()
    first = bench.peer()
    assert first.say(connect("a", 5, properties=prop(Property.SESSION_EXPIRY, 100), clean=False))
    first.say(subscribe(1, ("t", 1), version=5))
    second = bench.peer()
    answers = second.say(connect("a", 5, properties=prop(Property.SESSION_EXPIRY, 100), clean=False))
    assert answers[0][1][:2] == b"\1\0"
    assert first.closed
    assert first.take() == [(packets.DISCONNECT, b"\x8e")]
    assert [one.payload for one in got(second.say(publish("t", b"x", 0, version=5)), 5)] == [b"x"]


def test_a_will_is_published_when_the_client_is_lost_and_not_when_it_leaves() -> None:
    bench = Bench()
    watcher = joined(bench, "watcher", ("will/#", 1))
    for client, last in (("lost", b""), ("left", b"\xe0\0")):
        peer = bench.peer()
        peer.say(connect(client, will=(f"will/{client}", b"gone", 1, True)))
        if last:
            peer.say(last)
        peer.cut()
    assert [one.topic for one in got(watcher.take())] == ["will/lost"]
    late = joined(bench, "late")
    ((_, _), *answers) = late.say(subscribe(2, ("will/+", 0)))
    assert [(one.topic, one.retain) for one in got(answers)] == [("will/lost", True)]


def test_a_delayed_will_is_not_published_if_the_client_is_back() -> None:
    bench = Bench()
    watcher = joined(bench, "watcher", ("w", 0))
    lasting = prop(Property.SESSION_EXPIRY, 60)
    said = connect("a", 5, clean=False, properties=lasting, will=("w", b"x", 0, False),
                   will_properties=prop(Property.WILL_DELAY, 10))  # fmt: skip
    peer = bench.peer()
    peer.say(said)
    peer.cut()
    bench.wait(5)
    peer = bench.peer()
    peer.say(said)
    bench.wait(20)
    assert watcher.take() == []
    peer.cut()
    bench.wait(12)
    assert len(got(watcher.take())) == 1


def test_a_silent_client_is_lost_after_one_and_a_half_keep_alives() -> None:
    bench = Bench()
    peer, other = bench.peer(), bench.peer()
    peer.say(connect("a", keep_alive=10))
    bench.wait(14)
    assert not peer.closed
    assert other.closed  # it never said CONNECT
    bench.wait(3)
    assert peer.closed


def test_a_session_expires() -> None:
    bench = Bench()
    peer = bench.peer()
    peer.say(connect("a", 5, clean=False, properties=prop(Property.SESSION_EXPIRY, 30)))
    peer.say(subscribe(1, ("t", 1), version=5))
    peer.cut()
    bench.wait(2)
    again = Bench(disk=bench.disk)
    again.wait(20)
    assert again.broker.describe()["sessions"] == 1
    again.wait(15)
    assert again.broker.describe()["sessions"] == 0
    assert again.disk.documents["sessions"] == again.disk.documents["subscriptions"] == {}


def test_shared_subscriptions_give_each_message_to_one_who_is_there() -> None:
    bench = Bench()
    one, other = joined(bench, "1", ("$share/g/t", 0)), joined(bench, "2", ("$share/g/t", 0))
    sender = joined(bench, "sender")
    for _ in range(10):
        sender.say(publish("t", b"x"))
    assert (len(got(one.take())), len(got(other.take()))) == (5, 5)
    one.cut()
    for _ in range(4):
        sender.say(publish("t", b"x"))
    assert len(got(other.take())) == 4


def test_topic_aliases_in_both_directions() -> None:
    bench = Bench()
    peer = bench.peer()
    peer.say(connect("a", 5, properties=prop(Property.ALIAS_MAXIMUM, 1)))
    peer.say(subscribe(1, ("+", 0), version=5))
    answers = peer.say(
        publish("long", b"1", version=5, properties=prop(Property.ALIAS, 3))
        + publish("", b"2", version=5, properties=prop(Property.ALIAS, 3))
        + publish("other", b"3", version=5)
    )
    found = [
        (one.topic, one.payload, one.properties.get(Property.ALIAS, 0))
        for one in got(answers, 5)
        if one.properties
    ]
    assert found == [("long", b"1", 1), ("", b"2", 1), ("other", b"3", 0)]
    assert peer.say(publish("", b"4", version=5, properties=prop(Property.ALIAS, 9))) == [(0xE0, b"\x82")]


def test_no_more_is_sent_ahead_than_the_client_takes() -> None:
    bench = Bench()
    reader = bench.peer()
    reader.say(connect("r", 5, properties=prop(Property.RECEIVE_MAXIMUM, 2)))
    reader.say(subscribe(1, ("t", 1), version=5))
    sender = joined(bench, "s")
    for number in range(1, 6):
        sender.say(publish("t", b"%d" % number, 1, number))
    seen: list[bytes] = []
    inbox = reader.take()
    while found := got(inbox, 5):
        assert len(found) <= 2
        seen += [one.payload for one in found]
        inbox = reader.say(b"".join(packets.answer(packets.PUBACK, one.packet_id) for one in found))
    assert seen == [b"1", b"2", b"3", b"4", b"5"]


def test_properties_of_a_message_arrive_as_they_were_and_its_expiry_counts_down() -> None:
    bench = Bench()
    reader = bench.peer()
    lasting = prop(Property.SESSION_EXPIRY, 1000)
    reader.say(connect("r", 5, clean=False, properties=lasting))
    reader.say(subscribe(1, ("t", 1), version=5, properties=prop(Property.SUBSCRIPTION, 300)))
    reader.cut()
    sender = bench.peer()
    sender.say(connect("s", 5))
    users = b"".join(b"\x26" + text(key) + text(value) for key, value in (("b", "1"), ("a", "2"), ("b", "1")))
    more = b"\x09" + text(b"\0\xff") + users + b"\x08" + text("answers")
    sender.say(publish("t", b"x", 1, 1, version=5, properties=more + prop(Property.EXPIRY, 60)))
    sender.say(publish("t", b"old", 1, 2, version=5, properties=prop(Property.EXPIRY, 5)))
    bench.wait(10)
    reader = bench.peer()
    (one,) = got(reader.say(connect("r", 5, clean=False, properties=lasting)), 5)
    assert one.properties is not None
    assert one.properties.passed_on.startswith(more)
    assert one.properties.get(Property.EXPIRY, 0) == 50
    assert one.properties.get(Property.SUBSCRIPTION, 0) == 300


def test_what_is_full_is_told() -> None:
    bounds = replace(BOUNDS, connections=2, subscriptions=1, retained_topics=1, queued_messages=2, sessions=3)
    bench = Bench(bounds)
    joined(bench, "away", ("q", 1), clean=False).cut()
    peer = bench.peer()
    peer.say(connect("a", 5))
    assert peer.say(subscribe(1, ("x", 0), ("y", 0), version=5)) == [(packets.SUBACK, b"\0\1\0\0\x97")]
    assert peer.say(publish("r", b"1", 1, 1, retain=True, version=5)) == [(packets.PUBACK, b"\0\1\x10")]
    assert peer.say(publish("s", b"1", 1, 2, retain=True, version=5)) == [(packets.PUBACK, b"\0\2\x97")]
    answers = [peer.say(publish("q", b"1", 1, number, version=5))[0][1] for number in (3, 4, 5)]
    assert answers == [b"\0\3", b"\0\4", b"\0\5\x97"]
    assert bench.broker.describe()["dropped"] == 1
    second, third, fourth = bench.peer(), bench.peer(), bench.peer()
    assert second.say(connect("b")) == ACCEPTED
    assert third.say(connect("c")) == [(0x20, b"\0\3")]
    assert fourth.say(connect("c", 5)) == [(0x20, b"\0\x89\0")]
    assert (third.closed, fourth.closed) == (True, True)
    second.cut()
    assert bench.peer().say(connect("c", clean=False)) == ACCEPTED
    peer.cut()
    assert bench.peer().say(connect("d")) == ACCEPTED
    assert bench.broker.describe()["refused"] == {"busy": 2}


def test_more_messages_ahead_than_agreed_end_the_connection() -> None:
    bench = Bench(replace(BOUNDS, receive_maximum=2))
    joined(bench, "away", ("t", 1), clean=False).cut()
    bench.slow = True
    peer = bench.peer()
    peer.say(connect("a", 5))
    assert peer.say(b"".join(publish("t", b"x", 1, number, version=5) for number in (1, 2, 3))) == [
        (0xE0, b"\x93")
    ]


@pytest.mark.parametrize(
    "said", [b"\xf0\0", b"\x32\x04\0\1a\0", b"\x36\x05\0\1a\0\1", b"\x82\2\0\1", b"\x30\5\0\3a/#"]
)
def test_who_breaks_the_protocol_is_hung_up_on(said: bytes) -> None:
    bench = Bench()
    peer = joined(bench, "a")
    peer.say(said)
    assert peer.closed
    assert bench.broker.describe()["clients"] == 0


def test_filters_that_cannot_be_are_refused() -> None:
    bench = Bench()
    peer = joined(bench, "a")
    assert peer.say(subscribe(1, ("a/#/b", 0), ("a+", 0), ("/" * 300, 0), ("$share/g", 0), ("ok", 0))) == [
        (packets.SUBACK, b"\0\1\x80\x80\x80\x80\0")
    ]


def test_what_the_broker_tells_of_itself() -> None:
    bench = Bench()
    reader = bench.peer("127.0.0.1")
    reader.say(connect("reader"))
    reader.say(subscribe(1, ("$SYS/broker/clients/+", 0), ("#", 0)))
    bench.wait(2)
    assert {(one.topic, one.payload) for one in got(reader.take())} == {
        ("$SYS/broker/clients/connected", b"1"),
        ("$SYS/broker/clients/total", b"1"),
    }
    bench.wait(20)
    assert reader.take() == []  # no news
    late = bench.peer("127.0.0.1")
    late.say(connect("late"))
    ((_, _), *answers) = late.say(subscribe(2, ("$SYS/broker/version", 0)))
    assert [one.retain for one in got(answers)] == [True]
    assert late.say(publish("$SYS/broker/version", b"x", 0)) == []
    assert bench.broker.describe()["denied"] == 1
    assert bench.broker.describe()["retained"] == 0


def test_options_of_a_subscription() -> None:
    bench = Bench()
    sender = bench.peer()
    sender.say(connect("s", 5))
    sender.say(publish("t/kept", b"1", retain=True, version=5))
    reader = bench.peer()
    reader.say(connect("r", 5))
    never, if_new, as_published, no_local = 2 << 4, 1 << 4, 8, 4
    assert got(reader.say(subscribe(1, ("t/#", never), version=5)), 5) == []
    assert got(reader.say(subscribe(1, ("t/#", if_new), version=5)), 5) == []
    assert [one.retain for one in got(reader.say(subscribe(1, ("t/+", if_new), version=5)), 5)] == [True]
    sender.say(publish("t/kept", b"2", retain=True, version=5))
    assert [one.retain for one in got(reader.take(), 5)] == [False]
    reader.say(subscribe(1, ("t/#", never | as_published), version=5))
    sender.say(publish("t/kept", b"3", retain=True, version=5))
    assert [one.retain for one in got(reader.take(), 5)] == [True]
    reader.say(subscribe(1, ("own", no_local), version=5))
    assert reader.say(publish("own", b"", version=5)) == []
    sender.say(publish("own", b"", version=5))
    assert len(got(reader.take(), 5)) == 1
    peer = bench.peer()
    peer.say(connect("p", 5))
    assert peer.say(subscribe(1, ("$share/g/t", no_local), version=5)) == [(packets.DISCONNECT, b"\x82")]


def test_an_unsubscription_holds_over_a_crash() -> None:
    bench = Bench()
    reader = joined(bench, "r", ("a", 1), ("b", 1), clean=False)
    gone = packets.packet(packets.UNSUBSCRIBE, b"\0\2", text("a"), text("x"))
    assert reader.say(gone) == [(packets.UNSUBACK, b"\0\2")]
    sender = joined(bench, "s")
    sender.say(publish("a", b"", 1, 1))
    assert reader.take() == []
    later = Bench(disk=bench.disk)
    reader = later.peer()
    reader.say(connect("r", 5, clean=False, properties=prop(Property.SESSION_EXPIRY, 100)))
    assert reader.say(publish("a", b"", 0, version=5) + publish("b", b"", 0, version=5)) != []
    told = packets.packet(packets.UNSUBSCRIBE, b"\0\3\0", text("a"), text("b"))
    assert reader.say(told) == [(packets.UNSUBACK, b"\0\3\0\x11\0")]


def test_a_clean_start_forgets_what_was() -> None:
    bench = Bench()
    joined(bench, "r", ("a", 1), clean=False).cut()
    joined(bench, "s").say(publish("a", b"", 1, 1))
    assert bench.broker.describe()["queued"] == 1
    fresh = bench.peer()
    assert fresh.say(connect("r", clean=True)) == ACCEPTED
    bench.wait(2)
    assert bench.broker.describe()["queued"] == bench.broker.describe()["subscriptions"] == 0
    kept = {name: found for name, found in bench.disk.documents.items() if found}
    assert kept == {}


def test_a_publish_to_nobody_is_told_so() -> None:
    peer = (bench := Bench()).peer()
    peer.say(connect("a", 5))
    assert peer.say(publish("t", b"", 1, 1, version=5)) == [(packets.PUBACK, b"\0\1\x10")]
    assert bench.broker.describe()["received"] == 1


def test_a_message_larger_than_the_client_takes_is_left_out() -> None:
    bench = Bench()
    small = bench.peer()
    small.say(connect("small", 5, properties=prop(Property.MAXIMUM_PACKET, 50)))
    small.say(subscribe(1, ("t", 1), version=5))
    sender = joined(bench, "s")
    for number, size in enumerate((10, 100, 20), 1):
        assert sender.say(publish("t", bytes(size), 1, number)) == [(packets.PUBACK, bytes((0, number)))]
    assert [len(one.payload) for one in got(small.take(), 5)] == [10, 20]
    assert bench.broker.describe()["dropped"] == 1


def test_a_full_queue_of_one_does_not_trouble_the_publisher_of_others() -> None:
    bench = Bench(replace(BOUNDS, queued_messages=1))
    joined(bench, "gone", ("t", 1), clean=False).cut()
    joined(bench, "here", ("t", 0))
    sender = bench.peer()
    sender.say(connect("s", 5))
    answers = [sender.say(publish("t", b"", 1, number, version=5)) for number in (1, 2, 3)]
    assert answers == [[(packets.PUBACK, bytes((0, number)))] for number in (1, 2, 3)]
    assert bench.broker.describe()["dropped"] == 2


def test_what_is_asked_for_again_and_again_has_a_bound() -> None:
    bench = Bench(replace(BOUNDS, retained_bytes=100_000))
    joined(bench, "s").say(publish("r", bytes(90_000), retain=True))
    peer = bench.peer()
    peer.say(connect("r"))
    answers = peer.say(b"".join(subscribe(1, ("#", 0)) for _ in range(100)))
    assert len(answers) < 110
    assert sum(len(body) for _, body in answers) < 300_000
