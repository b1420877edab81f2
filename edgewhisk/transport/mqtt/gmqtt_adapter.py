"""What a connection needs of gmqtt otherwise than gmqtt does it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import gmqtt
from gmqtt.mqtt.connection import MQTTConnection
from gmqtt.mqtt.protocol import BaseMQTTProtocol, MQTTProtocol


class FreeIds:
    """Those of a gmqtt client; `outbound.PacketIds`."""

    def __init__(self, generator: Any) -> None:
        """Of its `generator`."""
        self._generator = generator

    def take(self, count: int) -> Sequence[int]:
        """In a row, if that many are free."""
        generator = self._generator
        row = range(generator._last_used_id + 1, generator._last_used_id + 1 + count)
        if row.stop > generator._max or not generator._used_ids.isdisjoint(row):
            return [generator._mid_generate() for _ in row]
        generator._used_ids.update(row)
        generator._last_used_id = row[-1]
        return row

    def give_back(self, numbers: Sequence[int]) -> None:
        """See `outbound.PacketIds`."""
        self._generator._used_ids.difference_update(numbers)


class GmqttClient(gmqtt.Client):  # type: ignore[misc]
    """A client that hands us what arrives as it comes, without gmqtt's stream, task and dispatch.

    These take 12 us of a reading's 50.
    """

    arrived: Callable[[bytes], None]

    async def _create_connection(
        self, host: str, port: int, ssl: ssl.SSLContext | bool, clean_session: bool, keepalive: int
    ) -> MQTTConnection:
        handler = self._package_handler
        _, protocol = await asyncio.get_running_loop().create_connection(
            lambda: _Protocol(
                self.arrived, connection_state=self._connection_state, id_generator=handler.id_generator
            ),
            host,
            port,
            ssl=ssl,
        )
        return MQTTConnection(
            protocol._transport, protocol, clean_session, keepalive, package_handler=handler
        )


class _Protocol(MQTTProtocol):  # type: ignore[misc]
    def __init__(self, arrived: Callable[[bytes], None], **more: Any) -> None:
        super().__init__(**more)
        self.data_received = arrived

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        BaseMQTTProtocol.connection_made(self, transport)  # without a task that reads

    def eof_received(self) -> bool:
        return False  # close the transport
