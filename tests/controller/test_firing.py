"""What events of feeds start: each rule's action, in order, whatever stands between them."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import orjson
import pytest

from edgewhisk.controller.firing import Plan, Start, messages
from edgewhisk.entity.invocation.arguments import NOT_ALLOWED
from edgewhisk.entity.invocation.message import TriggerEvent
from edgewhisk.entity.names import parse_name
from tests.stages import GUEST, TRIGGER, event, stages, until


def test_each_event_starts_each_action_over_the_parameters_of_the_trigger() -> None:
    one, other = parse_name("/guest/a", "_"), parse_name("/plant/b", "_")
    starts = (Start("guest/r", "guest/a", one), Start("guest/s", "guest/p/b", other, "guest/p"))
    plan = Plan("/guest/t", "guest", "me", b'{"site":"north"}', starts, (), active=True)
    events = [
        TriggerEvent(TRIGGER, b"{}", 5),
        TriggerEvent(TRIGGER, b'{"n":1}', 6, durable=True, origin="mqtt:x"),
    ]
    found = list(messages(plan, events, ["1", "2", "3", "4"]))
    assert [(made.activation_id, made.action, made.binding) for made in found] == [
        ("1", one, ""), ("2", other, "guest/p"), ("3", one, ""), ("4", other, "guest/p")
    ]  # fmt: skip
    assert [made.payload for made in found] == [b'{"site":"north"}'] * 2 + [b'{"site":"north","n":1}'] * 2
    assert [(made.at, made.durable, made.origin) for made in found[::2]] == [
        (5, False, ""),
        (6, True, "mqtt:x"),
    ]
    assert {(made.namespace, made.subject, made.trigger, made.cause) for made in found} == {
        ("guest", "me", "/guest/t", "")
    }


def test_readings_leave_a_record_of_their_trigger_where_it_asks_for_that(tmp_path: Path) -> None:
    async def play() -> None:
        async with stages(tmp_path) as made:
            await made.make()
            await made.controller([event(0), event(1)])
            await until(lambda: len(made.recorded()) == 2)
            await made.annotate_trigger(**{"edge-record": True})
            await made.controller([event(2), event(3)])
            await until(lambda: len(made.recorded()) == 4 and len(made.recorded("t")) == 2)
            began = [orjson.loads(line)["activationId"] for one in made.recorded("t") for line in one["logs"]]
            assert began == [one["activationId"] for one in made.recorded()[2:]]
            assert made.numbers("t") == [2, 3]

    asyncio.run(play())


@pytest.mark.parametrize("sequence", [(), ("/_/a",)], ids=["action", "sequence"])
def test_an_event_that_sets_a_final_parameter_is_an_error_and_the_others_run(
    tmp_path: Path, sequence: tuple[str, ...]
) -> None:
    async def play() -> None:
        async with stages(tmp_path) as made:
            await made.make("function main(p) { return p }", *sequence)
            await made.annotate(final=True)
            await made.bind(unit="C")
            odd = event(1)._replace(payload=b'{"n":1,"unit":"F"}')
            for _ in range(3):  # the later ones by the short way
                await made.controller([event(0), odd, event(2)])
            await until(lambda: len(made.recorded()) == 9)
            found = Counter(str(record["response"]["result"]) for record in made.recorded())
            wanted = [{"unit": "C", "n": 0}, {"error": NOT_ALLOWED}, {"unit": "C", "n": 2}]
            assert found == dict.fromkeys(map(str, wanted), 3)

    asyncio.run(play())


def test_a_trigger_that_sets_a_final_parameter_starts_nothing_for_a_caller(tmp_path: Path) -> None:
    async def play() -> None:
        async with stages(tmp_path) as made:
            await made.make()
            await made.annotate(final=True)
            await made.bind(unit="C")
            fired = await made.controller.fire(GUEST, TRIGGER, b'{"unit":"F"}', {})
            assert fired is not None
            (log,) = (orjson.loads(line) for line in made.store.get(fired)["logs"])  # type: ignore[index]
            assert (log["statusCode"], log["error"]) == (1, NOT_ALLOWED)
            assert not made.recorded()

    asyncio.run(play())


def test_events_without_a_rule_are_counted_and_the_others_keep_their_order(tmp_path: Path) -> None:
    async def play() -> None:
        async with stages(tmp_path) as made:
            await made.make()
            lost = event(99)._replace(trigger=parse_name("/guest/none", "_"))
            await made.controller([event(0), lost, lost, event(1), event(2), lost])
            await until(lambda: len(made.numbers()) == 3)
            assert (made.numbers(), made.controller.unruled) == ([0, 1, 2], 3)

    asyncio.run(play())
