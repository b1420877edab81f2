"""Workers are shared: nobody's sleeping, nesting or compiling keeps the others from running."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.entity.invocation.message import ActivationMessage
from edgewhisk.entity.names import parse_name
from tests.path.gateway import Gateway, gateway
from tests.stages import Stages, event, stages, until

NEST = """
const {invoke} = require('edgewhisk');
exports.main = async p => {
  if (!p.n) return {depth: 0};
  const found = await invoke(p.next || 'nest', {...p, n: p.n - 1});
  return {depth: found.depth + 1};
}"""
LEAD = "function main(p) { return p.done ? {params: p} : {action: 'nest', params: p, state: {done: true}} }"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    granted = [{"key": "edge-capabilities", "value": {"invoke": ["nest", "steps", "lead"]}}]
    limits = {"timeout": 20_000}
    with gateway(tmp_path_factory.mktemp("edge")) as running:
        nest = {"exec": {"kind": "nodejs:20", "code": NEST}, "annotations": granted, "limits": limits}
        running.ok("PUT", "_/actions/nest", nest)
        running.sequence("steps", "nest", "nest")
        conductor = {"exec": {"kind": "nodejs:20", "code": LEAD}, "limits": limits}
        conductor["annotations"] = [{"key": "conductor", "value": True}]
        running.ok("PUT", "_/actions/lead", conductor)
        yield running


def call(made: Gateway, name: str, **given: Any) -> Any:
    return made.call("POST", f"_/actions/{name}?blocking=true&result=true", given).body


@pytest.mark.parametrize("depth", [1, 8, 12])
def test_an_action_may_invoke_itself(made: Gateway, depth: int) -> None:
    assert call(made, "nest", n=depth) == {"depth": depth}


@pytest.mark.parametrize("through", ["steps", "lead"])
def test_nesting_through_compositions_ends(made: Gateway, through: str) -> None:
    assert call(made, through, n=9, next="nest")["depth"] == (0 if through == "steps" else 9)
    assert call(made, "nest", n=3, next=through)["depth"] >= 1


def test_who_invokes_itself_for_ever_is_stopped_and_told(made: Gateway) -> None:
    found = call(made, "nest", n=1000)
    assert "does an action invoke itself?" in found["error"]["message"]
    assert call(made, "nest", n=1) == {"depth": 1}  # nothing is held afterwards


SLEEPY = """async function main(p) {
    if (p.sleep) await new Promise(r => setTimeout(r, p.sleep));
    return {n: 1};
}"""


async def stage(folder: Path, sleepers: int) -> None:
    """Sleepers of two namespaces, and one call of a third."""
    action = parse_name("/guest/a", "_")

    def run(made: Stages, namespace: str, payload: bytes) -> asyncio.Future[Any]:
        own = made.clock.activation_ids(1)[0]
        return made.invoker.run(ActivationMessage(own, action, namespace, namespace, payload, 1))

    async with stages(folder) as made:
        await made.make(SLEEPY)
        sleeping = [run(made, name, b'{"sleep":3000}') for _ in range(sleepers) for name in ("one", "two")]
        await until(lambda: made.invoker.describe()["workers"] >= 16)
        quick = [run(made, name, b"{}") for name in ("three", "four")]
        await asyncio.wait(quick, timeout=30)
        assert all(one.done() for one in quick)
        assert not any(one.done() for one in sleeping)
        await asyncio.gather(*sleeping)
        assert made.invoker.describe()["workers"] <= 18
        made.controller([event(1)])
        assert await made.invoker.drain(20)
        await until(lambda: len(made.recorded()) == 1)


def test_sleepers_of_two_subjects_leave_a_worker_to_a_third(tmp_path: Path) -> None:
    asyncio.run(stage(tmp_path, 20))
