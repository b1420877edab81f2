"""Runs steps of batches in the sandbox: the same code on the event loop and on a worker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from typing import Final

from edgewhisk import jsontext
from edgewhisk.base.recent import Recent
from edgewhisk.entity.action import Action, Revision
from edgewhisk.entity.invocation.arguments import EMPTY, NOT_ALLOWED, merge_json, overrides
from edgewhisk.entity.invocation.call import CallBatch
from edgewhisk.entity.invocation.message import BatchResult, Outcome, Status, UniformResult, outcomes_of
from edgewhisk.invoker.batch import Step, StepBatch
from edgewhisk.invoker.execution.policy import INLINE_TIMEOUT_MS, RoutePolicy
from edgewhisk.spi import Clock, Sandbox

_log = logging.getLogger(__name__)

_REMEMBERED: Final = (10_000, 32 << 20)  # actions, bytes of all
_CONTEXT: Final = 1000  # bytes: names have 256 characters at most
_NOT_ALLOWED: Final = jsontext.dumps({"error": NOT_ALLOWED})
TIMED_OUT: Final = "The action exceeded its time limits of {} milliseconds."


class CallContexts:
    """What calls of an action are given: arguments with bound parameters, context, time. Thread-safe."""

    def __init__(self, clock: Clock, key_of: Callable[[str], str]) -> None:
        """`key_of` gives the key of a namespace."""
        self.api_host = ""  # what actions get as __OW_API_HOST
        self._clock = clock
        self._key_of = key_of
        self.hasty_actions = Recent[Revision, Action](*_REMEMBERED)
        self._known = Recent[tuple[Revision, str], dict[str, str]](*_REMEMBERED)

    def calls(self, step: Step, namespace: str) -> CallBatch:
        """The calls of a step, whose time begins now."""
        bound = step.bound
        context = {
            **self._of(bound.action, namespace),
            "deadline": str(self._clock.now() + bound.action.limits.timeout),
            "api_host": self.api_host,
        }
        if bound.keyed:
            context["api_key"] = self._key_of(namespace)
        arguments = step.payloads
        if bound.text != EMPTY:
            arguments = [merge_json(bound.text, payload) for payload in arguments]
        return CallBatch(arguments, step.ids, context)

    def inline(self, action: Action) -> Action:
        """`action` with `INLINE_TIMEOUT_MS` at most; itself if it has no more anyway."""
        found = self.hasty_actions.get(action.revision)
        if found is None:
            limits = replace(action.limits, timeout=min(INLINE_TIMEOUT_MS, action.limits.timeout))
            found = action if limits == action.limits else replace(action, limits=limits)
            self.hasty_actions.keep(action.revision, found, found.weight)
        return found

    def forget(self, name: str) -> None:
        """The action "guest/pkg/a" is gone. From any thread."""
        self.hasty_actions.drop_where(lambda revision: revision[0] == name)
        self._known.drop_where(lambda key: key[0][0] == name)

    def _of(self, action: Action, namespace: str) -> dict[str, str]:
        """What is the same for all calls of an action for a namespace."""
        key = (action.revision, namespace)
        context = self._known.get(key)
        if context is None:
            context = {
                "namespace": namespace,
                "action_name": str(action.name),
                "action_version": str(action.version),
            }
            self._known.keep(key, context, _CONTEXT)
        return context


class Executor:
    """Runs one step of a batch in its full time. Blocks; for a worker."""

    def __init__(self, sandbox: Sandbox, clock: Clock, key_of: Callable[[str], str]) -> None:
        """`key_of` gives the key of a namespace."""
        self.contexts = CallContexts(clock, key_of)
        self.sandbox = sandbox
        self.clock = clock

    def run(self, batch: StepBatch) -> None:
        """Run the step that a batch is at, and take it to the next one."""
        step = batch.step
        if step is None:
            return
        started = self.clock.busy()
        ran = self._run(step, batch.namespace)
        batch.last = step
        batch.seconds = self.clock.busy() - started - _loading(ran)
        batch.complete(ran)

    def _run(self, step: Step, namespace: str) -> BatchResult:
        """An error for those messages that set a final parameter.

        A caller is refused before; this is for events, and for results of other parts.
        """
        final = step.bound.final
        kept = [not overrides(final, payload) for payload in step.payloads] if final else ()
        if all(kept):
            return self.sandbox.run(step.bound.action, self.contexts.calls(step, namespace))
        rest, now = step.only(kept), self.clock.now()
        ran = iter(outcomes_of(self._run(rest, namespace)) if rest.ids else ())
        refused = Outcome(Status.APPLICATION_ERROR, _NOT_ALLOWED, (), now, now)
        return [next(ran) if one else refused for one in kept]

    def expired(self, step: Step) -> Sequence[Outcome]:
        """What comes of runs of the gateway's own action that took longer than it may."""
        limit, now = step.bound.action.limits.timeout, self.clock.now()
        result = jsontext.dumps({"error": TIMED_OUT.format(limit)})
        return [Outcome(Status.DEVELOPER_ERROR, result, (), now - limit, now, timed_out=True)] * len(step.ids)


class Inline(Enum):
    """How a batch fared on the event loop."""

    RAN = "ran"  # to its end, or to a native step
    SLOW = "slow"
    FAILED = "failed"


class InlineExecutor:
    """Runs short actions on the event loop: a thread hand-over costs more than the run."""

    def __init__(self, executor: Executor, policy: RoutePolicy) -> None:
        """`policy` learns what the runs took."""
        self._contexts = executor.contexts
        self._sandbox = executor.sandbox
        self._clock = executor.clock
        self._policy = policy

    def run(self, batch: StepBatch) -> Inline:
        """Take a batch to its end, or to a native step; stops when one takes over `INLINE_TIMEOUT_MS`."""
        try:
            while (step := batch.step) is not None and not step.bound.native:
                if not batch.complete(self._attempt(step, batch.namespace)):
                    return Inline.SLOW
        except Exception:  # noqa: BLE001 - supervisor: the worker that takes it over records what is wrong
            _log.exception("%s failed on the event loop", batch.bound.action.name)
            if batch.step is not None:
                self._policy.failed_inline(batch.step.bound)
            return Inline.FAILED
        return Inline.RAN

    def _attempt(self, step: Step, namespace: str) -> BatchResult:
        """What came of the messages before the first that took too long; the others have not begun."""
        action = step.bound.action
        hasty = self._contexts.inline(action)
        doubtful = self._policy.estimator.doubts(action.name)
        clock = self._clock.busy if doubtful else self._clock.monotonic
        started = clock()
        ran = self._sandbox.run(hasty, self._contexts.calls(step, namespace), inline=True)
        count, took = len(step.ids) if isinstance(ran, UniformResult) else len(ran), clock() - started
        late = not isinstance(ran, UniformResult) and ran[-1].timed_out
        self._policy.ran_inline(step.bound, count, took, by_clock=not (doubtful or late))
        if isinstance(ran, UniformResult) or not late or hasty is action:
            return ran
        return ran[:-1]


def _loading(ran: BatchResult) -> float:
    """Seconds that it took to load the action first, rounded up: the next run does not."""
    init = 0 if isinstance(ran, UniformResult) else ran[0].init_ms
    return (init + 1) / 1000 if init else 0.0
