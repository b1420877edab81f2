"""The broker without sockets, disk and clock: events in, actions out (MQTT 3.1, 3.1.1 and 5).

Whoever owns it calls one method for each thing that happens, with the time, and then carries out what `take`
returns. Times are seconds of a clock that never goes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from edgewhisk import __version__
from edgewhisk.broker import documents, packets
from edgewhisk.broker.deliveries import Deliveries
from edgewhisk.broker.link import ALIASES, Link
from edgewhisk.broker.message import Promise, PublishedMessage
from edgewhisk.broker.packets import ConnectPacket
from edgewhisk.broker.properties import Property, prop
from edgewhisk.broker.reason import BadPacket, Reason
from edgewhisk.broker.requests import Requests, message_of_will
from edgewhisk.broker.rights import Admit, everybody, rights_of
from edgewhisk.broker.session import NEVER, ClientSession
from edgewhisk.broker.sys_topics import sys_messages
from edgewhisk.broker.writes import PendingWrites
from edgewhisk.config.schema import EmbeddedConfig
from edgewhisk.config.validate import is_loopback
from edgewhisk.spi import Change

_REFUSALS: Final = (
    Reason.BUSY,
    Reason.QUOTA,
    Reason.BAD_CLIENT_ID,
    Reason.BAD_AUTHENTICATION_METHOD,
    Reason.BAD_USER,
    Reason.NOT_AUTHORIZED,
)
_TELLING: Final = 10.0  # seconds between two looks at what `$SYS` says
SILENT: Final = 64  # connections that did not say CONNECT yet; beyond, the oldest of them goes
_LONGEST_ID: Final = 512  # characters of a client id


class BrokerActions(NamedTuple):
    """What is to be done now: send, then close, and write."""

    send: Mapping[int, bytes]  # by the number of the link
    close: Sequence[int]
    write: Sequence[Change]  # a group; `written` has to be called when it is on disk, or refused


class Broker:
    """All sessions, and the links that some of them have."""

    def __init__(
        self,
        bounds: EmbeddedConfig,
        name: Callable[[], str],
        now: float,
        wall: float,
        admit: Admit = everybody,
    ) -> None:
        """`name` makes client ids for those who have none; `wall`: what the machine's clock says now."""
        self._whose = admit
        self.bounds = bounds
        self.writes = PendingWrites()
        self.delivery = Deliveries(bounds, self.writes, now, wall)
        self.links: dict[int, Link] = {}
        self.refused: Counter[str] = Counter()  # connections, by the name of the reason
        self.connected = 0  # links with a session
        self._requests = Requests(self.delivery)
        self.sessions = self.delivery.sessions
        self._name = name
        self._looked = self._tells = self._began = now

    # -- events ----------------------------------------------------------------------------------

    def opened(self, link: Link, now: float) -> None:
        """A client connected; it has not said CONNECT yet."""
        self.delivery.now = now
        self.links[link.number] = link
        if len(self.links) - self.connected > SILENT:
            silent = [one for one in self.links.values() if one.session is None and not one.ended]
            if len(silent) > SILENT:
                self.refused["silent"] += 1
                self._leave(silent[0], Reason.BUSY, now)

    def received(self, number: int, first: int, body: bytes, now: float) -> None:
        """A packet came."""
        link = self.links.get(number)
        if link is None or link.ended:
            return
        self.delivery.now = link.heard = now
        self.delivery.touched[number] = link
        try:
            if link.session is not None:
                if not self._requests.serve(link, link.session, first, body):
                    link.ended = True
                    self._detach(link, now)
            elif first == packets.CONNECT:
                self._connect(link, body)
            else:
                raise BadPacket("the first packet is no CONNECT", Reason.PROTOCOL_ERROR)
        except BadPacket as error:
            self.broke(number, error, now)

    def broke(self, number: int, error: BadPacket, now: float) -> None:
        """A client broke the protocol, or said more than is taken."""
        link = self.links.get(number)
        if link is None or link.ended:
            return
        self.refused[error.reason.name.lower()] += 1
        self.delivery.touched[number] = link
        if link.session is None and error.reason == Reason.OTHER_VERSION:
            link.send(packets.connack(4, error.reason))
        elif link.session is None and error.reason in _REFUSALS:
            link.send(packets.connack(link.version, error.reason))
        self._leave(link, error.reason, now)

    def lost(self, number: int, now: float) -> None:
        """A connection is gone."""
        link = self.links.pop(number, None)
        self.delivery.touched.pop(number, None)
        if link is not None and not link.ended:
            link.ended = True
            self._detach(link, now)

    def paused(self, number: int, now: float, *, on: bool) -> None:
        """The network of a client takes no more for now, or takes more again."""
        link = self.links.get(number)
        if link is not None:
            link.paused, self.delivery.now = on, now
            if not on and link.session is not None and link.session.link is link:
                self.delivery.pump(link.session)

    def written(self, problem: str, now: float) -> None:
        """The group of `BrokerActions.write` is on disk, or was refused because of `problem`."""
        self.delivery.now = now
        self.writes.done(problem, now)

    def tick(self, now: float) -> None:
        """Time went by; to be called twice a second or so."""
        self.delivery.now = now
        self.delivery.hurry()
        if now - self._looked < 1:
            return
        self._looked = now
        self._look_at_links(now)
        for session in list(self.sessions.values()):
            if session.will_due is not None and session.will_due <= now:
                self._publish_will(session)
            if session.until is not None and session.until <= now:
                self._discard(session)
        for topic in self.delivery.retained.expired(now):
            self.writes.remove(documents.RETAINED, topic, now)
        if now >= self._tells:
            self._tells = now + _TELLING
            for message in sys_messages(self.describe(), now - self._began, __version__):
                self.delivery.tell(message)

    def _look_at_links(self, now: float) -> None:
        """End the connections that have been silent for too long (3.1.2.10)."""
        for link in list(self.links.values()):
            silent = now - (link.since if link.session is None else link.heard)
            most = self.bounds.connect_timeout if link.session is None else link.keep_alive
            if self._waits(link):
                link.heard = now  # it is not read
            elif most and silent > most and not link.ended:
                self.refused["keep_alive" if link.session else "connect_timeout"] += 1
                self._leave(link, Reason.KEEP_ALIVE, now)

    def stop(self, now: float) -> None:
        """The gateway ends: clients are told, wills are not published."""
        for link in self.links.values():
            if link.session is not None and not link.ended:
                link.session.will = None
            self._leave(link, Reason.SHUTTING_DOWN, now)

    def kick(self, client: str, now: float) -> bool:
        """End a client's connection; false if it has none."""
        session = self.sessions.get(client)
        if session is None or session.link is None:
            return False
        self._leave(session.link, Reason.ENDED, now)
        return True

    def publish(self, message: PublishedMessage, promise: Promise, now: float) -> Reason:
        """Publish a message of the gateway itself; `promise` is kept when nothing of it can be lost."""
        self.delivery.now = now
        return self.delivery.publish(message, promise)

    def acknowledged(self, link: Link, first: int, packet_ids: Collection[bytes], now: float) -> None:
        """The gateway itself acknowledges messages, by PUBACK or PUBREC."""
        self.delivery.now = now
        if link.session is not None and link.session.link is link:
            for one in packet_ids:
                number = int.from_bytes(one, "big")
                self.delivery.acknowledged(link.session, link, first, number, Reason.SUCCESS)

    def take(self, now: float) -> BrokerActions:
        """What is to be done."""
        send: dict[int, bytes] = {}
        close: list[int] = []
        for number, link in self.delivery.touched.items():
            if link.out:
                send[number] = b"".join(link.out)
                link.out.clear()
                link.unsent = 0
            if link.ended:
                close.append(number)
        self.delivery.touched.clear()
        return BrokerActions(send, close, self.writes.take(now))

    def knows(self, number: int) -> bool:
        """Whether a client has said CONNECT."""
        return (link := self.links.get(number)) is not None and link.session is not None

    def burdened(self, number: int) -> bool:
        """Whether a client is not to be read for now: it does not read, or too much of it is not safe yet."""
        link = self.links.get(number)
        return link is not None and (link.paused or self._waits(link))

    def _waits(self, link: Link) -> bool:
        return len(link.acknowledgements) > 2 * self.bounds.receive_maximum

    # -- connections -----------------------------------------------------------------------------

    def _connect(self, link: Link, body: bytes) -> None:
        """Serve a CONNECT (3.1.4)."""
        connect = packets.read_connect(body)
        link.version = connect.version
        self._admit(link, connect)
        client, expiry = connect.client_id or self._name(), self._expiry(connect)
        session = self.sessions.get(client)
        user = self._allow(link, connect, client)
        if session is not None and session.user != user:
            raise BadPacket("the client id is of somebody else", Reason.NOT_AUTHORIZED)
        if session is not None and session.link is not None:  # 3.1.4-3
            self._leave(session.link, Reason.TAKEN_OVER, self.delivery.now)
            session = self.sessions.get(client)
        if session is not None and (connect.clean or not session.lasting):
            self._discard(session)
            session = None
        present = session is not None
        if session is None:
            if len(self.sessions) >= self.bounds.sessions:
                raise BadPacket(f"{self.bounds.sessions} sessions are kept", Reason.QUOTA)
            session = self.sessions[client] = ClientSession(client)
            session.user = user
        session.link, session.until, session.will_due = link, None, None
        session.expiry, session.will = expiry, connect.will
        link.agree(connect, session, self.bounds.receive_maximum)
        self.connected += 1
        properties = self._agreed(link, connect, client, expiry) if link.version >= 5 else b""
        link.send(packets.connack(link.version, Reason.SUCCESS, present=present, properties=properties))
        if session.lasting or session.stored:
            self._save(session)
        self.delivery.resume(session)

    def _admit(self, link: Link, connect: ConnectPacket) -> None:
        """Refuse who is not taken; raises `BadPacket`."""
        if Property.AUTHENTICATION_METHOD in connect.properties.values:
            raise BadPacket("no such authentication method", Reason.BAD_AUTHENTICATION_METHOD)
        must = connect.version == 3 or (connect.version == 4 and not connect.clean)  # 3.1.3.1 of MQTT 3.1.1
        nameless = must and not connect.client_id
        if nameless or len(connect.client_id) > _LONGEST_ID:
            raise BadPacket("a client id that cannot be", Reason.BAD_CLIENT_ID)
        if (former := self.sessions.get(connect.client_id)) is not None and former.link is not None:
            return  # it takes the place of its own former connection
        of_address = sum(
            one.session is not None and one.address == link.address for one in self.links.values()
        )
        if self.connected >= self.bounds.connections or of_address >= self.bounds.connections_per_address:
            raise BadPacket(f"{self.connected} clients are connected", Reason.BUSY)

    def _allow(self, link: Link, connect: ConnectPacket, client: str) -> str:
        """Who it is, and what it may do from now on; raises `BadPacket`."""
        if link.trusted:
            return ""
        user = self._whose(link.address, connect.username, connect.password)
        if user is None:
            raise BadPacket("no such user and password", Reason.BAD_USER)
        if user or not is_loopback(link.address):
            link.rights = rights_of(user, client, self.bounds.publish, self.bounds.subscribe)
            if connect.will is not None and not link.rights.may_publish(connect.will.topic):
                raise BadPacket("a will on a topic that it may not publish to", Reason.NOT_AUTHORIZED)
        return user

    def _expiry(self, connect: ConnectPacket) -> int:
        """Seconds that the session outlives the connection (3.1.2.11.2; 3.1.2.4 of MQTT 3.1.1)."""
        longest = self.bounds.session_expiry
        if connect.version < 5:
            return 0 if connect.clean else longest
        return min(connect.properties.get(Property.SESSION_EXPIRY, 0), longest)

    def _agreed(self, link: Link, connect: ConnectPacket, client: str, expiry: int) -> bytes:
        """The properties of CONNACK (3.2.2.3), and how long the client may be silent."""
        found = prop(Property.RECEIVE_MAXIMUM, self.bounds.receive_maximum)
        found += prop(Property.MAXIMUM_PACKET, self.bounds.packet_bytes)
        found += prop(Property.ALIAS_MAXIMUM, ALIASES)
        if expiry != connect.properties.get(Property.SESSION_EXPIRY, 0):
            found += prop(Property.SESSION_EXPIRY, expiry)
        if not connect.client_id:
            found += prop(Property.ASSIGNED_ID, client)
        seconds = connect.keep_alive
        if not 0 < seconds <= self.bounds.keep_alive:
            seconds = self.bounds.keep_alive
            found += prop(Property.KEEP_ALIVE, seconds)
        link.keep_alive = 1.5 * seconds
        return found

    def _leave(self, link: Link, reason: Reason, now: float) -> None:
        """End a connection from this side."""
        if not link.ended:
            self.delivery.touched[link.number] = link
            link.end(reason)
            self._detach(link, now)

    def _detach(self, link: Link, now: float) -> None:
        """A session has lost its connection (3.1.2.5, 3.1.2.11.2)."""
        session, self.delivery.now = link.session, now
        if session is None or session.link is not link:
            return
        session.link = None
        self.connected -= 1
        session.rewind()
        if session.will is not None:
            delay = session.will.properties.get(Property.WILL_DELAY, 0)
            session.will_due = now + min(delay, session.expiry)
            if session.will_due <= now:
                self._publish_will(session)
        if not session.lasting:
            self._discard(session)
            return
        session.until = None if session.expiry == NEVER else now + session.expiry
        self.delivery.hurry(session)
        self._save(session)

    def _publish_will(self, session: ClientSession) -> None:
        message = message_of_will(session, self.delivery.now)
        session.will, session.will_due = None, None
        if message is not None:
            self.delivery.publish(message, Promise())

    def _save(self, session: ClientSession) -> None:
        session.stored = True
        document = documents.session_document(session, self.delivery.offset)
        self.writes.put(documents.SESSIONS, session.client, document, None, self.delivery.now)

    def _discard(self, session: ClientSession) -> None:
        """A session is over; its will, if it waits, is not (3.1.3.2.2)."""
        if session.will_due is not None:
            self._publish_will(session)
        self.delivery.discard(session)
        self.sessions.pop(session.client, None)
        if session.stored:
            self.writes.remove(documents.SESSIONS, session.client, self.delivery.now)

    # -- what is told ----------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """What status shows."""
        delivery = self.delivery
        return {
            "clients": self.connected,
            "connections": len(self.links),
            "sessions": len(self.sessions),
            "subscriptions": sum(len(session.subscriptions) for session in self.sessions.values()),
            "queued": sum(len(session.queue) + len(session.flying) for session in self.sessions.values()),
            "queued_bytes": delivery.queued,
            "retained": len(delivery.retained),
            "retained_bytes": delivery.retained.size,
            "received": delivery.received,
            "sent": delivery.sent,
            "dropped": delivery.dropped,
            "denied": delivery.denied,
            "expired": delivery.expired,
            "retained_refused": delivery.retained.refused,
            "refused": dict(self.refused),
            "problem": self.writes.problem,
        }
