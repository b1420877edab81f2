"""Limits of actions and of namespaces, with OpenWhisk's names, units and messages."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from edgewhisk.errors import MalformedContent


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
    def from_json(cls, value: object, limits: Limits) -> ActionLimitsPut:
        """Read and check `limits` of a PUT body; raises `MalformedContent` with OpenWhisk's text."""
        if value is None:
            return cls()
        if not isinstance(value, dict):
            raise MalformedContent("limits malformed")
        bounds = {
            "timeout": ("time limit", "duration", "milliseconds", limits.min_action_duration,
                        limits.max_action_duration),
            "memory": ("memory limit", "memory size", "MB", limits.min_action_memory,
                       limits.max_action_memory),
            "logs": ("log limit", "log size", "MB", limits.min_action_logs, limits.max_action_logs),
            "concurrency": ("concurrency limit", "concurrency", "", 1, limits.max_action_concurrency),
        }  # fmt: skip
        found = {
            key: _checked(value[key], *bound) for key, bound in bounds.items() if value.get(key) is not None
        }
        if value.get("instances") is not None:
            most = limits.concurrent_invocations
            found["instances"] = _checked(value["instances"], "instance limit", "instances", "", 0, 1 << 31)
            if found["instances"] > most:
                raise MalformedContent(
                    f"Max action instance concurrency must not exceed your namespace concurrency of {most}."
                )
        return cls(**found)

    def over(self, base: ActionLimits) -> ActionLimits:
        """`base` with what was named replaced."""
        return ActionLimits(
            base.timeout if self.timeout is None else self.timeout,
            base.memory if self.memory is None else self.memory,
            base.logs if self.logs is None else self.logs,
            base.concurrency if self.concurrency is None else self.concurrency,
            base.instances if self.instances is None else self.instances,
        )


def _checked(value: Any, what: str, noun: str, unit: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MalformedContent(f"{what} malformed")
    if value != int(value):
        raise MalformedContent(f"{what} must be whole number")
    number, suffix = int(value), f" {unit}" if unit else ""
    if number < low:
        raise MalformedContent(f"{noun} {number}{suffix} below allowed threshold of {low}{suffix}")
    if number > high:
        raise MalformedContent(f"{noun} {number}{suffix} exceeds allowed threshold of {high}{suffix}")
    return number
