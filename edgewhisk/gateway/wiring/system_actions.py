"""The actions that the gateway itself performs: feeds, actuators, and taking other gateways' activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgewhisk.actuator.outbox import Outbox
from edgewhisk.config.schema import GrantsConfig
from edgewhisk.controller.feeds import Feeds
from edgewhisk.controller.system import SystemAction, each
from edgewhisk.entity.identity import Identity
from edgewhisk.gateway.wiring.actuators import actuators
from edgewhisk.sync.ingest import Ingest


def system_actions(
    feeds: Feeds, outbox: Outbox, ingest: Ingest, grants: Mapping[str, GrantsConfig]
) -> list[SystemAction]:
    """All of `/whisk.system`."""
    offered = [
        SystemAction.of_feed(action, each(feeds.performer(name))) for name, (_, action) in feeds.feeds.items()
    ]
    return [*offered, *actuators(outbox, grants), _ingest(ingest)]


def _ingest(ingest: Ingest) -> SystemAction:
    async def take(caller: Identity, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return await ingest(caller.namespace, parameters)

    meaning = {"device": "who sends", "epoch": "its log", "first": "number of the first record",
               "records": "activation records"}  # fmt: skip
    about = "Stores the activations of another gateway, each once."
    return SystemAction("edge", "ingest", about, meaning, each(take), recorded=False)
