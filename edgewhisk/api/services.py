"""What the API needs of the rest of the gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from edgewhisk.actuator.outbox import Outbox
from edgewhisk.api.http import HttpRequest
from edgewhisk.base.histogram import Histogram
from edgewhisk.broker.server import BrokerServer
from edgewhisk.controller.actions import Actions
from edgewhisk.controller.activations import Activations
from edgewhisk.controller.apis import Apis
from edgewhisk.controller.auth.subjects import Subjects
from edgewhisk.controller.auth.tokens import DeviceTokens
from edgewhisk.controller.controller import Controller
from edgewhisk.controller.packages import Packages
from edgewhisk.controller.rules import Rules
from edgewhisk.controller.triggers import Triggers
from edgewhisk.entity.identity import GUEST, Identity
from edgewhisk.entity.invocation.message import Status
from edgewhisk.entity.limits import Limits
from edgewhisk.errors import Forbidden
from edgewhisk.feed.http import HttpFeed
from edgewhisk.feed.mqtt.feed import MqttFeed
from edgewhisk.store.dead_letters import DeadLetters

_ENVELOPE: Final = 1 << 20  # bytes around the largest code of an action: parameters, JSON quoting


class Measures(NamedTuple):
    """Counters that only /metrics shows."""

    by_action: Mapping[tuple[str, Status], int]
    durations: Histogram
    requests: Mapping[tuple[str, int], int]  # (method, status)
    latency: Histogram
    loop_lag: Histogram


@dataclass(frozen=True, slots=True)
class Services:
    """The verbs behind the routes."""

    subjects: Subjects
    controller: Controller
    actions: Actions
    packages: Packages
    triggers: Triggers
    rules: Rules
    apis: Apis
    activations: Activations
    posts: HttpFeed
    tokens: DeviceTokens
    mqtt: MqttFeed
    letters: DeadLetters
    outbox: Outbox
    broker: BrokerServer | None  # the embedded one, if it runs
    limits: Limits
    runtimes: dict[str, Any]  # family -> list of kinds, for the info document
    new_id: Callable[[], str]  # for requests without one of their own
    status: Callable[[], Awaitable[dict[str, Any]]]
    measure: Callable[[], Measures]

    @property
    def max_document(self) -> int:
        """Bytes of the largest body that describes an entity: an action with code in base64."""
        return self.limits.max_action_code * (1 << 20) * 4 // 3 + _ENVELOPE

    def caller(self, ask: HttpRequest) -> Identity:
        """Who sends a request; raises `Unauthorized`."""
        return self.subjects.authorize(ask.header(b"authorization"))

    def check_owner(self, ask: HttpRequest, what: str) -> None:
        """Raise `Forbidden` unless it is the gateway's owner, the default subject, who asks for `what`."""
        if self.caller(ask).subject != GUEST:
            raise Forbidden(what)
