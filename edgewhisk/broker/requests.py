"""What a connected client may say, and what it is answered (MQTT 5, sections 3.3 to 3.14). Pure."""

from __future__ import annotations

from functools import partial

from edgewhisk.broker import documents, packets
from edgewhisk.broker.deliveries import Deliveries
from edgewhisk.broker.link import Acknowledgement, Link
from edgewhisk.broker.message import Promise, PublishedMessage
from edgewhisk.broker.packets import Wish
from edgewhisk.broker.properties import Properties, Property
from edgewhisk.broker.reason import BadPacket, Reason
from edgewhisk.broker.session import ClientSession
from edgewhisk.broker.topics import SHARED, is_filter, subscription

_OWN = "$SYS/"  # topics of the broker itself
_WITH_WILL = 0x04  # reason of a DISCONNECT after which the will is published all the same


class Requests:
    """The packets of clients, one at a time."""

    def __init__(self, delivery: Deliveries) -> None:
        """Messages go through `delivery`."""
        self._delivery = delivery

    def serve(self, link: Link, session: ClientSession, first: int, body: bytes) -> bool:
        """Serve a packet; false if it was the last one. Raises `BadPacket`."""
        kind = first & 0xF0
        if kind == packets.PUBLISH:
            self._publish(link, session, first, body)
        elif first in (packets.PUBACK, packets.PUBREC, packets.PUBCOMP):
            packet_id, reason = packets.read_answer(body, link.version)
            self._delivery.acknowledged(session, link, first, packet_id, reason)
        elif first == packets.PUBREL:
            self._release(link, session, packets.read_answer(body, link.version)[0])
        elif first == packets.SUBSCRIBE:
            self._subscribe(link, session, body)
        elif first == packets.UNSUBSCRIBE:
            self._unsubscribe(link, session, body)
        elif first == packets.PINGREQ:
            link.send(packets.PINGRESP)
        elif first == packets.DISCONNECT:
            self._good_bye(link, session, body)
            return False
        else:
            raise BadPacket(f"a packet {first:#x} from a client", Reason.PROTOCOL_ERROR)
        return True

    def _publish(self, link: Link, session: ClientSession, first: int, body: bytes) -> None:
        """A PUBLISH (3.3)."""
        found, properties = packets.read_publish(first, body, link.version)
        topic, qos = link.topic(found.topic, properties), first >> 1 & 3
        expires = _expires(properties, self._delivery.now)
        message = PublishedMessage(
            topic, found.payload, qos, bool(first & 1), properties.passed_on, expires, session.client
        )
        if not qos:
            self._take(link, message, Promise())
            return
        link.ahead += 1
        if link.version >= 5 and link.ahead > self._delivery.bounds.receive_maximum:
            raise BadPacket("more messages ahead than were agreed on", Reason.TOO_MANY_AHEAD)
        packet_id = int.from_bytes(found.packet_id, "big")
        if qos == 2:
            self._publish_once(link, session, packet_id, message)
            return
        promise, place = Promise(), link.promise(ends=True)
        reason = self._take(link, message, promise)
        told = packets.answer(packets.PUBACK, packet_id, reason, link.version)
        promise.then(partial(self._acknowledge, link, place, told))

    def _take(self, link: Link, message: PublishedMessage, promise: Promise) -> Reason:
        """Publish it, if the client may; MQTT 3.1.1 has no word for that it may not (3.3.5-2)."""
        if message.topic.startswith(_OWN) or (link.rights and not link.rights.may_publish(message.topic)):
            self._delivery.denied += 1
            return Reason.NOT_AUTHORIZED
        return self._delivery.publish(message, promise)

    def _publish_once(
        self, link: Link, session: ClientSession, packet_id: int, message: PublishedMessage
    ) -> None:
        """A PUBLISH at QoS 2 (4.3.3): the same packet identifier again is the same message."""
        promise, reason = session.received.get(packet_id), Reason.SUCCESS
        if promise is None:
            promise = Promise()
            reason = self._take(link, message, promise)
            if link.version < 5 or reason < 0x80:
                session.received[packet_id] = promise
                if session.lasting:
                    promise.wait()
                    key, now = documents.received_key(packet_id, session.client), self._delivery.now
                    self._delivery.writes.put(documents.RECEIVED, key, {}, promise.kept, now)
        place = link.promise(ends=link.version >= 5 and reason >= 0x80)
        told = packets.answer(packets.PUBREC, packet_id, reason, link.version)
        promise.then(partial(self._acknowledge, link, place, told))

    def _release(self, link: Link, session: ClientSession, packet_id: int) -> None:
        """A PUBREL (3.6): the packet identifier may mean another message from now on."""
        known = session.received.pop(packet_id, None)
        place = link.promise(ends=True)
        reason = Reason.SUCCESS if known is not None else Reason.UNKNOWN_ID
        told = packets.answer(packets.PUBCOMP, packet_id, reason, link.version)
        then = partial(self._acknowledge, link, place, told)
        if known is not None and session.lasting:
            key = documents.received_key(packet_id, session.client)
            self._delivery.writes.remove(documents.RECEIVED, key, self._delivery.now, then)
        else:
            then()

    def _acknowledge(self, link: Link, place: Acknowledgement, data: bytes) -> None:
        link.acknowledge(place, data)
        self._delivery.touched[link.number] = link

    def _subscribe(self, link: Link, session: ClientSession, body: bytes) -> None:
        """A SUBSCRIBE (3.8); acknowledged when a session that lasts has it on disk."""
        packet_id, identifier, wishes = packets.read_subscribe(body, link.version)
        promise, retained, reasons = Promise(), list[Wish](), list[int]()
        for wish in wishes:
            reason, fresh = self._add(link, session, wish, identifier, promise)
            reasons.append(reason)
            if reason < 0x80 and (wish.retain_handling == 0 or (wish.retain_handling == 1 and fresh)):
                retained.append(wish)

        def answer() -> None:
            link.send(packets.acknowledged(packets.SUBACK, packet_id, reasons, link.version))
            self._delivery.touched[link.number] = link
            for wish in retained:
                if session.link is link and wish.filter in session.subscriptions:
                    self._delivery.send_retained(session, wish.filter, subscription(wish, identifier))

        promise.then(answer)

    def _add(
        self, link: Link, session: ClientSession, wish: Wish, identifier: int, promise: Promise
    ) -> tuple[int, bool]:
        """The reason code for a wish, and whether it is a new one."""
        if not is_filter(wish.filter):
            return Reason.BAD_FILTER, False
        if wish.no_local and wish.filter.startswith(SHARED):
            raise BadPacket("a shared subscription without what is local", Reason.PROTOCOL_ERROR)
        if link.rights and not link.rights.may_subscribe(wish.filter):
            self._delivery.denied += 1
            return Reason.NOT_AUTHORIZED, False
        former = session.subscriptions.get(wish.filter)
        if former is None and len(session.subscriptions) >= self._delivery.bounds.subscriptions:
            return Reason.QUOTA, False
        if former != (wish, identifier):
            session.subscriptions[wish.filter] = wish, identifier
            self._delivery.tree.add(session.client, wish.filter, subscription(wish, identifier))
            if session.lasting:
                promise.wait()
                key, document = documents.subscription(session.client, wish, identifier)
                now = self._delivery.now
                self._delivery.writes.put(documents.SUBSCRIPTIONS, key, document, promise.kept, now)
        return wish.qos, former is None

    def _unsubscribe(self, link: Link, session: ClientSession, body: bytes) -> None:
        """An UNSUBSCRIBE (3.10)."""
        packet_id, filters = packets.read_unsubscribe(body, link.version)
        promise, reasons = Promise(), list[int]()
        for text in filters:
            known = session.subscriptions.pop(text, None)
            reasons.append(Reason.SUCCESS if known is not None else Reason.NO_SUBSCRIPTION)
            if known is not None:
                self._delivery.tree.remove(session.client, text)
            if known is not None and session.lasting:
                promise.wait()
                key = documents.subscription_key(session.client, text)
                now = self._delivery.now
                self._delivery.writes.remove(documents.SUBSCRIPTIONS, key, now, promise.kept)

        def answer() -> None:
            link.send(packets.acknowledged(packets.UNSUBACK, packet_id, reasons, link.version))
            self._delivery.touched[link.number] = link

        promise.then(answer)

    def _good_bye(self, link: Link, session: ClientSession, body: bytes) -> None:
        """A DISCONNECT (3.14)."""
        reason, properties = packets.read_disconnect(body, link.version)
        if Property.SESSION_EXPIRY in properties.values:
            expiry = properties.get(Property.SESSION_EXPIRY, 0)
            if expiry and not session.expiry:
                raise BadPacket("a session that ends now cannot last longer", Reason.PROTOCOL_ERROR)
            session.expiry = min(expiry, self._delivery.bounds.session_expiry)
        if reason != _WITH_WILL:
            session.will = None


def _expires(properties: Properties, now: float) -> float | None:
    """When a message is too old (3.3.2.3.3)."""
    if not properties.values or Property.EXPIRY not in properties.values:
        return None
    return now + properties.get(Property.EXPIRY, 0)


def message_of_will(session: ClientSession, now: float) -> PublishedMessage | None:
    """The will of a client as a message that is published now (3.1.2.5)."""
    if (will := session.will) is None:
        return None
    return PublishedMessage(
        will.topic,
        will.payload,
        will.qos,
        will.retain,
        will.properties.passed_on,
        _expires(will.properties, now),
        session.client,
    )
