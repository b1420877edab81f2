"""What a fired trigger starts. Pure.

A plan is made once for each trigger and kept until an entity changes; firing is then one message
for each active rule, spliced from bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from edgewhisk import jsontext
from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.activation import Record, trigger_record
from edgewhisk.entity.invocation.arguments import merge_json
from edgewhisk.entity.invocation.message import ActivationMessage, TriggerEvent, activation_message
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.entity.trigger import Trigger


class Start(NamedTuple):
    """An action that an active rule of the trigger starts."""

    rule: str  # "ns/rule"
    shown: str  # the action as the rule names it: "ns/[pkg/]action"
    action: FullyQualifiedName  # where its code is; through a binding: the provider's
    binding: str = ""


class Plan(NamedTuple):
    """What firing one trigger means."""

    trigger: str  # "/guest/t"
    namespace: str
    subject: str
    parameters: bytes  # the trigger's own, as a JSON object
    starts: tuple[Start, ...]
    problems: tuple[dict[str, Any], ...]  # log entries of rules that start nothing
    active: bool  # whether any rule is
    version: str = "0.0.1"  # of the trigger
    recorded: bool = False  # whether an event of its feed leaves a record of the trigger
    fires_recorded: bool = True  # and a fire over the API


Target = tuple[FullyQualifiedName, str] | str  # where the code is and the binding, or why it may not run


def plan(
    trigger: Trigger,
    targets: Mapping[FullyQualifiedName, Target],
    *,
    recorded: bool = False,
    fires_recorded: bool = True,
) -> Plan:
    """The plan of `trigger`; `targets` by the name that a rule has for its action."""
    starts: list[Start] = []
    problems: list[dict[str, Any]] = []
    for rule, link in trigger.links.items():
        found = targets[link.action]
        if not link.active:
            problems.append(_inactive(rule, link.action.key))
        elif isinstance(found, str):
            problems.append(_problem(rule, link.action.key, found))
        else:
            starts.append(Start(rule, link.action.key, found[0], found[1]))
    return Plan(
        str(trigger.name),
        trigger.name.namespace,
        trigger.name.namespace,
        jsontext.kept(trigger.parameters.arguments()),
        tuple(starts),
        tuple(problems),
        any(link.active for link in trigger.links.values()),
        str(trigger.version),
        recorded,
        fires_recorded,
    )


def messages(plan: Plan, events: Sequence[TriggerEvent], ids: Sequence[str]) -> list[ActivationMessage]:
    """One message for each action that each of `events` of the trigger starts; `ids`: as many."""
    given, found = iter(ids), []
    parameters, namespace, subject, trigger = plan.parameters, plan.namespace, plan.subject, plan.trigger
    for _, text, at, durable, origin in events:
        payload = merge_json(parameters, text)
        for _, _, action, binding in plan.starts:
            own = next(given)
            found.append(
                activation_message(
                    (own, action, namespace, subject, payload, at, trigger, binding, origin, durable, "")
                )
            )
    return found


def fired_records(
    plan: Plan, events: Sequence[TriggerEvent], ids: Sequence[str], begun: Sequence[str], timing: ClockOffset
) -> list[Record]:
    """The records of a trigger that its feed fired; `begun`: ids of what the events started, in order."""
    given, found = iter(begun), []
    name = parse_name(plan.trigger, "_")
    for event, own in zip(events, ids, strict=True):
        logs = [posted(start, next(given)) for start in plan.starts]
        message = ActivationMessage(own, name, plan.namespace, plan.subject, event.payload, event.at)
        found.append(trigger_record(message, plan.version, [*logs, *plan.problems], timing))
    return found


def posted(start: Start, activation_id: str) -> dict[str, Any]:
    """The trigger's log entry for a started action."""
    return {
        "statusCode": 0,
        "success": True,
        "activationId": activation_id,
        "rule": start.rule,
        "action": start.shown,
    }


def refused(start: Start, error: str) -> dict[str, Any]:
    """The trigger's log entry for an action that was not started."""
    return _problem(start.rule, start.shown, error)


def _inactive(rule: str, action: str) -> dict[str, Any]:
    return _problem(rule, action, f"Rule '{rule}' is inactive, action '{action}' was not activated.")


def _problem(rule: str, action: str, error: str) -> dict[str, Any]:
    return {"statusCode": 1, "success": False, "rule": rule, "action": action, "error": error}
