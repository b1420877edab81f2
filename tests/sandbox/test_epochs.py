"""One thread counts the epochs of all engines, and stops what runs too long in each."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import wasmtime

from edgewhisk.sandbox.epochs import TICK, Epochs
from tests.path.gateway import until

LOOP = '(module (func (export "run") (loop br 0)))'
LEAST = 0.1  # seconds that a call may run here


@pytest.fixture
def epochs() -> Iterator[Epochs]:
    made = Epochs()
    yield made
    made.close()


def engine(epochs: Epochs) -> wasmtime.Engine:
    config = wasmtime.Config()
    config.epoch_interruption = True
    made = wasmtime.Engine(config)
    epochs.count_for(made)
    return made


def stuck(epochs: Epochs, engine: wasmtime.Engine, *, inline: bool) -> float:
    """Seconds after which a call that never ends was stopped."""
    store = wasmtime.Store(engine)
    run = wasmtime.Instance(store, wasmtime.Module(engine, LOOP), []).exports(store)["run"]
    assert isinstance(run, wasmtime.Func)
    epochs.begin(inline=inline)
    begun = time.monotonic()
    store.set_epoch_deadline(epochs.upto(begun + LEAST))
    try:
        with pytest.raises(wasmtime.Trap, match="interrupt"):
            run(store)
    finally:
        epochs.end(inline=inline)
    return time.monotonic() - begun


@pytest.mark.parametrize("inline", [False, True])
def test_calls_of_every_engine_are_stopped_by_one_thread(epochs: Epochs, inline: bool) -> None:
    before = threading.active_count()
    for made in (engine(epochs), engine(epochs), engine(epochs)):
        assert stuck(epochs, made, inline=inline) >= LEAST
    assert threading.active_count() == before + 1


def test_an_engine_that_comes_later_is_counted_for_too(epochs: Epochs) -> None:
    stuck(epochs, engine(epochs), inline=False)
    until(lambda: epochs.asleep, what="the ticker sleeps")
    later = engine(epochs)
    with epochs.ticking():
        assert 1 <= epochs.upto(time.monotonic() + LEAST) <= LEAST / TICK + 2  # not from when it fell asleep
        assert stuck(epochs, later, inline=False) >= LEAST


def test_a_deadline_that_is_over_is_the_next_epoch(epochs: Epochs) -> None:
    with epochs.ticking():
        assert epochs.upto(time.monotonic() - 5) == 1
