"""The actuator actions: who may reach what, and how their commands are sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from edgewhisk.actuator.outbox import Outbox
from edgewhisk.actuator.request import KINDS, Command, Kind, read
from edgewhisk.controller.subjects import GUEST
from edgewhisk.controller.system import SystemAction
from edgewhisk.entity.identity import Identity
from edgewhisk.entity.topics import matches
from edgewhisk.errors import EdgeWhiskError, NotGranted
from edgewhisk.settings import Grants


def actuators(outbox: Outbox, grants: Mapping[str, Grants]) -> list[SystemAction]:
    """`/whisk.system/mqtt/publish` and the others; `grants` by subject."""
    return [_actuator(kind, outbox, grants) for kind in KINDS]


def _actuator(kind: Kind, outbox: Outbox, grants: Mapping[str, Grants]) -> SystemAction:
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
                check_granted(caller.subject, command, grants)
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

    return SystemAction(kind.package, kind.name, kind.description, kind.parameters, perform, many)


def check_granted(subject: str, command: Command, grants: Mapping[str, Grants]) -> None:
    """Raises `NotGranted` if the subject may not send this.

    The subject `guest` owns the gateway: without a section of its own it may reach everything.
    """
    held = grants.get(subject)
    if held is None and subject == GUEST:
        return
    allowed: tuple[str, ...] = getattr(held, command.kind) if held else ()
    if command.kind == "mqtt":
        granted = any(matches(pattern, command.name) for pattern in allowed)
    else:
        granted = command.name in allowed
    if not granted:
        hint = f'[grants.{subject}]  {command.kind} = ["{command.name}"]'
        raise NotGranted(f"{command.kind} to {command.name} is not granted to {subject}", hint=hint)
