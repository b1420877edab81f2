"""How long the command line takes to answer, beside an empty Python.

python -m tests.bench.cli
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.path.gateway import gateway

VERBS = (("--version",), ("auth",), ("action", "list"), ("activation", "list"), ("list",), ("status",))


def took(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return (time.perf_counter() - began) * 1000


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        gateway(Path(folder), '[mqtt]\nurl = "mqtt://127.0.0.1:1"\n') as made,
    ):
        made.action("hello", "function main() { return {} }")
        print(f"{'':24}{'ms':>8}{'more than python -c pass':>28}")
        for words in VERBS:
            more = () if words[0] == "--version" else ("--config", str(made.config))
            rounds = [
                (took(sys.executable, "-m", "edgewhisk", *words, *more), took(sys.executable, "-c", "pass"))
                for _ in range(9)
            ]
            whole = statistics.median(verb for verb, _ in rounds)
            beyond = statistics.median(verb - empty for verb, empty in rounds)
            print(f"{'edgewhisk ' + ' '.join(words):24}{whole:>8.0f}{beyond:>28.0f}")


if __name__ == "__main__":
    main()
