"""What actions can reach on this gateway: brokers, serial ports, Modbus, other actions, triggers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from edgewhisk import jsontext
from edgewhisk.actuator.http import HttpRequests
from edgewhisk.actuator.outbox import DELIVERED, Deliver, DeliverAlike, Failed, Found, of_error, one_by_one
from edgewhisk.actuator.request import Command
from edgewhisk.controller.controller import Controller
from edgewhisk.entity.identity import Identity
from edgewhisk.entity.invocation.message import Status
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.errors import CapabilityError, Undelivered
from edgewhisk.feed.mqtt.feed import MqttFeed
from edgewhisk.transport.modbus.buses import ModbusBuses
from edgewhisk.transport.mqtt.codec import Message, Publication
from edgewhisk.transport.serial.ports import SerialPorts


class GatewayAdapter:
    """Implements `capability.host.GatewayPort` over the gateway's parts."""

    def __init__(
        self, mqtt: MqttFeed, serial: SerialPorts, controller: Controller, owner: Callable[[str], Identity]
    ) -> None:
        """`owner` of a namespace: on whose behalf its actions act."""
        self._mqtt = mqtt
        self._serial = serial
        self._controller = controller
        self._owner = owner

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


class Deliveries:
    """How commands of each kind reach their target: what `actuator.outbox.Outbox` delivers with."""

    def __init__(self, mqtt: MqttFeed, serial: SerialPorts, modbus: ModbusBuses, http: HttpRequests) -> None:
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
        self.alike_by_kind: Mapping[str, DeliverAlike] = {"mqtt": self._publish_alike}

    async def _publish(self, commands: Sequence[Command]) -> list[Found]:
        """In one write for each run of commands to the same broker."""
        found: list[Found] = []
        for broker, run in groupby(commands, key=lambda command: command.body["broker"]):
            messages = [_message(command) for command in run]
            found += await self._publish_to(broker, messages)
        return found

    async def _publish_to(self, broker: str, messages: Sequence[Message]) -> list[Found]:
        try:
            failed = await self._mqtt.publish(broker, messages)
        except CapabilityError as error:
            return [error] * len(messages)
        if not failed:
            return [DELIVERED] * len(messages)
        return [of_error(failed[at]) if at in failed else DELIVERED for at in range(len(messages))]

    def _publish_alike(
        self, like: Command, payloads: Sequence[bytes], told: Callable[[Failed], None]
    ) -> bool:
        """See `DeliverAlike`."""
        body = like.body
        what = Publication(body["topic"], body["qos"], body["retain"], body["expiry"])
        return self._mqtt.publish_alike(body["broker"], what, payloads, told)

    def check(self, command: Command) -> None:
        """Raise an `EdgeWhiskError` for a command to what is not configured, or that its profile has not."""
        body = command.body
        if command.kind == "mqtt" and body["broker"] not in self._mqtt.sessions:
            raise CapabilityError(f"mqtt.publish: there is no [brokers.{body['broker']}]")
        if command.kind == "serial":
            self._serial.check_write(body["port"], body.get("command"), body["profile"])
        if command.kind == "modbus":
            self._modbus.address(body["where"])

    async def _write(self, command: Command) -> None:
        body = command.body
        if "command" in body:
            data = self._serial.command(body["port"], body["command"], body["profile"])
        else:
            data = command.data
        await self._serial.write(body["port"], data, body["profile"])

    async def _set(self, command: Command) -> None:
        body = command.body
        values, single = body["values"], body.get("single", False)
        await self._modbus.write(body["where"], body["unit"], body["table"], body["address"], values, single)


def _message(command: Command) -> Message:
    body = command.body
    return Message(body["topic"], command.data, body["qos"], body["retain"], body["expiry"])


def _error(result: Any) -> str:
    error = result.get("error") if isinstance(result, dict) else result
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        error = error["message"]  # what JavaScript threw; all of it would grow with each action between
    return error if isinstance(error, str) else jsontext.dumps(error).decode()
