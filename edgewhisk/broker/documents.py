"""Sessions and messages as documents of the store, and back. Pure.

Times in documents are those of the machine's clock, as the broker's own begin anew with each start. A clock
that is behind after a start makes a session or a message last longer, never shorter.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from edgewhisk.broker.message import Copy, PublishedMessage
from edgewhisk.broker.packets import Wish
from edgewhisk.broker.session import ClientSession
from edgewhisk.spi import Check

SESSIONS: Final = "sessions"  # by client id
SUBSCRIPTIONS: Final = "subscriptions"  # by client id and filter
MESSAGES: Final = "messages"  # by number: what some session waits for
COPIES: Final = "copies"  # by number and client id
RETAINED: Final = "retained"  # by topic
RECEIVED: Final = "received"  # by packet identifier and client id: QoS 2 messages that were not released


def message_document(message: PublishedMessage, offset: float) -> dict[str, Any]:
    """A message; `offset`: the machine's clock less the broker's time."""
    found: dict[str, Any] = {
        "topic": message.topic,
        "payload": base64.b64encode(message.payload).decode(),
        "qos": message.qos,
    }
    if message.retain:
        found["retain"] = True
    if message.properties:
        found["properties"] = base64.b64encode(message.properties).decode()
    if message.expires is not None:
        found["expires"] = message.expires + offset
    if message.publisher:
        found["publisher"] = message.publisher
    return found


def message_of(document: Mapping[str, Any], offset: float) -> PublishedMessage:
    """The message; raises one of `UNREADABLE`."""
    expires = document.get("expires")
    return PublishedMessage(
        str(document["topic"]),
        base64.b64decode(document["payload"]),
        int(document["qos"]),
        bool(document.get("retain", False)),
        base64.b64decode(document.get("properties", "")),
        None if expires is None else float(expires) - offset,
        str(document.get("publisher", "")),
    )


def session_document(session: ClientSession, offset: float) -> dict[str, Any]:
    """What is kept of a session beside its subscriptions and messages."""
    until = None if session.until is None else session.until + offset
    return {"expiry": session.expiry, "until": until, "user": session.user}


def session_of(client: str, document: Mapping[str, Any], offset: float) -> ClientSession:
    """The session; raises one of `UNREADABLE`."""
    session = ClientSession(client)
    session.expiry = int(document["expiry"])
    session.user = str(document.get("user", ""))
    until = document["until"]
    session.until = None if until is None else float(until) - offset
    return session


def subscription_key(client: str, text: str) -> str:
    """The key of a subscription; neither of the two can hold NUL."""
    return f"{client}\0{text}"


def subscription(client: str, wish: Wish, identifier: int) -> tuple[str, dict[str, Any]]:
    """Key and document of a subscription."""
    options = [wish.qos, wish.no_local, wish.as_published, wish.retain_handling]
    return subscription_key(client, wish.filter), {"options": options, "identifier": identifier}


def subscription_of(key: str, document: Mapping[str, Any]) -> tuple[str, Wish, int]:
    """Client id, filter with its options, and identifier; raises one of `UNREADABLE`."""
    client, text = key.split("\0")
    qos, no_local, as_published, handling = map(int, document["options"])
    wish = Wish(text, qos, bool(no_local), bool(as_published), handling)
    return client, wish, int(document["identifier"])


def copy_key(copy: Copy, client: str) -> str:
    """The key of a copy: copies of one session sort by their numbers."""
    return f"{copy.number:015d} {client}"


def copy_document(copy: Copy) -> dict[str, Any]:
    """A copy without its message."""
    found: dict[str, Any] = {"qos": copy.qos}
    if copy.retain:
        found["retain"] = True
    if copy.identifiers:
        found["identifiers"] = list(copy.identifiers)
    if copy.packet_id:
        found["packet_id"] = copy.packet_id
    if copy.released:
        found["released"] = True
    return found


def number_of(key: str) -> int:
    """The number of a copy's message; raises one of `UNREADABLE`."""
    return int(key.partition(" ")[0])


def copy_of(key: str, document: Mapping[str, Any], message: PublishedMessage) -> tuple[str, Copy]:
    """Whose copy it is, and the copy; raises one of `UNREADABLE`."""
    number, _, client = key.partition(" ")
    identifiers = tuple(map(int, document.get("identifiers", ())))
    retain = bool(document.get("retain", False))
    copy = Copy(message, int(number), int(document["qos"]), retain, identifiers)
    copy.packet_id = int(document.get("packet_id", 0))
    copy.released = bool(document.get("released", False))
    copy.asked = copy.saved = True
    copy.sent = copy.packet_id > 0
    return client, copy


def received_key(packet_id: int, client: str) -> str:
    """The key of a QoS 2 message that was received."""
    return f"{packet_id} {client}"


def received_of(key: str) -> tuple[int, str]:
    """Packet identifier and client id of a QoS 2 message that was received; raises one of `UNREADABLE`."""
    number, _, client = key.partition(" ")
    return int(number), client


# By collection, what raises one of `UNREADABLE` for a document that is none.
CHECKS: Final[Mapping[str, Check]] = {
    SESSIONS: lambda client, document: session_of(client, document, 0),
    SUBSCRIPTIONS: subscription_of,
    MESSAGES: lambda number, document: (int(number), message_of(document, 0)),
    COPIES: lambda key, document: copy_of(key, document, PublishedMessage("", b"")),
    RETAINED: lambda _topic, document: message_of(document, 0),
    RECEIVED: lambda key, _document: received_of(key),
}
