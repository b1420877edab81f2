"""Which messages the event loop may run, as things are now."""

from __future__ import annotations

from edgewhisk.invoker.batch import Stream
from edgewhisk.invoker.execution.policy import RoutePolicy
from edgewhisk.invoker.execution.workers import WorkerPool
from edgewhisk.invoker.failure.failure_policy import FailurePolicy
from edgewhisk.invoker.plan import ExecutionPlan, Plans
from edgewhisk.invoker.queue.queue import Queue


class Admission:
    """Called on the event loop."""

    def __init__(
        self, plans: Plans, policy: RoutePolicy, failures: FailurePolicy, queue: Queue, pool: WorkerPool
    ) -> None:
        """`policy` knows what runs take, `failures` which actions fail."""
        self._plans = plans
        self._policy = policy
        self._failures = failures
        self._queue = queue
        self._pool = pool

    def plan(self, stream: Stream) -> ExecutionPlan | None:
        """How a stream is run; None if it cannot be: who gives it to a worker records why."""
        try:
            return self._plans.of(stream)
        except Exception:  # noqa: BLE001 - supervisor: the dispatcher tells when it is its turn
            return None

    def gathers(self, stream: Stream) -> bool:
        """Whether a call is to wait for others of this turn of the loop."""
        plan = self.plan(stream)
        return plan is not None and not plan.bound.native and self._policy.inline(plan, checked=True)

    def calls(self, plan: ExecutionPlan | None) -> bool:
        """Whether calls may be run on the event loop: while no worker is at it, the sandboxes are free."""
        return plan is not None and (
            plan.bound.native or (not self._pool.busy and self._policy.inline(plan, checked=True))
        )

    def events(self, plan: ExecutionPlan, stream: Stream) -> bool:
        """Whether new events may be run on the event loop, as soon as that has time."""
        return self.waiting(plan, stream) and self._queue.goes_inline(stream)

    def waiting(self, plan: ExecutionPlan, stream: Stream) -> bool:
        """Whether what waits in a stream may be run on the event loop."""
        return (
            stream.ordered
            and not stream.suspect
            and self._failures.unjournalled(plan.bound)
            and self._policy.inline(plan)
        )
