"""What is remembered of actions that are replaced and deleted does not add up to all their code."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from edgewhisk.entity.action import Action, ActionPut
from edgewhisk.entity.invocation.arguments import ResolvedAction, bind
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.invoker.execution.executor import CallContexts
from edgewhisk.invoker.record.templates import BatchTemplate, BatchTemplates
from tests.fakes.clock import HandClock

CODE = 1 << 20  # bytes
MOST = 32  # of such actions


def action(number: int) -> Action:
    body = {"exec": {"kind": "nodejs:default", "code": f"// {number}".ljust(CODE)}}
    wanted = ActionPut.from_json(
        body, kinds={"nodejs:default": "nodejs:20"}, namespace="guest", limits=Limits()
    )
    return wanted.create(parse_name(f"/guest/a{number}", "_"), Limits(), number)


class Made(BatchTemplates):
    """Templates whose records nobody writes."""

    def __init__(self) -> None:
        super().__init__(lambda *_: None)  # type: ignore[arg-type]

    def _make(self, batch: Any) -> BatchTemplate:
        return BatchTemplate(batch.bound, None, [batch.bound], [])  # type: ignore[arg-type]


def batch(bound: ResolvedAction, trigger: str) -> Any:
    message = SimpleNamespace(binding="", namespace="guest", subject="guest", trigger=trigger)
    return SimpleNamespace(messages=[message], bound=bound)


def test_templates_of_actions_that_are_gone_are_forgotten_by_their_weight() -> None:
    templates = Made()
    for number in range(3 * MOST):
        templates.of(batch(bind(action(number), (), None), "/guest/t"))
    assert len(templates.known) <= MOST
    assert templates.known.weight <= MOST * CODE


def test_a_template_for_each_of_many_sensors_of_one_action() -> None:
    templates, bound = Made(), bind(action(0), (), None)
    made = [templates.of(batch(bound, f"/guest/t{number}")) for number in range(900)]
    assert all(templates.of(batch(bound, f"/guest/t{number}")) is made[number] for number in range(900))
    assert templates.known.weight < 2 * CODE
    changed = bind(action(0), (), None)
    assert templates.of(batch(changed, "/guest/t0")).bound is changed


def test_hasty_actions_that_are_gone_are_forgotten_by_their_weight() -> None:
    contexts = CallContexts(HandClock(), lambda _: "")
    for number in range(3 * MOST):
        assert contexts.inline(action(number)).limits.timeout == 10
    assert len(contexts.hasty_actions) <= MOST
