"""How the messages of a stream are run: made once, and kept until an entity changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgewhisk.base.recent import Recent
from edgewhisk.entity.invocation.arguments import ResolvedAction
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.invoker.batch import PendingBatch, StepBatch, Stream
from edgewhisk.invoker.composition import Composition, CompositionBatch
from edgewhisk.spi import Clock, Lookup

_Asked = tuple[FullyQualifiedName, str, str]  # the action, the binding, whose call it is
_PLANS: Final = (10_000, 32 << 20)  # that were used last, bytes of their actions


@dataclass(frozen=True, slots=True, eq=False)
class ExecutionPlan:
    """What a run of an action takes."""

    bound: ResolvedAction
    # the single actions, in order; None: a composition finds them as it runs
    parts: Sequence[ResolvedAction] | None
    # of the parts those that a sandbox runs; the last one may be a native one
    sandboxed: Sequence[ResolvedAction]
    kinds: Sequence[str]  # engines that it needs, as far as that is known
    repeatable: bool  # may be begun again from the start; no step but the last one is native
    guarded: bool = False  # a part has parameters that what it is given may not set: a worker looks at that


class Plans:
    """Those that were used last."""

    def __init__(self, lookup: Lookup, composition: Composition, clock: Clock) -> None:
        """`lookup` gives the same object until an entity changes."""
        self._lookup = lookup
        self._composition = composition
        self._clock = clock
        self._known = Recent[_Asked, ExecutionPlan](*_PLANS)

    def of(self, stream: Stream) -> ExecutionPlan | None:
        """The plan of a stream as entities are now; None if its action is gone."""
        bound = self._lookup(stream.action, stream.binding)
        if bound is None:
            return None
        key = (stream.action, stream.binding, stream.namespace)
        plan = self._known.get(key)
        if plan is None or plan.bound is not bound:
            plan = self._make(bound, stream.namespace)
            weight = sum(
                [one.weight for one in {id(one): one for one in (bound, *(plan.parts or ()))}.values()]
            )
            self._known.keep(key, plan, weight)
        return plan

    def forget(self, name: str) -> None:
        """The action "guest/pkg/a" is gone. From any thread."""
        self._known.drop_where(lambda key: key[0].key == name)

    def batch(self, plan: ExecutionPlan, stream: Stream, entries: Sequence[PendingBatch]) -> StepBatch:
        """A batch of messages that are run as planned."""
        now = self._clock.now
        if plan.parts is None:
            return CompositionBatch(stream, entries, plan.bound, self._composition, now)
        return StepBatch(stream, entries, plan.bound, plan.parts, self._clock.activation_ids, now)

    def _make(self, bound: ResolvedAction, namespace: str) -> ExecutionPlan:
        parts = (bound,) if not bound.composed else self._composition.parts(bound, namespace)
        actions = [one for one in self._composition.actions(bound, namespace) if not one.native]
        kinds = tuple({one.action.exec.kind for one in actions})
        if parts is None:
            return ExecutionPlan(bound, None, (), kinds, repeatable=False)
        sandboxed = parts[:-1] if parts[-1].native else parts
        repeatable = not bound.once and all(
            one.pure and not one.composed and not one.native for one in sandboxed
        )
        guarded = any(one.final for one in sandboxed)
        return ExecutionPlan(bound, parts, sandboxed, kinds, repeatable=repeatable, guarded=guarded)
