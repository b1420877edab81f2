"""What a broker ends the connections of a session for: so that it is told and not repeated. Pure.

A connection that the broker ends begins again, and may be ended for the same reason, for ever: because
another client has the same client id (with MQTT 3.1.1 nothing says so), because of a filter that it forbids
(AWS IoT closes where others refuse), or because of a will that it does not take.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from edgewhisk.transport.mqtt.limits import (
    QOS_NOT_SUPPORTED,
    RETAIN_NOT_SUPPORTED,
    TAKEN_OVER,
    Refused,
    reason,
)

if TYPE_CHECKING:
    from edgewhisk.transport.mqtt.connection import MqttLink

STEADY: Final = 10.0  # seconds a connection must hold to count as good
BLAMED: Final = 3  # times in a row that the connection ended before the answer to a filter
_WILL: Final = (RETAIN_NOT_SUPPORTED, QOS_NOT_SUPPORTED)


class Disconnects:
    """Of one session."""

    def __init__(self, link: MqttLink) -> None:
        """Nothing happened yet."""
        self._client_id = link.client_id
        self._taken_over = reason(TAKEN_OVER, link.client_id)
        self._begun = 0.0  # monotonic seconds
        self._short = 0  # connections in a row that the broker ended before they were steady
        self._problem = ""  # of the last connection, until one is steady
        self._blamed: dict[str, int] = {}  # filter -> times
        self._unanswered = ""  # filter that the last connection ended with
        self._will = ""  # why the broker takes no will

    def begin(self, now: float) -> None:
        """A connection is tried. Times are monotonic seconds."""
        self._begun = now

    def steady(self, now: float) -> bool:
        """Whether the connection held; then what was before does not count any more."""
        held = now - self._begun > STEADY
        if held:
            self._short = 0
        return held

    def problem(self, now: float) -> str:
        """What ended the connection before, while the present one may end for the same reason."""
        return self._will or ("" if now - self._begun > STEADY else self._problem)

    def closed(self, now: float) -> str:
        """The broker closed the connection and said nothing; what to tell."""
        self._problem = ""
        if self._unanswered:
            return f"the broker closed the connection when it was asked for {self._unanswered}: see its ACL"
        if not self.steady(now):
            self._short += 1
        if self._short > 1:
            self._problem = f"does another client have the client id {self._client_id}, too?"
            return f"the broker closed the connection {self._short} times in a row: {self._problem}"
        return "the broker closed the connection"

    def failed(self, error: Exception, told: str, now: float) -> None:
        """The connection failed with a reason."""
        self.steady(now)
        self._problem = told if self._taken_over in told else ""
        if isinstance(error, Refused) and error.code in _WILL:
            self._will = told

    def link(self, link: MqttLink) -> MqttLink:
        """How to connect: without a will, if the broker takes none."""
        return replace(link, status_topic="") if self._will else link

    def ended(self, unanswered: str) -> None:
        """A connection ended, with a filter whose answer never came, or without."""
        self._unanswered = unanswered
        if not unanswered:
            self._blamed.clear()  # the broker may have changed its mind about the others
        else:
            self._blamed = {
                text: times for text, times in self._blamed.items() if times >= BLAMED or text == unanswered
            }
            self._blamed[unanswered] = self._blamed.get(unanswered, 0) + 1

    def avoid(self, text: str) -> str:
        """Why a filter is not asked for, "" if it is."""
        if self._blamed.get(text, 0) < BLAMED:
            return ""
        return f"the broker closes the connection when it is asked for {text}: see its ACL"

    def forgive(self, text: str) -> None:
        """Somebody asks for a filter anew."""
        self._blamed.pop(text, None)
