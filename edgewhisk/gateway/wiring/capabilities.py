"""What actions can reach on this gateway: brokers, serial ports, Modbus, other actions, triggers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgewhisk import jsontext
from edgewhisk.capability.rest import RestRequest
from edgewhisk.controller.controller import Controller
from edgewhisk.entity.identity import Identity
from edgewhisk.entity.invocation.message import Status
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import CapabilityError, Undelivered
from edgewhisk.gateway.wiring.own_api import Application, answered
from edgewhisk.transport.mqtt.brokers import MqttBrokers
from edgewhisk.transport.mqtt.codec import Message
from edgewhisk.transport.serial.ports import SerialPorts


class GatewayAdapter:
    """Implements `capability.host.GatewayPort` over the gateway's parts."""

    def __init__(
        self,
        mqtt: MqttBrokers,
        serial: SerialPorts,
        controller: Controller,
        owner: Callable[[str], Identity],
        app: Callable[[], Application],
    ) -> None:
        """`owner` of a namespace: on whose behalf its actions act. `app`: the API, which is made later."""
        self._mqtt = mqtt
        self._serial = serial
        self._controller = controller
        self._owner = owner
        self._app = app

    async def publish(self, topic: str, payload: bytes, qos: int, retain: bool) -> None:
        """See `GatewayPort`."""
        try:
            failed = await self._mqtt.publish("", [Message(topic, payload, qos, retain)])
        except Undelivered as error:
            raise CapabilityError(error.message) from error
        if failed:
            raise CapabilityError(f"mqtt.publish: {failed[0]}")

    async def write(self, port: str, data: bytes) -> None:
        """See `GatewayPort`."""
        await self._serial.write(port, data)

    async def invoke(self, namespace: str, name: FullyQualifiedName, payload: bytes, wait: float) -> Any:
        """See `GatewayPort`."""
        answer = await self._controller.invoke(self._owner(namespace), name, payload, wait)
        if answer.record is None:
            raise CapabilityError(f"invoke of {name}: no result in time (activation {answer.activation_id})")
        result = jsontext.loads(answer.record.result)
        if answer.record.status is not Status.SUCCESS:
            raise CapabilityError(f"invoke of {name}: {answer.record.status}: {_error(result)}")
        return result

    async def fire(self, namespace: str, name: FullyQualifiedName, payload: bytes) -> str | None:
        """See `GatewayPort`."""
        return await self._controller.fire(self._owner(namespace), name, payload, {})

    async def api(self, namespace: str, asked: RestRequest) -> tuple[int, bytes]:
        """See `GatewayPort`."""
        return await answered(self._app(), self._owner(namespace), asked)


def _error(result: Any) -> str:
    error = result.get("error") if isinstance(result, dict) else result
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        error = error["message"]  # what JavaScript threw; all of it would grow with each action between
    return error if isinstance(error, str) else jsontext.dumps(error).decode()
