"""A plan is kept as long as no entity changes."""

from __future__ import annotations

from edgewhisk.clock.offset import ClockOffset
from edgewhisk.entity.action import Action
from edgewhisk.entity.exec import NATIVE, CodeExec, Exec, SequenceExec
from edgewhisk.entity.invocation.arguments import ResolvedAction, bind
from edgewhisk.entity.limits import ActionLimits, Limits
from edgewhisk.entity.names import FullyQualifiedName, parse_name
from edgewhisk.entity.parameters import Parameters
from edgewhisk.entity.version import SemVer
from edgewhisk.invoker.batch import Stream
from edgewhisk.invoker.composition import Composition
from edgewhisk.invoker.plan import ExecutionPlan, Plans
from tests.fakes.clock import HandClock


def name(text: str) -> FullyQualifiedName:
    return parse_name(f"/guest/{text}", "_")


def bound(text: str, code: Exec, **annotations: object) -> ResolvedAction:
    limits, notes = ActionLimits.default(Limits()), Parameters.of(annotations)
    parameters = Parameters.of({"k": 1}) if "final" in annotations else Parameters()
    return bind(Action(name(text), code, parameters, limits, notes, SemVer(), 0, False), (), None)


class Known:
    """Actions by name, and their plans."""

    def __init__(self, **codes: ResolvedAction) -> None:
        self.bounds = {name(text): one for text, one in codes.items()}
        composition = Composition(lambda one, _: self.bounds.get(one), lambda: "", lambda: 0, ClockOffset, 50)
        self._plans = Plans(lambda one, _: self.bounds.get(one), composition, HandClock())

    def of(self, text: str) -> ExecutionPlan | None:
        return self._plans.of(Stream(name(text), "", "/guest/t", "guest"))


JS, PYTHON = CodeExec("nodejs:20", ""), CodeExec("python:3", "")


def test_a_plan_is_made_anew_when_its_action_is_another_object() -> None:
    known = Known(a=bound("a", JS))
    first = known.of("a")
    assert known.of("a") is first
    known.bounds[name("a")] = bound("a", PYTHON)
    assert (known.of("a") is first, known.of("b")) == (False, None)


def test_a_sequence_may_be_begun_again_unless_a_part_has_effects_or_is_native_in_between() -> None:
    act = bound("act", CodeExec(NATIVE, ""))
    known = Known(
        a=bound("a", JS),
        p=bound("p", PYTHON),
        act=act,
        effect=bound("effect", JS, **{"edge-capabilities": {"http": ["x"]}}),
        guarded=bound("guarded", JS, final=True),
        last=bound("last", SequenceExec((name("a"), name("p"), name("act")))),
        between=bound("between", SequenceExec((name("a"), name("act"), name("p")))),
        effects=bound("effects", SequenceExec((name("a"), name("effect")))),
        once=bound("once", JS, **{"edge-delivery": "at-most-once"}),
        nested=bound("nested", SequenceExec((name("last"),))),
    )
    plans = {text: plan for text in known.bounds if (plan := known.of(text.name)) is not None}
    found = {key.name: (plan.repeatable, len(plan.sandboxed)) for key, plan in plans.items()}
    assert found["last"] == (True, 2)
    assert not found["between"][0]
    assert not found["effects"][0]
    assert not found["once"][0]
    assert found["act"] == (True, 0)
    nested, guarded = plans[name("nested")], plans[name("guarded")]
    assert (nested.parts, nested.repeatable, sorted(nested.kinds)) == (None, False, ["nodejs:20", "python:3"])
    assert (guarded.guarded, guarded.repeatable) == (True, True)


def test_what_a_plan_weighs_has_its_parameters_and_annotations_in_it() -> None:
    large = Parameters.of({"k": "v" * 90_000})
    made = Action(name("a"), JS, large, ActionLimits.default(Limits()), large, SemVer(), 0, False)
    # Bound parameters are kept twice: as values, and as text that is ready to be sent.
    assert 3 * 90_000 < bind(made, (), None).weight < 3 * 90_000 + 3_000
