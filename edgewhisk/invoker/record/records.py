"""Makes the records of batches, and counts the runs they tell of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.activation import Record, unrunnable_record
from edgewhisk.entity.invocation.arguments import ResolvedAction
from edgewhisk.entity.invocation.message import (
    ActivationMessage,
    BatchResult,
    Status,
    UniformResult,
    outcomes_of,
)
from edgewhisk.entity.records.record_block import RecordBlock
from edgewhisk.invoker.batch import Step, StepBatch, inside_messages
from edgewhisk.invoker.composition import CompositionBatch
from edgewhisk.invoker.metrics import RunMetrics
from edgewhisk.invoker.record.templates import BatchTemplate, BatchTemplates, RecordTemplates
from edgewhisk.spi import Clock, Sandbox

GONE: Final = "The requested resource does not exist."
BROKEN: Final = "The gateway failed to run the action; its log says why."
_WELL: Final = UniformResult((b"{}",), 0, 0)  # a run that went well, for who watches that


class Records:
    """Called on the event loop."""

    def __init__(
        self,
        sandbox: Sandbox,
        clock: Clock,
        metrics: RunMetrics,
        learn: Callable[[ResolvedAction, BatchResult], None],
        alert: Callable[[], bool],
    ) -> None:
        """`learn` is told how runs ended; of those that went well only while `alert`."""
        self._clock = clock
        self._metrics = metrics
        self._learn = learn
        self._alert = alert
        self._templates = RecordTemplates(sandbox)
        self._batch_templates = BatchTemplates(self._templates.of)
        self.template = self._batch_templates.of

    def forget(self, name: str) -> None:
        """The action "guest/pkg/a" is gone. From any thread."""
        self._templates.forget(name)
        self._batch_templates.forget(name)

    def of(self, batch: StepBatch) -> list[Record]:
        """Those of a batch that has ended, less those that `parts` gave."""
        records = self.parts(batch)
        return records + self._wholes(batch) if batch.composed else records

    def parts(self, batch: StepBatch) -> list[Record]:
        """Those of the steps that were run since this was last asked."""
        found: list[Record] = []
        for one in batch.completed[batch.told :]:
            found += [one] if isinstance(one, Record) else self._of_step(batch, *one)
        batch.told = len(batch.completed)
        return found

    def block(
        self, template: BatchTemplate, batches: Sequence[StepBatch], timing: ClockOffset
    ) -> RecordBlock | None:
        """Those of uniform batches, in columns; None if they have to be written one by one.

        `timing` is how the clock stood when they ended.
        """
        block = template.block(batches, timing)
        if block is not None:
            self._count_uniform(template, batches)
        return block

    def failed(self, messages: Sequence[ActivationMessage], error: str = BROKEN) -> list[Record]:
        """Those of runs that the gateway itself broke, or does not begin."""
        return self._unrun(messages, Status.WHISK_ERROR, error)

    def gone(self, messages: Sequence[ActivationMessage]) -> list[Record]:
        """Those of messages whose action does not exist any more."""
        return self._unrun(messages, Status.APPLICATION_ERROR, GONE)

    def _unrun(self, messages: Sequence[ActivationMessage], status: Status, error: str) -> list[Record]:
        now, timing = self._clock.now(), self._clock.timing
        self._metrics.unrun(status, len(messages))
        return [unrunnable_record(message, status, error, now, timing) for message in messages]

    def _of_step(self, batch: StepBatch, step: Step, ran: BatchResult) -> list[Record]:
        self._count(step.bound, ran)
        outcomes = outcomes_of(ran)
        messages = inside_messages(batch, step, [outcome.start for outcome in outcomes])
        template, timing = self._templates.of(step.bound, messages[0]), self._clock.timing
        return [
            template.record(message, outcome, timing)
            for message, outcome in zip(messages, outcomes, strict=True)
        ]

    def _wholes(self, batch: StepBatch) -> list[Record]:
        """Those of sequences and conductors that ended."""
        if isinstance(batch, CompositionBatch):
            finished = [batch.finished[at] for at in range(len(batch.messages))]
            self._count(batch.bound, [one.outcome for one in finished])
            return [one.record for one in finished]
        timing, bound = self._clock.timing, batch.bound
        ends = batch.ends(timing)
        self._count(bound, [end.outcome for end in ends])
        return [
            self._templates.of(bound, message, end.memory).whole(
                message, end.outcome, end.duration, end.parts, timing
            )
            for message, end in zip(batch.messages, ends, strict=True)
        ]

    def _count(self, bound: ResolvedAction, ran: BatchResult) -> None:
        self._learn(bound, ran)
        self._metrics.ran(bound.action.name.key, ran, self._clock.timing)

    def _count_uniform(self, template: BatchTemplate, batches: Sequence[StepBatch]) -> None:
        took, total = self._clock.timing.took, 0
        spans: dict[int, int] = {}
        for batch in batches:
            count = len(batch.messages)
            total += count
            for _, ran in batch.steps():
                if isinstance(ran, UniformResult):
                    span = took(ran.start, ran.end)
                    spans[span] = spans.get(span, 0) + count
            if batch.composed:
                span = took(batch.begun, batch.ended)
                spans[span] = spans.get(span, 0) + count
        if self._alert():
            for bound in template.bounds:
                self._learn(bound, _WELL)
        self._metrics.uniform(template.names, total, spans)
