"""Cut the power of the buffer at every instant, hundreds of thousands of times.

    nice python -m tests.bench.power_cuts --states 400000

Each state is one that a power cut can leave: every prefix of what was written, torn at each byte (each
seventh in most histories, for more of them),
un-synced writes and names lost, kept or reordered, and a second cut during recovery. It ends with
an error at the first state in which something acknowledged is missing, something appears that was
never written, or the store does not open. `tests/buffer/test_crashes.py` shows that stores without
fdatasync, without fsync of the directory, or without seeds of the checksums are caught.
"""

from __future__ import annotations

import argparse
import time

from tests.buffer import crash


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--states", type=int, default=400_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first history")
    given = parser.parse_args()
    begun, seed = time.monotonic(), given.seed
    records = entities = 0
    while records + entities < given.states:
        every = 7 if seed % 4 else 1
        records += crash.play(seed, 20, every=every, deep=0.002)
        entities += crash.play_entities(seed, 20, every=every)
        seed += 1
        took = time.monotonic() - begun
        print(
            f"{seed - given.seed} histories, {records} states of records, {entities} of entities, {took:.0f} s",
            flush=True,
        )
    print("0 acknowledged records lost, 0 ghosts, 0 refused boots")


if __name__ == "__main__":
    main()
