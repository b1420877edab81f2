"""What may be run before it is journalled, and what waits."""

from __future__ import annotations

from edgewhisk.entity.action import Action
from edgewhisk.entity.exec import CodeExec
from edgewhisk.entity.invocation.arguments import ResolvedAction, bind
from edgewhisk.entity.invocation.message import Outcome, Status, UniformResult
from edgewhisk.entity.limits import ActionLimits, Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.version import SemVer
from edgewhisk.invoker.failure.breaker import PAUSE, THRESHOLD, Breaker
from edgewhisk.invoker.failure.failure_policy import CAREFUL, FailurePolicy
from tests.fakes.clock import HandClock

FAILED = Outcome(Status.DEVELOPER_ERROR, b"{}", (), 0, 0)


def bound(updated: int = 0) -> ResolvedAction:
    limits = ActionLimits.default(Limits())
    name = parse_name("/guest/a", "_")
    code = CodeExec("nodejs:20", "")
    return bind(Action(name, code, Parameters(), limits, Parameters(), SemVer(), updated, False), (), None)


def test_after_a_crash_all_is_journalled_first_for_a_while() -> None:
    clock = HandClock()
    policy = FailurePolicy(clock, Breaker(), careful=True)
    assert not policy.unjournalled(bound())
    clock.pass_(CAREFUL)
    assert policy.unjournalled(bound())
    assert FailurePolicy(clock, Breaker()).unjournalled(bound())


def test_events_of_an_action_that_fails_wait_until_it_changes_or_is_tried() -> None:
    clock = HandClock()
    policy = FailurePolicy(clock, Breaker())
    assert not policy.alert()
    policy.learn(bound(), [FAILED] * THRESHOLD)
    assert policy.alert()
    assert policy.ask(bound()).pause > 0
    assert not policy.unjournalled(bound())
    assert not policy.changed(bound())
    assert policy.changed(bound(updated=1))
    policy.learn(bound(), [FAILED] * THRESHOLD)
    clock.pass_(PAUSE[0] + 1)
    assert policy.ask(bound()).alone
    policy.give_back(bound().action.name)  # it came to nothing
    assert policy.ask(bound()).pause > 0
    policy.learn(bound(), UniformResult((b"{}",), 0, 0))
    assert policy.ask(bound()) == (0.0, False)
    assert policy.describe()["breakers"] == []
