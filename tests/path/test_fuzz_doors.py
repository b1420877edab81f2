"""Every door at once: the short form of `tests.bench.fuzz_doors`."""

from __future__ import annotations

import pytest

from tests.bench.fuzz_doors import play, site
from tests.bench.values import Values
from tests.path.gateway import MOSQUITTO

SEED = 20  # of values that met each fault of the first run


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto")
def test_a_gateway_lives_lists_syncs_goes_on_and_starts_again() -> None:
    with site() as made:
        counts, fault = play(made, Values(SEED), iter(["", "kill", "stop"]))
    assert not fault, fault
    assert counts["restarts"] == 2
