"""What is published on one connection: within the broker's window, in order, until the broker has it.

A batch goes through as a whole: one write, its packet identifiers in one step, one callback when all of
it is settled, and no timer of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import groupby, repeat
from typing import Final, Protocol

from edgewhisk.transport.mqtt import codec as packets
from edgewhisk.transport.mqtt.codec import Message, Publication
from edgewhisk.transport.mqtt.limits import reason

WINDOW: Final = 1000  # QoS 1 messages under way at once, if the broker does not say
ACK_TIMEOUT: Final = 20.0  # seconds for the broker to acknowledge
LOST: Final = "the connection to the broker was lost"
Failed = Mapping[int, Exception]  # by position in what was published
Told = Callable[[Failed], None]


PublishAlike = Callable[[Publication, Sequence[bytes], Told], None]


def in_runs(messages: Sequence[Message], publish: PublishAlike) -> asyncio.Future[Failed]:
    """Publish messages in order, those that are alike together; done with what failed, by position."""
    runs = [
        (what, [message.payload for message in run])
        for what, run in groupby(messages, key=lambda message: message.publication)
    ]
    sent: asyncio.Future[Failed] = asyncio.get_running_loop().create_future()
    failed: dict[int, Exception] = {}
    left = len(runs)

    def told(first: int, found: Failed) -> None:
        nonlocal left
        left -= 1
        failed.update((first + at, error) for at, error in found.items())
        if not left and not sent.done():
            sent.set_result(failed)

    first = 0
    for what, payloads in runs:
        publish(what, payloads, partial(told, first))
        first += len(payloads)
    if not runs:
        sent.set_result(failed)
    return sent


class PacketIds(Protocol):
    """Who gives out packet identifiers; subscriptions have some, too."""

    def take(self, count: int) -> Sequence[int]:
        """So many that are free."""
        ...

    def give_back(self, numbers: Sequence[int]) -> None:
        """They are free again; some may not have been taken."""
        ...


class Sending:
    """Messages to one topic on their way."""

    __slots__ = ("failed", "left", "payloads", "since", "told", "what", "written")

    def __init__(self, what: Publication, payloads: Sequence[bytes], told: Told, since: float) -> None:
        """`told` is called once, when the broker has all of them or never will."""
        self.what = what
        self.payloads = payloads
        self.told: Told | None = told
        self.since = since
        self.written = 0
        self.left = len(payloads)  # at the broker not yet
        self.failed: dict[int, Exception] = {}

    def tell(self) -> None:
        """Tell how it went, once."""
        told, self.told = self.told, None
        if told is not None:
            told(self.failed)


class Outbound:
    """Called on the event loop."""

    def __init__(self, ids: PacketIds, version: int, send: Callable[[bytes], None]) -> None:
        """`send` writes bytes, in order."""
        self.window = WINDOW
        self._ids = ids
        self._version = version
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._flying: dict[int, tuple[Sending, int]] = {}  # packet identifier -> what, and its position there
        self._waiting: deque[Sending] = deque()  # not, or not all of them, written
        self._timer: asyncio.TimerHandle | None = None

    @property
    def flying(self) -> int:
        """How many messages the broker has still to acknowledge."""
        return len(self._flying)

    def publish(self, what: Publication, payloads: Sequence[bytes], told: Told) -> None:
        """Send messages in one write, behind those that wait.

        `told` which of them failed, by position, when the others are at the broker: at QoS 0 that is when
        they are written, perhaps before this returns.
        """
        if not what.qos and not self._waiting:
            self._send(packets.publishes(what, payloads, (), self._version))
            told({})
            return
        self._waiting.append(Sending(what, payloads, told, self._loop.time()))
        self._flush()
        if self._timer is None:
            self._timer = self._loop.call_later(ACK_TIMEOUT, self._look)

    def acknowledged(self, numbers: Sequence[int]) -> None:
        """The broker has the messages with these packet identifiers."""
        self._ids.give_back(numbers)
        flying = self._flying
        for number in numbers:
            found = flying.pop(number, None)
            if found is not None:
                sending = found[0]
                sending.left -= 1
                if not sending.left:
                    sending.tell()
        if self._waiting:
            self._flush()

    def refused(self, number: int, code: int) -> None:
        """The broker does not take a message."""
        if number in self._flying:
            sending, at = self._flying[number]
            sending.failed[at] = ConnectionRefusedError(f"the broker refused it: {reason(code, '')}")
        self.acknowledged((number,))

    def abandon(self) -> None:
        """Nobody will acknowledge what is under way."""
        self._give_up(self._under_way(), ConnectionResetError(LOST))
        self._flying.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _flush(self) -> None:
        """Write what the window lets through."""
        while self._waiting:
            sending = self._waiting[0]
            room = self.window - len(self._flying) if sending.what.qos else len(sending.payloads)
            if room <= 0:
                return
            self._write(sending, sending.payloads[sending.written : sending.written + room])
            if sending.written < len(sending.payloads):
                return
            self._waiting.popleft()
            if not sending.what.qos:
                sending.tell()

    def _write(self, sending: Sending, payloads: Sequence[bytes]) -> None:
        begin, end = sending.written, sending.written + len(payloads)
        sending.written = end
        numbers: Sequence[int] = ()
        if sending.what.qos:
            numbers = self._ids.take(len(payloads))
            self._flying.update(zip(numbers, zip(repeat(sending), range(begin, end)), strict=False))
        self._send(packets.publishes(sending.what, payloads, numbers, self._version))

    def _under_way(self) -> dict[Sending, None]:
        """Each once, in order."""
        return dict.fromkeys([*(sending for sending, _ in self._flying.values()), *self._waiting])

    def _look(self) -> None:
        """Give up what was not acknowledged in time; look again when the next one is due.

        One timer for all: to arm and cancel one for each batch costs as much as a reading.
        """
        now = self._loop.time()
        under_way = self._under_way()
        late = dict.fromkeys(one for one in under_way if now - one.since >= ACK_TIMEOUT)
        self._give_up(late, TimeoutError(f"no answer within {ACK_TIMEOUT:g} s"))
        next_due = min((one.since for one in under_way if one.told is not None), default=None)
        self._timer = None
        if next_due is not None:
            self._timer = self._loop.call_later(max(0.0, next_due + ACK_TIMEOUT - now), self._look)

    def _give_up(self, sendings: Collection[Sending], error: Exception) -> None:
        """What is under way of `sendings` failed; what waits is not written any more."""
        self._waiting = deque(one for one in self._waiting if one not in sendings)
        for sending, at in self._flying.values():
            if sending in sendings:
                sending.failed[at] = error
        for sending in sendings:
            sending.failed.update(dict.fromkeys(range(sending.written, len(sending.payloads)), error))
            sending.tell()
