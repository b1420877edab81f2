"""A message inside the broker, and the copies of it that sessions wait for. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class PublishedMessage(NamedTuple):
    """One message, as it is the same for all who get it."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: bytes = b""  # of MQTT 5, as they came: those that belong to the message, but its expiry
    expires: float | None = None  # seconds of the broker's time; None: never
    publisher: str = ""  # client id; "" of the broker itself

    @property
    def size(self) -> int:
        """Bytes that it counts for in the bounds."""
        return 64 + len(self.topic) + len(self.payload) + len(self.properties)


class Promise:
    """What must be safe before a publisher is told so: each copy on disk, or with its subscriber."""

    __slots__ = ("_then", "_waits")

    def __init__(self) -> None:
        """Nothing is waited for yet."""
        self._waits = 0
        self._then: list[Callable[[], None]] = []

    @property
    def waiting(self) -> bool:
        """Whether something is not safe yet."""
        return self._waits > 0

    def wait(self) -> None:
        """One thing more must be safe."""
        self._waits += 1

    def kept(self) -> None:
        """One of them is."""
        self._waits -= 1
        if not self._waits:
            for call in self._then:
                call()
            self._then.clear()

    def then(self, call: Callable[[], None]) -> None:
        """Call back when all are safe, now if they are."""
        if self._waits:
            self._then.append(call)
        else:
            call()


class Copy:
    """One message on its way to one session."""

    __slots__ = ("aloft", "asked", "identifiers", "message", "number", "packet_id", "promise", "qos",
                 "released", "retain", "saved", "sent")  # fmt: skip

    def __init__(
        self, message: PublishedMessage, number: int, qos: int, retain: bool, identifiers: tuple[int, ...]
    ) -> None:
        """`number`: of the message in the store; `identifiers`: of the subscriptions that matched."""
        self.message = message
        self.number = number
        self.qos = qos
        self.retain = retain
        self.identifiers = identifiers
        self.packet_id = 0  # 0: not sent yet
        self.sent = False  # on any connection: it is sent again as a duplicate
        self.aloft = False  # sent on this connection
        self.released = False  # PUBREC came; PUBREL is sent, or will be (4.3.3)
        self.asked = False  # to be on disk
        self.saved = False  # on disk
        self.promise: Promise | None = None

    def safe(self) -> None:
        """It cannot be lost any more."""
        promise, self.promise = self.promise, None
        if promise is not None:
            promise.kept()
