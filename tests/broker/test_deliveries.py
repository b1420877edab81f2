"""Whatever happens, in whatever order: nothing acknowledged is lost, nothing at QoS 2 comes twice.

Clients that keep their part of the protocol, a network that breaks, a disk that is slow or refuses, and power
that goes, as hypothesis likes; the plain model is what each client sent.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from edgewhisk.broker import packets
from edgewhisk.broker.properties import Property, prop
from edgewhisk.config.schema import EmbeddedConfig
from tests.broker.bench import Bench, Got, Peer, connect, publish, subscribe

BOUNDS = replace(EmbeddedConfig(), receive_maximum=3)
NAMES = ("p", "q", "r", "s")  # two that publish, two that subscribe


class Client:
    """A client with a lasting session that never loses its own state."""

    def __init__(self, name: str, version: int) -> None:
        self.name, self.version = name, version
        self.peer: Peer | None = None
        self.unacknowledged: dict[int, tuple[int, str, bytes]] = {}  # QoS, topic, payload
        self.released: dict[int, None] = {}
        self.taken: set[int] = set()  # QoS 2 packet identifiers
        self.seen: list[tuple[str, bytes]] = []
        self.subscribed = False
        self.ready = False  # CONNACK came, and what was not acknowledged before is sent again
        self.next_id = 0

    def join(self, bench: Bench) -> None:
        self.peer, self.ready = bench.peer(), False
        lasting = prop(Property.SESSION_EXPIRY, 100_000) if self.version == 5 else b""
        self.peer.inbox = self.peer.say(connect(self.name, self.version, clean=False, properties=lasting))

    def publish(self, topic: str, qos: int, payload: bytes) -> None:
        self.next_id += 1
        self.unacknowledged[self.next_id] = qos, topic, payload
        if self.ready and self.peer is not None and not self.peer.closed:
            self.say(publish(topic, payload, qos, self.next_id, version=self.version))

    def say(self, data: bytes) -> None:
        assert self.peer is not None
        inbox = self.peer.inbox
        self.peer.inbox = []
        self.peer.inbox = inbox + self.peer.say(data)

    def read(self, most: int = 1000) -> bool:
        """Answer what came; whether there was something."""
        peer = self.peer
        if peer is None or peer.closed or not peer.inbox:
            return False
        for _ in range(most):
            if peer.closed or not peer.inbox:
                break
            first, body = peer.inbox.pop(0)
            self.answer(first, body)
        return True

    def answer(self, first: int, body: bytes) -> None:
        packet_id = int.from_bytes(body[:2], "big")
        if first == packets.CONNACK:
            self.begin(present=bool(body[0]))
        elif first & 0xF0 == packets.PUBLISH:
            self.take(Got(first, body, self.version))
        elif first == packets.PUBACK:
            self.unacknowledged.pop(packet_id, None)
        elif first == packets.PUBREC:
            self.unacknowledged.pop(packet_id, None)
            self.released[packet_id] = None
            self.say(packets.answer(packets.PUBREL, packet_id))
        elif first == packets.PUBCOMP:
            self.released.pop(packet_id, None)
        elif first == packets.PUBREL:
            self.taken.discard(packet_id)
            self.say(packets.answer(packets.PUBCOMP, packet_id))
        elif first == packets.SUBACK:
            self.subscribed = True
        else:
            raise AssertionError(first)

    def begin(self, *, present: bool) -> None:
        if not present:
            assert not self.taken
            assert not self.released
            assert not self.subscribed
        if self.name in "rs" and not self.subscribed:
            self.say(subscribe(65_000, ("t/#", 1), ("u/+", 2), version=self.version))
        for packet_id in list(self.released):
            self.say(packets.answer(packets.PUBREL, packet_id))
        for packet_id, (qos, topic, payload) in list(self.unacknowledged.items()):
            self.say(publish(topic, payload, qos, packet_id, again=True, version=self.version))
        self.ready = True

    def take(self, one: Got) -> None:
        if one.qos == 2:
            if one.packet_id not in self.taken:
                self.taken.add(one.packet_id)
                self.seen.append((one.topic, one.payload))
            self.say(packets.answer(packets.PUBREC, one.packet_id))
        else:
            self.seen.append((one.topic, one.payload))
            self.say(packets.answer(packets.PUBACK, one.packet_id))


class Deliveries(RuleBasedStateMachine):
    """The broker among clients."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(BOUNDS)
        self.sent: list[tuple[str, bytes]] = []

    @initialize(version=st.sampled_from((4, 5)))
    def begin(self, version: int) -> None:
        self.clients = {name: Client(name, version if name == "r" else 4) for name in NAMES}
        for client in self.clients.values():
            client.join(self.bench)
        self.settle()
        self.bench.slow = True

    def settle(self) -> None:
        while sum(client.read() for client in self.clients.values()) or self.bench.writing:
            self.bench.write()

    @rule(name=st.sampled_from("pq"), qos=st.integers(1, 2), count=st.integers(1, 5))
    def publish(self, name: str, qos: int, count: int) -> None:
        topic = f"{'tu'[qos - 1]}/{name}"
        for _ in range(count):
            payload = b"%04d" % len(self.sent)
            self.sent.append((topic, payload))
            self.clients[name].publish(topic, qos, payload)

    @rule(name=st.sampled_from(NAMES), most=st.integers(1, 6))
    def read(self, name: str, most: int) -> None:
        self.clients[name].read(most)

    @rule(name=st.sampled_from(NAMES))
    def cut(self, name: str) -> None:
        peer = self.clients[name].peer
        if peer is not None:
            peer.cut()

    @rule(name=st.sampled_from(NAMES))
    def join(self, name: str) -> None:
        self.clients[name].join(self.bench)

    @rule()
    def write(self) -> None:
        self.bench.write()

    @rule(refuses=st.booleans())
    def refuse(self, refuses: bool) -> None:
        self.bench.disk.refuses = "it is full" if refuses else ""

    @rule(seconds=st.sampled_from((0.5, 2.0)))
    def wait(self, seconds: float) -> None:
        self.bench.wait(seconds)

    @rule(written=st.booleans())
    def power_cut(self, written: bool) -> None:
        if written:
            self.bench.write()
        self.bench = Bench(BOUNDS, self.bench.disk)
        self.bench.slow = True
        for client in self.clients.values():
            client.peer = None

    def teardown(self) -> None:
        if not hasattr(self, "clients"):
            return
        self.bench.disk.refuses = ""
        for client in self.clients.values():
            client.join(self.bench)
        for _ in range(8):
            self.settle()
            self.bench.wait(1)
        self.check()

    def check(self) -> None:
        for name in "rs":
            seen = self.clients[name].seen
            assert set(seen) == set(self.sent), name
            for topic in ("t/p", "t/q", "u/p", "u/q"):
                came = [payload for where, payload in seen if where == topic]
                if topic.startswith("u"):
                    assert len(came) == len(set(came)), "twice"
                firsts = list(dict.fromkeys(came))
                assert firsts == sorted(firsts), "out of order"
        assert not self.bench.disk.documents.get("copies")
        assert not self.bench.disk.documents.get("messages")
        assert not self.bench.disk.documents.get("received")
        told = self.bench.broker.describe()
        assert (told["queued"], told["queued_bytes"], told["dropped"]) == (0, 0, 0)


TestDeliveries = Deliveries.TestCase
TestDeliveries.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, report_multiple_bugs=False
)
