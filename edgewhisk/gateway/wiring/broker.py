"""From the configuration to the broker in the box."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from functools import partial

from edgewhisk.api.server import Certificate
from edgewhisk.broker.local import LocalConnection
from edgewhisk.broker.server import BrokerServer
from edgewhisk.config.schema import EMBEDDED, Config, EmbeddedConfig
from edgewhisk.config.validate import is_loopback
from edgewhisk.controller.auth.tokens import DeviceTokens
from edgewhisk.errors import InstanceError, StorageError
from edgewhisk.spi import Clock
from edgewhisk.store.documents.document_store import LogDocumentStore
from edgewhisk.transport.mqtt.brokers import MqttBrokers
from edgewhisk.transport.mqtt.config import mqtt_links


async def reach_brokers(
    config: Config,
    clock: Clock,
    tokens: DeviceTokens,
    certificate: Certificate | None,
    stack: contextlib.AsyncExitStack,
) -> tuple[MqttBrokers, BrokerServer | None, list[str]]:
    """The brokers of the configuration; the embedded one; and what is odd.

    None if `[mqtt]` names a broker elsewhere, or another one has the port. `stack` stops it.
    """
    links, troubles = mqtt_links(config)
    if not config.mqtt.url.startswith(EMBEDDED):
        return MqttBrokers(links, clock), None, troubles
    host, port = links[""].host, links[""].port
    try:
        store = await asyncio.to_thread(LogDocumentStore.open, config.state_dir / "broker")
        stack.push_async_callback(store.close)
        server = BrokerServer(config.embedded, store, clock, partial(admitted, tokens, config.embedded))
        tls = certificate.context if certificate is not None and config.embedded.tls else None
        stack.push_async_callback(server.stop)
        port = await server.listen(host, port, tls)
    except StorageError as error:  # its first start on a disk that is full: the rest of the gateway runs
        return MqttBrokers(links, clock), None, [*troubles, f"there is no embedded broker: {error.advice}"]
    except InstanceError as error:
        return (
            MqttBrokers(links, clock),
            None,
            [*troubles, f"using the broker that runs there: {error.advice}"],
        )
    if config.embedded.websocket_port:
        try:
            await server.listen(host, config.embedded.websocket_port, tls, web=True)
        except InstanceError as error:
            troubles.append(f"nobody can connect over WebSocket: {error.advice}")
    links[""] = replace(links[""], port=port)
    brokers = MqttBrokers(links, clock)
    brokers.sessions[""].connect = partial(LocalConnection, server)
    return brokers, server, troubles + store.incidents


def admitted(
    tokens: DeviceTokens, settings: EmbeddedConfig, address: str, username: str | None, password: bytes | None
) -> str | None:
    """Whose connection it is: a device's, with its name and token; "" for nobody's; None for a stranger's."""
    device = tokens.device_of(password.decode(errors="replace")) if password else ""
    if device and device == username:
        return device
    return "" if settings.anonymous or is_loopback(address) else None
