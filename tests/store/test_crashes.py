"""The crash simulator, reduced: `python -m tests.bench.power_cuts` plays hundreds of histories."""

from __future__ import annotations

import pytest

from edgewhisk.store.log import frames, log
from tests.store import crash


@pytest.mark.parametrize(
    ("seed", "steps"),
    [
        (0, 22),
        (1, 22),
        (3, 14),
        (1010, 20),  # the record of an event was evicted before the mark that finished the event was written
    ],
)
def test_nothing_acknowledged_is_lost_and_nothing_rises(seed: int, steps: int) -> None:
    assert crash.play(seed, steps, every=97, cuts=(0.004, 0.01)) > 1000


@pytest.mark.parametrize("seed", range(3))
def test_entities_are_changed_whole_or_not_at_all(seed: int) -> None:
    assert crash.play_entities(seed, 16, every=41) > 300


def first_failure(play: object, **mutant: bool) -> str:
    for seed in range(20):
        try:
            play(seed, 20, every=97, **mutant)  # type: ignore[operator]
        except crash.Failure as failure:
            return str(failure)
    return ""


@pytest.mark.parametrize("play", [crash.play, crash.play_entities])
@pytest.mark.parametrize("mutant", ["syncs", "names"])
def test_a_store_that_does_not_sync_is_caught(play: object, mutant: str) -> None:
    assert first_failure(play, **{mutant: False})


@pytest.mark.parametrize("play", [crash.play, crash.play_entities])
def test_checksums_that_hold_for_any_file_are_caught(play: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (frames, log):
        monkeypatch.setattr(module, "seed_of", lambda _name: 0)
    assert first_failure(play)
