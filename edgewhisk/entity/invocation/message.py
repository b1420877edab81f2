"""What travels between the stages: events that triggers are fired with, and actions to be run.

Named tuples, not dataclasses: a thousand of them are made each second on the hot path, and a frozen
dataclass costs three times as much to build.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from typing import Final, NamedTuple

from edgewhisk.entity.names import FullyQualifiedName


class TriggerEvent(NamedTuple):
    """One firing of a trigger by a feed."""

    trigger: FullyQualifiedName
    payload: bytes  # text of one JSON object, without line breaks; checked by the feed
    at: int  # ms since the epoch, when the gateway took it
    durable: bool = False  # the source waits for it to be on disk (MQTT QoS 1)
    origin: str = ""  # recognises a redelivery by the source; kept in the journal


class ActivationMessage(NamedTuple):
    """One action to be run: what Kafka carries to the invokers in OpenWhisk."""

    activation_id: str  # decided at acceptance, so that a repeat after a crash is recognisable
    action: FullyQualifiedName  # where the code is (of a binding: the provider's)
    namespace: str  # whose activation it is
    subject: str
    payload: bytes  # JSON object (of a sequence's part also array) without line breaks: event over parameters
    at: int  # ms since the epoch, when it was accepted
    trigger: str = ""  # "/guest/t" when a rule started it
    binding: str = ""  # "guest/b" when invoked through a binding
    origin: str = ""
    durable: bool = False  # journalled: runs again after a crash until its record is on disk
    cause: str = ""  # activation id of the sequence or composition that this is a part of


# Of a tuple of all fields, in a third of the time that the constructors take.
trigger_event: Final = partial(tuple.__new__, TriggerEvent)
activation_message: Final = partial(tuple.__new__, ActivationMessage)


class Status(StrEnum):
    """Outcome of an activation, as OpenWhisk writes it."""

    SUCCESS = "success"
    APPLICATION_ERROR = "application error"
    DEVELOPER_ERROR = "action developer error"
    WHISK_ERROR = "whisk internal error"

    @property
    def code(self) -> int:
        """`statusCode` of the activation list: 0 to 3."""
        return _CODES[self]


_CODES: Final = {status: code for code, status in enumerate(Status)}


class LogLine(NamedTuple):
    """One line that an action printed."""

    at: int  # ms since the epoch
    stream: str  # "stdout" or "stderr"
    text: str


class Outcome(NamedTuple):
    """What one run of an action gave."""

    status: Status
    result: bytes  # JSON text of an object or an array, without line breaks
    logs: tuple[LogLine, ...]
    start: int  # ms since the epoch
    end: int
    init_ms: int = 0  # time to load the action, when it was not loaded yet
    timed_out: bool = False
    sized: bool = True  # the record tells the size of the result: not of one that no runtime wrote


class UniformResult(NamedTuple):
    """What a batch of runs of one action gave if all of them succeeded and printed nothing."""

    results: Sequence[bytes]  # JSON texts as in `Outcome`, in order
    start: int  # ms since the epoch, of the batch
    end: int


BatchResult = UniformResult | Sequence[Outcome]  # what a batch gave


def outcomes_of(ran: BatchResult) -> Sequence[Outcome]:
    """The outcome of each run."""
    if not isinstance(ran, UniformResult):
        return ran
    return [Outcome(Status.SUCCESS, result, (), ran.start, ran.end) for result in ran.results]
