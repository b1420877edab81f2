"""Calls end within 20 ms of their deadline, wherever they are, and harm nobody meanwhile."""

from __future__ import annotations

import threading

import pytest

from edgewhisk.sandbox.pool import Sandboxes
from tests.path.gateway import until
from tests.sandbox import wat
from tests.sandbox.test_pool import action, run

TIMEOUT = 200  # ms
LATE = 20  # ms: the promise
TRIES = 20  # the best of them counts: others may hold the processor just when a deadline strikes
CASES = {
    "a loop": ("nodejs:20", "function main() { while (true); }"),
    "a regular expression": ("nodejs:20", "function main() { /(a+)+$/.test('a'.repeat(40) + 'b') }"),
    "parsing": (
        "nodejs:20",
        "function main() { const t = JSON.stringify(Array(1e5).fill({a: 1})); while (1) JSON.parse(t) }",
    ),
    # Of one size: numbers that grow meet the engine's own limit first, and sooner on a fast machine.
    "big numbers": ("nodejs:20", "function main() { const n = 3n ** 100000n; while (true) n * n }"),
    "sorting": ("nodejs:20", "function main() { while (1) Array(1e5).fill(0).map(Math.random).sort() }"),
    "a timer": ("nodejs:20", "function main() { return new Promise(d => setTimeout(d, 60000)) }"),
    "a module's loop": ("wasm:default", wat.module(wat.LOOP)),
    "a Python loop": ("python:3", "def main(a):\n    while True: pass"),
    "a Python sort": ("python:3", "def main(a):\n    while True: sorted(range(100000), key=lambda x: -x)"),
    "a Python sleep": ("python:3", "import time\ndef main(a): time.sleep(60)"),
}


@pytest.mark.parametrize("name", CASES)
def test_killed_in_time(sandboxes: Sandboxes, name: str) -> None:
    kind, code = CASES[name]
    made = action(sandboxes, code, kind=kind, timeout=TIMEOUT)
    run(sandboxes, made)  # loads it
    lateness: list[int] = []
    while len(lateness) < TRIES and not (lateness and min(lateness) <= LATE):
        (outcome,) = run(sandboxes, made)
        assert outcome.timed_out, outcome
        lateness.append(outcome.end - outcome.start - TIMEOUT)
    assert -1 <= min(lateness) <= LATE, lateness


def test_the_ticker_wakes_after_calls_too_short_to_see(sandboxes: Sandboxes) -> None:
    epochs = sandboxes.epochs
    stuck = action(sandboxes, "function main() { while (true); }", timeout=TIMEOUT)
    run(sandboxes, stuck)
    for _ in range(3):
        until(lambda: epochs.asleep, what="the ticker sleeps")
        for _ in range(200):
            with epochs.ticking():
                pass
        assert run(sandboxes, stuck)[0].timed_out


def test_a_stuck_action_does_not_hold_up_others(sandboxes: Sandboxes) -> None:
    stuck = action(sandboxes, "function main() { while (true); }", timeout=3000)
    quick = action(sandboxes, "function main(p) { return p }")
    run(sandboxes, quick)
    thread = threading.Thread(target=run, args=(sandboxes, stuck))
    thread.start()
    for _ in range(50):
        run(sandboxes, quick)
    assert thread.is_alive()  # fifty runs took less than the stuck one's 3 s
    thread.join()
