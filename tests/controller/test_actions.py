"""Actions: a compile holds back nobody else, and what is deleted leaves no state."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from edgewhisk.controller.packages import Packages
from edgewhisk.entity.exec import CodeExec
from edgewhisk.entity.limits import Limits
from edgewhisk.entity.names import parse_name
from edgewhisk.errors import Conflict
from tests.stages import GUEST, Stages, stages

CODE = {"exec": {"kind": "nodejs:20", "code": "function main(p) { return p }"}}


def play(folder: Path, course: Callable[[Stages], Awaitable[None]]) -> None:
    async def run() -> None:
        async with stages(folder) as made:
            await course(made)

    asyncio.run(run())


def name(text: str) -> Any:
    return parse_name(f"/guest/{text}", "_")


def test_others_change_their_entities_while_code_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, begun = threading.Event(), threading.Event()

    async def course(made: Stages) -> None:
        check = made.sandbox.check

        def slow(code: CodeExec) -> None:
            if "slow" in code.code:
                begun.set()
                assert go.wait(20)
            check(code)

        monkeypatch.setattr(made.sandbox, "check", slow)
        document = {"exec": {**CODE["exec"], "code": "function main() { return {slow: 1} }"}}
        first = asyncio.create_task(made.actions.put(GUEST, name("slow"), document, overwrite=False))
        second = asyncio.create_task(made.actions.put(GUEST, name("slow"), document, overwrite=False))
        await asyncio.to_thread(begun.wait, 20)
        async with asyncio.timeout(20):
            await made.actions.put(GUEST, name("quick"), CODE, overwrite=False)
        assert not first.done()
        go.set()
        found = await asyncio.gather(first, second, return_exceptions=True)
        assert {type(one) for one in found} == {dict, Conflict}

    play(tmp_path, course)


def test_state_goes_with_the_package_that_is_deleted_and_a_new_action_finds_none(tmp_path: Path) -> None:
    gone: list[str] = []

    async def course(made: Stages) -> None:
        packages = Packages(made.actions._entities, made.actions._resolver, Limits(), made.clock, gone.append)
        made.actions._deleted = gone.append
        await packages.put(GUEST, name("pkg"), {}, overwrite=False)
        for own in ("pkg/a", "pkg/b"):
            await made.actions.put(GUEST, name(own), CODE, overwrite=False)
        await made.actions.put(GUEST, name("pkg/a"), CODE, overwrite=True)
        assert gone == ["guest/pkg/a", "guest/pkg/b"]  # when they were made: of what an earlier one left
        gone.clear()
        with pytest.raises(Conflict):
            await packages.delete(GUEST, name("pkg"), force=False)
        assert gone == []
        await packages.delete(GUEST, name("pkg"), force=True)
        assert sorted(gone) == ["guest/pkg/a", "guest/pkg/b"]

    play(tmp_path, course)
