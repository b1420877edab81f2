"""What actions can reach on this gateway: brokers, serial ports, Modbus, other actions, triggers."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import orjson

from edgewhisk.actuator.http import HttpRequests
from edgewhisk.actuator.outbox import Deliver, one_by_one
from edgewhisk.actuator.request import Command
from edgewhisk.controller.controller import Controller
from edgewhisk.entity.identity import Identity
from edgewhisk.entity.message import Status
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import CapabilityError
from edgewhisk.feed.modbus import ModbusFeed
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
        try:
            await self._mqtt.publish("", [Message(topic, payload, qos, retain)])[0]
        except ConnectionError as error:
            raise CapabilityError(f"mqtt.publish: {error}") from error

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


class Deliveries:
    """How commands of each kind reach their target: what `actuator.outbox.Outbox` delivers with."""

    def __init__(self, mqtt: MqttFeed, serial: SerialFeed, modbus: ModbusFeed, http: HttpRequests) -> None:
        """Over the feeds' own connections."""
        self._mqtt = mqtt
        self._serial = serial
        self._modbus = modbus
        self.by_kind: Mapping[str, Deliver] = {
            "mqtt": self._publish,
            "serial": one_by_one(self._write),
            "modbus": one_by_one(self._set),
            "http": one_by_one(http.send),
        }

    def _publish(self, commands: Sequence[Command]) -> list[asyncio.Future[Any]]:
        """In one write for each run of commands to the same broker."""
        futures: list[asyncio.Future[Any]] = []
        for broker, run in groupby(commands, key=lambda command: command.body["broker"]):
            messages = [_message(command.body) for command in run]
            try:
                futures += self._mqtt.publish(broker, messages)
            except CapabilityError as error:
                for _ in messages:
                    failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                    failed.set_exception(error)
                    futures.append(failed)
        return futures

    async def _write(self, command: Command) -> None:
        body = command.body
        if "command" in body:
            data = self._serial.command(body["port"], body["command"], body["profile"])
        else:
            data = base64.b64decode(body["data"])
        await self._serial.write(body["port"], data, body["profile"])

    async def _set(self, command: Command) -> None:
        body = command.body
        values, single = body["values"], body.get("single", False)
        await self._modbus.write(body["where"], body["unit"], body["table"], body["address"], values, single)


def _message(body: Mapping[str, Any]) -> Message:
    payload = base64.b64decode(body["payload"])
    return Message(body["topic"], payload, body["qos"], body["retain"], body["expiry"])


def _error(result: Any) -> str:
    error = result.get("error") if isinstance(result, dict) else result
    return error if isinstance(error, str) else orjson.dumps(error).decode()
