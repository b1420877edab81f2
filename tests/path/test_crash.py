"""SIGKILL in mid-stream, to the published result; `python -m tests.bench.crash` does it longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.crash import edgewhisk
from tests.bench.readings import BROKER
from tests.path.gateway import MOSQUITTO, mosquitto


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto")
def test_every_result_is_published_and_recorded_though_the_gateway_is_killed(tmp_path: Path) -> None:
    with mosquitto(tmp_path, BROKER) as port:
        found = edgewhisk(tmp_path / "e", port, 800, 400, 1.0)
    assert found.killed < 800 / 400
    assert (found.unpublished, found.unrecorded, found.unfinished, found.wrong) == (0, 0, 0, 0), found
