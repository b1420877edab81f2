"""The life of a batch of events, as a table. Pure.

QUEUED --inline--> INLINE --finished--> DONE --written--> WRITING --durable--> ACKED
   |                 |  '--native pending--> NATIVE                  '--refused--> NACKED
   |                 '--timed out, raised--> QUEUED, pinned to the workers
   '--worker--> WORKER --finished, raised--> DONE
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class BatchState(Enum):
    """Where a batch is."""

    __hash__ = object.__hash__  # each is one object; by name takes five times as long

    QUEUED = "queued"
    PARKED = "parked"  # waits for an engine or for a circuit breaker
    INLINE = "inline"  # runs on the event loop
    NATIVE = "native"  # waits for an action of the gateway itself, without a thread
    WORKER = "worker"  # belongs to a worker, or waits for one
    DONE = "done"  # has run, or never will
    WRITING = "writing"  # its records are on their way to the disk
    ACKED = "acked"
    NACKED = "nacked"  # the disk refused its records


class Route(Enum):
    """Who runs the sandboxed steps of a batch."""

    __hash__ = object.__hash__  # each is one object; by name takes five times as long

    INLINE = "inline"
    WORKER = "worker"


class BatchEvent(Enum):
    """What happens to a batch."""

    __hash__ = object.__hash__  # each is one object; by name takes five times as long

    TO_INLINE = "inline"
    TO_WORKER = "worker"
    BLOCKED = "blocked"  # an engine is not compiled, or a circuit breaker is open
    UNBLOCKED = "unblocked"  # ready, changed, or time for a try
    OVERFLOWED = "overflowed"  # more waits than may: it becomes a dead letter
    TIMED_OUT = "timed out"  # on the event loop
    RAISED = "raised"
    PENDING = "pending"  # a native step was begun
    LATE = "late"  # a native step takes longer than `JOURNAL_AFTER`
    FINISHED = "finished"
    WRITTEN = "written"
    KEPT_OUT = "kept out"  # of a system action that leaves no record
    DURABLE = "durable"
    REFUSED = "refused"


class LifecycleError(Exception):
    """A batch cannot do that from where it is: a fault in our own code."""


_S, _E = BatchState, BatchEvent
TRANSITIONS: Final[Mapping[tuple[BatchState, BatchEvent], BatchState]] = {
    (_S.QUEUED, _E.TO_INLINE): _S.INLINE,
    (_S.QUEUED, _E.TO_WORKER): _S.WORKER,
    (_S.QUEUED, _E.BLOCKED): _S.PARKED,
    (_S.QUEUED, _E.FINISHED): _S.DONE,  # its action is gone, or cannot be planned
    (_S.PARKED, _E.UNBLOCKED): _S.QUEUED,
    (_S.PARKED, _E.OVERFLOWED): _S.DONE,
    (_S.INLINE, _E.FINISHED): _S.DONE,
    (_S.INLINE, _E.TIMED_OUT): _S.QUEUED,
    (_S.INLINE, _E.RAISED): _S.QUEUED,
    (_S.INLINE, _E.PENDING): _S.NATIVE,
    (_S.NATIVE, _E.LATE): _S.NATIVE,
    (_S.NATIVE, _E.TO_WORKER): _S.WORKER,  # a step behind the native one
    (_S.NATIVE, _E.FINISHED): _S.DONE,
    (_S.NATIVE, _E.RAISED): _S.DONE,
    (_S.WORKER, _E.TO_WORKER): _S.WORKER,  # the next step
    (_S.WORKER, _E.BLOCKED): _S.PARKED,  # the engine of a step that a conductor named
    (_S.WORKER, _E.PENDING): _S.NATIVE,
    (_S.WORKER, _E.FINISHED): _S.DONE,
    (_S.WORKER, _E.RAISED): _S.DONE,
    (_S.DONE, _E.WRITTEN): _S.WRITING,
    (_S.DONE, _E.KEPT_OUT): _S.ACKED,
    (_S.WRITING, _E.DURABLE): _S.ACKED,
    (_S.WRITING, _E.REFUSED): _S.NACKED,
}


def after(state: BatchState, event: BatchEvent) -> BatchState:
    """Returns the state after an event; raises `LifecycleError` where the table has no row."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise LifecycleError(f"a batch that is {state.value} cannot be {event.value}") from None
