"""All of `/whisk.system`: what the gateway performs itself, and the catalog."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from edgewhisk.actuator.outbox import Outbox
from edgewhisk.config.schema import Config, GrantsConfig
from edgewhisk.controller import system
from edgewhisk.controller.catalog import catalog
from edgewhisk.controller.entities import Entities
from edgewhisk.controller.feeds import Feeds
from edgewhisk.controller.system import SystemAction, each
from edgewhisk.entity.identity import Identity
from edgewhisk.entity.package import Package
from edgewhisk.gateway.wiring.actuators import actuators
from edgewhisk.sync.ingest import Ingest


def system_actions(
    feeds: Feeds, outbox: Outbox, ingest: Ingest, grants: Mapping[str, GrantsConfig]
) -> list[SystemAction]:
    """What the gateway performs itself."""
    offered = [
        SystemAction.of_feed(action, each(feeds.performer(name))) for name, (_, action) in feeds.feeds.items()
    ]
    return [*offered, *actuators(outbox, grants), _ingest(ingest)]


async def provide(entities: Entities, offered: Sequence[SystemAction], config: Config) -> list[str]:
    """List those and the catalog's, an operator's too; says what of these is left out, a line each."""
    own, faults = await asyncio.to_thread(catalog.packages, catalog.OWN, config.limits)
    listed = [*system.entities(offered, config.limits), *own]
    taken = {one.name.name for one in listed if isinstance(one, Package)}
    folder = config.state_dir / "catalog"
    theirs, wrong = await asyncio.to_thread(catalog.packages, folder, config.limits, taken)
    entities.provide([*listed, *theirs])
    return [*faults, *wrong]


def _ingest(ingest: Ingest) -> SystemAction:
    async def take(caller: Identity, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return await ingest(caller.namespace, parameters)

    meaning = {"device": "who sends", "epoch": "its log", "first": "number of the first record",
               "records": "activation records"}  # fmt: skip
    about = "Stores the activations of another gateway, each once."
    return SystemAction("edge", "ingest", about, meaning, each(take), recorded=False)
