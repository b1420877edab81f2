"""The actuator actions: what they were asked for is checked against what is granted, and sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgewhisk import jsontext
from edgewhisk.actuator.outbox import Outbox, Told
from edgewhisk.actuator.request import Command
from edgewhisk.actuator.target import DELIVERED, Target, read
from edgewhisk.config.schema import GrantsConfig
from edgewhisk.controller.auth.entitlement import check_granted, is_granted
from edgewhisk.controller.system import Alike, SystemAction
from edgewhisk.entity.identity import Identity
from edgewhisk.errors import EdgeWhiskError


def actuators(outbox: Outbox, grants: Mapping[str, GrantsConfig]) -> list[SystemAction]:
    """`/whisk.system/mqtt/publish` and the others; `grants` by subject."""
    return [_actuator(target, outbox, grants) for target in outbox.targets.values()]


def _actuator(target: Target, outbox: Outbox, grants: Mapping[str, GrantsConfig]) -> SystemAction:
    async def perform(
        caller: Identity, given: Sequence[Mapping[str, Any]]
    ) -> Sequence[dict[str, Any] | EdgeWhiskError]:
        results: list[dict[str, Any] | EdgeWhiskError | None] = []
        commands: list[Command] = []
        for parameters in given:
            try:
                command = read(target, parameters)
                check_granted(grants, caller.subject, command.kind, command.name)
            except EdgeWhiskError as error:
                results.append(error)
            else:
                commands.append(command)
                results.append(None)
        sent = iter(await outbox.send(commands))
        return [next(sent) if result is None else result for result in results]

    def alike(caller: Identity, bound: bytes, payloads: Sequence[bytes], told: Told) -> bool:
        like = target.alike(bound, payloads)
        if like is None or not is_granted(grants, caller.subject, like.kind, like.name):
            return False
        return outbox.send_alike(like, payloads, told)

    return SystemAction(
        target.kind,
        target.action,
        target.description,
        target.parameters,
        perform,
        Alike(alike, jsontext.dumps(DELIVERED)),
    )
