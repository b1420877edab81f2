"""Reason codes (MQTT 5, section 2.4), and the error that ends a connection with one. Pure."""

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """Reason codes (2.4)."""

    SUCCESS = 0x00
    NO_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION = 0x11
    MALFORMED = 0x81
    PROTOCOL_ERROR = 0x82
    OTHER_VERSION = 0x84
    BAD_CLIENT_ID = 0x85
    BAD_USER = 0x86
    NOT_AUTHORIZED = 0x87
    BUSY = 0x89
    SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE = 0x8D
    TAKEN_OVER = 0x8E
    BAD_FILTER = 0x8F
    BAD_TOPIC = 0x90
    ID_IN_USE = 0x91
    UNKNOWN_ID = 0x92
    TOO_MANY_AHEAD = 0x93
    BAD_ALIAS = 0x94
    TOO_LARGE = 0x95
    QUOTA = 0x97
    ENDED = 0x98  # administrative action


class BadPacket(ValueError):
    """A client broke the protocol; the connection ends with `reason` (4.13)."""

    def __init__(self, text: str, reason: Reason = Reason.MALFORMED) -> None:
        """Say what is wrong."""
        super().__init__(text)
        self.reason = reason
