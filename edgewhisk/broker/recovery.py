"""From the documents of the store to sessions and messages, when the gateway starts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgewhisk.broker import documents
from edgewhisk.broker.deliveries import Deliveries
from edgewhisk.broker.message import Promise
from edgewhisk.broker.session import NEVER
from edgewhisk.broker.topics import subscription

Stored = Mapping[str, Mapping[str, dict[str, Any]]]  # documents by collection and key; each can be read


def restore(delivery: Deliveries, stored: Stored) -> None:
    """Go on with what is on disk; what belongs to nobody any more stays there."""
    sessions, offset = delivery.sessions, delivery.offset
    for client, document in stored.get(documents.SESSIONS, {}).items():
        session = sessions[client] = documents.session_of(client, document, offset)
        session.stored = True
        if session.until is None and session.expiry != NEVER:
            session.until = delivery.now + session.expiry  # it was connected when the gateway ended
    for key, document in stored.get(documents.SUBSCRIPTIONS, {}).items():
        client, wish, identifier = documents.subscription_of(key, document)
        if (owner := sessions.get(client)) is not None:
            owner.subscriptions[wish.filter] = wish, identifier
            delivery.tree.add(client, wish.filter, subscription(wish, identifier))
    for key in stored.get(documents.RECEIVED, {}):
        packet_id, client = documents.received_of(key)
        if (owner := sessions.get(client)) is not None:
            owner.received[packet_id] = Promise()
    for document in stored.get(documents.RETAINED, {}).values():
        delivery.retained.put(documents.message_of(document, offset))
    _restore_copies(delivery, stored)


def _restore_copies(delivery: Deliveries, stored: Stored) -> None:
    found = stored.get(documents.MESSAGES, {})
    messages = {int(number): documents.message_of(one, delivery.offset) for number, one in found.items()}
    for key, document in sorted(stored.get(documents.COPIES, {}).items()):
        message = messages.get(documents.number_of(key))
        if message is None:
            continue
        client, copy = documents.copy_of(key, document, message)
        if (session := delivery.sessions.get(client)) is not None:
            delivery.restore(session, copy)
