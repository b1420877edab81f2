"""Limits of actions and of namespaces, with OpenWhisk's names, units and messages."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from edgewhisk.errors import BadRequest, MalformedContent


@dataclass(frozen=True, slots=True)
class Limits:
    """`[limits]`: what the operator allows.

    Durations are milliseconds; memory and logs are MB, as in OpenWhisk's API.
    """

    invocations_per_minute: int = 60  # invokes over HTTP, for each namespace
    fires_per_minute: int = 60  # trigger fires over HTTP, for each namespace; feeds are not counted
    # Requests for web actions, for each namespace; 0: ten times invocations_per_minute. A page that asks
    # each second uses up OpenWhisk's 60 alone.
    web_invocations_per_minute: int = 0
    concurrent_invocations: int = 30  # in flight over HTTP, for each namespace; of web actions as many again
    sequence_length: int = 50  # actions of a sequence
    min_action_duration: int = 100  # ms
    max_action_duration: int = 300_000  # ms
    default_action_duration: int = 60_000  # ms
    min_action_memory: int = 128  # MB
    max_action_memory: int = 512  # MB
    default_action_memory: int = 256  # MB
    # MB that all sandboxes together may grow by; 0: half of what the gateway may use (the machine's memory,
    # or what its container or systemd's MemoryMax allows), 256 at least. A run that finds no room waits for
    # up to 10 seconds, and half of its time at most; then it gets no more memory, and its activation says
    # so. What a run begins with is not counted: up to 4 MB, in Python 24 MB, most of which all runs
    # share. Set it beside other services.
    sandbox_memory: int = 0
    min_action_logs: int = 0  # MB
    max_action_logs: int = 10  # MB
    default_action_logs: int = 10  # MB
    max_action_concurrency: int = 1  # the largest concurrency limit that an action may have
    max_action_code: int = 48  # MB of source or base64
    max_parameter_size: int = 1_048_576  # bytes of parameters, for each entity
    max_payload_size: int = 1_048_576  # bytes of a request body
    # Events accepted and not yet run. One of more than 4 KB counts for several, so that all are 40 MB at
    # most. A trigger that holds as many places as are left for all holds its source back: alone it gets
    # half, two that flood get a third each.
    max_queue: int = 10_000

    @property
    def web_per_minute(self) -> int:
        """Requests for web actions that a namespace takes in a minute.

        A page that somebody leaves open asks each second, which are OpenWhisk's 60 alone; ten such pages
        are what a household or a line has.
        """
        return self.web_invocations_per_minute or 10 * self.invocations_per_minute


@dataclass(frozen=True, slots=True)
class ActionLimits:
    """Limits of one action."""

    timeout: int  # ms
    memory: int  # MB
    logs: int  # MB
    concurrency: int = 1
    instances: int | None = None  # runs at the same time; None: as many as there is room for

    @classmethod
    def default(cls, limits: Limits) -> ActionLimits:
        """What an action gets whose creator said nothing."""
        return cls(limits.default_action_duration, limits.default_action_memory, limits.default_action_logs)

    def to_json(self) -> dict[str, int]:
        """The form of the REST API."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class ActionLimitsPut:
    """The limits that a PUT names; the others keep their value."""

    timeout: int | None = None
    memory: int | None = None
    logs: int | None = None
    concurrency: int | None = None
    instances: int | None = None

    @classmethod
    def from_json(cls, value: object) -> ActionLimitsPut:
        """Read `limits` of a PUT body; raises `MalformedContent` with OpenWhisk's text."""
        if value is None:
            return cls()
        if not isinstance(value, dict):
            raise MalformedContent("limits malformed")
        return cls(
            **{key: _whole(value[key], what) for key, what in _WHAT.items() if value.get(key) is not None}
        )

    def check(self, limits: Limits) -> None:
        """Raise `BadRequest` with OpenWhisk's text for what the operator does not allow."""
        lowest = (limits.min_action_memory, limits.min_action_duration, limits.min_action_logs, 1)
        highest = (
            limits.max_action_memory, limits.max_action_duration, limits.max_action_logs,
            limits.max_action_concurrency,
        )  # fmt: skip
        given = (self.memory, self.timeout, self.logs, self.concurrency)
        for (noun, unit), number, low, high in zip(_BOUND, given, lowest, highest, strict=True):
            if number is not None and not low <= number <= high:
                how, bound = ("below", low) if number < low else ("exceeds", high)
                raise BadRequest(
                    f"requirement failed: {noun} {number}{unit} {how} allowed threshold of {bound}{unit}"
                )
        most = limits.concurrent_invocations
        if self.instances is not None and self.instances > most:
            raise BadRequest(
                f"Max action instance concurrency must not exceed your namespace concurrency of {most}."
            )

    def over(self, base: ActionLimits) -> ActionLimits:
        """`base` with what was named replaced."""
        return ActionLimits(
            base.timeout if self.timeout is None else self.timeout,
            base.memory if self.memory is None else self.memory,
            base.logs if self.logs is None else self.logs,
            base.concurrency if self.concurrency is None else self.concurrency,
            base.instances if self.instances is None else self.instances,
        )


_WHAT: Final = {
    "timeout": "time limit",
    "memory": "memory limit",
    "logs": "log limit",
    "concurrency": "concurrency limit",
    "instances": "instance limit",
}
_SIZES: Final = frozenset({"memory limit", "log limit"})
_BOUND: Final = (
    ("memory size", " MB"),
    ("duration", " milliseconds"),
    ("log size", " MB"),
    ("concurrency", ""),
)


def _whole(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedContent(f"{what} malformed")
    if value != int(value):
        raise MalformedContent(f"requirement failed: {what} must be whole number")
    if value < 0 and what in _SIZES:
        raise MalformedContent("requirement failed: a negative size of an object is not allowed.")
    if value < 0 and what == _WHAT["instances"]:
        raise MalformedContent(f"{what} must not be negative")
    return int(value)
