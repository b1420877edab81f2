"""The constant parts of records: made once for an action, version, trigger and caller, and remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from edgewhisk.base.recent import Recent
from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.action import Revision
from edgewhisk.entity.activation import ENGINE, RecordTemplate
from edgewhisk.entity.invocation.arguments import ResolvedAction
from edgewhisk.entity.invocation.message import ActivationMessage, BatchResult, UniformResult
from edgewhisk.entity.names import FullyQualifiedName
from edgewhisk.entity.records.record_block import Column, RecordBlock, RecordBlockTemplate
from edgewhisk.invoker.batch import Step, StepBatch, inside_messages
from edgewhisk.spi import Sandbox

_Made = tuple[Revision, str, str, str, str, bool, int]  # what a record template was made for
_MOST: Final = (10_000, 16 << 20)  # record templates that were used last, bytes of all
_ACTIONS: Final = (10_000, 32 << 20)  # whose batch templates are remembered, bytes of all
_TEMPLATES: Final = 1000  # of an action: it may have a trigger for each sensor


class RecordTemplates:
    """The templates of what ran lately."""

    def __init__(self, sandbox: Sandbox) -> None:
        """`sandbox` tells which engine runs a kind of action."""
        self._sandbox = sandbox
        self._known = Recent[_Made, RecordTemplate](*_MOST)

    def of(self, bound: ResolvedAction, message: ActivationMessage, memory: int = 0) -> RecordTemplate:
        """Returns the template for a message's record; `memory` (MB) is told for a sequence only."""
        key = (
            bound.action.revision,
            message.namespace,
            message.subject,
            message.trigger,
            message.binding,
            bool(message.cause),
            memory,
        )
        template = self._known.get(key)
        if template is None:
            template = self._made(bound, message, memory)
            self._known.keep(key, template, template.weight)
        return template

    def forget(self, name: str) -> None:
        """The action "guest/pkg/a" is gone. From any thread."""
        self._known.drop_where(lambda key: key[0][0] == name)

    def _made(self, bound: ResolvedAction, message: ActivationMessage, memory: int) -> RecordTemplate:
        if memory:
            return RecordTemplate.of_composite(bound.action, message, memory)
        engine = ENGINE if bound.native else self._sandbox.engine(bound.action.exec.kind)
        return RecordTemplate.of_action(bound.action, message, engine)


@dataclass(frozen=True, slots=True, eq=False)
class BatchTemplate:
    """What uniform batches of one stream have in common; the same until an entity changes."""

    bound: ResolvedAction
    blocks: RecordBlockTemplate
    bounds: Sequence[ResolvedAction]  # of the parts, and of the whole if there is one
    names: Sequence[str]  # what their runs are counted under

    def block(self, batches: Sequence[StepBatch], timing: ClockOffset) -> RecordBlock | None:
        """The records of uniform batches; None if they have to be written one by one."""
        steps = [batch.steps() for batch in batches]
        columns = [_column([one[at] for one in steps]) for at in range(len(steps[0]))]
        if batches[0].composed:
            ids = [message.activation_id for batch in batches for message in batch.messages]
            columns.append(Column(ids, [(one.begun, one.ended) for one in batches]))
        accepted = [message.at for batch in batches for message in batch.messages]
        return self.blocks.block(columns, [len(one.messages) for one in batches], accepted, timing)


@dataclass(slots=True)
class _Known:
    """The batch templates of an action; its code is counted once for all of them."""

    weight: int  # bytes
    by: dict[tuple[object, ...], BatchTemplate] = field(default_factory=dict)


class BatchTemplates:
    """Those that were used last."""

    def __init__(self, template: Callable[[ResolvedAction, ActivationMessage, int], RecordTemplate]) -> None:
        """`template` writes the records of an action for a message; with the memory (MB) of a composition."""
        self._template = template
        self.known = Recent[FullyQualifiedName, _Known](*_ACTIONS)

    def forget(self, name: str) -> None:
        """The action "guest/pkg/a" is gone. From any thread."""
        self.known.drop_where(lambda key: key.key == name)

    def of(self, batch: StepBatch) -> BatchTemplate:
        """The template of a uniform batch that has ended."""
        message, name = batch.messages[0], batch.bound.action.name
        key = (message.binding, message.namespace, message.subject, message.trigger)
        known = self.known.get(name)
        template = known.by.get(key) if known else None
        if template is not None and template.bound is batch.bound:
            return template
        made = self._make(batch)
        # None is known, or an entity changed:
        if known is None or template is not None or len(known.by) >= _TEMPLATES:
            known = _Known(sum(one.action.weight for one in made.bounds))
        known.by[key] = made
        known.weight += sum(len(one.text) for one in made.bounds)
        self.known.keep(name, known, known.weight)
        return made

    def _make(self, batch: StepBatch) -> BatchTemplate:
        steps = [step for step, _ in batch.steps()]
        bounds, starts = [step.bound for step in steps], [0] * len(batch.messages)
        templates = [self._template(one.bound, inside_messages(batch, one, starts)[0], 0) for one in steps]
        if composed := batch.composed:
            memory = max(bound.action.limits.memory for bound in bounds)
            templates.append(self._template(batch.bound, batch.messages[0], memory))
            bounds.append(batch.bound)
        names = [bound.action.name.key for bound in bounds]
        return BatchTemplate(batch.bound, RecordBlockTemplate(templates, composed=composed), bounds, names)


def _column(steps: Sequence[tuple[Step, BatchResult]]) -> Column:
    """One step of uniform batches."""
    ids: list[str] = []
    results: list[bytes] = []
    spans: list[tuple[int, int]] = []
    for step, ran in steps:
        if isinstance(ran, UniformResult):
            ids += step.ids
            results += ran.results
            spans.append((ran.start, ran.end))
    return Column(ids, spans, results)
