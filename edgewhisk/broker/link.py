"""One connection of a client: what was agreed on it, and what is to be sent. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from edgewhisk.broker import packets
from edgewhisk.broker.message import Copy
from edgewhisk.broker.packets import ConnectPacket
from edgewhisk.broker.properties import Properties, Property, prop
from edgewhisk.broker.reason import BadPacket, Reason
from edgewhisk.broker.rights import ClientRights

if TYPE_CHECKING:
    from edgewhisk.broker.session import ClientSession

ALIASES: Final = 32  # topic aliases that a client may set (3.3.2.3.4), and that are used towards it
_DUPLICATE: Final = 0x08


class Acknowledgement:
    """A packet that may be sent when what it tells is so."""

    __slots__ = ("data", "ends", "ready")

    def __init__(self, *, ends: bool) -> None:
        """`ends`: with it the publisher may send one message more."""
        self.data = b""
        self.ends = ends
        self.ready = False


class Link:
    """A connection. `out` is what the shell has to send, `ended` that it has to close it then."""

    def __init__(self, number: int, address: str, now: float) -> None:
        """Before CONNECT."""
        self.number = number
        self.address = address
        self.since = self.heard = now
        self.version = 4
        self.session: ClientSession | None = None
        self.keep_alive = 0.0  # seconds without a packet after which the client is lost; 0: for ever
        self.trusted = False  # it is the gateway itself
        self.rights: ClientRights | None = None  # None: all
        self.window = 1  # messages that the client takes ahead
        self.largest = 0  # bytes of a packet that it takes; 0: any
        self.ahead = 0  # messages that it sent and that are not acknowledged to the end
        self.paused = False  # its network takes no more for now
        self.out: list[bytes] = []
        self.unsent = 0  # bytes of it
        self.ended = False
        self.acknowledgements: deque[Acknowledgement] = deque()  # in the order of the PUBLISHes (4.6)
        self._topics: dict[int, str] = {}  # by alias, as the client set them
        self._aliases: dict[str, int] = {}  # as they were set towards it
        self._alias_room = 0

    def agree(self, connect: ConnectPacket, session: ClientSession, window: int) -> None:
        """Take what CONNECT says."""
        said = connect.properties
        self.version = connect.version
        self.session = session
        self.keep_alive = 1.5 * connect.keep_alive
        self.window = said.get(Property.RECEIVE_MAXIMUM, window)
        self.largest = said.get(Property.MAXIMUM_PACKET, 0)
        self._alias_room = min(ALIASES, said.get(Property.ALIAS_MAXIMUM, 0))

    def send(self, data: bytes) -> None:
        """Send a packet, unless the connection is to end."""
        if not self.ended:
            self.out.append(data)
            self.unsent += len(data)

    def end(self, reason: Reason) -> None:
        """Close it, and say why where there is a word for it (4.13)."""
        if self.version >= 5 and self.session is not None:
            self.send(packets.disconnect(reason))
        self.ended = True

    def promise(self, *, ends: bool) -> Acknowledgement:
        """A place among the acknowledgements."""
        found = Acknowledgement(ends=ends)
        self.acknowledgements.append(found)
        return found

    def acknowledge(self, which: Acknowledgement, data: bytes) -> None:
        """It may be sent; it is when those before it are."""
        which.data, which.ready = data, True
        while self.acknowledgements and self.acknowledgements[0].ready:
            done = self.acknowledgements.popleft()
            self.ahead = max(0, self.ahead - done.ends)
            self.send(done.data)

    def topic(self, name: bytes, properties: Properties) -> str:
        """The topic of a PUBLISH, by its alias if it has none itself (3.3.2.3.4); raises `BadPacket`."""
        topic = packets.topic_of(name)
        alias = properties.get(Property.ALIAS, 0) if properties.values else 0
        if alias > ALIASES:
            raise BadPacket(f"topic alias {alias}; there are {ALIASES}", Reason.BAD_ALIAS)
        if alias and topic:
            self._topics[alias] = topic
        elif not topic:
            topic = self._topics.get(alias, "")
            if not topic:
                raise BadPacket("a PUBLISH without a topic", Reason.PROTOCOL_ERROR)
        return topic

    def properties(self, copy: Copy, now: float) -> bytes:
        """The properties with which a message goes to an MQTT 5 client, but its alias (3.3.2.3)."""
        found, expires = copy.message.properties, copy.message.expires
        for one in copy.identifiers:
            found += prop(Property.SUBSCRIPTION, one)
        if expires is not None:
            found += prop(Property.EXPIRY, max(0, int(expires - now)))
        return found

    def publish(self, copy: Copy, now: float) -> bool:
        """Send a message; false if it is larger than what the client takes (3.1.2.11.4)."""
        message = copy.message
        name, properties, fresh = message.topic.encode(), b"", False
        if self.version >= 5:
            properties = self.properties(copy, now)
            if self._alias_room:
                alias, fresh = self._alias(message.topic)
                if alias:
                    properties += prop(Property.ALIAS, alias)
                    name = name if fresh else b""
        data = packets.publish(
            self.version, first_byte(copy), name, copy.packet_id, properties, message.payload
        )
        if self.largest and len(data) > self.largest:
            if fresh:
                del self._aliases[message.topic]
            return False
        self.send(data)
        return True

    def _alias(self, topic: str) -> tuple[int, bool]:
        """The alias of a topic, 0 if there are no more, and whether it is new."""
        known = self._aliases.get(topic, 0)
        if known or len(self._aliases) >= self._alias_room:
            return known, False
        self._aliases[topic] = len(self._aliases) + 1
        return self._aliases[topic], True


def first_byte(copy: Copy) -> int:
    """Of the PUBLISH with which a message goes out (3.3.1)."""
    again = _DUPLICATE if copy.sent and copy.qos else 0
    return packets.PUBLISH | copy.qos << 1 | copy.retain | again
