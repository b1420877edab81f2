"""What is published on a connection: order, window, and that each batch is told once how it went."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.transport.mqtt import codec as packets
from edgewhisk.transport.mqtt.codec import Publication
from edgewhisk.transport.mqtt.outbound import Failed, Outbound


class Ids:
    """Packet identifiers: a few, so that they are soon used again."""

    def __init__(self, count: int) -> None:
        self.free = list(range(1, count + 1))

    def take(self, count: int) -> Sequence[int]:
        taken, self.free = self.free[:count], self.free[count:]
        assert len(taken) == count
        return taken

    def give_back(self, numbers: Sequence[int]) -> None:
        self.free += [number for number in numbers if number not in self.free]


class Broker(NamedTuple):
    """What was written, and what was told."""

    outgoing: Outbound
    wire: list[bytes]
    told: dict[int, Failed]  # by batch

    @classmethod
    def of(cls, window: int) -> Broker:
        wire: list[bytes] = []
        outgoing = Outbound(Ids(window + 4), 4, wire.append)
        outgoing.window = window
        return cls(outgoing, wire, {})

    def publish(self, batch: int, count: int, qos: int, topic: str = "t") -> None:
        def told(failed: Failed) -> None:
            assert batch not in self.told
            self.told[batch] = dict(failed)

        payloads = [b"%d.%d" % (batch, at) for at in range(count)]
        self.outgoing.publish(Publication(topic, qos), payloads, told)

    def deliveries(self) -> list[packets.Delivery]:
        return list(packets.read(b"".join(self.wire), 4)[0].deliveries)


def play(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scene())  # type: ignore[arg-type]


class Model:
    """What a broker has and has not acknowledged."""

    def __init__(self, window: int) -> None:
        self.broker, self.window = Broker.of(window), window
        self.open: dict[int, bytes] = {}  # payloads by packet identifier
        self.refused: set[bytes] = set()
        self.published: list[int] = []  # messages of each batch
        self._seen = 0

    def publish(self, count: int, qos: int) -> None:
        self.published.append(count)
        self.broker.publish(len(self.published) - 1, count, qos)
        self._look()

    def answer(self, numbers: Sequence[int], *, refuse: bool) -> None:
        for number in numbers:
            payload = self.open.pop(number)
            if refuse:
                self.refused.add(payload)
                self.broker.outgoing.refused(number, 0x87)
            else:
                self.broker.outgoing.acknowledged((number,))
            self._look()

    def _look(self) -> None:
        arrived = self.broker.deliveries()
        for one in arrived[self._seen :]:
            if one.packet_id:
                (number,) = packets.numbers([one.packet_id])
                assert number not in self.open
                self.open[number] = one.payload
        self._seen = len(arrived)
        assert len(self.open) <= self.window

    def check(self) -> None:
        names = [[b"%d.%d" % (batch, at) for at in range(many)] for batch, many in enumerate(self.published)]
        arrived = [one.payload for one in self.broker.deliveries()]
        assert arrived == [name for batch in names for name in batch]
        for batch, told in self.broker.told.items():
            assert set(told) == {at for at, name in enumerate(names[batch]) if name in self.refused}
        assert len(self.broker.told) == len(names)


STEPS = st.lists(
    st.tuples(st.sampled_from(["publish", "publish", "acknowledge", "refuse"]), st.integers(1, 8)),
    max_size=25,
)


@given(STEPS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_every_batch_is_told_once_and_the_window_and_the_order_are_kept(
    steps: list[tuple[str, int]], window: int, chance: Random
) -> None:
    async def scene() -> None:
        model = Model(window)
        for kind, count in steps:
            if kind == "publish":
                model.publish(count, chance.choice((0, 1, 1)))
            else:
                some = chance.sample(sorted(model.open), min(count, len(model.open)))
                model.answer(some, refuse=kind == "refuse")
        while model.open:
            model.answer(list(model.open)[:1], refuse=False)
        model.check()
        model.broker.outgoing.abandon()

    play(scene)


def test_several_acknowledgements_at_once_and_unknown_ones() -> None:
    async def scene() -> None:
        broker = Broker.of(100)
        broker.publish(0, 3, 1)
        broker.publish(1, 2, 1)
        broker.outgoing.acknowledged((2, 4, 99, 1))
        assert broker.told == {}
        broker.outgoing.acknowledged((3, 5, 5))
        assert broker.told == {0: {}, 1: {}}
        broker.outgoing.refused(77, 0x87)
        broker.outgoing.abandon()

    play(scene)


def test_what_the_connection_took_with_it_is_told_and_the_rest_is_not() -> None:
    async def scene() -> None:
        broker = Broker.of(4)
        for batch in range(3):
            broker.publish(batch, 3, 1)
        broker.publish(3, 2, 0)  # behind them
        broker.outgoing.acknowledged((1, 2, 3))
        broker.outgoing.acknowledged((4,))
        broker.outgoing.abandon()
        assert {batch: sorted(failed) for batch, failed in broker.told.items()} == {
            0: [], 1: [1, 2], 2: [0, 1, 2], 3: [0, 1]
        }  # fmt: skip
        assert all(isinstance(one, ConnectionError) for one in broker.told[2].values())

    play(scene)


def test_a_broker_that_does_not_answer_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewhisk.transport.mqtt.outbound.ACK_TIMEOUT", 0.05)

    async def scene() -> None:
        broker = Broker.of(2)
        broker.publish(0, 3, 1)  # one of them waits
        broker.outgoing.acknowledged((1,))
        before = len(broker.deliveries())
        async with asyncio.timeout(10):
            while not broker.told:  # noqa: ASYNC110 - a timer of its own
                await asyncio.sleep(0.01)
        assert sorted(broker.told[0]) == [1, 2]
        assert "no answer within 0.05 s" in str(broker.told[0][1])
        assert before == len(broker.deliveries()) == 3
        broker.outgoing.acknowledged((2, 3))  # late: nobody is told a second time, and there is room again
        broker.publish(1, 2, 1)
        assert len(broker.deliveries()) == 5
        async with asyncio.timeout(10):
            while 1 not in broker.told:  # noqa: ASYNC110 - a timer of its own
                await asyncio.sleep(0.01)
        broker.outgoing.abandon()

    play(scene)
