"""Where a batch is run, and how large it may be.

To wake a thread and to be woken by it costs 100 to 200 us, a short run 20. So actions that have shown to
be brief run on the event loop. All others run on workers, as does what took longer than it used to. A batch
goes through one call into the sandbox, which is what makes small actions cheap; but the first run's answer
waits for the last, so a batch must stay short.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from edgewhisk.base.recent import Recent
from edgewhisk.entity.invocation.arguments import ResolvedAction
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.invoker.lifecycle import Route
from edgewhisk.invoker.plan import ExecutionPlan
from edgewhisk.spi import Clock, Sandbox

BUDGET: Final = 0.005  # seconds that a batch should take
BRIEF: Final = 0.0004  # seconds that it takes to hand a run to another thread
QUICK: Final = 0.002  # seconds that the event loop has for a run when it has nothing better to do
INLINE_TIMEOUT_MS: Final = 10  # that runs on the event loop may take together
LARGEST: Final = 64  # runs in a batch
SHARE: Final = 0.25  # of the event loop's time for quick runs that are not brief
SAVED: Final = 0.05  # seconds of that which are saved up
PAUSE: Final = 1.0  # seconds without, once all is spent: events do not go to and fro
_REMEMBERED: Final = 10_000  # actions: one for each device is how people build


class RuntimeEstimator:
    """Moving averages of how long the runs of each action take."""

    WEIGHT: Final = 0.2  # of the newest batch

    def __init__(self) -> None:
        """Know nothing."""
        self._means: OrderedDict[FullyQualifiedName, float] = OrderedDict()  # seconds a run
        self._doubted: set[FullyQualifiedName] = set()  # brief ones whose last run was not, by the clock

    def size(self, action: FullyQualifiedName) -> int:
        """How many runs of `action` to put in one batch: 1 to `LARGEST`."""
        return min(LARGEST, self.within(action))

    def within(self, action: FullyQualifiedName) -> int:
        """How many runs of `action` take no longer than `BUDGET`; at least 1."""
        mean = self._means.get(action)
        return 1 if mean is None else max(1, int(BUDGET / max(mean, 1e-6)))

    def brief(self, action: FullyQualifiedName) -> bool:
        """Whether a run of `action` takes no longer than handing it to another thread would."""
        mean = self._means.get(action)
        return mean is not None and mean <= BRIEF

    def quick(self, action: FullyQualifiedName) -> bool:
        """Whether a run of `action` is one that may be run on the event loop while that has time."""
        mean = self._means.get(action)
        return mean is not None and mean <= QUICK

    def doubts(self, action: FullyQualifiedName) -> bool:
        """Whether the next run of `action` should be measured by what it computes, which costs more."""
        return action in self._doubted

    def ran(self, action: FullyQualifiedName, count: int, seconds: float, *, by_clock: bool = False) -> None:
        """Learn that `count` runs took `seconds`. Slow ones count at once, quick ones by and by.

        But a brief one that was slow `by_clock` is doubted first: on a busy machine it may have had to wait.
        """
        took = max(0.0, seconds) / count
        mean = self._means.get(action, took)
        if by_clock and took > BRIEF >= mean:
            self._doubted.add(action)
            return
        self._doubted.discard(action)
        self._means[action] = took if took > mean else mean + self.WEIGHT * (took - mean)
        self._means.move_to_end(action)
        if len(self._means) > _REMEMBERED:
            forgotten, _ = self._means.popitem(last=False)
            self._doubted.discard(forgotten)


class InlineBudget:
    """A token bucket: what is left of the event loop's time for runs that are quick, but not brief.

    On a device with small caches the first run after a pause takes ten times what the next one does, and
    to hand it to a thread would cost as much again. So while sensors speak now and then the loop runs such
    actions, too; under load it leaves them to the workers.
    """

    def __init__(self) -> None:
        """All that may be saved up."""
        self._left = SAVED
        self._at = 0.0

    def has(self, now: float) -> bool:
        """Whether there is some left at `now` (monotonic seconds)."""
        return self._left + (now - self._at) * SHARE > 0

    def spend(self, now: float, seconds: float) -> None:
        """A run that took `seconds` ended at `now`."""
        self._left = min(SAVED, self._left + (now - self._at) * SHARE) - seconds
        self._at = now
        if self._left <= 0:
            self._left = -PAUSE * SHARE


class RoutePolicy:
    """Decides by what earlier runs took."""

    def __init__(self, sandbox: Sandbox, clock: Clock) -> None:
        """`sandbox` knows which engines are compiled."""
        self._sandbox = sandbox
        self._clock = clock
        self._budget = InlineBudget()
        self.estimator = RuntimeEstimator()
        # The revision of each action that a worker last ran.
        self._loaded = Recent[FullyQualifiedName, tuple[str, str, int]](_REMEMBERED, _REMEMBERED)

    def inline(self, plan: ExecutionPlan, *, checked: bool = False) -> bool:
        """Whether the event loop runs it sooner than it could hand it over.

        Only what a worker has run before: code that is new may take long to load. `checked`: what the
        action is given sets no final parameter of its own.
        """
        if not plan.repeatable or (plan.guarded and not (checked and not plan.bound.composed)):
            return False
        return all(map(self._brief, plan.sandboxed))

    def ready(self, kinds: Sequence[str]) -> bool:
        """Whether all these engines are compiled."""
        return all(map(self._sandbox.ready, kinds))

    def size(self, plan: ExecutionPlan, route: Route) -> int:
        """How many messages to put in one batch."""
        if route is Route.WORKER:
            return self.estimator.size(plan.bound.action.name)
        return min([LARGEST, *[self.estimator.within(one.action.name) for one in plan.sandboxed]])

    def ran_inline(self, bound: ResolvedAction, count: int, seconds: float, *, by_clock: bool) -> None:
        """Learn what runs on the event loop took; `by_clock`: see `RuntimeEstimator.ran`."""
        self.estimator.ran(bound.action.name, count, seconds, by_clock=by_clock)
        if seconds > BRIEF * count:
            self._budget.spend(self._clock.monotonic(), seconds)

    def ran(self, bound: ResolvedAction, count: int, seconds: float) -> None:
        """Learn what runs on a worker took; the action is loaded now."""
        self.estimator.ran(bound.action.name, count, seconds)
        self._loaded.keep(bound.action.name, bound.action.revision, 1)

    def failed_inline(self, bound: ResolvedAction) -> None:
        """Not on the event loop again before a worker has run it."""
        self._loaded.drop(bound.action.name)

    def _brief(self, bound: ResolvedAction) -> bool:
        action = bound.action
        name = action.name
        return (
            self._loaded.get(name) == action.revision
            and (
                self.estimator.brief(name)
                or (self.estimator.quick(name) and self._budget.has(self._clock.monotonic()))
            )
            and self._sandbox.ready(action.exec.kind)
        )
