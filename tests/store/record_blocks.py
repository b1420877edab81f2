"""Record blocks for the tests of the buffer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.action import Action
from edgewhisk.entity.activation import RecordTemplate
from edgewhisk.entity.annotations.lane import NORMAL
from edgewhisk.entity.exec import CodeExec, SequenceExec
from edgewhisk.entity.invocation.message import ActivationMessage
from edgewhisk.entity.limits import ActionLimits, Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.records.record_block import Column, RecordBlock, RecordBlockTemplate
from edgewhisk.entity.version import SemVer

_TIMING = ClockOffset()


def record_block(
    parts: Sequence[str], wholes: Sequence[str], start: int, lane: str = NORMAL, timing: ClockOffset = _TIMING
) -> RecordBlock:
    """The records of a sequence `s` of one action `a`, by their ids."""
    count = len(parts)
    results = [b'{"n":%d}' % at for at in range(count)]
    halves = [half for half in (count // 2, count - count // 2) if half]
    flights = ([count], [1] * count, halves)[start % 3]
    spans = [(start + at // 2, start + at) for at in range(len(flights))]
    columns = [Column(parts, spans, results), Column(wholes, spans)]
    made = _template(lane).block(columns, flights, [start] * count, timing)
    assert made is not None
    return made


@lru_cache
def _template(lane: str) -> RecordBlockTemplate:
    annotations = Parameters.of({} if lane == NORMAL else {"edge-lane": lane})
    limits = ActionLimits.default(Limits())

    def action(name: str, code: CodeExec | SequenceExec) -> Action:
        where = parse_name(f"/guest/{name}", "_")
        return Action(where, code, Parameters(), limits, annotations, SemVer(), 0, False)

    single, sequence = action("a", CodeExec("nodejs:20", "x")), action("s", SequenceExec(()))
    inner = ActivationMessage("", single.name, "guest", "guest", b"{}", 0, "/guest/t", cause="x")
    outer = inner._replace(action=sequence.name, cause="")
    templates = [
        RecordTemplate.of_action(single, inner, "engine"),
        RecordTemplate.of_composite(sequence, outer, 256),
    ]
    return RecordBlockTemplate(templates, composed=True)
