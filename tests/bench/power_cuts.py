"""Cut the power of the buffer at every instant, hundreds of thousands of times.

    nice python -m tests.bench.power_cuts --states 400000

Each state is one that a power cut can leave: every prefix of what was written, torn at each byte (each
seventh in most histories, for more of them), un-synced writes and names lost, kept or reordered. From some
of them the store lives on, and the power is cut at every instant of that life, too, its recovery included;
and from some of those once more. It ends with an error at the first state in which something acknowledged
is missing, something appears that was never written, something would be taken for known that never
happened, or the store does not open. `tests/store/test_crashes.py` shows that stores without fdatasync,
without fsync of the directory, or without seeds of the checksums are caught.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

from tests.store import crash


def history(seed: int) -> tuple[int, int]:
    """How many states of records and of entities there were."""
    every = 7 if seed % 4 else 1
    return crash.play(seed, 20, every=every, cuts=(0.002, 0.01)), crash.play_entities(seed, 20, every=every)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--states", type=int, default=400_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first history")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (all processors)")
    given = parser.parse_args()
    begun, seed, histories = time.monotonic(), given.seed, 0
    records = entities = 0
    running: set[Future[tuple[int, int]]] = set()
    with ProcessPoolExecutor(given.jobs) as pool:
        while records + entities < given.states:
            while len(running) < given.jobs:
                running.add(pool.submit(history, seed))
                seed += 1
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for one in ended:
                seen = one.result()
                records, entities, histories = records + seen[0], entities + seen[1], histories + 1
            took = time.monotonic() - begun
            print(
                f"{histories} histories, {records} states of records, {entities} of entities, {took:.0f} s",
                flush=True,
            )
        for one in running:
            one.cancel()
    print("0 acknowledged records lost, 0 ghosts, 0 refused boots")


if __name__ == "__main__":
    main()
