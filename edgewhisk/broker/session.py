"""The state of one client, which may outlive its connection (MQTT 5, section 4.1). Pure."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from edgewhisk.broker.message import Copy, Promise
from edgewhisk.broker.packets import WillMessage, Wish

if TYPE_CHECKING:
    from edgewhisk.broker.link import Link

NEVER: Final = 0xFFFF_FFFF  # session expiry interval of a session that is kept for ever (3.1.2.11.2)
_VERSIONS: Final = {3: "3.1", 4: "3.1.1", 5: "5"}
_SHOWN: Final = 100  # filters that are listed
_IDENTIFIERS: Final = 65_535


class ClientSession:
    """What the broker keeps of a client."""

    __slots__ = ("client", "dropped", "expiry", "flying", "link", "next_id", "queue", "received", "size",
                 "stored", "subscriptions", "until", "user", "will", "will_due", "window_used")  # fmt: skip

    def __init__(self, client: str) -> None:
        """Begin with nothing."""
        self.client = client
        self.user = ""  # who may go on with it
        self.expiry = 0  # seconds that it outlives its connection; `NEVER`: for ever
        self.until: float | None = None  # when it ends; None while connected, or kept for ever
        self.link: Link | None = None
        self.subscriptions: dict[str, tuple[Wish, int]] = {}  # with the identifier, 0: none
        self.queue: deque[Copy] = deque()  # not sent on this connection, in order
        self.flying: dict[int, Copy] = {}  # those that have a packet identifier
        self.window_used = 0  # messages sent on this connection and not acknowledged to the end
        self.received: dict[int, Promise] = {}  # QoS 2 messages from the client that were not released
        self.stored = False  # whether something of it may be on disk
        self.size = 0  # bytes of all copies
        self.dropped = 0  # messages that found no room
        self.next_id = 0
        self.will: WillMessage | None = None
        self.will_due: float | None = None  # when the will is published; None: none waits

    @property
    def lasting(self) -> bool:
        """Whether it outlives the connection."""
        return self.expiry > 0

    def take_id(self) -> int:
        """A packet identifier that is not in use (2.2.1); the bounds keep some free."""
        while True:
            self.next_id = self.next_id % _IDENTIFIERS + 1
            if self.next_id not in self.flying:
                return self.next_id

    def rewind(self) -> None:
        """The connection is gone: what was sent waits to be sent again, in its order (4.4, 4.6)."""
        again = [copy for copy in self.flying.values() if copy.aloft and not copy.released]
        for copy in self.flying.values():
            copy.aloft = False
        self.queue.extendleft(reversed(again))
        self.window_used = 0

    def describe(self, now: float) -> dict[str, Any]:
        """What a person sees of it."""
        link = self.link
        return {
            "client": self.client,
            "user": self.user,
            "address": link.address if link is not None else "",
            "connected": link is not None,
            "version": _VERSIONS[link.version] if link is not None else "",
            "filters": len(self.subscriptions),
            "subscriptions": list(islice(self.subscriptions, _SHOWN)),
            "queued": len(self.queue) + self.window_used,
            "queued_bytes": self.size,
            "dropped": self.dropped,
            "expires_in": None if self.until is None else round(self.until - now),
        }
