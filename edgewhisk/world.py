"""What actions can reach on this gateway: the broker, serial ports, other actions, triggers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from edgewhisk.controller.controller import Controller
from edgewhisk.entity.identity import Identity
from edgewhisk.entity.message import Status
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import CapabilityError
from edgewhisk.feed.mqtt import MqttFeed
from edgewhisk.feed.mqtt_packets import Message
from edgewhisk.feed.serial import SerialFeed


class GatewayWorld:
    """Implements `capability.outward.World` over the gateway's parts."""

    def __init__(
        self, mqtt: MqttFeed, serial: SerialFeed, controller: Controller, owner: Callable[[str], Identity]
    ) -> None:
        """`owner` of a namespace: on whose behalf its actions act."""
        self._mqtt = mqtt
        self._serial = serial
        self._controller = controller
        self._owner = owner

    async def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """See `World`."""
        await self._mqtt.publish("", Message(topic, payload, qos, retain))

    async def write(self, port: str, data: bytes) -> None:
        """See `World`."""
        await self._serial.write(port, data)

    async def invoke(self, namespace: str, name: FullyQualifiedName, payload: bytes, wait: float) -> Any:
        """See `World`."""
        answer = await self._controller.invoke(self._owner(namespace), name, payload, wait)
        if answer.record is None:
            raise CapabilityError(f"invoke of {name}: no result in time (activation {answer.activation_id})")
        result = orjson.loads(answer.record.result)
        if answer.record.status is not Status.SUCCESS:
            raise CapabilityError(f"invoke of {name}: {answer.record.status}: {_error(result)}")
        return result

    async def fire(self, namespace: str, name: FullyQualifiedName, payload: bytes) -> str | None:
        """See `World`."""
        return await self._controller.fire(self._owner(namespace), name, payload, {})


def _error(result: Any) -> str:
    error = result.get("error") if isinstance(result, dict) else result
    return error if isinstance(error, str) else orjson.dumps(error).decode()
