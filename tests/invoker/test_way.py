"""What is remembered of actions that are replaced and deleted does not add up to all their code."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from edgewhisk.entity.action import Action, ActionPut
from edgewhisk.entity.arguments import Bound, bind
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.invoker.contexts import Contexts
from edgewhisk.invoker.way import Way, Ways
from tests.fakes.clock import HandClock

CODE = 1 << 20  # bytes
MOST = 32  # of such actions


def action(number: int) -> Action:
    body = {"exec": {"kind": "nodejs:default", "code": f"// {number}".ljust(CODE)}}
    wanted = ActionPut.from_json(
        body, kinds={"nodejs:default": "nodejs:20"}, namespace="guest", limits=Limits()
    )
    return wanted.create(parse_name(f"/guest/a{number}", "_"), Limits(), number)


class Taken(Ways):
    """Ways whose records nobody writes."""

    def __init__(self) -> None:
        super().__init__(lambda *_: None)  # type: ignore[arg-type]

    def _make(self, flight: Any) -> Way:
        return Way(flight.bound, None, [flight.bound], [])  # type: ignore[arg-type]


def flight(bound: Bound, trigger: str) -> Any:
    message = SimpleNamespace(binding="", namespace="guest", subject="guest", trigger=trigger)
    return SimpleNamespace(messages=[message], bound=bound)


def test_ways_of_actions_that_are_gone_are_forgotten_by_their_weight() -> None:
    ways = Taken()
    for number in range(3 * MOST):
        ways.of(flight(bind(action(number), (), None), "/guest/t"))
    assert len(ways._known) <= MOST
    assert ways._known.weight <= MOST * CODE


def test_a_way_for_each_of_many_sensors_of_one_action() -> None:
    ways, bound = Taken(), bind(action(0), (), None)
    made = [ways.of(flight(bound, f"/guest/t{number}")) for number in range(900)]
    assert all(ways.of(flight(bound, f"/guest/t{number}")) is made[number] for number in range(900))
    assert ways._known.weight < 2 * CODE
    changed = bind(action(0), (), None)
    assert ways.of(flight(changed, "/guest/t0")).bound is changed


def test_hurried_actions_that_are_gone_are_forgotten_by_their_weight() -> None:
    contexts = Contexts(HandClock(), lambda _: "")
    for number in range(3 * MOST):
        assert contexts.hurried(action(number)).limits.timeout == 10
    assert len(contexts._quick) <= MOST
