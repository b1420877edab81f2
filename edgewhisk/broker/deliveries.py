"""From a message to those who subscribe: copies, windows, what waits for whom (MQTT 5, 4.3 to 4.9). Pure."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Final

from edgewhisk.broker import documents, packets
from edgewhisk.broker.link import Link
from edgewhisk.broker.message import Copy, Promise, PublishedMessage
from edgewhisk.broker.reason import Reason
from edgewhisk.broker.retained import RetainedMessages
from edgewhisk.broker.session import ClientSession
from edgewhisk.broker.topics import SHARED, SubscriptionTree, TopicSubscription
from edgewhisk.broker.writes import PendingWrites
from edgewhisk.config.schema import EmbeddedConfig

# Seconds that a connected subscriber has to acknowledge before its copy is written to the disk: a commit of
# the gateway's journal takes less, so what its own feeds get is written once.
PATIENCE: Final = 0.25
_MOST_FLYING: Final = 60_000  # packet identifiers of one session in use


class Deliveries:
    """The messages under way."""

    def __init__(self, bounds: EmbeddedConfig, writes: PendingWrites, now: float, wall: float) -> None:
        """Nothing is under way; `wall`: what the machine's clock says now."""
        self.bounds = bounds
        self.writes = writes
        self.sessions: dict[str, ClientSession] = {}
        self.tree = SubscriptionTree()
        self.retained = RetainedMessages(bounds.retained_topics, bounds.retained_bytes)
        self.own = RetainedMessages(100, 1 << 20)  # below `$SYS`: of this life, in memory
        self.now = now
        self.offset = wall - now
        self.touched: dict[int, Link] = {}  # links with something to send, or to be closed
        self.queued = 0  # bytes of all copies
        self.received = 0  # messages
        self.sent = 0  # copies
        self.dropped = 0  # messages that found no room, or were too large for who should get them
        self.denied = 0  # publishes and subscriptions without a right
        self.expired = 0  # messages that were too old
        self._last = 0  # number of the newest message
        self._users: dict[int, int] = {}  # number of a message in the store -> copies that need it
        self._impatient: deque[tuple[float, ClientSession, Copy]] = deque()

    def publish(self, message: PublishedMessage, promise: Promise) -> Reason:
        """Keep a message if it is retained, and give it to all who subscribe.

        `promise` is kept when nothing of it can be lost any more.
        """
        self.received += 1
        reason = Reason.SUCCESS
        if message.retain:
            reason = self._retain(message, promise)
        served, full = self._give_all(message, promise)
        reason = full or reason
        return reason if reason or served else Reason.NO_SUBSCRIBERS

    def tell(self, message: PublishedMessage) -> None:
        """Keep a message of the broker itself in memory, and give it to who subscribes, if it is news."""
        former = self.own.matching(message.topic, self.now)
        if not former or former[0].payload != message.payload:
            self.own.put(message)
            self._give_all(message._replace(retain=False), Promise())

    def _give_all(self, message: PublishedMessage, promise: Promise) -> tuple[bool, Reason]:
        """Whether somebody subscribes, and `QUOTA` if none of those had room."""
        number, full, taken = 0, False, False
        matches = self.tree.match(message.topic)
        chosen = [group.choose(self._connected) for group in matches.groups]
        for client, wanted in (*matches.clients.items(), *chosen):
            session = self.sessions.get(client)
            if session is None or (wanted.no_local and client == message.publisher):
                continue
            if not number:
                number = self._last = self._last + 1
            retain = message.retain and wanted.as_published
            if self.give(session, message, wanted, promise, number=number, retain=retain):
                taken = True
            else:
                full = True
        # One who is away for good and has its queue full must not keep the others' devices from being told.
        return taken or full, Reason.QUOTA if full and not taken else Reason.SUCCESS

    def _connected(self, client: str) -> bool:
        return (session := self.sessions.get(client)) is not None and session.link is not None

    def _retain(self, message: PublishedMessage, promise: Promise) -> Reason:
        there = self.retained.has(message.topic)
        if not self.retained.put(message):
            return Reason.QUOTA
        then = None
        if message.qos:
            promise.wait()
            then = promise.kept
        if message.payload:
            document = documents.message_document(message, self.offset)
            self.writes.put(documents.RETAINED, message.topic, document, then, self.now)
        elif there or then:
            self.writes.remove(documents.RETAINED, message.topic, self.now, then)
        return Reason.SUCCESS

    def send_retained(self, session: ClientSession, text: str, wanted: TopicSubscription) -> None:
        """What a new subscription gets at once (3.3.1.3); a shared one gets nothing (4.8.2)."""
        if text.startswith(SHARED):
            return
        kept = self.retained.matching(text, self.now)
        for message in kept + self.own.matching(text, self.now):
            self._last += 1
            self.give(session, message, wanted, Promise(), number=self._last, retain=True)

    def give(
        self,
        session: ClientSession,
        message: PublishedMessage,
        wanted: TopicSubscription,
        promise: Promise,
        *,
        number: int,
        retain: bool,
    ) -> bool:
        """One copy for one session; false if there is no room for it."""
        copy = Copy(message, number, min(wanted.qos, message.qos), retain, wanted.identifiers)
        link = session.link
        if not copy.qos:
            if link is None or link.paused or link.unsent > self.bounds.retained_bytes:
                session.dropped += link is not None
                self.dropped += link is not None
            else:
                self._send(session, link, copy)
            return True
        bounds, size = self.bounds, message.size
        full = len(session.queue) >= bounds.queued_messages or len(session.flying) >= _MOST_FLYING
        if full or session.size + size > bounds.queued_bytes or self.queued + size > bounds.all_queued_bytes:
            session.dropped += 1
            self.dropped += 1
            return False
        session.size += size
        self.queued += size
        session.queue.append(copy)
        if session.lasting:
            promise.wait()
            copy.promise = promise
            if copy.qos == 2 or link is None:
                self.save(session, copy)
            else:
                self._impatient.append((self.now + PATIENCE, session, copy))
        self.pump(session)
        return True

    def save(self, session: ClientSession, copy: Copy) -> None:
        """Have a copy on disk, and its message if it is the first of it."""
        if copy.asked:
            return
        copy.asked = True
        if copy.qos == 2 and not copy.packet_id:
            # The same identifier after a crash, or the client takes it for another message (4.3.3).
            copy.packet_id = session.take_id()
            session.flying[copy.packet_id] = copy
        users = self._users.get(copy.number, 0)
        self._users[copy.number] = users + 1
        if not users:
            document = documents.message_document(copy.message, self.offset)
            self.writes.put(documents.MESSAGES, str(copy.number), document, None, self.now)
        self._write(session, copy, partial(self._saved, session, copy))

    def _write(self, session: ClientSession, copy: Copy, then: partial[None]) -> None:
        key = documents.copy_key(copy, session.client)
        self.writes.put(documents.COPIES, key, documents.copy_document(copy), then, self.now)

    def _saved(self, session: ClientSession, copy: Copy) -> None:
        copy.saved = True
        copy.safe()
        if copy.qos == 2:
            self.pump(session)

    def hurry(self, session: ClientSession | None = None) -> None:
        """Save what waits too long for its subscriber, or all that waits for one who is gone."""
        waiting = self._impatient
        if session is not None:
            for copy in (*session.flying.values(), *session.queue):
                if copy.promise is not None:
                    self.save(session, copy)
            return
        while waiting and waiting[0][0] <= self.now:
            _, one, copy = waiting.popleft()
            if copy.promise is not None:
                self.save(one, copy)

    def pump(self, session: ClientSession) -> None:
        """Send what may be sent: as many messages ahead as the client takes (4.9)."""
        link, queue = session.link, session.queue
        if link is None:
            return
        while queue and session.window_used < link.window and not link.paused and not link.ended:
            copy = queue[0]
            if copy.qos == 2 and session.lasting and not copy.saved:
                return
            queue.popleft()
            expires = copy.message.expires
            if expires is not None and expires <= self.now and not copy.sent:
                self.expired += 1
                self.finish(session, copy)
                continue
            if not copy.packet_id:
                copy.packet_id = session.take_id()
                session.flying[copy.packet_id] = copy
            if self._send(session, link, copy):
                copy.aloft = True
                session.window_used += 1
            else:
                self.finish(session, copy)

    def _send(self, session: ClientSession, link: Link, copy: Copy) -> bool:
        if link.publish(copy, self.now):
            copy.sent = True
            self.sent += 1
            self.touched[link.number] = link
            return True
        session.dropped += 1
        self.dropped += 1
        return False

    def finish(self, session: ClientSession, copy: Copy) -> None:
        """A copy is with its subscriber, or never will be."""
        session.flying.pop(copy.packet_id, None)
        session.size -= copy.message.size
        self.queued -= copy.message.size
        if copy.asked:
            self.writes.remove(documents.COPIES, documents.copy_key(copy, session.client), self.now)
            self._users[copy.number] -= 1
            if not self._users[copy.number]:
                del self._users[copy.number]
                self.writes.remove(documents.MESSAGES, str(copy.number), self.now)
        copy.safe()

    def acknowledged(
        self, session: ClientSession, link: Link, first: int, packet_id: int, reason: int
    ) -> None:
        """PUBACK, PUBREC or PUBCOMP of a subscriber (4.3)."""
        copy = session.flying.get(packet_id)
        if copy is not None and not copy.aloft:
            copy = None  # of an earlier connection; it is sent again
        if first == packets.PUBREC and copy is not None and copy.qos == 2 and reason < 0x80:
            copy.released = True
            if copy.asked:
                copy.saved = False
                self._write(session, copy, partial(self._release, session, copy))
            else:
                self._release(session, copy)
        elif first == packets.PUBREC and reason < 0x80:
            link.send(packets.answer(packets.PUBREL, packet_id, Reason.UNKNOWN_ID, link.version))
        elif copy is not None and (first == packets.PUBREC or self._ends(copy, first)):
            session.window_used = max(0, session.window_used - 1)
            self.finish(session, copy)
            self.pump(session)

    def _ends(self, copy: Copy, first: int) -> bool:
        return first == (packets.PUBACK if copy.qos == 1 else packets.PUBCOMP)

    def _release(self, session: ClientSession, copy: Copy) -> None:
        copy.saved = copy.asked
        if session.link is not None and copy.packet_id in session.flying:
            session.link.send(packets.answer(packets.PUBREL, copy.packet_id))
            self.touched[session.link.number] = session.link

    def resume(self, session: ClientSession) -> None:
        """A client is back: what it had not acknowledged is sent again, in its order (4.4)."""
        for copy in session.flying.values():
            if copy.released:
                copy.aloft = True
                session.window_used += 1
                if copy.saved or not copy.asked:
                    self._release(session, copy)
        self.pump(session)

    def discard(self, session: ClientSession) -> None:
        """A session is over: nothing waits for it any more."""
        for text in session.subscriptions:
            self.tree.remove(session.client, text)
            if session.stored:
                key = documents.subscription_key(session.client, text)
                self.writes.remove(documents.SUBSCRIPTIONS, key, self.now)
        session.rewind()
        for copy in (*session.queue, *session.flying.values()):
            if session.flying.get(copy.packet_id) is copy or not copy.packet_id:
                self.finish(session, copy)
        session.queue.clear()
        for packet_id in session.received if session.stored else ():
            key = documents.received_key(packet_id, session.client)
            self.writes.remove(documents.RECEIVED, key, self.now)

    def restore(self, session: ClientSession, copy: Copy) -> None:
        """A copy that was on disk when the gateway started; to be called in their order."""
        self._last = max(self._last, copy.number)
        self._users[copy.number] = self._users.get(copy.number, 0) + 1
        session.size += copy.message.size
        self.queued += copy.message.size
        if copy.packet_id:
            session.flying[copy.packet_id] = copy
        if not copy.released:
            session.queue.append(copy)
