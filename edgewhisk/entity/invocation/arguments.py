"""Arguments of an action as JSON text, put together without parsing what is already text.

Payload bytes go from the sensor to the guest's own JSON parser as they came. Where a key is in both
halves it stands twice and the later one wins: JSON parsers of all our guests take the last.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from edgewhisk import jsontext
from edgewhisk.entity.action import Action
from edgewhisk.entity.annotations.delivery import Priority, at_most_once, priority
from edgewhisk.entity.annotations.grants import ANNOTATION as GRANTS
from edgewhisk.entity.exec import NATIVE, SequenceExec
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.entity.package import Package
from edgewhisk.entity.parameters import Parameters
from edgewhisk.errors import BadRequest

EMPTY: Final = b"{}"
NOT_ALLOWED: Final = "Request defines parameters that are not allowed (e.g., reserved properties)."


class ResolvedAction(NamedTuple):
    """An action with what is bound to it: package < binding < action."""

    action: Action
    parameters: Parameters
    text: bytes  # the parameters as one JSON object
    final: frozenset[str]  # keys that a payload may not set
    binding: str = ""  # "ns/binding"
    keyed: bool = False  # the action gets its caller's key

    sequence: tuple[FullyQualifiedName, ...] | None = None  # its components, if it is one
    conductor: bool = False  # directs a composition; a sequence never does
    composed: bool = False  # other actions run for it
    native: bool = False  # the gateway itself performs it
    pure: bool = False  # a run leaves nothing behind but its result, so that it may be begun twice
    once: bool = False  # it must not be begun twice for an event, nor a part of it
    priority: Priority | None = None  # of its events

    @property
    def weight(self) -> int:
        """About the bytes that it keeps in memory."""
        return self.action.weight + len(self.text)


def bind(action: Action, packages: tuple[Package, ...], binding: FullyQualifiedName | None) -> ResolvedAction:
    """Merge the parameters of `packages` (provider first, then the binding) and of the action."""
    merged = Parameters()
    for package in packages:
        merged = merged.merged(package.parameters)
    merged = merged.merged(action.parameters)
    arguments = merged.arguments()
    final = action.annotations.get("final", False) is not False  # "true" is meant to protect, too
    protected = (item.key for item in merged.items if item.value is not None) if final else ()
    key = f"{binding.namespace}/{binding.name}" if binding else ""
    # The key is withheld only where the annotation says so: a missing one gives it, as in OpenWhisk.
    keyed = "provide-api-key" not in action.annotations or action.annotations.truthy("provide-api-key")
    # What asks the gateway for something waits for it, and must never run on the event loop.
    reaches = GRANTS in action.annotations or action.annotations.truthy("provide-api-key")
    sequence = action.exec.components if isinstance(action.exec, SequenceExec) else None
    once = at_most_once(action.annotations)
    conductor = sequence is None and action.annotations.truthy("conductor")
    return ResolvedAction(
        action,
        merged,
        jsontext.kept(arguments),
        frozenset(protected),
        key,
        keyed,
        sequence,
        conductor=conductor,
        composed=conductor or sequence is not None,
        native=action.exec.kind == NATIVE,
        pure=sequence is None and not reaches and not once,
        once=once,
        priority=priority(action.annotations),
    )


def merge_json(base: bytes, top: bytes) -> bytes:
    """The JSON object `top` with the keys of `base` under it; an array, from a sequence, stays as it is."""
    if base == EMPTY or top.startswith(b"["):
        return top
    if top == EMPTY:
        return base
    return base[:-1] + b"," + top[1:]


def overrides(final: frozenset[str], payload: bytes) -> bool:
    """Whether a payload would take a `final` parameter away: sets one, or is an array, which replaces all."""
    if not final or payload == EMPTY:
        return False
    try:
        given = jsontext.loads(payload)
    except jsontext.NotJson:
        return True  # what cannot be looked at is not let through
    return not isinstance(given, dict) or not final.isdisjoint(given)


def without(final: frozenset[str], payload: bytes) -> bytes:
    """The result of one part of a sequence as the next one gets it: its own `final` parameters stand.

    OpenWhisk lets the result win. A part that hands on what it was given would open what is protected then.
    """
    if not overrides(final, payload):
        return payload
    try:
        given = jsontext.loads(payload)
    except jsontext.NotJson:
        return payload
    if not isinstance(given, dict):
        return payload
    return jsontext.dumps({key: value for key, value in given.items() if key not in final})


def check_final(bound: ResolvedAction, payload: bytes) -> None:
    """Raise `BadRequest` if the payload sets a protected parameter."""
    if overrides(bound.final, payload):
        raise BadRequest(NOT_ALLOWED)
