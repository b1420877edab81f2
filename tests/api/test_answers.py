"""What a real OpenWhisk controller answered is what the gateway answers, but for what is decided."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest

from tests.api.recorded import HERE, Player, cases, decided
from tests.path.gateway import gateway


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Player]:
    settings = 'concurrent_invocations = 1000\n[mqtt]\nurl = "mqtt://127.0.0.1:1"\n'
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for rate in ("INVOCATIONS", "FIRES"):  # as there
            patch.setenv(f"EDGEWHISK_LIMITS_{rate}_PER_MINUTE", "100000")
        made = stack.enter_context(gateway(tmp_path_factory.mktemp("answers"), settings))
        yield stack.enter_context(contextlib.closing(Player(made.port, made.auth, made.subject("second"))))


@pytest.mark.parametrize("kind", sorted(cases()))
def test_answers_are_those_of_openwhisk(player: Player, kind: str) -> None:
    differences = [
        (case["name"], step, what, difference)
        for case in cases()[kind]
        for step, what, difference in player.play(case)
    ]
    assert [found for found in differences if not decided(*found)] == []


def test_what_is_decided_has_a_reason_and_is_said_once() -> None:
    rows: list[list[Any]] = json.loads((HERE / "decided.json").read_text())
    for _, _, kind, pattern, why in rows:
        assert kind in ("status", "shape", "value", "text", "header", "record")
        re.compile(pattern)
        assert len(why) > 10
    for key, alike in groupby(sorted(row[:4] for row in rows)):
        assert len(list(alike)) == 1, key
