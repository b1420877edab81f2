"""Odd values through every capability of a real gateway, from three languages, for as long as you like.

    python -m tests.bench.fuzz_capabilities --minutes 10

A failure is an error that does not name its operation, one that the gateway did not foresee, or the end of the
process. The seed is printed; `--seed` begins there.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.capability.test_odd_values import running


def main() -> None:
    """Fuzz, then tell what happened."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    counts, seed = Counter[str](), options.seed
    with tempfile.TemporaryDirectory() as folder:
        for odd in running(Path(folder)):
            end = time.monotonic() + options.minutes * 60
            while time.monotonic() < end:
                for kind in odd.codes:
                    found = odd.ask(kind, seed, 200)
                    assert not found["wrong"], (kind, seed, found["wrong"])
                    counts[f"{kind} went"] += found["went"]
                    counts[f"{kind} refused"] += found["refused"]
                for number in range(20):
                    odd.module(seed * 20 + number)
                    counts["modules"] += 1
                odd.check(seed)
                seed += 1
    for name, count in sorted(counts.items()):
        print(f"{count:8} {name}")


if __name__ == "__main__":
    main()
