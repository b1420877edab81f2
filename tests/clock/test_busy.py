"""What a thread computes and waits for counts; its turns at the interpreter do not."""

from __future__ import annotations

import threading
import time

import pytest

from edgewhisk.clock.busy import busy, waiting


def test_what_a_thread_computes_and_waits_for_counts_and_its_turns_do_not() -> None:
    took: list[tuple[float, float]] = []
    together = threading.Barrier(8)

    def run() -> None:
        together.wait(20)
        wall, begun = time.monotonic(), busy()
        for _ in range(1_000_000):  # in Python, whose threads take turns
            pass
        with waiting():
            time.sleep(0.05)
        took.append((time.monotonic() - wall, busy() - begun))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert min(counted for _, counted in took) >= 0.05
    computed, passed = sum(one - 0.05 for _, one in took), sum(one - 0.05 for one, _ in took)
    assert computed < passed * 0.7  # one of eight has its turn at a time


@pytest.mark.parametrize("error", [None, ValueError])
def test_waiting_is_counted_however_it_ends(error: type[Exception] | None) -> None:
    begun = busy()
    try:
        with waiting():
            time.sleep(0.02)
            if error:
                raise error
    except ValueError:
        pass
    assert busy() - begun >= 0.02
