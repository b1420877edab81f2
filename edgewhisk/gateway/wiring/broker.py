"""From the configuration to the broker in the box."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from functools import partial

from edgewhisk.broker.local import LocalConnection
from edgewhisk.broker.server import BrokerServer
from edgewhisk.config.schema import EMBEDDED, Config
from edgewhisk.config.validate import is_loopback
from edgewhisk.errors import InstanceError
from edgewhisk.spi import Clock
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.transport.mqtt.brokers import MqttBrokers
from edgewhisk.transport.mqtt.config import mqtt_links


async def reach_brokers(
    config: Config, clock: Clock, stack: contextlib.AsyncExitStack
) -> tuple[MqttBrokers, BrokerServer | None, list[str]]:
    """The brokers of the configuration; the embedded one; and what is odd.

    None if `[mqtt]` names a broker elsewhere, or another one has the port. `stack` stops it.
    """
    links, troubles = mqtt_links(config)
    if not config.mqtt.url.startswith(EMBEDDED):
        return MqttBrokers(links, clock), None, troubles
    host, port = links[""].host, links[""].port
    try:
        if not is_loopback(host):
            hint = "run mosquitto with passwords for that, and name it in [mqtt] url"
            raise InstanceError(f"the embedded broker listens on loopback only, not on {host}", hint=hint)
        store = await asyncio.to_thread(LogDocumentStore.open, config.state_dir / "broker")
        stack.push_async_callback(store.close)
        server = BrokerServer(config.embedded, store, clock)
        port = await server.listen(host, port)
    except InstanceError as error:
        return (
            MqttBrokers(links, clock),
            None,
            [*troubles, f"using the broker that runs there: {error.advice}"],
        )
    stack.push_async_callback(server.stop)
    links[""] = replace(links[""], port=port)
    brokers = MqttBrokers(links, clock)
    brokers.sessions[""].connect = partial(LocalConnection, server)
    return brokers, server, troubles + store.incidents
