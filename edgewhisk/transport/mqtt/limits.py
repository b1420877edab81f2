"""What a broker does not do, and why it refused or ended something. Pure.

Sources: MQTT 3.1.1, 3.2.2.3 (return codes); MQTT 5, 2.4 (reason codes) and 3.2.2.3 (properties of CONNACK).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from edgewhisk.base.mqtt_topics import closes
from edgewhisk.transport.mqtt.codec import Publication

AHEAD: Final = 20  # messages that a broker sends before it waits, where nobody says: mosquitto's default
RETAIN_NOT_SUPPORTED: Final = 0x9A
QOS_NOT_SUPPORTED: Final = 0x9B
TAKEN_OVER: Final = 0x8E
_CREDENTIALS: Final = "see username and password_file"
_REFUSALS: Final = {
    1: "the broker does not speak this version of MQTT: set version",
    2: "the broker refuses the client id {client_id}: set client_id",
    3: "the broker is not available",
    4: f"wrong username or password: {_CREDENTIALS}",
    5: f"the broker does not authorize this client: {_CREDENTIALS}",
    0x84: "the broker does not speak MQTT 5: set version",
    0x85: "the broker refuses the client id {client_id}: set client_id",
    0x86: f"wrong username or password: {_CREDENTIALS}",
    0x87: f"the broker does not authorize this client: {_CREDENTIALS}",
    RETAIN_NOT_SUPPORTED: "the broker keeps no messages (retain), so it takes no status_topic",
    QOS_NOT_SUPPORTED: "the broker takes QoS 0 only, so it takes no status_topic",
}
_REASONS: Final = {
    0x81: "malformed packet", 0x82: "protocol error", 0x83: "refused by its implementation",
    0x87: "not authorized: see its ACL", 0x88: "server unavailable", 0x89: "server busy",
    0x8A: "this client is banned", 0x8B: "it shuts down", 0x8D: "keep-alive timeout",
    TAKEN_OVER: "another client took over the session: it has the client id {client_id}, too",
    0x8F: "the filter is not valid", 0x90: "the topic is not valid", 0x93: "receive maximum exceeded",
    0x95: "packet too large", 0x96: "message rate too high", 0x97: "quota exceeded",
    0x98: "administrative action", 0x99: "the payload is not of its format",
    RETAIN_NOT_SUPPORTED: "retain not supported", QOS_NOT_SUPPORTED: "QoS not supported",
    0x9C: "use another server", 0x9D: "server moved", 0x9E: "shared subscriptions not supported",
    0x9F: "connections come too often", 0xA0: "the client was connected for too long",
    0xA1: "subscription identifiers not supported", 0xA2: "wildcard subscriptions not supported",
}  # fmt: skip


class Refused(ConnectionRefusedError):
    """The broker refused the connection."""

    def __init__(self, code: int, text: str) -> None:
        """`code` of its CONNACK."""
        super().__init__(text)
        self.code = code


def refusal(code: int, client_id: str) -> str:
    """Why the broker refused a connection."""
    told = _REFUSALS.get(code)
    return told.format(client_id=client_id) if told else f"the broker refused: {reason(code, client_id)}"


def reason(code: int, client_id: str) -> str:
    """A reason code of MQTT 5, or a return code of 3.1.1, in words."""
    return f"{_REASONS.get(code, 'no reason given').format(client_id=client_id)} (code {code:#x})"


class BrokerLimits(NamedTuple):
    """What a broker takes."""

    qos: int = 2
    retain: bool = True
    packet: int = 0  # bytes of a packet; 0: it does not say
    wildcards: bool = True
    shared: bool = True

    @classmethod
    def of(cls, told: Mapping[str, Sequence[Any]]) -> BrokerLimits:
        """As the properties of its CONNACK say."""

        def first(name: str, usual: int) -> int:
            return int(told.get(name, [usual])[0])

        return cls(
            first("max_qos", 2),
            bool(first("retain_available", 1)),
            first("maximum_packet_size", 0),
            bool(first("wildcard_subscription_available", 1)),
            bool(first("shared_subscription_available", 1)),
        )

    def forbid(self, text: str) -> str:
        """Why a filter must not be asked for, "" if it may: the broker would end the connection."""
        if text.startswith("$share/"):
            return "" if self.shared else "the broker has no shared subscriptions"
        wild = not {"+", "#"}.isdisjoint(text.split("/"))
        return "the broker takes no filters with + and #" if wild and not self.wildcards else ""

    def refuse(self, what: Publication) -> str:
        """Why no message of a kind must be published, "" if one may."""
        if closes(what.topic):
            return "a topic with control characters: a broker closes the connection for it"
        if what.qos > self.qos:
            return f"the broker takes QoS {self.qos} at most, not {what.qos}"
        return "the broker keeps no messages (retain)" if what.retain and not self.retain else ""

    def too_large(self, what: Publication, payload: bytes) -> str:
        """Why a message must not be published, "" if it may."""
        large = self.packet and len(payload) + len(what.topic.encode()) + _HEAD > self.packet
        return f"the broker takes packets of {self.packet} bytes at most" if large else ""


_HEAD: Final = 16  # bytes of a PUBLISH at most, besides topic and payload, with an expiry
