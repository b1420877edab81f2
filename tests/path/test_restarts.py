"""Brokers that go and come under load; `python -m tests.path.restarts --times 50` does it longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.path.gateway import MOSQUITTO
from tests.path.restarts import restarts


@pytest.mark.slow
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto")
def test_nothing_is_lost_when_the_broker_restarts(tmp_path: Path) -> None:
    found = restarts(tmp_path, 6)
    assert found.sent >= 6 * 300
    assert found.lost == 0
    assert found.doubled <= found.again
