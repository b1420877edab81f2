"""Sequences abreast give what a machine for each message gives."""

from __future__ import annotations

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.action import Action
from edgewhisk.entity.exec import CodeExec, Exec, SequenceExec
from edgewhisk.entity.invocation.arguments import ResolvedAction, bind
from edgewhisk.entity.invocation.message import ActivationMessage, BatchResult, Outcome, Status, UniformResult
from edgewhisk.entity.limits import ActionLimits, Limits
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.version import SemVer
from edgewhisk.invoker.batch import PendingBatch, StepBatch, places, stream_of
from edgewhisk.invoker.composition import Composition, Finished, Part

WHOLE = parse_name("/guest/whole", "_")
STATUSES = st.sampled_from([*[Status.SUCCESS] * 3, Status.APPLICATION_ERROR, Status.DEVELOPER_ERROR])


def bound(name: FullyQualifiedName, code: Exec, memory: int = 256) -> ResolvedAction:
    limits = ActionLimits.default(Limits())
    found = ActionLimits(limits.timeout, memory, limits.logs, limits.concurrency, limits.instances)
    action = Action(name, code, Parameters(), found, Parameters(), SemVer(), 0, False)
    return bind(action, (), None)


def outcome(part: int, message: int, status: Status) -> Outcome:
    """What part `part` gives for a message."""
    return Outcome(status, b'{"part":%d,"of":%d}' % (part, message), (), 10 * part, 10 * part + part)


def ran(outcomes: list[Outcome], uniform: bool) -> BatchResult:
    """The same as columns, if that can be and is wanted."""
    if not uniform or any(one.status is not Status.SUCCESS for one in outcomes):
        return outcomes
    return UniformResult([one.result for one in outcomes], outcomes[0].start, outcomes[0].end)


@given(st.lists(st.integers(128, 512), min_size=1, max_size=4), st.data())
def test_side_by_side_is_as_one_by_one(memories: list[int], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 5))
    statuses = data.draw(
        st.lists(
            st.lists(STATUSES, min_size=size, max_size=size), min_size=len(memories), max_size=len(memories)
        )
    )
    names = [parse_name(f"/guest/p{at}", "_") for at in range(len(memories))]
    parts = [bound(name, CodeExec("nodejs:default", ""), m) for name, m in zip(names, memories, strict=True)]
    whole = bound(WHOLE, SequenceExec(tuple(names)))
    messages = [
        ActivationMessage(f"{at:032x}", WHOLE, "guest", "guest", b'{"n":%d}' % at, 0) for at in range(size)
    ]
    ids = map(str, count())

    seen: list[list[bytes]] = [[] for _ in messages]
    entries = [PendingBatch(messages, 0.0, places(messages))]
    stream = stream_of(messages[0])
    batch = StepBatch(stream, entries, whole, parts, lambda n: [next(ids) for _ in range(n)], lambda: 5)
    while (step := batch.step) is not None:
        part = parts.index(step.bound)
        for at, payload in zip(step.places, step.payloads, strict=True):
            seen[at].append(payload)
        outcomes = [outcome(part, at, statuses[part][at]) for at in step.places]
        assert batch.complete(ran(outcomes, data.draw(st.booleans())))
    ends = batch.ends(ClockOffset())

    composition = Composition(
        lambda name, _: parts[names.index(name)], lambda: next(ids), lambda: 5, ClockOffset, longest=50
    )
    assert composition.parts(whole, "guest") == tuple(parts)
    for at, message in enumerate(messages):
        payloads: list[bytes] = []
        machine = composition.start(whole, message)
        said = next(machine)
        while True:
            assert isinstance(said, Part)
            payloads.append(said.message.payload)
            part = parts.index(said.bound)
            try:
                said = machine.send(outcome(part, at, statuses[part][at]))
            except StopIteration as end:
                single: Finished = end.value
                break
        assert seen[at] == payloads
        assert ends[at].outcome == single.outcome
        assert (ends[at].duration, ends[at].memory) == (single.duration, single.memory)
        assert len(ends[at].parts) == len(payloads)


def test_what_is_no_plain_sequence_is_left_to_machines() -> None:
    names = [parse_name(f"/guest/p{at}", "_") for at in range(3)]
    known = {names[0]: bound(names[0], CodeExec("nodejs:default", ""))}
    known[names[1]] = bound(names[1], SequenceExec((names[0],)))
    composition = Composition(lambda name, _: known.get(name), lambda: "", lambda: 0, ClockOffset, longest=2)
    for wrong in ([names[0], names[1]], [names[0], names[2]], [names[0]] * 3, []):
        assert composition.parts(bound(WHOLE, SequenceExec(tuple(wrong))), "guest") is None
    assert composition.parts(known[names[0]], "guest") is None
