"""What an action is given, and how long it may take."""

from __future__ import annotations

import orjson
import pytest

from edgewhisk.entity.action import Action
from edgewhisk.entity.exec import CodeExec
from edgewhisk.entity.invocation.arguments import ResolvedAction, bind
from edgewhisk.entity.invocation.message import ActivationMessage, Outcome, Status, outcomes_of
from edgewhisk.entity.limits import ActionLimits, Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.version import SemVer
from edgewhisk.invoker.batch import PendingBatch, StepBatch, places, stream_of
from edgewhisk.invoker.execution.executor import Executor, Inline, InlineExecutor
from edgewhisk.invoker.execution.policy import RoutePolicy
from edgewhisk.invoker.plan import ExecutionPlan
from tests.fakes.clock import HandClock
from tests.fakes.sandbox import FakeSandbox

ACTION = parse_name("/guest/a", "_")


def bound(**annotations: object) -> ResolvedAction:
    limits, notes = ActionLimits.default(Limits()), Parameters.of(annotations)
    code = CodeExec("nodejs:20", "")
    action = Action(ACTION, code, Parameters.of({"k": 1}), limits, notes, SemVer(), 0, False)
    return bind(action, (), None)


def batch(clock: HandClock, action: ResolvedAction, *payloads: bytes) -> StepBatch:
    messages = [
        ActivationMessage(f"{at:032x}", ACTION, "guest", "guest", one, 0, "/guest/t")
        for at, one in enumerate(payloads)
    ]
    entry = PendingBatch(messages, 0.0, places(messages))
    return StepBatch(stream_of(messages[0]), [entry], action, [action], clock.activation_ids, clock.now)


def test_a_worker_refuses_what_sets_a_final_parameter_and_runs_the_others() -> None:
    clock = HandClock()
    executor = Executor(FakeSandbox(clock), clock, lambda _: "")
    made = batch(clock, bound(final=True), b'{"n":1}', b'{"k":2}', b'{"n":3}')
    executor.run(made)
    ((_, ran),) = made.steps()
    assert [one.status for one in outcomes_of(ran)] == [
        Status.SUCCESS,
        Status.APPLICATION_ERROR,
        Status.SUCCESS,
    ]
    assert orjson.loads(outcomes_of(ran)[2].result) == {"k": 1, "n": 3}
    assert made.step is None


@pytest.mark.parametrize("slow", [0, 1, 2])
def test_on_the_loop_what_is_behind_a_slow_run_has_not_begun(slow: int) -> None:
    clock = HandClock()
    sandbox = FakeSandbox(clock)
    inline = InlineExecutor(Executor(sandbox, clock, lambda _: ""), RoutePolicy(sandbox, clock))
    made = batch(clock, bound(), b'{"n":0}', b'{"n":1}', b'{"n":2}')
    late = Outcome(Status.DEVELOPER_ERROR, b"{}", (), 0, 0, timed_out=True)
    sandbox.behave = lambda _, payload: late if b'"n":%d' % slow in payload else payload
    assert inline.run(made) is (Inline.SLOW if slow == 0 else Inline.RAN)
    assert len(sandbox.ran) == slow + 1
    assert len(made.messages) == (slow or 3)
    assert [len(one.messages) for one in made.leave()] == ([] if slow == 0 else [3 - slow])


def test_what_raises_on_the_loop_is_told_to_the_policy() -> None:
    clock = HandClock()
    sandbox = FakeSandbox(clock)
    policy = RoutePolicy(sandbox, clock)
    inline = InlineExecutor(Executor(sandbox, clock, lambda _: ""), policy)
    action = bound()
    plan = ExecutionPlan(action, (action,), (action,), ("nodejs:20",), repeatable=True)
    policy.ran(action, 1, 0.0001)
    assert policy.inline(plan)

    def raises(*_: object) -> bytes:
        raise RuntimeError("a fault of ours")

    sandbox.behave = raises
    assert inline.run(batch(clock, action, b"{}")) is Inline.FAILED
    assert not policy.inline(plan)  # before a worker has run it
