"""The actuator actions: what they were asked for is checked against what is granted, and sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from edgewhisk import jsontext
from edgewhisk.actuator.outbox import DELIVERED, Outbox, Told
from edgewhisk.actuator.request import KINDS, Command, Kind, read
from edgewhisk.config.schema import GrantsConfig
from edgewhisk.controller.auth.entitlement import check_granted, is_granted
from edgewhisk.controller.system import Alike, SystemAction
from edgewhisk.entity.identity import Identity
from edgewhisk.errors import EdgeWhiskError


def actuators(outbox: Outbox, grants: Mapping[str, GrantsConfig]) -> list[SystemAction]:
    """`/whisk.system/mqtt/publish` and the others; `grants` by subject."""
    return [_actuator(kind, outbox, grants) for kind in KINDS]


def _actuator(kind: Kind, outbox: Outbox, grants: Mapping[str, GrantsConfig]) -> SystemAction:
    async def many(
        caller: Identity, given: Sequence[Mapping[str, Any]]
    ) -> Sequence[dict[str, Any] | EdgeWhiskError]:
        results: list[dict[str, Any] | EdgeWhiskError | None] = []
        commands: list[Command] = []
        for parameters in given:
            try:
                command = read(kind, parameters)
                if command.kind == "http":  # what costs 10 us is made for those that tell it to somebody
                    command = command._replace(id=uuid4().hex)
                check_granted(grants, caller.subject, command.kind, command.name)
            except EdgeWhiskError as error:
                results.append(error)
            else:
                commands.append(command)
                results.append(None)
        sent = iter(await outbox.send(commands))
        return [next(sent) if result is None else result for result in results]

    async def perform(caller: Identity, parameters: Mapping[str, Any]) -> dict[str, Any]:
        (result,) = await many(caller, [parameters])
        if isinstance(result, EdgeWhiskError):
            raise result
        return result

    def alike(caller: Identity, bound: bytes, payloads: Sequence[bytes], told: Told) -> bool:
        like = kind.alike(bound, payloads)
        if like is None or not is_granted(grants, caller.subject, like.kind, like.name):
            return False
        return outbox.send_alike(like, payloads, told)

    return SystemAction(
        kind.package,
        kind.name,
        kind.description,
        kind.parameters,
        perform,
        many,
        Alike(alike, jsontext.dumps(DELIVERED)),
    )
