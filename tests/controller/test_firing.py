"""What events of feeds start: each rule's action, in order, whatever stands between them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from edgewhisk.controller.firing import Plan, Start, messages
from edgewhisk.entity.message import TriggerEvent
from edgewhisk.entity.names import parse_name
from tests.stages import TRIGGER, event, stages, until


def test_each_event_starts_each_action_over_the_parameters_of_the_trigger() -> None:
    one, other = parse_name("/guest/a", "_"), parse_name("/plant/b", "_")
    starts = (Start("guest/r", "guest/a", one), Start("guest/s", "guest/p/b", other, "guest/p"))
    plan = Plan("/guest/t", "guest", "me", b'{"site":"north"}', starts, ())
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


def test_events_without_a_rule_are_counted_and_the_others_keep_their_order(tmp_path: Path) -> None:
    async def play() -> None:
        async with stages(tmp_path) as made:
            await made.make()
            lost = event(99)._replace(trigger=parse_name("/guest/none", "_"))
            await made.controller([event(0), lost, lost, event(1), event(2), lost])
            await until(lambda: len(made.numbers()) == 3)
            assert (made.numbers(), made.controller.unruled) == ([0, 1, 2], 3)

    asyncio.run(play())
